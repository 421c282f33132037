# mypy: disable-error-code="misc"
"""Links: what is told of them is true, whoever dialled, and frames go over what stands."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from driving import GROUP, LISTEN, identity, run, until
from scripted import IDS

from p2pfl.daemon import links
from p2pfl.daemon.links import (
    CHECKED,
    NOT_YET,
    OTHER_GROUP,
    SECOND,
    UP,
    Links,
    check_protocol,
    protocol_prefix,
)
from p2pfl.libp2p import Host, Stream, StreamReset
from p2pfl_gossip.actions import PeerId


class Told:
    """A receiver that notes what it is told."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []

    def on_frame(self, peer: PeerId, frame: bytearray) -> None:
        self.seen.append(("frame", bytes(frame)))

    def on_sent(self, ticket: int, ok: bool) -> None:
        self.seen.append(("sent", ticket, ok))

    def on_peer_up(self, peer: PeerId) -> None:
        self.seen.append(("up",))

    def on_peer_down(self, peer: PeerId, reason: str) -> None:
        self.seen.append(("down", reason))

    def on_failed(self, error: BaseException) -> None:
        raise error

    def links(self) -> list[tuple[Any, ...]]:
        """What was told of the link."""
        return [entry for entry in self.seen if entry[0] in ("up", "down")]

    def frames(self) -> list[bytes]:
        return [entry[1] for entry in self.seen if entry[0] == "frame"]


class Wall:
    """Takes connections and says nothing, as a firewall that drops; opened, it passes them on."""

    def __init__(self) -> None:
        self.waiting = 0
        self._opened = asyncio.Event()
        self._target: tuple[str, int] | None = None
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server

    async def __aenter__(self) -> "Wall":
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.fall(None)
        self._server.close()
        for writer in self._writers:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    @property
    def address(self) -> str:
        return f"/ip4/127.0.0.1/tcp/{self._server.sockets[0].getsockname()[1]}"

    def fall(self, target: tuple[str, int] | None) -> None:
        """Pass all connections on to a target, or end them where there is none."""
        self._target = target
        self._opened.set()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self.waiting += 1
        await self._opened.wait()
        if self._target is None:
            writer.close()
            return
        onward, back = await asyncio.open_connection(*self._target)
        self._writers.append(back)
        await asyncio.gather(_pass(reader, back), _pass(onward, writer))


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
    except ConnectionError:
        pass
    writer.close()


class End:
    """One end of a link."""

    def __init__(self, host: Host, links: Links, told: Told, other: PeerId) -> None:
        self.host, self.links, self.told, self.other = host, links, told, other

    @property
    def state(self) -> str:
        return self.links.states[self.other]

    def send(self, *frames: bytes) -> None:
        for ticket, frame in enumerate(frames):
            self.links.send(self.other, frame, ticket)


Make = Callable[..., Awaitable[End]]


@asynccontextmanager
async def two_ends(
    make_addresses: Callable[[list[list[str]]], list[list[str]]] = lambda found: found,
    groups: tuple[bytes, bytes] = (GROUP, GROUP),
) -> AsyncIterator[list[End]]:
    """Two ends, not started; `make_addresses` gives where each is dialled."""
    async with AsyncExitStack() as stack:
        hosts = [
            await stack.enter_async_context(Host(identity(it), allow={IDS[1 - it]}))
            for it in range(2)
        ]
        found = [[str(it) for it in await host.listen(LISTEN)] for host in hosts]
        addresses, ends = make_addresses(found), []
        for place, host in enumerate(hosts):
            told, other = Told(), IDS[1 - place]
            links = Links(
                host,
                addresses={other: addresses[1 - place]},
                group_id=groups[place],
                receiver=told,  # type: ignore[arg-type]  # No bodies here.
            )
            stack.push_async_callback(links.close)
            ends.append(End(host, links, told, other))
        yield ends


def port_of(host: Host) -> tuple[str, int]:
    [address] = host.addresses
    return address.host, address.port


def test_a_dial_that_hangs_gives_way_to_the_connection_that_comes_in() -> None:
    async def main() -> None:
        async with Wall() as wall, two_ends(lambda found: [found[0], [wall.address]]) as (one, two):
            one.links.start()
            one.send(b"hello")
            await until(lambda: wall.waiting > 0)
            two.links.start()
            await until(lambda: two.told.frames() == [b"hello"])
            assert ("sent", 0, True) in one.told.seen
            assert one.host.metrics()["dials_in_progress"] == 1, "the frame has waited for the dial"
            wall.fall(None)  # Now the dial fails, beside the link that stands.
            await until(lambda: one.host.counters["dials_failed"] == 1)
            await until(lambda: one.host.metrics()["dials_in_progress"] == 0)
            two.send(b"welcome")
            await until(lambda: one.told.frames() == [b"welcome"])
            assert one.told.links() == two.told.links() == [("up",)]
            assert one.state == two.state == UP
            assert "frames_lost" not in one.links.counters

    run(main)


def test_both_dial_through_a_partition_that_heals() -> None:
    async def main() -> None:
        frames = [bytes([number]) for number in range(50)]
        async with (
            Wall() as to_one,
            Wall() as to_two,
            two_ends(lambda _: [[to_one.address], [to_two.address]]) as (one, two),
        ):
            for end in (one, two):
                end.links.start()
                end.send(*frames)
            await until(lambda: to_one.waiting > 0 and to_two.waiting > 0)
            to_one.fall(port_of(one.host))
            to_two.fall(port_of(two.host))
            for end in (one, two):
                await until(lambda end=end: sorted(end.told.frames()) == frames)
                await until(lambda end=end: end.host.metrics()["dials_in_progress"] == 0)
            for end in (one, two):
                end.send(b"more")
            for end in (one, two):
                await until(lambda end=end: b"more" in end.told.frames())
                assert end.told.links() == [("up",)]
                assert [it for it in end.told.seen if it[0] == "sent" and not it[2]] == []
                assert end.host.metrics()["connections"] == 1
            dialled = [end.host.connection(end.other) for end in (one, two)]
            assert {it.dialer for it in dialled if it is not None} == {True, False}

    run(main)


def test_frames_that_wait_outlive_a_connection_that_another_has_replaced() -> None:
    """The one in use ends while frames wait; the other, which drained, carries them."""

    async def main() -> None:
        async with two_ends() as (one, two):
            two.links.start()
            one.links.start()
            await until(lambda: one.state == two.state == UP)
            standing = one.host.connection(one.other)
            assert standing is not None
            # As where both dialled at once: a second one comes, and one of the two drains.
            await one.host._dialer.dial(one.other, two.host.addresses)
            await until(lambda: one.host.metrics()["connections_superseded"] == 1)
            kept = one.host.connection(one.other)
            assert kept is not None
            one.send(b"first")
            kept.close("test")
            one.send(b"second")
            await until(lambda: b"second" in two.told.frames())
            assert one.told.links() == [("up",)]

    run(main)


def test_a_member_of_another_group_never_has_a_link() -> None:
    async def main() -> None:
        async with two_ends(groups=(GROUP, bytes(32))) as (one, two):
            two.links.start()
            one.links.start()
            await until(lambda: one.state == two.state == OTHER_GROUP)
            refused = one.host.counters["streams_opened"]
            one.send(b"lost")
            await until(lambda: ("sent", 0, False) in one.told.seen)
            assert one.host.counters["streams_opened"] == refused, "it is not asked again"
            assert set(one.told.links()) == set(two.told.links()) == {("down", OTHER_GROUP)}
            assert one.links.counters["frames_lost"] == 1

    run(main)


def test_a_member_of_another_group_is_known_where_a_second_connection_took_over() -> None:
    """Both ends dialled: the one that was asked drains, and the other one must be asked as well."""

    async def main() -> None:
        async with two_ends(groups=(GROUP, bytes(32))) as (one, two):
            first = await one.host.dial(one.other, two.host.addresses)
            ask, second_stands = first.open_stream, asyncio.Event()

            async def ask_late(protocols: Sequence[str]) -> Stream:
                await second_stands.wait()
                return await ask(protocols)

            first.open_stream = ask_late  # type: ignore[assignment, method-assign]
            one.links.start()
            await one.host._dialer.dial(one.other, two.host.addresses)
            await until(lambda: one.host.connection(one.other) is not first)
            second_stands.set()
            await until(lambda: one.state == OTHER_GROUP)
            assert one.told.links() == [("down", OTHER_GROUP)]

    run(main)


def test_a_member_that_refused_frames_and_then_sends_some_has_a_link() -> None:
    """As where it was connected before its peer had begun: the connection is there already."""

    async def main() -> None:
        frames = f"{protocol_prefix(GROUP)}/frames"
        async with two_ends() as (one, two):
            two.host.set_handler(frames, None)
            one.links.start()
            await until(lambda: one.state == OTHER_GROUP)
            two.host.set_handler(frames, two.links._take_frames)
            two.links.start()
            await until(lambda: one.state == two.state == UP)
            one.send(b"heard")
            await until(lambda: two.told.frames() == [b"heard"])
            assert one.host.counters["connections_opened"] == 1

    run(main)


def test_a_member_that_is_being_checked_is_no_stranger() -> None:
    async def say_nothing(stream: Stream) -> None:
        stream.close()

    async def main() -> None:
        prefix = protocol_prefix(GROUP)
        for protocol, reason in (
            (check_protocol(prefix), CHECKED),
            (f"{prefix}/incarnation", SECOND),
        ):
            async with two_ends() as (one, two):
                two.host.set_handler(f"{prefix}/frames", None)
                two.host.set_handler(protocol, say_nothing)
                one.links.start()
                await until(lambda one=one, reason=reason: one.state == reason)
                assert ("up",) not in one.told.links()

    run(main)


def test_a_member_that_cannot_be_dialled_is_told_once_and_named_with_its_reason() -> None:
    async def main() -> None:
        async with two_ends() as (one, two):
            assert one.state == NOT_YET
            await two.host.close()
            one.links.start()
            await until(lambda: one.host.counters["dials_failed"] >= 3)
            assert one.state == "unreachable"
            assert one.told.links() == [("down", "unreachable")]
            one.send(b"lost")  # What is sent for nothing is told again: its sender may wait.
            await until(lambda: ("sent", 0, False) in one.told.seen)
            assert len(one.told.links()) == 2

    run(main)


def test_a_connection_that_takes_no_frames_is_ended_and_told_so() -> None:
    async def refuse(stream: Stream) -> None:
        await stream.read_message(100, timeout_s=None)
        stream.reset()

    async def main() -> None:
        async with two_ends() as (one, two):
            two.host.set_handler(f"{protocol_prefix(GROUP)}/frames", refuse)
            one.links.start()
            await until(lambda: one.state == UP)

            def is_ended() -> bool:
                one.send(b"lost")  # The first may leave before the refusal is here.
                return one.told.links()[:2] == [("up",), ("down", "stream_failed")]

            await until(is_ended)
            assert one.links.counters["disconnected.stream_failed"] >= 1

    run(main)


def test_an_end_and_a_new_beginning_are_told_in_turn() -> None:
    async def main() -> None:
        async with two_ends() as (one, two):
            for end in (one, two):
                end.links.start()
            for times in range(1, 4):
                for end in (one, two):
                    await until(
                        lambda end=end, times=times: end.told.links().count(("up",)) == times
                    )
                one.links.disconnect(one.other, "test")
                for end in (one, two):
                    await until(lambda end=end: end.state != UP)
            for end in (one, two):
                kinds = [entry[0] for entry in end.told.links()]
                assert kinds == ["up", "down"] * 3

    run(main)


def test_who_is_a_member_no_more_gets_nothing_more_and_a_newcomer_is_linked() -> None:
    async def main() -> None:
        async with two_ends() as (one, two):
            one.links.start()
            two.links.start()
            await until(lambda: one.state == two.state == UP)
            addresses = {two.host.peer_id: [str(it) for it in two.host.addresses]}
            one.links.admit({})
            one.send(b"not for you")
            assert ("sent", 0, False) in one.told.seen
            assert one.told.links() == [("up",), ("down", "not_a_member")]
            assert one.other not in one.links.states
            await until(lambda: one.host.connection(one.other) is None)
            two.send(b"nor do I take this")
            await asyncio.sleep(0)
            assert one.told.frames() == two.told.frames() == []
            one.links.admit(addresses)
            await until(lambda: one.links.states.get(one.other) == UP)
            one.send(b"welcome back")
            await until(lambda: b"welcome back" in two.told.frames())
            one.links.admit(addresses)  # Nothing changes: the link that stands stays.
            assert one.told.links()[-1] == ("up",)

    run(main)


def test_last_words_are_read_when_their_sender_is_gone() -> None:
    async def main() -> None:
        async with two_ends() as (one, two):  # The second takes frames, and reads none yet.
            one.links.start()
            one.send(b"I leave", b"for good")
            await one.links.flush()
            await one.host.close()
            await until(lambda: two.host.connection(two.other) is None)
            two.links.start()
            await until(lambda: two.told.frames() == [b"I leave", b"for good"])

    run(main)


def test_who_ends_waits_for_its_frames_no_longer_than_some_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        async with Wall() as wall, two_ends(lambda found: [found[0], [wall.address]]) as (one, _):
            one.links.start()
            one.send(b"hello")
            await until(lambda: wall.waiting > 0)  # The dial hangs, and the frame waits for it.
            monkeypatch.setattr(links, "SHUTDOWN_S", 0.0)
            await one.links.flush()
            assert one.told.seen == []
            monkeypatch.undo()

    run(main)


def test_a_body_whose_header_does_not_come_in_time_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(links, "HEADER_TIMEOUT_S", 0.0)

    async def main() -> None:
        async with two_ends() as (one, two):
            two.links.start()
            await one.host.dial(two.host.peer_id, two.host.addresses)
            stream = await one.host.open_stream(two.host.peer_id, f"{protocol_prefix(GROUP)}/body")
            with pytest.raises(StreamReset):
                await stream.read()

    run(main)
