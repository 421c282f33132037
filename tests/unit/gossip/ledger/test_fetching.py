"""Fetching an item from several holders, any of whom may lie, stall, slow down or go."""

import contextlib
from collections.abc import Iterable
from random import Random
from typing import Any

import numpy as np
import pytest
from fetch_world import FetchWorld, Giver, a_model, spoil_memory

from p2pfl_gossip.actions import (
    Action,
    Disconnect,
    LocalProtocolError,
    PeerId,
    RemoteProtocolError,
    Send,
    SendBulk,
    Work,
)
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.ledger.chunk_asking import REQUESTS_PER_HOLDER_MAX
from p2pfl_gossip.ledger.fetching import (
    GRACE_MIN_S,
    HOLDERS_IN_USE_MAX,
    LOSSES_MAX,
    SILENCE_FACTOR,
    SILENCE_MIN_S,
    StateFetch,
)
from p2pfl_gossip.ledger.state_messages import (
    CHUNKS_PER_REQUEST_MAX,
    PAGE_CHUNKS_MAX,
    ChunksRequest,
    StateChunkDigests,
    StateChunks,
    StateMessage,
    StateRefusal,
    StateRequest,
)
from p2pfl_gossip.ledger.states import (
    CHUNK_ENTRIES,
    StateItem,
    digest_state,
    item_digest,
    perform,
)
from p2pfl_gossip.records import Message


class Silent(Giver):
    """Never says a word."""

    def on_message(self, message: StateMessage) -> list[Action]:
        return []


class SilentOnChunks(Giver):
    """Says what it holds, and brings none of it."""

    def on_message(self, message: StateMessage) -> list[Action]:
        return [] if isinstance(message, ChunksRequest) else super().on_message(message)


class Hanging(Giver):
    """Stops within a body, for ever."""

    def piece_s(self, number: int, size: int) -> float | None:
        return super().piece_s(number, size) if number < 6 else 1e8


class Trickler(Giver):
    """Brings a few bytes now and then: never silent, never done."""

    def pieces(self, sending: SendBulk) -> Iterable[np.ndarray]:
        for piece in super().pieces(sending):
            yield from np.array_split(piece, 1 + len(piece) // 512)

    def piece_s(self, number: int, size: int) -> float | None:
        return 0.02


class FalseList(Giver):
    def says(self, message: Message) -> Message:
        if isinstance(message, StateChunkDigests):
            digests = message.chunk_digests
            return StateChunkDigests(message.digest, message.page, digests[32:] + digests[:32])
        return message


class FalseChunks(Giver):
    """Brings other bytes in one of its chunks, or from one on."""

    first = 0
    spoils = 2**20

    def pieces(self, sending: SendBulk) -> Iterable[np.ndarray]:
        for number, piece in enumerate(super().pieces(sending)):
            changed = piece.copy()
            if self.first <= number < self.first + self.spoils:
                changed[7] ^= 1
            yield changed


class Lossy(Giver):
    """Streams break, each after some pieces."""

    after = 0

    def piece_s(self, number: int, size: int) -> float | None:
        return None if number >= self.after else super().piece_s(number, size)


def share_of(world: FetchWorld, index: int) -> float:
    return world.sent_bytes[world.peers[index]] / (4 * world.state.item.length)


def test_one_holder_gives_all() -> None:
    world = FetchWorld([Giver()], chunks=5.3)
    spoil_memory(world)
    world.start().run().require_whole()
    assert share_of(world, 0) == 1
    assert not world.refused
    assert not world.ended


def test_holders_bring_equal_parts_at_once() -> None:
    alone = FetchWorld([Giver()], chunks=24).start().run()
    world = FetchWorld([Giver() for _ in range(4)], chunks=24).start().run()
    world.require_whole()
    assert [share_of(world, index) for index in range(4)] == [0.25] * 4
    assert world.now_s < alone.now_s / 2


def test_nothing_is_sent_twice_by_holders_of_one_speed() -> None:
    world = FetchWorld([Giver() for _ in range(3)], chunks=40, rng=Random(1)).start().run()
    world.require_whole()
    assert sum(world.sent_bytes.values()) <= 1.1 * 4 * world.state.item.length


@pytest.mark.parametrize("chunks", [1e-6, 0.5, 1, 1.00001, 2])
def test_items_of_any_length(chunks: float) -> None:
    world = FetchWorld([Giver(), Giver()], chunks=max(chunks, 4e-6))
    spoil_memory(world)
    world.start().run().require_whole()


def test_what_is_asked_of_one_holder_at_once_is_bounded() -> None:
    world = FetchWorld([Giver(bytes_per_s=1e9)], chunks=140).start()
    world.run(until=lambda: bool(world.asked))
    assert world.asked[world.peers[0]] == REQUESTS_PER_HOLDER_MAX * CHUNKS_PER_REQUEST_MAX < 140
    world.run().require_whole()


def test_others_have_as_long_as_the_first_to_tell_what_they_hold() -> None:
    """Then chunks are shared out: a holder that says nothing costs no more than that."""
    for latency_s in (0.001, 0.1):
        world = FetchWorld([Giver(latency_s=latency_s), Silent()]).start()
        world.run(until=lambda: bool(world.asked))  # noqa: B023  # It is called at once.
        assert world.now_s == pytest.approx(2 * latency_s + max(2 * latency_s, GRACE_MIN_S))
    world = FetchWorld([Giver(), Giver(latency_s=0.015)]).start()
    world.run(until=lambda: bool(world.asked))
    assert world.now_s == pytest.approx(0.03)  # All have told: there is nothing to wait for.
    assert len(world.asked) == 2


def test_a_false_list_is_found_and_another_taken() -> None:
    world = FetchWorld([FalseList(latency_s=0.001), Giver(), Giver()]).start().run()
    world.require_whole()
    assert world.ended == {world.peers[0]: "false_chunk_digests"}
    assert share_of(world, 0) == 0


def test_a_false_list_is_found_after_the_right_one_too() -> None:
    world = FetchWorld([FalseList(latency_s=0.015), Giver()], chunks=200).start().run()
    world.require_whole()
    assert world.ended == {world.peers[0]: "false_chunk_digests"}


@pytest.mark.parametrize("first", [0, 5, 9, 11])
def test_who_brings_a_false_chunk_is_dropped_and_its_chunks_come_from_others(first: int) -> None:
    liar = FalseChunks(first=first, spoils=1)
    world = FetchWorld([liar, Giver()])
    spoil_memory(world)
    world.start().run().require_whole()
    assert world.ended == {world.peers[0]: "false_chunk"}


def test_what_a_liar_brought_rightly_stays() -> None:
    world = FetchWorld([FalseChunks(first=23, spoils=1)]).start()
    world.drain()
    assert world.ended
    assert world.fetch.is_stalled
    known = world.fetch.verified_count
    assert 5 <= known < 12
    world.givers[PeerId("holder-1")] = honest = Giver()
    world.peers.append(PeerId("holder-1"))
    honest.begin(world, world.peers[1])
    world.add(1)
    assert not world.fetch.is_stalled
    world.run().require_whole()
    assert world.asked[world.peers[1]] == 12 - known


def test_a_liar_is_not_asked_again() -> None:
    world = FetchWorld([FalseChunks()]).start()
    world.drain()
    world.givers[world.peers[0]].is_dead = False
    asked = world.asked[world.peers[0]]
    world.add(0)
    world.drain()
    assert world.asked[world.peers[0]] == asked
    assert world.fetch.is_stalled


@pytest.mark.parametrize("bad", [Silent, SilentOnChunks, Hanging, Trickler])
def test_who_stalls_costs_little(bad: type[Giver]) -> None:
    fine = FetchWorld([Giver() for _ in range(3)], chunks=24).start().run()
    world = FetchWorld([bad(), Giver(), Giver(), Giver()], chunks=24, deadline_s=30.0)
    world.start().run().require_whole()
    assert world.now_s < 2 * fine.now_s
    assert not world.ended  # It may be no fault of its own.


@pytest.mark.parametrize(("bad", "time_s"), [(Silent, 3.0), (SilentOnChunks, 3.0), (Hanging, 1.0)])
def test_when_all_stall_it_says_so_and_goes_on_with_the_next(
    bad: type[Giver], time_s: float
) -> None:
    world = FetchWorld([bad(), bad(), Giver()], deadline_s=3.0).start(0, 1)
    world.run(time_s - 0.1)
    assert not world.fetch.is_stalled
    world.run(7.0)
    assert world.fetch.is_stalled
    world.add(2)
    world.run().require_whole()


def test_who_takes_the_place_of_one_that_stalled_is_watched_as_well() -> None:
    world = FetchWorld([SilentOnChunks(), SilentOnChunks()], chunks=1, deadline_s=1.0).start()
    world.run()
    assert world.fetch.is_stalled
    assert world.asked == dict.fromkeys(world.peers, 1)


def test_who_stalled_and_is_named_again_has_twice_the_time() -> None:
    world = FetchWorld([Silent()], deadline_s=3.0).start().run(3.1)
    assert world.fetch.is_stalled
    world.add(0)
    start_s = world.now_s
    world.run(start_s + 5.9)
    assert not world.fetch.is_stalled
    world.run(start_s + 6.1)
    assert world.fetch.is_stalled


def test_what_comes_late_counts() -> None:
    """A link so slow that each chunk takes longer than the deadline: it ends all the same."""
    world = FetchWorld([Giver(bytes_per_s=2e5)], chunks=3, deadline_s=1.0).start()
    world.run().require_whole()
    assert share_of(world, 0) == 1


def test_silence_is_judged_by_what_came() -> None:
    class Stops(Giver):
        is_stopped = False

        def piece_s(self, number: int, size: int) -> float | None:
            return 1e8 if self.is_stopped else 0.5

    stops = Stops()
    world = FetchWorld([stops], deadline_s=60.0).start().run(10.0)
    stops.is_stopped = True
    world.run(10.0 + 0.5 + SILENCE_FACTOR * 0.5 - 0.6)
    assert not world.fetch.is_stalled
    world.run(10.0 + 0.5 + SILENCE_FACTOR * 0.5 + 0.6)
    assert world.fetch.is_stalled
    assert SILENCE_FACTOR * 0.5 > SILENCE_MIN_S


def test_a_short_silence_stalls_nobody() -> None:
    """A millisecond was the longest silence: a holder that trains may still be late by more."""

    class Pauses(Giver):
        def piece_s(self, number: int, size: int) -> float | None:
            return 0.95 * SILENCE_MIN_S if number == 6 else 0.001

    world = FetchWorld([Pauses()], deadline_s=60.0).start()
    world.run(until=lambda: world.fetch.is_stalled or world.fetch.outcome is not None)
    world.require_whole()


def test_a_slow_holder_is_relieved_by_a_fast_one() -> None:
    world = FetchWorld([Giver(bytes_per_s=2e6), Giver()], chunks=24).start().run()
    world.require_whole()
    alone = FetchWorld([Giver()], chunks=24).start().run()
    assert world.now_s < 2.5 * alone.now_s
    world.drain()
    assert world.peers[0] in world.cancels  # It was told to stop.
    assert share_of(world, 0) < 0.3


def test_a_slow_body_does_not_spoil_what_a_fast_one_brings() -> None:
    """Both bring one chunk at one time; a quarter of the slow one's is false."""
    world = FetchWorld([Giver(), Giver()], chunks=2)
    fetch, digest = world.fetch, world.state.item.digest
    slow, fast = world.peers
    values, quarter = world.model.view(np.uint8), 2**18
    fetch.start(0.0, world.peers)
    jobs: list[Any] = []

    def do(actions: list[Action]) -> None:
        jobs.extend(action for action in actions if isinstance(action, Work))

    def bring(peer: PeerId, bulk: int, number: int, *, is_true: bool = True) -> None:
        piece = values[number * quarter : (number + 1) * quarter]
        given = (piece if is_true else piece ^ 1).tobytes()
        do(fetch.on_bulk_chunk(world.now_s, peer, bulk, memoryview(given)))

    world.now_s = 0.01
    for peer in world.peers:
        fetch.on_message(world.now_s, peer, StateChunkDigests(digest, 0, world.state.chunk_digests))
    for bulk, peer in enumerate(world.peers):
        assert fetch.on_bulk_begin(world.now_s, peer, bulk, StateChunks(digest, bulk, 1))[0]
    bring(slow, 0, 0)
    world.now_s = 0.02
    for number in range(4, 8):
        bring(fast, 1, number)
    world.now_s = 0.5
    for ticket in world.desk.open:
        with contextlib.suppress(LocalProtocolError):  # It is the job's.
            do(world.desk.on_timer(world.now_s, ticket))
    assert fetch.on_bulk_begin(world.now_s, fast, 2, StateChunks(digest, 0, 1))[0]
    for number in range(3):
        bring(fast, 2, number)
    bring(slow, 0, 1, is_true=False)
    bring(fast, 2, 3)
    for work in jobs:
        actions = world.desk.on_work_done(world.now_s, work.ticket, perform(work.job))
        assert not any(isinstance(action, Disconnect) for action in actions)
    world.require_whole()


def test_who_is_named_late_takes_part() -> None:
    world = FetchWorld([Giver(bytes_per_s=2e6), Giver()], chunks=24).start(0)
    world.run(0.5)
    world.add(1)
    world.run().require_whole()
    assert share_of(world, 1) > 0.5


def test_who_has_it_not_may_have_it_later() -> None:
    class Empty(Giver):
        def hold(self, *_: Any) -> None:
            pass

    empty = Empty()
    world = FetchWorld([empty]).start()
    world.drain()
    assert world.fetch.is_stalled
    Giver.hold(empty, world.state, world.model)
    world.add(0)
    world.run().require_whole()


@pytest.mark.parametrize("after", [3, 9, 21])
def test_a_link_that_breaks_costs_nothing_that_came(after: int) -> None:
    world = FetchWorld([Giver(), Giver()]).start(0)
    world.run(until=lambda: world.sent_bytes[world.peers[0]] >= after * 2**18)
    world.down(world.peers[0])
    world.drain()
    assert world.fetch.is_stalled
    known = world.fetch.verified_count
    assert known >= (after // 4) - 2
    world.add(1)
    world.run().require_whole()
    assert world.asked[world.peers[1]] == 12 - known
    assert not world.ended


def test_who_comes_back_goes_on_where_it_was() -> None:
    world = FetchWorld([Giver()]).start()
    world.run(until=lambda: world.fetch.verified_count >= 3)
    world.down(world.peers[0])
    world.drain()
    known = world.fetch.verified_count
    world.givers[world.peers[0]].is_dead = False
    world.asked.clear()
    world.add(0)
    world.run().require_whole()
    assert world.asked[world.peers[0]] == 12 - known


def test_bodies_that_are_lost_are_asked_for_again() -> None:
    world = FetchWorld([Lossy(after=5), Giver(bytes_per_s=4e6)]).start().run()
    world.require_whole()
    assert not world.ended


def test_who_only_loses_bodies_has_stalled() -> None:
    world = FetchWorld([Lossy(after=2)]).start()
    world.drain()
    assert world.fetch.is_stalled
    # It is asked no more, long before its silence would tell.
    assert world.asked[world.peers[0]] <= LOSSES_MAX * world.state.item.chunk_count


def test_some_holders_are_asked_at_once_and_others_in_their_place() -> None:
    many = [Silent() for _ in range(HOLDERS_IN_USE_MAX)]
    world = FetchWorld([*many, Giver()], deadline_s=2.0).start()
    last = world.peers[-1]
    world.run(1.9)
    assert world.fetch.verified_count == 0
    with pytest.raises(RemoteProtocolError, match="not_asked_for"):
        world.fetch.on_message(world.now_s, last, StateRefusal(world.state.item.digest))
    world.run().require_whole()
    assert share_of(world, len(many)) == 1


def test_who_refused_and_gives_after_all_does_not_count_as_refusing() -> None:
    """Nor twice who refuses twice: each time that it is named, it is asked again."""
    world = FetchWorld([Silent(), Silent()], chunks=1).start()
    fetch, (first, second), item = world.fetch, world.peers, world.state.item
    refusal = StateRefusal(item.digest)
    counts = [fetch.refusal_count]

    def hear(peer: PeerId, message: StateMessage) -> None:
        world.do(fetch.on_message(world.now_s, peer, message))
        counts.append(fetch.refusal_count)
        world.do(fetch.add_holder(world.now_s, peer))

    for peer in (first, first, second):
        hear(peer, refusal)
    hear(first, StateChunkDigests(item.digest, 0, world.state.chunk_digests))
    hear(first, refusal)  # Of chunks.
    assert counts == [0, 1, 1, 2, 1, 2]
    header = StateChunks(item.digest, 0, 1)
    world.run(1.0)  # The other one has not said what it has.
    assert fetch.on_bulk_begin(world.now_s, first, 1, header)[0]
    fetch.on_bulk_chunk(world.now_s, first, 1, memoryview(world.model.tobytes()))
    assert fetch.refusal_count == 1


def test_chunks_of_the_base_need_not_travel() -> None:
    base = a_model(12).copy()
    base[5] = -1
    base[-5] = -1
    digests = digest_state("model", base).chunk_digests
    world = FetchWorld([Giver()], base=(base, digests))
    spoil_memory(world)
    world.start().run().require_whole()
    assert world.asked[world.peers[0]] == 2


def test_an_equal_base_is_all() -> None:
    base = a_model(12)
    world = FetchWorld([Giver()], base=(base, digest_state("model", base).chunk_digests))
    world.start().run().require_whole()
    assert not world.asked


def test_a_base_of_another_length_is_of_no_use() -> None:
    base = a_model(13)
    world = FetchWorld([Giver()], base=(base, digest_state("model", base).chunk_digests))
    world.start().run().require_whole()
    assert world.asked[world.peers[0]] == 12


def test_hashing_that_fails_blames_nobody() -> None:
    world = FetchWorld([Giver()], chunks=3)
    world.jobs_failing = 1
    world.start().run().require_whole()
    assert world.jobs_failing == 0
    assert not world.ended
    assert world.asked[world.peers[0]] == 4


def long_item() -> tuple[StateItem, bytes]:
    """Return an item of 1.1 GB, whose list takes two pages; its model is not made."""
    digests = bytes(range(256)) * (32 * (PAGE_CHUNKS_MAX + 16) // 256)
    length = (PAGE_CHUNKS_MAX + 16) * CHUNK_ENTRIES - 5
    digest = item_digest("model", "float32", length, digests)
    return StateItem("model", "float32", length, digest), digests


def pages_asked(fetch: StateFetch, peer: PeerId) -> list[StateRequest]:
    actions = fetch.start(0.0, [peer])
    return [it.message for it in actions if isinstance(it, Send)]  # type: ignore[misc]


def test_a_long_list_comes_in_pages() -> None:
    item, digests = long_item()
    fetch = StateFetch(item, desk=Desk(), deadline_s=1.0)
    peer, size = PeerId("holder"), 32 * PAGE_CHUNKS_MAX
    assert [asked.page for asked in pages_asked(fetch, peer)] == [0, 1]
    second = StateChunkDigests(item.digest, 1, digests[size:])
    assert fetch.on_message(0.1, peer, second) == []
    assert fetch.on_message(0.1, peer, second) == []
    actions = fetch.on_message(0.1, peer, StateChunkDigests(item.digest, 0, digests[:size]))
    asked = [it.message for it in actions if isinstance(it, Send)]
    assert asked == [ChunksRequest(item.digest, first, 64) for first in (0, 64)]


def test_one_false_page_of_a_list_is_a_lie() -> None:
    item, digests = long_item()
    fetch = StateFetch(item, desk=Desk(), deadline_s=1.0)
    peer, size = PeerId("holder"), 32 * PAGE_CHUNKS_MAX
    pages_asked(fetch, peer)
    fetch.on_message(0.1, peer, StateChunkDigests(item.digest, 1, digests[size:][::-1]))
    actions = fetch.on_message(0.1, peer, StateChunkDigests(item.digest, 0, digests[:size]))
    assert Disconnect(peer, "false_chunk_digests") in actions


def test_it_ends_what_it_asked_for() -> None:
    """Once all is here, those that still bring something are told to stop."""
    world = FetchWorld([Giver(bytes_per_s=1e6), Giver()], chunks=8).start().run()
    world.require_whole()
    world.drain()
    assert world.peers[0] in world.cancels
    assert not world.refused
    assert not world.fetch.takes(1)


def test_it_may_be_given_up() -> None:
    world = FetchWorld([Giver(), Giver()], chunks=12).start()
    world.run(until=lambda: world.fetch.verified_count >= 2)
    world.do(world.fetch.close())
    world.drain()
    assert world.fetch.outcome is None
    assert sorted(dict.fromkeys(world.cancels)) == world.peers
    assert world.desk.open == ()


# --- what is refused ------------------------------------------------------------------------------


def begun() -> tuple[FetchWorld, PeerId]:
    """Return a world in which two bodies of six chunks are about to come from the one holder."""
    world = FetchWorld([Giver(), Giver()]).start(0)
    world.run(until=lambda: bool(world.asked))
    return world, world.peers[0]


def test_strangers_are_refused() -> None:
    world, _ = begun()
    digest = world.state.item.digest
    stranger = PeerId("stranger")
    for take in (
        lambda: world.fetch.on_message(0.0, stranger, StateRefusal(digest)),
        lambda: world.fetch.on_bulk_begin(0.0, stranger, 9, StateChunks(digest, 0, 6)),
    ):
        with pytest.raises(RemoteProtocolError, match="not_asked_for"):
            take()


@pytest.mark.parametrize("message", [StateRequest(bytes(32), 0), ChunksRequest(bytes(32), 0, 1)])
def test_what_no_holder_says_is_refused(message: StateMessage) -> None:
    world, peer = begun()
    with pytest.raises(RemoteProtocolError, match="unexpected_message"):
        world.fetch.on_message(0.0, peer, message)


def test_a_page_that_is_none_is_refused() -> None:
    world, peer = begun()
    page = StateChunkDigests(world.state.item.digest, 1, bytes(32))
    with pytest.raises(RemoteProtocolError, match="no_such_page"):
        world.fetch.on_message(0.0, peer, page)


@pytest.mark.parametrize(("first", "count"), [(0, 5), (0, 7), (1, 5), (6, 7)])
def test_chunks_that_were_not_asked_for_are_not_taken(first: int, count: int) -> None:
    world, peer = begun()
    header = StateChunks(world.state.item.digest, first, count)
    assert world.fetch.on_bulk_begin(world.now_s, peer, 9, header) == (False, [])


def test_a_range_is_taken_once_at_a_time() -> None:
    world, peer = begun()
    header = StateChunks(world.state.item.digest, 0, 6)
    assert world.fetch.on_bulk_begin(world.now_s, peer, 9, header)[0]
    assert world.fetch.on_bulk_begin(world.now_s, peer, 10, header) == (False, [])
    assert world.fetch.takes(9)
    assert not world.fetch.takes(10)


def test_a_body_of_another_size_is_refused() -> None:
    world, peer = begun()
    world.fetch.on_bulk_begin(world.now_s, peer, 9, StateChunks(world.state.item.digest, 0, 6))
    with pytest.raises(RemoteProtocolError, match="body_too_long"):
        world.fetch.on_bulk_chunk(world.now_s, peer, 9, bytes(6 * 2**20 + 1))
    world.fetch.on_bulk_chunk(world.now_s, peer, 9, bytes(6 * 2**20 - 1))
    with pytest.raises(RemoteProtocolError, match="body_too_short"):
        world.fetch.on_bulk_end(world.now_s, peer, 9)


def test_bodies_of_others_are_nothing_to_it() -> None:
    world, peer = begun()
    assert world.fetch.on_bulk_chunk(0.0, peer, 77, bytes(8)) == []
    assert world.fetch.on_bulk_end(0.0, peer, 77) == []
    assert world.fetch.on_bulk_lost(0.0, peer, 77) == []
    assert world.fetch.on_peer_down(0.0, PeerId("stranger")) == []


# --- all at once ----------------------------------------------------------------------------------

BAD: list[type[Giver]] = [
    Silent,
    SilentOnChunks,
    Hanging,
    Trickler,
    FalseList,
    FalseChunks,
    Lossy,
]


@pytest.mark.parametrize("seed", range(60))
def test_any_mixture_in_any_order(seed: int) -> None:
    """With one honest holder among any others, in any order of events, all comes, and is right."""
    rng = Random(seed)
    givers: list[Giver] = [rng.choice(BAD)() for _ in range(rng.randrange(1, 6))]
    for giver in givers:
        giver.latency_s = rng.choice([0.0, 0.01, 0.2])
        giver.bytes_per_s = rng.choice([1e6, 1e7, 1e8])
        if isinstance(giver, FalseChunks):
            giver.first, giver.spoils = rng.randrange(12), rng.choice([1, 100])
        if isinstance(giver, Lossy):
            giver.after = rng.randrange(12)
    honest = Giver(latency_s=rng.choice([0.0, 0.2]), bytes_per_s=rng.choice([3e6, 1e8]))
    givers.insert(rng.randrange(len(givers) + 1), honest)
    world = FetchWorld(givers, chunks=rng.uniform(0.1, 12), rng=rng, deadline_s=2.0)
    spoil_memory(world)
    world.start()
    for _ in range(rng.randrange(6)):
        world.run(world.now_s + rng.uniform(0, 0.5))
        peer = rng.choice(world.peers)
        if rng.random() < 0.5:
            world.down(peer)
            world.givers[peer].is_dead = False
            world.drain() if rng.random() < 0.2 else None
        world.do(world.fetch.add_holder(world.now_s, peer))
    for _ in range(20):  # Adverts name it again and again.
        if world.run().fetch.outcome is not None:
            break
        world.do(world.fetch.add_holder(world.now_s, honest.peer))
    world.require_whole()
    assert honest.peer not in world.ended
    assert not world.refused


def test_late_answers_to_a_fetch_that_was_given_up_are_passed_over() -> None:
    """The same item may be wanted again, of others: a stranger's answer is refused all the same."""
    item, _ = long_item()
    asked: dict[PeerId, None] = {}
    first, other, stranger = PeerId("first"), PeerId("other"), PeerId("stranger")
    given_up = StateFetch(item, desk=Desk(), deadline_s=1.0, asked=asked)
    given_up.start(0.0, [first])
    given_up.close()
    fetch = StateFetch(item, desk=Desk(), deadline_s=1.0, asked=asked)
    fetch.start(0.1, [other])
    refusal, header = StateRefusal(item.digest), StateChunks(item.digest, 0, 1)
    assert fetch.on_message(0.2, first, refusal) == []
    assert fetch.on_bulk_begin(0.2, first, 1, header) == (False, [])
    for refused in (
        lambda: fetch.on_message(0.2, stranger, refusal),
        lambda: fetch.on_bulk_begin(0.2, stranger, 2, header),
    ):
        with pytest.raises(RemoteProtocolError, match="not_asked_for"):
            refused()


def test_who_is_named_anew_while_enough_are_asked_may_answer_late() -> None:
    item, _ = long_item()
    fetch = StateFetch(item, desk=Desk(), deadline_s=1.0)
    peers = [PeerId(f"holder-{index}") for index in range(HOLDERS_IN_USE_MAX + 1)]
    fetch.start(0.0, peers)
    fetch.on_peer_down(0.1, peers[0])  # The last one is asked in its place.
    fetch.add_holder(0.2, peers[0])
    assert fetch.on_message(0.3, peers[0], StateRefusal(item.digest)) == []
