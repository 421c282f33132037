"""What must hold of a peer, whatever members and strangers send and whatever else happens to it."""

import contextlib
import math
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from one_peer import OnePeer

from p2pfl_gossip import wire
from p2pfl_gossip.actions import Command, PeerId, RemoteProtocolError
from p2pfl_gossip.averaging.age_gossip import AgedModelHeader
from p2pfl_gossip.averaging.cohort_averaging import MeanHeader, PartHeader
from p2pfl_gossip.averaging.fedavg import GlobalModelHeader
from p2pfl_gossip.averaging.neighbour_averaging import VectorHeader
from p2pfl_gossip.averaging.push_sum import RunningSumHeader
from p2pfl_gossip.catch_up import ModelHeader, ModelRequest, Status, StatusRequest
from p2pfl_gossip.learning import Evaluate, Evaluated, Train
from p2pfl_gossip.peer_state import State

PEERS, ROUNDS, LENGTH = 4, 14, 8

STRANGER = -1
senders = st.sampled_from([0, 1, 1, 2, 2, 3, 3, STRANGER])
# Rounds are near the peer's own, so that lies are plausible, or anywhere at all.
rounds = st.one_of(
    st.tuples(st.just("near"), st.integers(-2, 10)),
    st.tuples(st.just("at"), st.sampled_from([0, ROUNDS - 1, ROUNDS, ROUNDS + 1, 2**32 - 1])),
)
weights = st.sampled_from([1.0, 0.5, 0.0, -1.0, math.nan, math.inf, 2.0**53, 1e308])
bitmaps = st.sampled_from(
    [b"\x0f", b"\x02", b"\x04", b"\x06", b"\x0e", b"\x00", b"\xff", b"\x0f\1"]
)
entries = st.sampled_from([0.0, 1.0, -2.0, 3e38, math.nan, math.inf])
values = st.lists(entries, min_size=LENGTH, max_size=LENGTH)
KINDS = {
    "status": Status,
    "ask status": lambda _round: StatusRequest(),
    "ask model": ModelRequest,
    "model": ModelHeader,
    "global": GlobalModelHeader,
}
messages = st.one_of(
    st.tuples(st.sampled_from(sorted(KINDS)), rounds),
    st.tuples(st.just("part"), rounds, weights),
    st.tuples(st.just("mean"), rounds, bitmaps),
    st.tuples(st.just("vector"), rounds, weights),
    st.tuples(st.just("sum"), rounds, weights),
    st.tuples(st.just("aged"), rounds, weights),
)
cuts = st.lists(st.integers(0, 40), max_size=3)
longer = st.sampled_from([0, 0, 0, -1, 4])  # Bodies are mostly of the right size.
steps = st.lists(
    st.one_of(
        st.tuples(st.just("message"), senders, messages),
        st.tuples(st.just("body"), senders, messages, values, cuts, longer),
        st.tuples(st.just("begin"), senders, messages),
        st.tuples(st.just("end late"), st.integers(0, 9), values),
        st.tuples(st.just("lose"), st.integers(0, 9)),
        st.tuples(st.just("timer")),
        st.tuples(st.just("train"), st.booleans()),
        st.tuples(st.just("evaluate"), st.booleans()),
        st.tuples(st.just("down"), senders),
        st.tuples(st.just("sent"), st.booleans()),
        st.tuples(st.just("command"), st.sampled_from([Command.PAUSE, Command.RESUME])),
        st.tuples(st.just("exchange")),
        st.tuples(st.just("restart")),
    ),
    max_size=50,
)  # fmt: skip
ends = st.sampled_from([None, None, None, Command.LEAVE])


class Hostile:
    """A peer, and a driver that keeps its promises while members and strangers keep none."""

    def __init__(self) -> None:
        self.one = OnePeer(peers=PEERS, rounds=ROUNDS, length=LENGTH).start()
        self.under_way: list[tuple[int, int, int]] = []

    def do(self, step: tuple[Any, ...]) -> None:
        kind, *arguments = step
        getattr(self, f"do_{kind.replace(' ', '_')}")(*arguments)
        self.check()

    def check(self) -> None:
        """Whoever waits, waits for something that will come; whoever does not, has no timer."""
        one, state = self.one, self.one.peer.state
        training = [job for job in one.work.values() if isinstance(job, Train)]
        assert len(training) == (state is State.TRAINING)
        assert len(one.timers) == (state in (State.AVERAGING, State.CATCHING_UP))
        assert np.isfinite(one.peer.vector).all()
        assert one.peer.round <= ROUNDS
        assert (one.peer.round == ROUNDS) == (state is State.FINISHED) or state is State.LEFT
        assert one.disconnected == [] or {reason for _, reason in one.disconnected} == {
            "not_finite"
        }
        assert all(peer != 0 for peer, _ in one.disconnected)

    def peer_id(self, sender: int) -> PeerId:
        return PeerId("stranger") if sender == STRANGER else self.one.roster.peers[sender]

    def build(self, message: tuple[Any, ...]) -> Any:
        """Make a message, and send it over the wire."""
        kind, (how, number), *more = message
        round_ = max(0, self.one.peer.round + number) if how == "near" else number
        match kind:
            case "part":
                made: Any = PartHeader(round_, *more)
            case "mean":
                made = MeanHeader(round_, *more)
            case "vector":
                made = VectorHeader(round_, *more)
            case "sum":
                made = RunningSumHeader(round_, 0, *more)
            case "aged":
                made = AgedModelHeader(*more)
            case _:
                made = KINDS[kind](round_)
        return wire.decode_untrusted(wire.encode(made))

    def do_message(self, sender: int, message: tuple[Any, ...]) -> None:
        one = self.one
        one.do(one.peer.on_message(one.now_s, self.peer_id(sender), self.build(message)))

    def do_begin(self, sender: int, message: tuple[Any, ...]) -> int | None:
        one, bulk, header = self.one, next(self.one._bulks), self.build(message)
        wanted, actions = one.peer.on_bulk_begin(one.now_s, self.peer_id(sender), bulk, header)
        one.do(actions)
        if not wanted:
            return None
        size = LENGTH if isinstance(header, ModelHeader) else LENGTH // PEERS
        self.under_way.append((sender, bulk, 4 * size))
        return bulk

    def do_body(
        self,
        sender: int,
        message: tuple[Any, ...],
        values: list[float],
        cuts: list[int],
        longer: int,
    ) -> None:
        if self.do_begin(sender, message) is not None:
            self.send(len(self.under_way) - 1, values, cuts, longer)

    def do_end_late(self, place: int, values: list[float]) -> None:
        if self.under_way:
            self.send(place % len(self.under_way), values, [], 0)

    def send(self, place: int, values: list[float], cuts: list[int], longer: int) -> None:
        one, (sender, bulk, size) = self.one, self.under_way.pop(place)
        content = np.array(values, np.float32).tobytes()[:size]
        content = content + bytes(longer) if longer >= 0 else content[:longer]
        start = 0
        for cut in [*sorted(cut % (len(content) + 1) for cut in cuts), len(content)]:
            chunk = content[start:cut]
            one.do(one.peer.on_bulk_chunk(one.now_s, self.peer_id(sender), bulk, chunk))
            start = cut
        one.do(one.peer.on_bulk_end(one.now_s, self.peer_id(sender), bulk, None))

    def do_lose(self, place: int) -> None:
        if self.under_way:
            sender, bulk, _ = self.under_way.pop(place % len(self.under_way))
            one = self.one
            one.do(one.peer.on_bulk_lost(one.now_s, self.peer_id(sender), bulk))

    def do_timer(self) -> None:
        if self.one.timers:
            self.one.timer()

    def do_train(self, is_good: bool) -> None:
        if any(isinstance(job, Train) for job in self.one.work.values()):
            if is_good:
                self.one.train(3.0)
            else:
                self.one.failed(Train, "why")

    def do_evaluate(self, is_good: bool) -> None:
        one = self.one
        for ticket in [key for key, job in one.work.items() if isinstance(job, Evaluate)]:
            del one.work[ticket]
            if is_good:
                one.do(one.peer.on_work_done(one.now_s, ticket, Evaluated({})))
            else:
                one.do(one.peer.on_work_failed(one.now_s, ticket, "why"))

    def do_down(self, sender: int) -> None:
        self.one.do(self.one.peer.on_peer_down(self.one.now_s, self.peer_id(sender)))

    def do_sent(self, ok: bool) -> None:
        if self.one.tickets:
            ticket = self.one.tickets.pop()
            self.one.do(self.one.peer.on_sent(self.one.now_s, ticket, ok))

    def do_command(self, command: Command) -> None:
        self.one.command(command)

    def do_exchange(self) -> None:
        """Let honest members end the round, so that the peer gets somewhere."""
        if self.one.peer.state is State.AVERAGING:
            for sender in range(1, PEERS):
                if self.one.peer.state is State.AVERAGING:
                    self.one.part(sender, 1.0)
                    self.one.mean(sender, 1.0)

    def do_restart(self) -> None:
        self.under_way.clear()
        self.one.make()
        self.one.start()


def _seen(hostile: Hostile) -> Any:
    one = hostile.one
    return (
        one.peer.state, one.peer.round, one.peer.vector.tobytes(), dict(one.timers), list(one.work),
        list(one.sent), len(one.bodies), len(one.events), repr(one.records),
    )  # fmt: skip


@given(steps=steps, end=ends)
@settings(max_examples=100, deadline=None)
def test_any_input_gives_a_legal_state_or_a_protocol_error(
    steps: list[tuple[Any, ...]], end: Command | None
) -> None:
    hostile = Hostile()
    for step in steps:
        before = _seen(hostile)
        try:
            hostile.do(step)
        except RemoteProtocolError:
            if step[0] != "exchange":  # Several inputs, of which a later one may be refused.
                assert _seen(hostile) == before
            hostile.check()
    if end is not None:
        hostile.do(("command", end))
        for step in steps:
            with contextlib.suppress(RemoteProtocolError):
                hostile.do(step)
            if step[0] == "restart":
                break
            assert hostile.one.peer.state is State.LEFT


@given(steps=steps)
@settings(max_examples=40, deadline=None)
def test_after_any_past_honest_members_bring_a_peer_to_the_end(
    steps: list[tuple[Any, ...]],
) -> None:
    hostile = Hostile()
    for step in steps:
        with contextlib.suppress(RemoteProtocolError):
            hostile.do(step)
    one = hostile.one
    one.command(Command.RESUME)
    hostile.under_way.clear()
    for _ in range(20 * ROUNDS):
        match one.peer.state:
            case State.TRAINING:
                one.train(1.0)
            case State.AVERAGING:
                with contextlib.suppress(RemoteProtocolError):  # Bodies that never end count.
                    hostile.do_exchange()
                if one.peer.state is State.AVERAGING:
                    one.timer()
            case State.CATCHING_UP:
                for sender in range(1, PEERS):
                    one.status(sender, min(ROUNDS, one.peer.round))
                if one.peer.state is State.CATCHING_UP:
                    one.timer()
            case State.FINISHED:
                break
    assert one.peer.state is State.FINISHED
    one.evaluate()
