# mypy: disable-error-code="arg-type, union-attr"
"""What must hold of a cohort, whatever arrives in whatever order."""

import math
from typing import Any

import numpy as np
from cohort_group import DEADLINE_S, CohortGroup, Sent, mean_by_chunks
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pfl_gossip.actions import (
    CancelTimer,
    Disconnect,
    RemoteProtocolError,
    SendBulk,
    SetTimer,
)
from p2pfl_gossip.averaging.base import LOOKAHEAD_ROUNDS
from p2pfl_gossip.averaging.cohort_averaging import MeanHeader, PartHeader

LARGEST = float(np.finfo(np.float32).max)
entries = st.one_of(
    st.floats(-1e3, 1e3, width=32), st.sampled_from([LARGEST, -LARGEST, 1e-45, 0.0, -0.0])
)
orders = st.randoms(use_true_random=False)


@st.composite
def cohorts(draw: st.DrawFn) -> tuple[list[list[float]], list[float]]:
    size, length = draw(st.integers(2, 6)), draw(st.integers(1, 9))
    models = st.lists(entries, min_size=length, max_size=length)
    weights = st.one_of(st.just(1.0), st.integers(1, 2**53).map(float))
    return (
        draw(st.lists(models, min_size=size, max_size=size)),
        draw(st.lists(weights, min_size=size, max_size=size)),
    )


@given(cohort=cohorts(), order=orders)
@settings(max_examples=80, deadline=None)
def test_with_all_present_all_end_with_the_same_bits_of_the_mean(
    cohort: tuple[list[list[float]], list[float]], order: Any
) -> None:
    models, weights = cohort
    group = CohortGroup(len(models), len(models[0]))
    waiting = list(range(len(models)))
    order.shuffle(waiting)
    while waiting or group.sent:  # Who begins and what arrives is interleaved at random.
        if waiting and order.random() < 0.3:
            index = waiting.pop()
            group.begin(index, models[index], weight=weights[index])
        elif group.sent:
            group.deliver(group.sent.pop(order.randrange(len(group.sent))))
    first = group.outcome(0).vector
    assert {group.outcome(index).vector.tobytes() for index in range(len(models))} == {
        first.tobytes()
    }
    assert all(group.outcome(index).complete for index in range(len(models)))
    expected = mean_by_chunks(np.array(models, np.float32), weights)
    scale = np.abs(np.array(models, np.float64)).max(axis=0)
    assert (np.abs(first - expected) <= 1e-6 * scale + 1e-44).all()
    assert group.dropped == []


@given(cohort=cohorts(), order=orders, lost=st.floats(0, 0.6))
@settings(max_examples=80, deadline=None)
def test_whatever_is_lost_all_end_within_two_deadlines_and_complete_means_are_alike(
    cohort: tuple[list[list[float]], list[float]], order: Any, lost: float
) -> None:
    models, weights = cohort
    size = len(models)
    group = CohortGroup(size, len(models[0]))
    for index in range(size):
        group.begin(index, models[index], weight=weights[index])
    for _ in range(3):  # After each deadline, more may be on its way.
        while group.sent:
            item = group.sent.pop(order.randrange(len(group.sent)))
            if order.random() >= lost:
                group.deliver(item)
        for index in range(size):
            if group.timers[index]:
                group.fire(index)
    complete = {
        group.outcome(index).vector.tobytes()
        for index in range(size)
        if group.outcome(index).complete
    }
    assert len(complete) <= 1
    low, high = np.min(models, axis=0), np.max(models, axis=0)
    for index in range(size):
        vector = group.outcome(index).vector
        slack = 1e-6 * np.maximum(np.abs(low), np.abs(high)) + 1e-44
        assert (vector >= low - slack).all()
        assert (vector <= high + slack).all()


SIZE, LENGTH, ROSTER = 4, 6, 6
peers = st.integers(0, ROSTER - 1)
ahead = st.integers(0, LOOKAHEAD_ROUNDS)
weights = st.one_of(
    st.floats(1e-3, 1e3), st.sampled_from([0.0, -1.0, math.inf, math.nan, 1e308, 2.0**53, 5e-324])
)
bitmaps = st.one_of(
    st.integers(0, 15).map(lambda bits: bytes([bits])), st.binary(min_size=1, max_size=3)
)
values = st.one_of(entries, st.sampled_from([math.nan, math.inf, -math.inf]))
bodies = st.lists(values, min_size=3, max_size=3)
inputs = st.lists(
    st.one_of(
        st.tuples(st.just("begin"), st.lists(entries, min_size=LENGTH, max_size=LENGTH)),
        st.tuples(st.just("part"), peers, ahead, weights, bodies),
        st.tuples(st.just("mean"), peers, ahead, bitmaps, bodies),
        st.tuples(st.just("late body"), peers, st.booleans(), bodies),
        st.tuples(st.just("past"), peers),
        st.tuples(st.just("down"), peers),
        st.tuples(st.just("timer")),
        st.tuples(st.just("abandon")),
    ),
    max_size=60,
)


class Driver:
    """Gives one member inputs as a peer would, and checks what it does after each."""

    def __init__(self, members: tuple[int, ...]) -> None:
        self.members = members
        self.group = CohortGroup(
            SIZE, LENGTH, members_of=lambda _index, _round: members, roster_size=ROSTER
        )
        self.machine = self.group.members[0]
        self.round = 0
        self.is_averaging = False
        self.timer: int | None = None
        self.wanted: list[Sent] = []

    def do(self, step: tuple[Any, ...]) -> None:
        match step:
            case ("begin", model) if not self.is_averaging:
                self.is_averaging = True
                vector = np.array(model, np.float32)
                vector.flags.writeable = False
                self.take(self.machine.begin(0.0, self.round, vector, 1.0))
            case ("part", sender, rounds, weight, body):
                self.offer(sender, PartHeader(self.round + rounds, weight), body)
            case ("mean", sender, rounds, bitmap, body):
                self.offer(sender, MeanHeader(self.round + rounds, bitmap), body)
            case ("late body", place, is_last, _) if self.wanted:
                # A body may end long after its header was taken, but not after its round.
                item = self.wanted.pop(-1 if is_last else place % len(self.wanted))
                if item.header.round >= self.round:  # type: ignore[attr-defined]
                    self.take(self.machine.on_body(0.0, item.sender, item.header, item.body))
            case ("past", partner):
                self.take(self.machine.on_past(0.0, partner))
            case ("down", partner):
                self.take(self.machine.on_peer_down(0.0, partner))
            case ("timer",) if self.timer is not None:
                ticket, self.timer = self.timer, None
                self.take(self.group.desks[0].on_timer(0.0, ticket))
            case ("abandon",):
                self.is_averaging = False
                self.take(self.machine.abandon())

    def offer(self, sender: int, header: Any, body: list[float]) -> None:
        size = self.machine.body_bytes(sender, header)
        assert sender in self.members
        assert sender != 0
        if size is not None:
            vector = np.array(body[: size // 4], np.float32)
            vector.flags.writeable = False
            assert vector.nbytes == size
            self.wanted.append(Sent(sender, 0, header, vector))

    def take(self, actions: list[Any]) -> None:
        for action in actions:
            match action:
                case SetTimer(ticket, at_s):
                    assert self.timer is None
                    assert at_s == DEADLINE_S
                    self.timer = ticket
                case CancelTimer(ticket):
                    assert ticket == self.timer
                    self.timer = None
                case SendBulk(receiver, _, (part,), size_bytes):
                    assert self.group.roster.index_untrusted(receiver) in self.members[1:]
                    assert part.nbytes == size_bytes > 0
                    assert np.isfinite(part).all()
                case Disconnect(peer, "not_finite"):
                    assert self.group.roster.index_untrusted(peer) in self.members[1:]
                case _:
                    raise AssertionError(action)
        outcome = self.machine.outcome
        if outcome is not None:
            self.machine.outcome = None
            assert self.is_averaging
            assert self.timer is None
            assert np.isfinite(outcome.vector).all()
            assert outcome.vector.shape == (LENGTH,)
            assert outcome.expected == len(self.members)
            assert 1 <= outcome.contributors <= outcome.expected
            assert len(outcome.past) + outcome.unreachable < outcome.expected
            assert 0 not in outcome.past
            self.is_averaging = False
            self.round += 1
        # Whoever waits has a deadline: nothing is awaited for ever.
        assert (self.timer is not None) == self.is_averaging


@given(members=st.sampled_from([(0, 1), (0, 1, 2, 3), (0, 1, 2)]), steps=inputs)
@settings(max_examples=250, deadline=None)
def test_any_input_gives_a_legal_state_or_a_protocol_error(
    members: tuple[int, ...], steps: list[tuple[Any, ...]]
) -> None:
    driver = Driver(members)
    for step in steps:
        is_averaging, timer = driver.is_averaging, driver.timer
        try:
            driver.do(step)
        except RemoteProtocolError:
            assert (driver.is_averaging, driver.timer) == (is_averaging, timer)
            assert driver.machine.outcome is None
