"""Age-weighted gossip learning: who is sent to, and how models merge."""

from typing import Any

import numpy as np
import pytest

from p2pfl_gossip.actions import LocalProtocolError, PeerId, RemoteProtocolError, SendBulk
from p2pfl_gossip.averaging.age_gossip import AGE_MAX, INBOX_MAX, AgedModelHeader, AgeGossip
from p2pfl_gossip.averaging.neighbour_averaging import VectorHeader
from p2pfl_gossip.roster import Roster
from p2pfl_gossip.topology import TopologyError


def make(index: int = 0, n: int = 10, fanout: int = 2) -> AgeGossip:
    return AgeGossip(
        index=index,
        roster=Roster(PeerId(f"peer-{peer}") for peer in range(n)),
        length=2,
        dtype=np.float64,
        fanout=fanout,
        seed=b"s",
    )


def hear(machine: AgeGossip, sender: int, age: float, *values: float) -> None:
    header = AgedModelHeader(age)
    assert machine.body_bytes(sender, header) == 16
    assert machine.on_body(0.0, sender, header, np.array(values)) == []


def begin(machine: AgeGossip, round: int, *values: float, weight: float = 1.0) -> list[Any]:
    machine.outcome = None
    return machine.begin(0.0, round, np.array(values), weight)


def test_a_round_sends_the_trained_model_and_ends_at_once() -> None:
    machine = make()
    sends = begin(machine, 0, 1.0, 2.0)
    assert all(isinstance(send, SendBulk) for send in sends)
    assert [int(send.receiver[5:]) for send in sends] == list(machine.partners(0))
    assert all(send.header == AgedModelHeader(1.0) for send in sends)
    assert machine.outcome is not None
    assert machine.outcome.vector.tolist() == [1, 2]
    assert (machine.outcome.expected, machine.outcome.complete) == (1, True)


def test_models_merge_by_age_in_order_of_arrival() -> None:
    machine = make()
    hear(machine, 3, 3.0, 8.0, 0.0)
    hear(machine, 5, 1.0, 0.0, 4.0)
    begin(machine, 0, 0.0, 4.0)
    # Age 1 against 3: a quarter stays. The result has age 3, against 1: a quarter comes.
    assert machine.outcome is not None
    assert machine.outcome.vector.tolist() == [4.5, 1.75]
    assert machine.outcome.contributors == 3
    assert machine.age == 3
    assert begin(machine, 1, 0.0, 0.0)[0].header == AgedModelHeader(4.0)
    assert machine.outcome.vector.tolist() == [0, 0]


def test_age_counts_rows_where_models_are_weighted_by_rows() -> None:
    machine = make()
    begin(machine, 0, 0.0, 0.0, weight=120.0)
    assert machine.age == 120


def test_the_oldest_of_too_many_models_gives_way() -> None:
    machine = make()
    for number in range(INBOX_MAX + 1):
        hear(machine, 1 + number % 9, 1.0, float(number == 0), 0.0)
    begin(machine, 0, 0.0, 0.0)
    assert machine.outcome is not None
    assert machine.outcome.vector.tolist() == [0, 0]
    assert machine.outcome.contributors == 1 + INBOX_MAX


def test_receivers_are_others_distinct_and_uniform() -> None:
    machine, rounds = make(index=4, n=6, fanout=3), 3000
    counts = np.zeros(6)
    for round in range(rounds):
        partners = machine.partners(round)
        assert len(set(partners)) == 3
        counts[list(partners)] += 1
    assert counts[4] == 0
    others = np.delete(counts, 4) / rounds
    assert np.abs(others - 3 / 5).max() < 5 * np.sqrt(0.24 / rounds)


@pytest.mark.parametrize("age", [0.0, -1.0, 2 * AGE_MAX, float("inf"), float("nan")])
def test_impossible_ages_are_refused(age: float) -> None:
    with pytest.raises(RemoteProtocolError, match=r"^age_out_of_range$"):
        make().body_bytes(1, AgedModelHeader(age))


def test_errors() -> None:
    machine = make()
    with pytest.raises(RemoteProtocolError, match=r"^unexpected_message$"):
        machine.body_bytes(1, VectorHeader(0, 1.0))
    with pytest.raises(RemoteProtocolError, match=r"^entry_out_of_range$"):
        hear(machine, 1, 1.0, 0.0, float("inf"))
    begin(machine, 0, 1.0, 2.0)
    assert machine.outcome is not None
    assert machine.outcome.vector.tolist() == [1, 2]
    with pytest.raises(LocalProtocolError):
        machine.begin(0.0, 1, np.zeros(3), 1.0)
    with pytest.raises(TopologyError, match="1 to 9 others, not 10"):
        make(fanout=10)
