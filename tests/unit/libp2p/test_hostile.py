# mypy: disable-error-code="arg-type"
"""Peers that break rules: each is dropped by a counted reason, and all others run on."""

import asyncio
import contextlib
import os
import resource
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
from libp2p_fixtures import LISTEN, Events, RawPeer, identity, limits, run, until

from p2pfl.libp2p import DialFailed, Host, Keeper, Limits, PeerDown, PeerUp, Stream
from p2pfl.libp2p import listener as listener_module
from p2pfl.libp2p.keeper import Backoff
from p2pfl.libp2p.liveness import TICKS_PER_PERIOD, Liveness, Pulse
from p2pfl.libp2p.multistream import encode_message
from p2pfl.libp2p.yamux_frames import INITIAL_WINDOW_BYTES as WINDOW
from p2pfl.libp2p.yamux_frames import Flag, FrameType, encode_header

HONEST, VICTIM, EVIL = (identity(number).peer_id for number in (1, 2, 3))
DATA, UPDATE, PING, GO_AWAY = FrameType
HEADER = encode_message("/multistream/1.0.0")
SYN = encode_header(UPDATE, Flag.SYN, 1, 0)


async def echo(stream: Stream) -> None:
    while data := await stream.read():
        await stream.write(data)


def data(stream_id: int, body: bytes, flags: int = 0) -> bytes:
    return encode_header(DATA, flags, stream_id, len(body)) + body


def attack(
    main: Callable[[RawPeer, Host], Awaitable[None]], *, changed: Limits | None = None
) -> None:
    """Run an attack on a host that an honest peer talks to before, meanwhile and after."""

    async def whole() -> None:
        async with (
            Host(identity(1)) as honest,
            Host(identity(2), limits=changed or limits()) as victim,
        ):
            victim.set_handler("/echo", echo)
            [address] = await victim.listen(LISTEN)
            await honest.dial(VICTIM, [address])
            async with await honest.open_stream(VICTIM, "/echo") as stream:
                raw = await RawPeer.connect(address)
                await raw.upgrade(identity(3))
                await until(lambda: EVIL in victim.peers())
                await main(raw, victim)
                await stream.write(b"still here")
                assert await stream.read_exactly(10) == b"still here"
            raw.writer.close()
            await until(lambda: EVIL not in victim.peers())
            assert victim.peers() == (HONEST,)
            await until(lambda: victim.metrics()["unread_bytes"] == 0)

    run(whole)


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (SYN + encode_header(DATA, 0, 1, WINDOW + 1), "yamux_window_exceeded"),
        (SYN + encode_header(DATA, 0, 1, 0xFFFFFFFF), "yamux_window_exceeded"),
        (SYN + SYN, "yamux_stream_exists"),
        (encode_header(DATA, 0, 9, 1), "yamux_unknown_stream"),
        (bytes(11) + b"\x09" * 13, "yamux_stream_id"),
        (SYN + data(1, b"\x05\xff\xff\xff\xff\n"), "multistream_not_utf8"),
        (SYN + data(1, HEADER + b"\x05\xff\xff\xff\xff\n"), "multistream_not_utf8"),
        (SYN + data(1, HEADER + b"\xff\x7f"), "multistream_message_length"),
        (SYN + data(1, b"\x05junk\n"), "multistream_header"),
        (SYN + data(1, HEADER + encode_message("/x") * 17), "multistream_too_many_proposals"),
    ],
)
def test_an_offence_ends_the_connection_by_its_reason(sent: bytes, reason: str) -> None:
    async def main(raw: RawPeer, victim: Host) -> None:
        await raw.send(sent)
        await raw.closed()
        assert victim.counters[f"connections_closed.{reason}"] == 1

    attack(main)


def test_garbage_after_the_handshake_ends_the_connection() -> None:
    async def main(raw: RawPeer, victim: Host) -> None:
        raw.writer.write(b"\x40" * 70_000)
        await raw.closed()
        assert victim.counters["connections_closed.noise_decrypt"] == 1

    attack(main)


def test_the_offender_is_told_that_the_session_is_over() -> None:
    async def main(raw: RawPeer, _: Host) -> None:
        await raw.send(encode_header(DATA, 0, 9, 1))
        frames: list[Any] = []
        while (frame := await raw.read_frame()) is not None:
            frames.append(frame[0])
        assert frames[-1].type == GO_AWAY
        assert frames[-1].length == 1

    attack(main)


def test_a_flood_of_streams_is_refused_and_then_ended() -> None:
    async def main(raw: RawPeer, victim: Host) -> None:
        opens = (encode_header(UPDATE, Flag.SYN, 2 * i + 1, 0) for i in range(400))
        await raw.send(b"".join(opens))
        await until(lambda: victim.counters["streams_refused"] > 0)
        assert victim.metrics()["streams"] <= 20 + 1
        # Open and reset at once: the handlers' number is limited, not only the streams'.
        rapid = b"".join(
            encode_header(UPDATE, Flag.SYN, 2 * i + 1, 0)
            + encode_header(UPDATE, Flag.RST, 2 * i + 1, 0)
            for i in range(400, 5400)
        )
        raw.writer.transport.set_write_buffer_limits(high=1 << 24)
        await raw.send(rapid)
        await raw.closed()
        assert victim.counters["connections_closed.stream_flood"] == 1

    attack(
        main,
        changed=limits(inbound_streams_per_peer_max=20, refused_streams_per_period_max=1000),
    )


def test_a_flood_of_pings_that_is_not_read_is_ended() -> None:
    async def main(raw: RawPeer, victim: Host) -> None:
        flood = encode_header(PING, Flag.SYN, 0, 7) * 5000
        raw.reader._transport.pause_reading()  # type: ignore[attr-defined]
        while EVIL in victim.peers():
            raw.writer.write(b"")
            try:
                await raw.send(flood)
            except ConnectionError:
                break
        assert victim.counters["connections_closed.yamux_control_flood"] == 1
        raw.writer.transport.abort()

    attack(main)


def test_streams_that_are_never_read_cost_their_windows_and_then_the_connection() -> None:
    async def main(raw: RawPeer, victim: Host) -> None:
        never = asyncio.Event()

        async def ignore(_: Stream) -> None:
            await never.wait()

        victim.set_handler("/ignore", ignore)
        agreed = HEADER + encode_message("/ignore")
        for number in range(10):
            stream_id = 2 * number + 1
            opening = encode_header(UPDATE, Flag.SYN, stream_id, 0) + data(stream_id, agreed)
            try:
                await raw.send(opening + data(stream_id, bytes(WINDOW - len(agreed))))
            except ConnectionError:
                break
        await raw.closed()
        assert victim.counters["connections_closed.unread_bytes"] == 1
        never.set()

    attack(main, changed=limits(unread_per_peer_bytes_max=4 * WINDOW))


def test_too_much_unread_in_all_costs_the_peer_that_has_most_of_it() -> None:
    async def main(raw: RawPeer, victim: Host) -> None:
        never = asyncio.Event()

        async def ignore(_: Stream) -> None:
            await never.wait()

        victim.set_handler("/ignore", ignore)
        agreed = HEADER + encode_message("/ignore")
        body = data(1, bytes(WINDOW - len(agreed)))
        await raw.send(SYN + data(1, agreed) + body)
        await raw.closed()
        assert victim.counters["connections_closed.unread_bytes_in_all"] == 1
        never.set()

    attack(main, changed=limits(unread_bytes_max=WINDOW // 2))


def test_single_bytes_cost_no_more_memory_than_a_window() -> None:
    async def main(raw: RawPeer, victim: Host) -> None:
        streams: list[Stream] = []
        done = asyncio.Event()

        async def hold(stream: Stream) -> None:
            streams.append(stream)
            await done.wait()

        victim.set_handler("/hold", hold)
        agreed = HEADER + encode_message("/hold")
        await raw.send(SYN + data(1, agreed))
        for _ in range(10):
            await raw.send(data(1, b"x") * 2000)
        await until(lambda: bool(streams) and streams[0]._unread == 20_000)
        assert len(streams[0]._chunks) == 1
        done.set()

    attack(main)


def test_a_ping_goes_beside_a_window_update_and_a_quick_answer_grows_the_window() -> None:
    async def main(raw: RawPeer, victim: Host) -> None:
        async def drop(stream: Stream) -> None:
            while await stream.read():
                pass

        victim.set_handler("/drop", drop)
        await raw.send(SYN + data(1, HEADER + encode_message("/drop")))
        connection = victim.connection(EVIL)
        assert connection is not None
        window, updates, pings = WINDOW, 0, 0
        connection._yamux.round_trip_s = 30.0  # Whatever the machine does, this is within it.
        await raw.send(data(1, bytes(WINDOW // 2)))
        while not updates:
            frame = await raw.read_frame()
            assert frame is not None
            header = frame[0]
            if header.type == PING and header.flags == Flag.SYN:
                pings += 1
                await raw.frame(PING, Flag.ACK, 0, header.length)
            elif header.type == UPDATE and header.length:
                updates += 1
                window += header.length - WINDOW // 2
        assert pings == 1, "the one that opens the connection"
        assert window - WINDOW == WINDOW + len(HEADER + encode_message("/drop"))
        await raw.send(data(1, bytes(WINDOW)))
        while True:
            frame = await raw.read_frame()
            assert frame is not None
            if frame[0].type == PING and frame[0].flags == Flag.SYN:
                break

    attack(main)


def test_a_slow_stream_negotiation_is_given_up() -> None:
    async def main(raw: RawPeer, victim: Host) -> None:
        await raw.send(SYN + data(1, HEADER[:-1]))
        frames: list[Any] = []
        while not frames or not frames[-1].flags & Flag.RST:
            frame = await raw.read_frame()
            assert frame is not None
            frames.append(frame[0])
        assert victim.counters["streams_refused.negotiation_timeout"] == 1
        assert EVIL in victim.peers()

    # The honest peer's stream has to be agreed on within this, too.
    attack(main, changed=limits(negotiation_timeout_s=2.0))


def test_slow_handshakes_are_given_up_and_do_not_keep_others_out() -> None:
    async def main() -> None:
        async with (
            Host(identity(1)) as honest,
            Host(identity(2), limits=limits(handshakes_max=4, handshake_timeout_s=30.0)) as victim,
        ):
            [address] = await victim.listen(LISTEN)
            loris = [await RawPeer.connect(address) for _ in range(10)]
            for raw in loris:
                raw.writer.write(HEADER[:5])
            await until(lambda: victim.counters["handshakes_refused.handshakes"] == 6)
            assert victim.metrics()["handshakes_in_progress"] == 4
            await honest.dial(VICTIM, [address])
            assert victim.peers() == (HONEST,)
            for raw in loris[:7]:
                await raw.closed()
        async with Host(identity(2), limits=limits(handshake_timeout_s=0.05)) as victim:
            [address] = await victim.listen(LISTEN)
            raw = await RawPeer.connect(address)
            await raw.closed()
            assert victim.counters["handshakes_failed.handshake_timeout"] == 1
        async with Host(identity(2), limits=limits(handshakes_per_address_max=1)) as victim:
            [address] = await victim.listen(LISTEN)
            first, second = [await RawPeer.connect(address) for _ in range(2)]
            await second.closed()
            assert victim.counters["handshakes_refused.handshakes_per_address"] == 1
            first.writer.close()
        for raw in loris:
            raw.writer.close()

    run(main)


def test_plaintext_is_never_spoken() -> None:
    async def main() -> None:
        async with Host(identity(2)) as victim:
            [address] = await victim.listen(LISTEN)
            raw = await RawPeer.connect(address)
            for proposal in ("/plaintext/2.0.0", "/tls/1.0.0", "/secio/1.0.0", "/yamux/1.0.0"):
                raw.writer.write(
                    (HEADER if proposal == "/plaintext/2.0.0" else b"") + encode_message(proposal)
                )
                answer = b""
                while not answer.endswith(b"\x03na\n"):
                    answer += await raw.reader.read(100)
            raw.writer.close()

    run(main)


def test_a_frozen_peer_is_noticed() -> None:
    async def main(raw: RawPeer, victim: Host) -> None:
        events = Events(victim)
        await events.until(PeerDown(EVIL, "keepalive_timeout"))
        await raw.closed()
        # The ping on opening, and the one after a period of silence.
        assert victim.counters["connections_closed.keepalive_timeout"] == 1

    attack(main, changed=limits(keepalive_period_s=0.1))


def test_a_peer_is_given_up_within_three_periods_of_silence_and_not_before_two() -> None:
    liveness = Liveness()
    for _ in range(100):
        assert liveness.tick(heard=True, busy=False) is Pulse.ALIVE
    verdicts = [liveness.tick(heard=False, busy=False) for _ in range(3 * TICKS_PER_PERIOD)]
    assert verdicts.count(Pulse.SILENT) == 1
    assert verdicts.index(Pulse.SILENT) < TICKS_PER_PERIOD
    assert 2 * TICKS_PER_PERIOD <= verdicts.index(Pulse.DEAD) < 3 * TICKS_PER_PERIOD - 1
    assert liveness.tick(heard=True, busy=False) is Pulse.ALIVE


def test_a_superseded_connection_ends_when_idle_or_after_a_while() -> None:
    for busy, ticks in ((False, TICKS_PER_PERIOD), (True, 6 * TICKS_PER_PERIOD)):
        liveness = Liveness()
        liveness.drain()
        verdicts = [liveness.tick(heard=True, busy=busy) for _ in range(ticks)]
        assert verdicts[-1] is Pulse.DRAINED
        assert set(verdicts[:-1]) == {Pulse.ALIVE}
        liveness.undrain()
        assert liveness.tick(heard=True, busy=False) is Pulse.ALIVE


def test_a_ping_of_the_past_tells_nothing() -> None:
    liveness = Liveness()
    first, second = liveness.ping(1.0), liveness.ping(2.0)
    assert liveness.ping_answered(first, 3.0) is None
    assert liveness.ping_answered(second, 3.0) == 1.0
    assert liveness.ping_answered(second, 4.0) is None


def test_a_keeper_finds_a_peer_again_that_went_and_came_back() -> None:
    async def main() -> None:
        quick = Backoff(first_s=0.001, longest_s=0.01)
        generous = limits(dials_per_peer_burst=10**6, dials_burst=10**6)
        async with Host(identity(1), limits=generous) as host:
            events = Events(host)
            keeper = Keeper(host, backoff=quick)
            async with Host(identity(2)) as other:
                [address] = await other.listen(LISTEN)
                keeper.keep(VICTIM, [address])
                assert keeper.kept() == (VICTIM,)
                await events.until(PeerUp(VICTIM))
                host.disconnect(VICTIM, "test")
                seen = [PeerUp(VICTIM), PeerDown(VICTIM, "test"), PeerUp(VICTIM)]
                await events.until(*seen)
            seen.append(PeerDown(VICTIM, "gone_away"))
            await events.until(*seen)
            await until(lambda: host.counters["dials_failed.unreachable"] >= 3)
            async with Host(identity(2)) as other:
                await other.listen(address)
                seen.append(PeerUp(VICTIM))
                await events.until(*seen)
                keeper.release(VICTIM)
                assert keeper.kept() == ()
                assert host.peers() == (VICTIM,)
            seen.append(PeerDown(VICTIM, "gone_away"))
            await events.until(*seen)
            dials = host.counters["dials"]
            await keeper.close()
            assert host.counters["dials"] == dials

    run(main)


def test_back_off_grows_with_jitter_up_to_its_longest() -> None:
    backoff, rng = Backoff(first_s=1.0, longest_s=30.0), Random("back-off")
    for failures, longest_s in ((1, 1.0), (2, 2.0), (5, 16.0), (6, 30.0), (10**9, 30.0)):
        delays = {backoff.delay_s(failures, rng) for _ in range(50)}
        assert len(delays) > 10
        assert longest_s / 2 <= min(delays) <= max(delays) <= longest_s


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Use up all descriptors of this process, and give them back."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
    hoard = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
        with contextlib.suppress(OSError):
            while True:
                hoard.append(os.dup(0))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in hoard:
            os.close(descriptor)


def knocking_socket() -> socket.socket:
    knocking = socket.socket()
    knocking.setblocking(False)
    return knocking


def test_without_a_descriptor_whoever_knocks_is_turned_away_and_listening_goes_on() -> None:
    async def main() -> None:
        async with Host(identity(1)) as dialing, Host(identity(2)) as victim:
            [address] = await victim.listen(LISTEN)
            loop, knocking = asyncio.get_running_loop(), knocking_socket()
            with no_descriptor_left():
                await loop.sock_connect(knocking, (address.host, address.port))
                await until(lambda: victim.counters["accepts_refused"] > 0)
                assert await loop.sock_recv(knocking, 1) == b""
            knocking.close()
            assert victim.counters["accepts_failed"] == 1
            await dialing.dial(VICTIM, [address])

    run(main)


def test_without_a_descriptor_the_oldest_handshake_gives_way() -> None:
    async def main() -> None:
        async with Host(identity(2)) as victim:
            [address] = await victim.listen(LISTEN)
            loop = asyncio.get_running_loop()
            strangers = [knocking_socket() for _ in range(3)]
            for stranger in strangers[:2]:
                await loop.sock_connect(stranger, (address.host, address.port))
            await until(lambda: victim.metrics()["handshakes_in_progress"] == 2)
            with no_descriptor_left():
                await loop.sock_connect(strangers[2], (address.host, address.port))
                await until(lambda: victim.counters["accepts_failed"] > 0)
                assert await loop.sock_recv(strangers[0], 1) == b""
                await until(lambda: victim.metrics()["handshakes_in_progress"] == 2)
            assert victim.counters["accepts_refused"] == 0
            for stranger in strangers:
                stranger.close()

    run(main)


def test_a_shortage_without_a_remedy_pauses_listening(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener_module, "_PAUSE_S", 0.01)
    monkeypatch.setattr(listener_module, "_open_spare", lambda: None)

    async def main() -> None:
        async with Host(identity(1)) as dialing, Host(identity(2)) as victim:
            [address] = await victim.listen(LISTEN)
            loop, knocking = asyncio.get_running_loop(), knocking_socket()
            with no_descriptor_left():
                await loop.sock_connect(knocking, (address.host, address.port))
                await until(lambda: victim.counters["accepts_failed"] > 1)
            knocking.close()
            await dialing.dial(VICTIM, [address])

    run(main)


def test_a_dial_without_a_descriptor_is_not_put_down_to_the_other_end() -> None:
    async def main() -> None:
        async with Host(identity(1)) as dialing, Host(identity(2)) as victim:
            [address] = await victim.listen(LISTEN)
            with no_descriptor_left(), pytest.raises(DialFailed, match="out_of_descriptors"):
                await dialing.dial(VICTIM, [address])

    run(main)
