# mypy: disable-error-code="arg-type, comparison-overlap, misc"
"""Hosts on loopback: connecting, refusing, streams, cancelling, closing."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from itertools import cycle

import pytest
from libp2p_fixtures import (
    LISTEN,
    Events,
    RawPeer,
    identity,
    limits,
    run,
    two_hosts,
    until,
)

from p2pfl.libp2p import (
    ConnectionLost,
    DialFailed,
    Host,
    LimitReached,
    LocalFault,
    MalformedBytes,
    Multiaddr,
    PeerDown,
    PeerUp,
    ProtocolRefused,
    RemoteFault,
    Stream,
    StreamFinished,
    StreamReset,
    StreamTimeout,
)
from p2pfl.libp2p.multistream import HEADER, encode_message
from p2pfl.libp2p.yamux_frames import INITIAL_WINDOW_BYTES

ONE, TWO, THREE = (identity(number).peer_id for number in (1, 2, 3))
both_loops = pytest.mark.parametrize("uv", [False, True], ids=["asyncio", "uvloop"])


def negotiation_bytes(protocol: str) -> int:
    """What the agreement on a protocol takes off a stream's window."""
    return len(encode_message(HEADER) + encode_message(protocol))


async def echo(stream: Stream) -> None:
    while data := await stream.read():
        await stream.write(data)


async def wait_for_end(stream: Stream) -> None:
    await stream.read(timeout_s=None)


@both_loops
def test_two_hosts_exchange_more_than_any_buffer_holds(uv: bool) -> None:
    async def main() -> None:
        async with two_hosts() as (dialing, listening, connection):
            listening.set_handler("/echo", echo)
            assert dialing.peers() == (TWO,)
            assert connection.peer_id == TWO
            body = bytes(range(256)) * 40_000  # 10 MB
            async with (
                await dialing.open_stream(TWO, "/echo") as stream,
                asyncio.TaskGroup() as both,
            ):

                async def send() -> None:
                    assert await stream.write_from(iter([body[:7], body[7:9], body[9:]])) == len(
                        body
                    )
                    stream.finish()

                both.create_task(send())
                assert await stream.read_exactly(len(body)) == body
                assert await stream.read() == b""
            await until(lambda: dialing.metrics()["streams"] == 0)
            await until(lambda: listening.metrics()["streams"] == 0)
            assert listening.metrics()["unread_bytes"] == dialing.metrics()["unread_bytes"] == 0

    run(main, uv=uv)


@both_loops
def test_either_end_opens_streams_and_many_run_at_once(uv: bool) -> None:
    async def main() -> None:
        async with two_hosts() as (dialing, listening, _):
            for host in (dialing, listening):
                host.set_handler("/echo", echo)

            async def talk(host: Host, peer_id: str, number: int) -> None:
                async with await host.open_stream(peer_id, ["/unknown", "/echo"]) as stream:
                    assert stream.protocol == "/echo"
                    body = number.to_bytes(2, "big") * 50_000
                    async with asyncio.TaskGroup() as both:
                        both.create_task(stream.write(body))
                        assert await stream.read_exactly(len(body)) == body

            async with asyncio.TaskGroup() as group:
                for number in range(50):
                    group.create_task(talk(dialing, TWO, number))
                    group.create_task(talk(listening, ONE, number))

    run(main, uv=uv)


def test_ping_and_identify() -> None:
    async def main() -> None:
        async with two_hosts() as (dialing, listening, connection):
            assert 0 < await dialing.ping(TWO) < 30
            assert 0 < await connection.ping() < 30
            listening.set_handler("/echo", echo)
            told = await dialing.identify(TWO)
            assert told.peer_id == TWO
            assert "/echo" in told.protocols
            assert told.listens_on == tuple(
                Multiaddr(a.kind, a.host, a.port) for a in listening.addresses
            )
            assert told.observed is not None
            assert told.observed.host == "127.0.0.1"
            assert told.agent_version.startswith("p2pfl/")
            assert (await listening.identify(ONE)).peer_id == ONE

    run(main)


def test_messages_are_framed_and_bounded() -> None:
    async def main() -> None:
        async with two_hosts() as (dialing, listening, _):
            seen: list[bytearray | str | None] = []
            done = asyncio.Event()

            async def collect(stream: Stream) -> None:
                try:
                    while (message := await stream.read_message(100_000)) is not None:
                        seen.append(message)
                    seen.append(None)
                except MalformedBytes as error:
                    seen.append(error.reason)
                    raise
                finally:
                    done.set()

            listening.set_handler("/collect", collect)
            messages = [b"", b"a", b"b" * 127, b"c" * 128, b"d" * 100_000]
            async with await dialing.open_stream(TWO, "/collect") as stream:
                for message in messages:
                    await stream.write_message(message)
                stream.finish()
                await done.wait()
            assert seen == [*messages, None]
            done.clear()
            seen.clear()
            stream = await dialing.open_stream(TWO, "/collect")
            await stream.write_message(b"e" * 100_001)
            await done.wait()
            assert seen == ["message_too_long"]
            with pytest.raises(StreamReset):
                await stream.read()
            await until(lambda: listening.counters["streams_failed.message_too_long"] == 1)
            assert listening.peers() == (ONE,)

    run(main)


def test_messages_arrive_whole_however_they_are_cut() -> None:
    async def main() -> None:
        async with two_hosts() as (dialing, listening, _):
            seen: asyncio.Future[list[bytes]] = asyncio.get_running_loop().create_future()

            async def collect(stream: Stream) -> None:
                seen.set_result([bytes(await stream.read_message(1000) or b"") for _ in range(2)])
                with pytest.raises(StreamFinished):
                    await stream.read_message(1000)

            listening.set_handler("/collect", collect)
            async with await dialing.open_stream(TWO, "/collect") as stream:
                for byte in b"\xac\x02" + b"x" * 300 + b"\x01y" + b"\x80":
                    await stream.write(bytes([byte]))
                assert await seen == [b"x" * 300, b"y"]

    run(main)


def test_a_half_closed_stream_still_carries_the_answer() -> None:
    async def main() -> None:
        async with two_hosts() as (dialing, listening, _):

            async def sum_up(stream: Stream) -> None:
                total = 0
                while data := await stream.read():
                    total += sum(data)
                await stream.write(total.to_bytes(8, "big"))

            listening.set_handler("/sum", sum_up)
            async with await dialing.open_stream(TWO, "/sum") as stream:
                await stream.write(b"\x01\x02\x03" * 100_000)
                stream.finish()
                with pytest.raises(LocalFault):
                    await stream.write(b"more")
                assert int.from_bytes(await stream.read_exactly(8), "big") == 600_000
                with pytest.raises(StreamFinished):
                    await stream.read_exactly(1)

    run(main)


def test_nobody_else_than_the_expected_peer_is_spoken_to() -> None:
    async def main() -> None:
        async with Host(identity(1)) as dialing, Host(identity(2)) as listening:
            [address] = await listening.listen(LISTEN)
            with pytest.raises(DialFailed, match="wrong_peer_id"):
                await dialing.dial(THREE, [Multiaddr(address.kind, address.host, address.port)])
            with pytest.raises(DialFailed, match="address_of_another_peer"):
                await dialing.dial(THREE, [address])
            assert dialing.peers() == listening.peers() == ()
            await until(lambda: listening.metrics()["handshakes_in_progress"] == 0)
            assert listening.counters["connections_opened"] == 0

    run(main)


@pytest.mark.parametrize("refusing", ["dialer", "listener"])
def test_the_allow_list_is_applied_by_either_end(refusing: str) -> None:
    async def main() -> None:
        allow = {THREE}
        async with (
            Host(identity(1), allow=allow if refusing == "dialer" else None) as dialing,
            Host(
                identity(2), allow=allow.__contains__ if refusing == "listener" else None
            ) as listening,
        ):
            events = Events(dialing)
            addresses = await listening.listen(LISTEN)
            with pytest.raises(DialFailed):
                await dialing.dial(TWO, addresses)
            assert dialing.peers() == listening.peers() == ()
            if refusing == "listener":
                assert listening.counters["handshakes_failed.not_allowed"] == 1
            else:
                assert dialing.counters["dials"] == 0
            allow.update((ONE, TWO))
            await dialing.dial(TWO, addresses)
            await events.until(PeerUp(TWO))

    run(main)


def test_a_refused_peer_gets_not_a_byte_more() -> None:
    async def main() -> None:
        async with Host(identity(2), allow=()) as listening:
            [address] = await listening.listen(LISTEN)
            raw = await RawPeer.connect(address)
            await raw.upgrade(identity(1))
            assert await raw.read_frame() is None
            assert listening.counters["handshakes_failed.not_allowed"] == 1
            raw.writer.close()

    run(main)


def test_a_host_does_not_talk_to_itself() -> None:
    async def main() -> None:
        async with Host(identity(1)) as host, Host(identity(1)) as twin:
            addresses = await host.listen(LISTEN)
            for dialing in (host, twin):
                with pytest.raises(DialFailed, match="own_peer_id"):
                    await dialing.dial(ONE, addresses)

    run(main)


def test_unreachable_addresses_are_told_and_a_reachable_one_beside_them_is_found() -> None:
    async def main() -> None:
        async with (
            Host(identity(1), limits=limits(address_delay_s=0.001)) as dialing,
            Host(identity(2)) as listening,
        ):
            [good] = await listening.listen(LISTEN)
            with socket.create_server(("127.0.0.1", 0)) as silent, socket.socket() as unbound:
                unbound.bind(("127.0.0.1", 0))
                deaf = f"/ip4/127.0.0.1/tcp/{silent.getsockname()[1]}"
                closed = f"/ip4/127.0.0.1/tcp/{unbound.getsockname()[1]}"
                with pytest.raises(DialFailed, match="unreachable"):
                    await dialing.dial(TWO, [closed, closed])
                connection = await dialing.dial(
                    TWO, [deaf, closed, f"/dns4/localhost/tcp/{good.port}"]
                )
                assert connection.remote_address.port == good.port
            with pytest.raises(DialFailed, match="address_count"):
                await dialing.dial(THREE, [])

    run(main)


def test_dials_of_one_peer_share_one_connection() -> None:
    async def main() -> None:
        async with Host(identity(1)) as dialing, Host(identity(2)) as listening:
            addresses = await listening.listen(LISTEN)
            made = await asyncio.gather(*(dialing.dial(TWO, addresses) for _ in range(20)))
            assert len(set(map(id, made))) == 1
            assert await dialing.dial(TWO) is made[0]
            assert dialing.counters["dials"] == listening.counters["connections_opened"] == 1

    run(main)


@both_loops
def test_two_that_dial_each_other_at_once_end_with_the_same_connection(uv: bool) -> None:
    async def main() -> None:
        for _ in range(10):
            async with (
                Host(identity(1), limits=limits(keepalive_period_s=0.1)) as first,
                Host(identity(2), limits=limits(keepalive_period_s=0.1)) as second,
            ):
                to_first, to_second = await first.listen(LISTEN), await second.listen(LISTEN)
                for host in (first, second):
                    host.set_handler("/echo", echo)
                events = [Events(first), Events(second)]
                await asyncio.gather(first.dial(TWO, to_second), second.dial(ONE, to_first))
                # Each may already use its connection, whichever it is going to be.
                for host, peer_id in ((first, TWO), (second, ONE)):
                    async with await host.open_stream(peer_id, "/echo") as stream:
                        await stream.write(b"hello")
                        assert await stream.read_exactly(5) == b"hello"
                await until(
                    lambda first=first, second=second: (
                        first.metrics()["connections_superseded"] == 0
                        and second.metrics()["connections_superseded"] == 0
                    )
                )
                one, other = first.connection(TWO), second.connection(ONE)
                assert one is not None
                assert other is not None
                assert one.dialer != other.dialer
                assert 0 < await one.ping() < 30
                assert [event.seen for event in events] == [[PeerUp(TWO)], [PeerUp(ONE)]]

    run(main, uv=uv)


def test_a_peer_that_has_lost_its_connection_may_dial_again_at_once() -> None:
    """The listener has not noticed yet that the old connection is dead."""

    async def main() -> None:
        async with Host(identity(2), limits=limits(keepalive_period_s=1.0)) as listening:
            [address] = await listening.listen(LISTEN)
            events = Events(listening)
            raw = await RawPeer.connect(address)
            await raw.upgrade(identity(1))
            await events.until(PeerUp(ONE))
            old = listening.connection(ONE)
            async with Host(identity(1)) as again:
                await again.dial(TWO, [address])
                assert listening.connection(ONE) is not old
                await raw.closed()
                assert listening.counters["connections_closed.superseded"] == 1
                await events.until(PeerUp(ONE))
            await events.until(PeerUp(ONE), PeerDown(ONE, "gone_away"))

    run(main)


def test_up_and_down_are_told_with_the_reason() -> None:
    async def main() -> None:
        async with two_hosts() as (dialing, listening, _):
            events = [Events(dialing), Events(listening)]
            dialing.disconnect(TWO, "enough")
            await events[0].until(PeerDown(TWO, "enough"))
            await events[1].until(PeerDown(ONE, "gone_away"))
            assert dialing.counters["connections_closed.enough"] == 1
            with pytest.raises(ConnectionLost, match="not_connected"):
                await dialing.open_stream(TWO, "/echo")
            await dialing.dial(TWO, listening.addresses)
            await events[0].until(PeerDown(TWO, "enough"), PeerUp(TWO))

    run(main)


def test_a_handler_that_fails_ends_its_stream_only(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with two_hosts() as (dialing, listening, _):

            async def fail(stream: Stream) -> None:
                await stream.read()
                raise ZeroDivisionError

            listening.set_handler("/fail", fail)
            listening.set_handler("/echo", echo)
            async with await dialing.open_stream(TWO, "/echo") as healthy:
                failing = await dialing.open_stream(TWO, "/fail")
                await failing.write(b"go")
                with pytest.raises(StreamReset, match="by_peer"):
                    await failing.read()
                await healthy.write(b"still here")
                assert await healthy.read_exactly(10) == b"still here"
            assert listening.counters["handlers_failed"] == 1

    run(main)
    assert "ZeroDivisionError" in caplog.text


def test_protocols_that_are_not_spoken_are_refused() -> None:
    async def main() -> None:
        async with two_hosts() as (dialing, listening, _):
            with pytest.raises(ProtocolRefused):
                await dialing.open_stream(TWO, ["/a", "/b"])
            listening.set_handler("/a", echo)
            await (await dialing.open_stream(TWO, ["/b", "/a"])).write(b"x")
            listening.set_handler("/a", None)
            with pytest.raises(ProtocolRefused):
                await dialing.open_stream(TWO, "/a")
            with pytest.raises(LocalFault):
                listening.set_handler("/a\n", echo)
            assert dialing.peers() == (TWO,)

    run(main)


def test_a_reader_and_a_writer_have_deadlines() -> None:
    async def main() -> None:
        async with two_hosts() as (dialing, listening, _):
            listening.set_handler("/silent", wait_for_reset)
            stream = await dialing.open_stream(TWO, "/silent")
            for wait in (
                stream.read(timeout_s=0.01),
                stream.read_exactly(5, timeout_s=0.01),
                stream.read_message(5, timeout_s=0.01),
                stream.read_into(bytearray(5), timeout_s=0.01),
            ):
                with pytest.raises(StreamTimeout):
                    await wait
            stream.timeout_s = 0.01
            with pytest.raises(StreamTimeout):
                await stream.read()
            # The other end reads nothing: its window fills, and the write stands still.
            with pytest.raises(StreamTimeout):
                await stream.write(bytes(4 * INITIAL_WINDOW_BYTES))
            with pytest.raises(StreamReset):
                await stream.write(b"more")

    async def wait_for_reset(stream: Stream) -> None:
        while listening_has_stream(stream):
            await asyncio.sleep(0)

    def listening_has_stream(stream: Stream) -> bool:
        return stream._reset_reason is None

    run(main)


def test_a_peer_that_never_reads_holds_up_its_stream_only_and_costs_one_window() -> None:
    async def main() -> None:
        async with two_hosts() as (dialing, listening, _):
            release = asyncio.Event()

            async def sleep(stream: Stream) -> None:
                await release.wait()
                total = 0
                while data := await stream.read():
                    total += len(data)
                await stream.write(total.to_bytes(8, "big"))

            listening.set_handler("/sleep", sleep)
            listening.set_handler("/echo", echo)
            body = bytes(20 * INITIAL_WINDOW_BYTES)
            async with (
                await dialing.open_stream(TWO, "/sleep") as stuck,
                await dialing.open_stream(TWO, "/echo") as free,
                asyncio.TaskGroup() as group,
            ):
                writing = group.create_task(stuck.write(body))
                window = INITIAL_WINDOW_BYTES - negotiation_bytes("/sleep")
                await until(lambda: listening.metrics()["unread_bytes"] == window)
                for _ in range(100):
                    await free.write(b"past")
                    assert await free.read_exactly(4) == b"past"
                assert listening.metrics()["unread_bytes"] == window
                assert not writing.done()
                release.set()
                await writing
                stuck.finish()
                assert int.from_bytes(await stuck.read_exactly(8), "big") == len(body)

    run(main)


@both_loops
def test_cancelling_any_call_at_any_await_leaves_the_connection_sound(uv: bool) -> None:
    """Cancel each call after each number of turns of the loop until it gets through."""

    async def main() -> None:
        async with two_hosts(outbound_streams_per_peer_max=10_000) as (dialing, listening, _):
            listening.set_handler("/echo", echo)
            stream = await dialing.open_stream(TWO, "/echo")

            async def open_and_use() -> None:
                async with await dialing.open_stream(TWO, "/echo") as opened:
                    await opened.write_message(b"x" * 300_000)
                    assert await opened.read_message(300_000) == b"x" * 300_000

            async def exchange() -> None:
                await stream.write(b"x")
                await stream.read_exactly(1)

            async def identify() -> None:
                assert (await dialing.identify(TWO)).peer_id == TWO

            async def ping() -> None:
                await dialing.ping(TWO)
                connection = dialing.connection(TWO)
                assert connection is not None
                await connection.ping()

            calls: list[Callable[[], Awaitable[None]]] = [open_and_use, identify, ping]
            for call in calls:
                turns = 0
                while await cancelled_after(call, turns):
                    turns += 1
                assert turns > 2
                await exchange()
            assert dialing.counters["connections_opened"] == 1
            stream.close()
            await until(lambda: listening.metrics()["streams"] == 0)
            assert dialing.metrics()["unread_bytes"] == listening.metrics()["unread_bytes"] == 0

    run(main, uv=uv)


async def cancelled_after(call: Callable[[], Awaitable[None]], turns: int) -> bool:
    """Run `call`, cancel it after so many turns of the loop; whether it was cut off by that."""
    task = asyncio.ensure_future(call())
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return True
    return False


@both_loops
def test_cancelling_a_dial_at_any_await_leaves_no_half_connection(uv: bool) -> None:
    async def main() -> None:
        generous = limits(dials_per_peer_burst=100_000, dials_burst=100_000)
        async with Host(identity(1), limits=generous) as dialing, Host(identity(2)) as listening:
            addresses = await listening.listen(LISTEN)

            async def dial() -> None:
                await dialing.dial(TWO, addresses)

            turns = 0
            while await cancelled_after(dial, turns):
                await until(lambda: dialing.metrics()["dials_in_progress"] == 0)
                dialing.disconnect(TWO)
                turns += 1
            assert turns > 2
            assert 0 < await dialing.ping(TWO) < 30

    run(main, uv=uv)


def test_a_write_cancelled_before_any_of_it_left_leaves_the_stream_as_it_was() -> None:
    async def main() -> None:
        async with two_hosts() as (dialing, listening, _):
            release = asyncio.Event()

            async def late(stream: Stream) -> None:
                await release.wait()
                await stream.read_exactly(INITIAL_WINDOW_BYTES)
                await stream.write(await stream.read_exactly(5))

            listening.set_handler("/late", late)
            async with await dialing.open_stream(TWO, "/late") as stream:
                taken = negotiation_bytes("/late")
                await stream.write(bytes(INITIAL_WINDOW_BYTES - taken))
                with pytest.raises(StreamTimeout):
                    await stream.write(b"wrong", timeout_s=0.01)
                release.set()
                await stream.write(bytes(taken))
                await stream.write(b"right")
                assert await stream.read_exactly(5) == b"right"

    run(main)


def test_one_reader_and_one_writer_at_a_time() -> None:
    async def main() -> None:
        async with two_hosts() as (dialing, listening, _):
            listening.set_handler("/wait", wait_for_end)
            stream = await dialing.open_stream(TWO, "/wait")
            reading = asyncio.create_task(stream.read())
            writing = asyncio.create_task(stream.write(bytes(10 * INITIAL_WINDOW_BYTES)))
            await asyncio.sleep(0)
            for second in (stream.read(), stream.write(b"x")):
                with pytest.raises(LocalFault):
                    await second
            with pytest.raises(LocalFault):
                stream.finish()
            stream.reset()
            for task in (reading, writing):
                with pytest.raises(StreamReset, match="local"):
                    await task

    run(main)


def test_whoever_waits_is_told_when_the_connection_goes() -> None:
    async def main() -> None:
        async with two_hosts() as (dialing, listening, connection):
            listening.set_handler("/wait", wait_for_end)
            stream = await dialing.open_stream(TWO, "/wait")
            waiting = [
                asyncio.create_task(stream.read()),
                asyncio.create_task(stream.write(bytes(10 * INITIAL_WINDOW_BYTES))),
            ]
            await asyncio.sleep(0)
            dialing.disconnect(TWO, "enough")
            for task in waiting:
                with pytest.raises(StreamReset, match="enough"):
                    await task
            with pytest.raises(ConnectionLost, match="enough"):
                await connection.ping()
            with pytest.raises(ConnectionLost, match="enough"):
                await connection.open_stream(["/wait"])

    run(main)


@both_loops
def test_a_host_closes_within_a_second_whatever_is_under_way(uv: bool) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as silent:
            deaf = f"/ip4/127.0.0.1/tcp/{silent.getsockname()[1]}"
            async with two_hosts() as (dialing, listening, _):
                cancelled = asyncio.Event()

                async def stubborn(_: Stream) -> None:
                    try:
                        await asyncio.Event().wait()
                    finally:
                        cancelled.set()

                listening.set_handler("/stubborn", stubborn)
                stream = await dialing.open_stream(TWO, "/stubborn")
                reading = asyncio.create_task(stream.read())
                dial = asyncio.create_task(listening.dial(THREE, [deaf]))
                raw = await RawPeer.connect(listening.addresses[0])
                await until(lambda: listening.metrics()["handshakes_in_progress"] == 1)
                begun_s = loop.time()
                await listening.close()
                assert loop.time() - begun_s < 1
                await cancelled.wait()
                with pytest.raises(DialFailed, match="host_closed"):
                    await dial
                with pytest.raises(StreamReset):
                    await reading
                await raw.closed()
                assert listening.peers() == ()
                with pytest.raises(LocalFault):
                    await listening.dial(ONE)
                await listening.close()

    run(main, uv=uv)


def size_to(received: list[int]) -> Callable[[Stream], Awaitable[None]]:
    """Return a handler that reads a stream to its end, and notes how much it brought."""

    async def read_all(stream: Stream) -> None:
        total = 0
        while data := await stream.read():
            total += len(data)
        received.append(total)

    return read_all


def test_what_was_sent_before_closing_arrives() -> None:
    async def main() -> None:
        received: list[int] = []
        async with two_hosts() as (dialing, listening, _):
            listening.set_handler("/size", size_to(received))
            stream = await dialing.open_stream(TWO, "/size")
            await stream.write(bytes(1_000_000))
            stream.finish()
            await dialing.close()
            await until(lambda: len(received) == 1)
            assert received == [1_000_000]

    run(main)


def test_what_waits_for_other_links_when_a_connection_is_closed_still_leaves() -> None:
    async def main() -> None:
        received: list[int] = []
        async with two_hosts() as (dialing, listening, connection):
            listening.set_handler("/size", size_to(received))
            streams = [await dialing.open_stream(TWO, "/size") for _ in range(9)]
            sent, piece = [0] * len(streams), bytes(4096)
            turns = cycle(range(len(streams)))
            while not connection._link._waiting:  # Until a whole burst has left.
                at = next(turns)
                await streams[at].write(piece)
                sent[at] += len(piece)
            for stream in streams:
                stream.finish()
            connection.close("over")
            await until(lambda: len(received) == len(streams))
            assert sorted(received) == sorted(sent)

    run(main)


def test_a_host_listens_on_several_addresses_and_on_ipv6() -> None:
    async def main() -> None:
        async with Host(identity(1)) as dialing, Host(identity(2)) as listening:
            addresses = await listening.listen(LISTEN, LISTEN, "/ip6/::1/tcp/0")
            assert len({address.port for address in addresses}) == 3
            assert all(address.peer_id == TWO for address in addresses)
            connection = await dialing.dial(TWO, [addresses[2]])
            assert connection.remote_address.kind == "ip6"
            with pytest.raises(OSError, match="in use"):
                await listening.listen(addresses[0])

    run(main)


def test_our_own_limits_are_told_by_name() -> None:
    async def main() -> None:
        async with two_hosts(
            outbound_streams_per_peer_max=2, dials_per_peer_burst=2, dials_per_peer_per_s=0.0
        ) as (dialing, listening, _):
            listening.set_handler("/wait", wait_for_end)
            streams = [await dialing.open_stream(TWO, "/wait") for _ in range(2)]
            with pytest.raises(LimitReached, match="outbound_streams"):
                await dialing.open_stream(TWO, "/wait")
            streams[0].reset()
            await dialing.open_stream(TWO, "/wait")
            dialing.disconnect(TWO)
            await dialing.dial(TWO, listening.addresses)
            dialing.disconnect(TWO)
            with pytest.raises(DialFailed, match="dial_rate"):
                await dialing.dial(TWO, listening.addresses)

    run(main)


def test_connections_are_limited_in_all() -> None:
    async def main() -> None:
        async with (
            Host(identity(1)) as first,
            Host(identity(3)) as third,
            Host(identity(2), limits=limits(connections_max=1)) as listening,
        ):
            addresses = await listening.listen(LISTEN)
            await first.dial(TWO, addresses)
            with pytest.raises(DialFailed):
                await third.dial(TWO, addresses)
            assert listening.counters["handshakes_failed.connections"] == 1
            with pytest.raises(DialFailed, match="connections"):
                await listening.dial(THREE, [LISTEN])
            assert 0 < await first.ping(TWO) < 30

    run(main)


def test_an_identification_that_names_another_key_is_refused() -> None:
    async def main() -> None:
        async with two_hosts() as (dialing, listening, _):
            listening.identity = identity(3)
            with pytest.raises(RemoteFault, match=r"^identify_other_key$"):
                await dialing.identify(TWO)

    run(main)
