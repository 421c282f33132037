"""Views: who reaches whom, asked over links; others' words are kept as theirs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from driving import GROUP, LISTEN, identity, run, until
from scripted import IDS

from p2pfl.daemon import view_messages
from p2pfl.daemon.view_messages import PROTOCOL, VIEW_BYTES_MAX, Seen, View, ViewRequest
from p2pfl.daemon.views import OK, UNTRIED, Unlinked, Views, pairs_without_link
from p2pfl.libp2p import DialFailed, Host, Stream, StreamReset
from p2pfl.libp2p.varint import encode_varint
from p2pfl_gossip.actions import PeerId


class Member:
    """A host that has views of the others, by given states."""

    def __init__(self, host: Host, others: dict[PeerId, list[str]]) -> None:
        self.host = host
        self.states: dict[PeerId, str] = {}
        self.views = Views(
            host,
            addresses=others,
            group_id=GROUP,
            states=lambda: self.states,
            is_running=True,
        )


@asynccontextmanager
async def members(count: int) -> AsyncIterator[list[Member]]:
    """Members that listen; nobody is connected."""
    async with AsyncExitStack() as stack:
        hosts = [await stack.enter_async_context(Host(identity(it))) for it in range(count)]
        addresses = [[str(it) for it in await host.listen(LISTEN)] for host in hosts]
        made = []
        for place, host in enumerate(hosts):
            others = {IDS[it]: addresses[it] for it in range(count) if it != place}
            member = Member(host, others)
            stack.push_async_callback(member.views.close)
            made.append(member)
        yield made


def test_a_probe_finds_a_peer_and_leaves_no_connection() -> None:
    async def main() -> None:
        async with members(2) as (one, two):
            found = list(map(str, two.host.addresses))
            assert await one.host.probe(IDS[1], found) > 0
            bare = [it.rpartition("/p2p/")[0] for it in found]
            with pytest.raises(DialFailed, match="wrong_peer_id"):
                await one.host.probe(IDS[5], bare)
            await two.host.close()
            with pytest.raises(DialFailed, match="unreachable"):
                await one.host.probe(IDS[1], found)
            assert one.host.peers() == two.host.peers() == ()
            assert two.host.counters["connections_opened"] == 0

    run(main)


def test_members_tell_whom_they_can_dial_and_whom_they_are_linked_to() -> None:
    async def main() -> None:
        async with members(3) as (one, two, three):
            await one.host.dial(IDS[1], two.host.addresses)
            two.states[IDS[2]] = "unreachable"
            await three.host.close()
            await one.views.gather(fresh=True)
            assert {peer: tried.outcome for peer, tried in one.views.tried.items()} == {
                IDS[1]: OK,
                IDS[2]: "unreachable",
            }
            (heard,) = one.views.heard.values()
            assert (heard.view.group, heard.view.protocol) == (GROUP, "/p2pfl/1")
            assert abs(heard.clock_ahead_s) < 60
            of_one, of_three = heard.view.seen
            assert (of_one.peer_id, of_one.dial) == (IDS[0], OK)
            assert (of_three.peer_id, of_three.link, of_three.dial) == (
                IDS[2],
                "unreachable",
                "unreachable",
            )
            await until(lambda: two.views.answered == {IDS[0]})

    run(main)


def test_without_fresh_nobody_is_made_to_dial() -> None:
    async def main() -> None:
        async with members(2) as (one, two):
            await one.host.dial(IDS[1], two.host.addresses)
            await one.views.ask_all(fresh=False)
            (heard,) = one.views.heard.values()
            assert [seen.dial for seen in heard.view.seen] == [UNTRIED]

    run(main)


def test_many_that_ask_at_once_cost_one_round_of_dials() -> None:
    async def main() -> None:
        async with members(4) as everybody:
            asked, *askers = everybody
            for asker in askers:
                await asker.host.dial(IDS[0], asked.host.addresses)
            await asyncio.gather(*(asker.views.ask_all(fresh=True) for asker in askers))
            knocks = [member.host.counters["handshakes_failed"] for member in askers]
            assert max(knocks) <= 1
            await asked.views.dial_all(fresh_s=3600.0)
            assert [it.host.counters["handshakes_failed"] for it in askers] == knocks
            await asked.views.dial_all(fresh_s=0.0)
            await until(
                lambda: (
                    [it.host.counters["handshakes_failed"] for it in askers]
                    == [count + 1 for count in knocks]
                )
            )

    run(main)


@pytest.mark.parametrize(
    ("nonsense", "length"),
    [
        (b"\xc1", None),
        (b"", None),
        (b"", VIEW_BYTES_MAX + 1),
        (view_messages.encode(View("1", "/p2pfl/1", GROUP, 0, True, False, ())), None),
    ],
)
def test_what_is_no_request_is_not_answered(nonsense: bytes, length: int | None) -> None:
    async def main() -> None:
        async with members(2) as (one, two):
            await one.host.dial(IDS[1], two.host.addresses)
            stream = await one.host.open_stream(IDS[1], PROTOCOL)
            await stream.write(encode_varint(length or len(nonsense)) + nonsense)
            with pytest.raises(StreamReset):
                await stream.read()

    run(main)


def test_a_member_has_one_request_under_way_at_a_time() -> None:
    async def main() -> None:
        async with members(2) as (one, two):
            await one.host.dial(IDS[1], two.host.addresses)
            first = await one.host.open_stream(IDS[1], PROTOCOL)
            await first.write_message(view_messages.encode(ViewRequest(fresh=False)))
            assert await first.read_message(VIEW_BYTES_MAX)
            with pytest.raises(StreamReset):
                await (await one.host.open_stream(IDS[1], PROTOCOL)).read()
            first.close()
            await until(lambda: two.views.answered == {IDS[0]})
            await one.views.ask_all(fresh=False)
            assert set(one.views.heard) == {IDS[1]}

    run(main)


def test_who_speaks_no_views_is_told_apart_from_who_does_not_answer() -> None:
    async def main() -> None:
        async with members(3) as (one, two, three):
            for index, other in ((1, two), (2, three)):
                await one.host.dial(IDS[index], other.host.addresses)
            two.host.set_handler(PROTOCOL, None)

            async def reset(stream: Stream) -> None:
                stream.reset()

            three.host.set_handler(PROTOCOL, reset)
            await one.views.ask_all(fresh=True)
            assert one.views.silent == {IDS[1]: "older_version", IDS[2]: "no_answer"}
            assert one.views.heard == {}

    run(main)


def view(**links: str) -> View:
    """A view with links to ``m0``, ``m1`` ..."""
    seen = tuple(Seen(IDS[int(name[1:])], link, UNTRIED, None) for name, link in links.items())
    return View("1", "/p2pfl/1", GROUP, 0, True, False, seen)


def test_pairs_without_a_link_are_named_with_who_says_so() -> None:
    views = {
        IDS[0]: view(m1="up", m2="up"),
        IDS[1]: view(m0="up", m2="unreachable"),
        IDS[2]: view(m0="up", m1="dial_timeout"),
    }
    (pair,) = pairs_without_link(views)
    assert {pair.one, pair.two} == {IDS[1], IDS[2]}
    assert dict(pair.said) == {IDS[1]: "unreachable", IDS[2]: "dial_timeout"}


def test_one_word_is_enough_where_the_other_is_not_heard_and_not_against_it() -> None:
    views = {IDS[0]: view(m1="up", m2="up"), IDS[1]: view(m0="up", m2="unreachable")}
    assert pairs_without_link(views) == [
        Unlinked(IDS[1], IDS[2], ((IDS[1], "unreachable"),)),
    ]
    against = views | {IDS[2]: view(m0="up", m1="up")}
    assert pairs_without_link(against) == []


def test_a_member_that_is_away_is_no_pairs_fault() -> None:
    views = {
        IDS[0]: view(m1="up", m2="unreachable"),
        IDS[1]: view(m0="up", m2="gone_away"),
    }
    assert pairs_without_link(views) == []


def test_links_that_nobody_needs_yet_are_not_missed() -> None:
    views = {
        IDS[0]: view(m1="up", m2="up"),
        IDS[1]: view(m0="up", m2="not_yet"),
        IDS[2]: view(m0="up", m1="not_yet"),
    }
    assert pairs_without_link(views) == []
