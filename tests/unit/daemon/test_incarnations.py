# mypy: disable-error-code="misc"
"""One identity in two processes: who ends is proved, never claimed."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from driving import GROUP, LISTEN, identity, run, until
from scripted import IDS

from p2pfl.daemon.incarnations import (
    MESSAGES,
    Alive,
    Incarnation,
    Incarnations,
    Twin,
    incarnation_protocol,
)
from p2pfl.libp2p import Host, StreamReset
from p2pfl_crypto.identity import InvalidIdentity

PREFIX = "/test"
EARLY = Incarnation(identity(0), GROUP, bytes([9] * 32), 1000)
LATE = Incarnation(identity(0), GROUP, bytes([1] * 32), 2000)


def test_of_two_that_know_each_other_the_later_one_ends() -> None:
    assert LATE.ends_for(EARLY.state(LATE.nonce))
    assert not EARLY.ends_for(LATE.state(EARLY.nonce))


def test_where_both_began_together_exactly_one_ends() -> None:
    twin = replace(LATE, began_ms=EARLY.began_ms)
    assert EARLY.ends_for(twin.state(EARLY.nonce)) != twin.ends_for(EARLY.state(twin.nonce))


@pytest.mark.parametrize(
    ("why", "alive"),
    [
        ("of an earlier life, about another process", EARLY.state(bytes(32))),
        ("our own", LATE.state(LATE.nonce)),
        ("of another group", replace(EARLY, group_id=bytes(32)).state(LATE.nonce)),
        ("of another member", replace(EARLY, identity=identity(1)).state(LATE.nonce)),
        ("with a time put in", msgspec.structs.replace(EARLY.state(LATE.nonce), began_ms=1)),
        ("with a nonce put in", msgspec.structs.replace(EARLY.state(LATE.nonce), nonce=bytes(32))),
        ("moved to us", msgspec.structs.replace(EARLY.state(bytes(32)), other=LATE.nonce)),
    ],
)
def test_what_proves_nothing_ends_nobody(why: str, alive: Alive) -> None:
    with pytest.raises(InvalidIdentity):
        assert LATE.ends_for(alive), why


class Process:
    """A process of a member, and what it has learnt."""

    def __init__(self, host: Host, index: int, began_ms: int) -> None:
        self.host, self.twice, self.ends = host, [], []
        own = Incarnation(identity(index), GROUP, host.incarnation, began_ms)
        self.incarnations = Incarnations(
            host,
            own,
            prefix=PREFIX,
            on_twice=self.twice.append,
            on_other=self.ends.append,
        )

    twice: list[Any]
    ends: list[bool]


@asynccontextmanager
async def processes(*members: tuple[int, int]) -> AsyncIterator[list[Process]]:
    """Processes of members, each with the time at which it began."""
    async with AsyncExitStack() as stack:
        made = []
        for index, began_ms in members:
            host = await stack.enter_async_context(Host(identity(index), tells_incarnations=True))
            process = Process(host, index, began_ms)
            stack.push_async_callback(process.incarnations.close)
            made.append(process)
        yield made


@pytest.mark.parametrize(("first_ms", "second_ms"), [(1000, 2000), (2000, 1000)])
def test_a_member_that_sees_both_has_the_later_one_end(first_ms: int, second_ms: int) -> None:
    """Whichever came first: what counts is when they began."""

    async def main() -> None:
        async with processes((0, first_ms), (0, second_ms), (1, 0)) as (first, second, member):
            addresses = await member.host.listen(LISTEN)
            await first.host.dial(IDS[1], addresses)
            await second.host.dial(IDS[1], addresses)
            await until(lambda: bool(first.ends and second.ends))
            assert first.ends == [first_ms > second_ms]
            assert second.ends == [second_ms > first_ms]
            assert member.twice == [IDS[0]]
            kept = member.host.connection(IDS[0])
            assert kept is not None
            assert kept.incarnation == first.host.incarnation

    run(main)


def test_a_liar_without_the_key_ends_nobody() -> None:
    async def main() -> None:
        async with processes((0, 2000), (1, 0)) as (honest, liar):
            addresses = await honest.host.listen(LISTEN)
            await liar.host.dial(IDS[0], addresses)
            encoder = msgspec.msgpack.Encoder()
            forged = replace(EARLY, identity=identity(1)).state(honest.host.incarnation)
            replayed = EARLY.state(bytes(32))
            for lie in (forged, replayed):
                stream = await liar.host.open_stream(IDS[0], incarnation_protocol(PREFIX))
                await stream.write_message(encoder.encode(lie))
                with pytest.raises(StreamReset):
                    await stream.read()
            # It may ask, as anybody who sees two would: the answer is about a process that is not.
            stream = await liar.host.open_stream(IDS[0], incarnation_protocol(PREFIX))
            await stream.write_message(encoder.encode(Twin(bytes(32))))
            answer = await stream.read_message(256)
            said = msgspec.msgpack.Decoder(MESSAGES).decode(bytes(answer or b""))
            assert (said.nonce, said.other) == (honest.host.incarnation, bytes(32))
            # And hand that back, or to itself: no use.
            stream = await liar.host.open_stream(IDS[0], incarnation_protocol(PREFIX))
            await stream.write_message(encoder.encode(said))
            with pytest.raises(StreamReset):
                await stream.read()
            assert honest.ends == []

    run(main)


def test_each_pair_of_processes_is_told_once() -> None:
    async def main() -> None:
        async with processes((0, 1000), (0, 2000), (1, 0)) as (first, second, member):
            addresses = await member.host.listen(LISTEN)
            await first.host.dial(IDS[1], addresses)
            for times in (1, 2):
                await second.host.dial(IDS[1], addresses)
                await until(
                    lambda times=times: member.host.counters["incarnations_refused"] == times
                )
                await until(lambda: member.host.metrics()["connections_superseded"] == 0)
                await until(lambda: second.host.connection(IDS[1]) is None)
            assert (member.twice, first.ends, second.ends) == ([IDS[0]], [False], [True])

    run(main)
