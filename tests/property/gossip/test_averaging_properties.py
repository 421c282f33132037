"""What must hold of every averaging machine, whatever comes in whatever order."""

import math
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pfl_gossip.actions import PeerId, RemoteProtocolError, SendBulk, SetTimer
from p2pfl_gossip.averaging.age_gossip import INBOX_MAX, AgedModelHeader, AgeGossip
from p2pfl_gossip.averaging.base import LOOKAHEAD_ROUNDS
from p2pfl_gossip.averaging.cohort_averaging import PartHeader
from p2pfl_gossip.averaging.dsgd import Dsgd
from p2pfl_gossip.averaging.epidemic import EpidemicLearning
from p2pfl_gossip.averaging.fedavg import GlobalModelHeader, make_fedavg
from p2pfl_gossip.averaging.neighbour_averaging import VectorHeader
from p2pfl_gossip.averaging.push_sum import PushSum, RunningSumHeader
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.roster import Roster
from p2pfl_gossip.topology import (
    BaseGraph,
    Complete,
    OnePeerExponential,
    Ring,
    Star,
    Topology,
)

PEERS = 6
LENGTH = 3
ROSTER = Roster(PeerId(f"peer-{index}") for index in range(PEERS))
TOPOLOGIES: list[Topology] = [
    Ring(PEERS),
    Star(PEERS),
    Complete(PEERS),
    OnePeerExponential(PEERS),
    BaseGraph(PEERS, 1),
]
Make = Callable[[int], Any]


def _plain(kind: Any, **parameters: Any) -> Make:
    def make(index: int) -> Any:
        return kind(
            index=index,
            roster=ROSTER,
            length=LENGTH,
            dtype=np.float64,
            deadline_s=1.0,
            desk=Desk(),
            **parameters,
        )

    return make


def _age_gossip(index: int) -> AgeGossip:
    return AgeGossip(
        index=index, roster=ROSTER, length=LENGTH, dtype=np.float64, fanout=2, seed=b"s"
    )


MACHINES: dict[str, Make] = {
    **{f"dsgd {graph!r}": _plain(Dsgd, topology=graph) for graph in TOPOLOGIES},
    **{f"push-sum {graph!r}": _plain(PushSum, topology=graph) for graph in TOPOLOGIES},
    "epidemic": _plain(EpidemicLearning, fanout=2, seed=b"s"),
    "fedavg": _plain(make_fedavg),
    "age-gossip": _age_gossip,
}

rounds_ahead = st.integers(0, LOOKAHEAD_ROUNDS)
peers = st.integers(0, PEERS - 1)
weights = st.one_of(
    st.floats(1e-3, 1e3), st.sampled_from([0.0, -1.0, math.inf, math.nan, 1e308, 5e-324])
)
entries = st.one_of(
    st.floats(-1e6, 1e6),
    st.sampled_from([math.nan, math.inf, -math.inf, 1e30, -1e30, 1e31, 1e300, 5e-324]),
)
bodies = st.lists(entries, min_size=LENGTH, max_size=LENGTH)
inputs = st.lists(
    st.one_of(
        st.tuples(st.just("begin"), st.floats(-1e6, 1e6), st.floats(0.5, 100)),
        st.tuples(st.just("vector"), peers, rounds_ahead, weights, bodies),
        st.tuples(st.just("sum"), peers, rounds_ahead, weights, bodies, st.integers(0, 12)),
        st.tuples(st.just("global"), peers, rounds_ahead, bodies),
        st.tuples(st.just("aged"), peers, weights, bodies),
        st.tuples(st.just("part"), peers, rounds_ahead),
        st.tuples(st.just("past"), peers),
        st.tuples(st.just("down"), peers),
        st.tuples(st.just("timer")),
        st.tuples(st.just("abandon")),
    ),
    max_size=30,
)


class Driver:
    """Gives a machine inputs as a peer would, and checks its state after each."""

    def __init__(self, machine: Any) -> None:
        self.machine = machine
        self.round = 0
        self.is_averaging = False
        self.timers: list[int] = []

    def do(self, step: tuple[Any, ...]) -> None:
        machine = self.machine
        match step:
            case ("begin", value, weight):
                if not self.is_averaging:
                    self.is_averaging = True
                    vector = np.full(LENGTH, value)
                    vector.flags.writeable = False
                    self.take(machine.begin(0.0, self.round, vector, weight))
            case ("past", partner):
                self.take(machine.on_past(0.0, partner))
            case ("down", partner):
                self.take(machine.on_peer_down(0.0, partner))
            case ("timer",):
                if self.timers:
                    self.take(machine._desk.on_timer(0.0, self.timers.pop()))
            case ("abandon",):
                self.take(machine.abandon())
                self.timers.clear()
                self.is_averaging = False
            case _:
                self.hear(step)

    def hear(self, step: tuple[Any, ...]) -> None:
        match step:
            case ("vector", sender, ahead, weight, body):
                self.deliver(sender, VectorHeader(self.round + ahead, weight), body)
            case ("sum", sender, ahead, weight, body, since):
                self.deliver(sender, RunningSumHeader(self.round + ahead, since, weight), body)
            case ("global", sender, ahead, body):
                self.deliver(sender, GlobalModelHeader(self.round + ahead), body)
            case ("aged", sender, age, body):
                self.deliver(sender, AgedModelHeader(age), body)
            case ("part", sender, ahead):
                self.deliver(sender, PartHeader(self.round + ahead, 1.0), [])

    def deliver(self, sender: int, header: Any, body: list[float]) -> None:
        size = self.machine.body_bytes(sender, header)
        if size is not None:
            assert size == LENGTH * 8
            vector = np.array(body)
            vector.flags.writeable = False
            self.take(self.machine.on_body(0.0, sender, header, vector))

    def take(self, actions: list[Any]) -> None:
        for action in actions:
            if isinstance(action, SetTimer):
                self.timers.append(action.ticket)
        outcome = self.machine.outcome
        if outcome is not None:
            assert self.is_averaging
            assert outcome.vector.shape == (LENGTH,)
            assert 1 <= outcome.contributors <= outcome.expected <= PEERS + INBOX_MAX
            assert not outcome.vector.flags.writeable
            assert np.isfinite(outcome.vector).all()
            self.machine.outcome = None
            self.timers.clear()
            self.is_averaging = False
            self.round += 1


@pytest.mark.parametrize("name", MACHINES)
@given(index=peers, steps=inputs)
@settings(max_examples=30, deadline=None)
def test_any_input_gives_a_legal_state_or_a_protocol_error_that_changes_nothing(
    name: str, index: int, steps: list[tuple[Any, ...]]
) -> None:
    driver = Driver(MACHINES[name](index))
    for step in steps:
        before = _state(driver.machine)
        try:
            driver.do(step)
        except RemoteProtocolError:
            assert _state(driver.machine) == before


def _state(machine: Any) -> str:
    """Describe everything a machine knows, its arrays by their bytes."""

    def describe(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return value.tobytes()
        if isinstance(value, dict):
            return [(key, describe(entry)) for key, entry in value.items()]
        if isinstance(value, (list, tuple)):
            return [describe(entry) for entry in value]
        if isinstance(value, (set, frozenset)):
            return sorted(value)
        if type(value).__module__.startswith("p2pfl") and hasattr(value, "__slots__"):
            return [describe(getattr(value, name)) for name in value.__slots__]
        return repr(value)

    skipped = {"_roster", "_topology", "_desk"}
    known = {key: value for key, value in vars(machine).items() if key not in skipped}
    return repr((describe(known), machine._desk.open if hasattr(machine, "_desk") else ()))


models = st.lists(st.floats(-1e3, 1e3), min_size=PEERS, max_size=PEERS)
# A bit for each message of a round, set where it is lost; and a seed for the order of arrival.
loss_bits = st.integers(0, 2**64 - 1)
losses = st.lists(st.tuples(loss_bits, st.integers(0, 2**32)), min_size=1, max_size=10)


def _deliver(machines: list[Any], message: tuple[int, SendBulk]) -> None:
    sender, send = message
    receiver = machines[ROSTER.index_untrusted(send.receiver)]
    if receiver.body_bytes(sender, send.header) is not None:
        (body,) = send.parts
        receiver.on_body(0.0, sender, send.header, body)


@pytest.mark.parametrize("graph", TOPOLOGIES, ids=repr)
@given(values=models, rounds=losses)
@settings(max_examples=30, deadline=None)
def test_push_sum_keeps_its_mass_whatever_is_lost(
    graph: Topology, values: list[float], rounds: list[Any]
) -> None:
    machines = [_plain(PushSum, topology=graph)(index) for index in range(PEERS)]
    vectors = [np.full(LENGTH, value) for value in values]
    # A last period without loss brings all running sums home.
    assert graph.period is not None
    everything = [(0, 0)] * graph.period
    for round, (lost, order) in enumerate([*rounds, *everything]):
        sends = []
        timers: list[int | None] = []
        for index, machine in enumerate(machines):
            machine.outcome = None
            actions = machine.begin(0.0, round, vectors[index], 1.0)
            sends += [(index, action) for action in actions if isinstance(action, SendBulk)]
            timers.append(next((a.ticket for a in actions if isinstance(a, SetTimer)), None))
        arriving = [send for number, send in enumerate(sends) if not lost >> number & 1]
        Random(order).shuffle(arriving)
        for message in arriving:
            _deliver(machines, message)
            _deliver(machines, message)  # A link may bring it twice.
        for index, machine in enumerate(machines):
            if machine.outcome is None:
                machine._desk.on_timer(1.0, timers[index])
            vectors[index] = machine.outcome.vector
    assert math.fsum(machine.mass[1] for machine in machines) == pytest.approx(PEERS, rel=1e-12)
    total = math.fsum(machine.mass[0][0] for machine in machines)
    assert total == pytest.approx(math.fsum(values), rel=1e-12, abs=1e-9)


@pytest.mark.parametrize(
    "graph", [graph for graph in TOPOLOGIES if not isinstance(graph, OnePeerExponential)], ids=repr
)
@given(values=models, lost=loss_bits)
@settings(max_examples=30, deadline=None)
def test_dsgd_keeps_the_mean_where_both_ends_of_an_edge_miss_each_other(
    graph: Topology, values: list[float], lost: int
) -> None:
    for round in range(graph.period or 1):
        machines = [_plain(Dsgd, topology=graph)(index) for index in range(PEERS)]
        sends, timers = [], []
        for index, machine in enumerate(machines):
            actions = machine.begin(0.0, round, np.full(LENGTH, values[index]), 1.0)
            sends += [(index, action) for action in actions if isinstance(action, SendBulk)]
            timers.append(next((a.ticket for a in actions if isinstance(a, SetTimer)), None))
        for sender, send in sends:
            receiver = ROSTER.index_untrusted(send.receiver)
            edge = min(sender, receiver) * PEERS + max(sender, receiver)
            if not lost >> edge & 1:
                _deliver(machines, (sender, send))
        for machine, timer in zip(machines, timers, strict=True):
            if machine.outcome is None:
                machine._desk.on_timer(1.0, timer)
        result = math.fsum(machine.outcome.vector[0] for machine in machines)
        assert result == pytest.approx(math.fsum(values), rel=1e-12, abs=1e-9)
