"""Whatever holders do, a fetch comes to a legal state, and one honest holder is enough."""

from typing import Any

import numpy as np
from fetch_world import FetchWorld, Giver, a_model
from hypothesis import example, given, settings
from hypothesis import strategies as st

from p2pfl_gossip.actions import PeerId, RemoteProtocolError, SetTimer, Work
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.ledger.chunk_map import ChunkMap
from p2pfl_gossip.ledger.fetching import StateFetch
from p2pfl_gossip.ledger.state_messages import (
    StateChunkDigests,
    StateChunks,
    StateRefusal,
)
from p2pfl_gossip.ledger.states import digest_state, perform

CHUNKS = 5
MODEL = a_model(CHUNKS - 0.5)
STATE = digest_state("model", MODEL)
DIGEST, ITEM = STATE.item.digest, STATE.item
LIARS = [PeerId(f"liar-{index}") for index in range(3)]

SMALL = st.integers(0, CHUNKS + 1)
INPUTS = st.one_of(
    st.tuples(st.just("list"), st.sampled_from([STATE.chunk_digests, bytes(160), b""]), SMALL),
    st.tuples(st.just("refusal")),
    st.tuples(st.just("begin"), SMALL, st.sampled_from([1, 1, 1, 0, 2, 6])),
    st.tuples(st.just("bytes"), st.integers(0, 3), st.booleans()),
    st.tuples(st.just("end")),
    st.tuples(st.just("lost")),
    st.tuples(st.just("down")),
    st.tuples(st.just("named")),
    st.tuples(st.just("time"), st.floats(0.0, 4.0)),
    st.tuples(st.just("work"), st.booleans()),
)


class Mistreated:
    """A fetch, and all that can be done to it by anybody but an honest holder."""

    def __init__(self) -> None:
        self.desk, self.now_s = Desk(), 0.0
        self.fetch = StateFetch(ITEM, desk=self.desk.sub(), deadline_s=2.0)
        self.timers: dict[int, float] = {}
        self.jobs: dict[int, Any] = {}
        self.bodies: dict[int, tuple[PeerId, int]] = {}  # By bulk: whose, and its first byte.
        self.bulks = 0
        self.do(self.fetch.start(0.0, LIARS))

    def do(self, actions: list[Any]) -> None:
        for action in actions:
            if isinstance(action, SetTimer):
                self.timers[action.ticket] = action.at_s
            elif isinstance(action, Work):
                self.jobs[action.ticket] = action.job

    def input(self, peer: PeerId, kind: str, *what: Any) -> None:
        """Let something happen; nothing but RemoteProtocolError may be raised."""
        self.peer, self.bulk = peer, 0
        for bulk, (whose, _) in self.bodies.items():
            if whose == peer:
                self.bulk = bulk
        try:
            getattr(self, f"_{kind}")(*what)
        except RemoteProtocolError:
            self.bodies.pop(self.bulk, None)
            self._down()

    def _list(self, digests: bytes, page: int) -> None:
        message = StateChunkDigests(DIGEST, page, digests)
        self.do(self.fetch.on_message(self.now_s, self.peer, message))

    def _refusal(self) -> None:
        self.do(self.fetch.on_message(self.now_s, self.peer, StateRefusal(DIGEST)))

    def _begin(self, first: int, count: int) -> None:
        self.bulks += 1
        header = StateChunks(DIGEST, first, count)
        is_wanted, actions = self.fetch.on_bulk_begin(self.now_s, self.peer, self.bulks, header)
        if is_wanted:
            self.bodies[self.bulks] = (self.peer, first * 2**20)
        self.do(actions)

    def _bytes(self, halves: int, is_true: bool) -> None:
        if self.bulk:
            start = self.bodies[self.bulk][1]
            piece = MODEL.view(np.uint8)[start : start + halves * 2**19] + (not is_true)
            given = memoryview(piece.astype(np.uint8).tobytes())
            self.do(self.fetch.on_bulk_chunk(self.now_s, self.peer, self.bulk, given))
            self.bodies[self.bulk] = (self.peer, start + len(piece))

    def _end(self) -> None:
        if self.bulk:
            self.do(self.fetch.on_bulk_end(self.now_s, self.peer, self.bulk))
            del self.bodies[self.bulk]

    def _lost(self) -> None:
        if self.bulk:
            del self.bodies[self.bulk]
            self.do(self.fetch.on_bulk_lost(self.now_s, self.peer, self.bulk))

    def _down(self) -> None:
        self.do(self.fetch.on_peer_down(self.now_s, self.peer))

    def _named(self) -> None:
        self.do(self.fetch.add_holder(self.now_s, self.peer))

    def _time(self, passes_s: float) -> None:
        self.now_s += passes_s
        for ticket, at_s in list(self.timers.items()):
            if at_s <= self.now_s:
                del self.timers[ticket]
                self.do(self.desk.on_timer(self.now_s, ticket))

    def _work(self, is_done: bool) -> None:
        if not self.jobs:
            return
        ticket, job = self.jobs.popitem()
        if is_done:
            self.do(self.desk.on_work_done(self.now_s, ticket, perform(job)))
        else:
            self.do(self.desk.on_work_failed(self.now_s, ticket, "out of memory"))


@settings(max_examples=30, deadline=None)
@given(st.booleans(), st.lists(st.tuples(st.sampled_from(LIARS), INPUTS), max_size=40))
@example(True, [(LIARS[1], ("begin", 4, 1)), (LIARS[1], ("bytes", 1, False))])
def test_an_honest_holder_is_enough_after_anything(
    is_listed: bool, said: list[tuple[PeerId, Any]]
) -> None:
    mistreated = Mistreated()
    if is_listed:  # Else chunks are hardly ever reached.
        for liar in LIARS:
            mistreated.input(liar, "list", STATE.chunk_digests, 0)
    for peer, what in said:
        mistreated.input(peer, *what)
    fetch = mistreated.fetch
    if fetch.outcome is not None:  # Liars may bring the truth.
        assert np.array_equal(fetch.outcome.vector, MODEL)
        return
    # Nothing more comes of them, and an honest one is named: it goes on in a world of its own.
    world = FetchWorld([Giver()], chunks=CHUNKS - 0.5, deadline_s=2.0)
    world.now_s, world.fetch, world.desk = mistreated.now_s, fetch, mistreated.desk
    world.do([SetTimer(ticket, at_s) for ticket, at_s in mistreated.timers.items()])
    for bulk, (peer, _) in list(mistreated.bodies.items()):
        world.do(_sent_by_nobody(fetch.on_bulk_lost(world.now_s, peer, bulk)))
    for peer in LIARS:
        world.do(_sent_by_nobody(fetch.on_peer_down(world.now_s, peer)))
    for ticket, job in mistreated.jobs.items():
        done = mistreated.desk.on_work_done(world.now_s, ticket, perform(job))
        world.do(_sent_by_nobody(done))  # Who lied is disconnected.
    world.add(0)
    world.run().require_whole()


def _sent_by_nobody(actions: list[Any]) -> list[Any]:
    """Leave out what goes to the liars."""
    return [it for it in actions if getattr(it, "receiver", getattr(it, "peer", None)) is None]


@given(
    st.integers(1, 70),
    st.lists(
        st.tuples(st.sampled_from(["ask", "release", "take", "refuse"]), st.integers(0, 80)),
        max_size=60,
    ),
)
def test_a_chunk_is_open_while_it_is_neither_here_nor_asked_for(
    count: int, steps: list[tuple[str, int]]
) -> None:
    chunks = ChunkMap(count)
    askers, here = [0] * count, [False] * count
    for what, number in steps:
        run = chunks.open_run(3)
        match what:
            case "ask" if run:
                chunks.ask(run)
                for chunk in run:
                    askers[chunk] += 1
            case "release" if number < count and askers[number]:
                chunks.release(range(number, number + 1))
                askers[number] -= 1
            case "take" | "refuse" if number < count:
                (chunks.take if what == "take" else chunks.refuse)(number)
                here[number] = what == "take"
        is_open = [not asked and not is_here for asked, is_here in zip(askers, here, strict=True)]
        assert chunks.open_count == sum(is_open)
        assert [chunks.askers(chunk) for chunk in range(count)] == askers
        assert [chunks.is_here(chunk) for chunk in range(count)] == here
        for length_max in (1, 2, 100):
            found = chunks.open_run(length_max)
            assert len(found) <= length_max
            if any(is_open):
                first = is_open.index(True)
                assert found.start == first
                assert all(is_open[first : found.stop])
                is_longest = found.stop == count or not is_open[found.stop]
                assert len(found) == length_max or is_longest
            else:
                assert not found
