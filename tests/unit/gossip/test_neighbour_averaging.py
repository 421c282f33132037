# mypy: disable-error-code="attr-defined"
"""DSGD, Epidemic Learning and FedAvg: what is mixed, and for whom a peer waits."""

from typing import Any

import numpy as np
import pytest

from p2pfl_gossip.actions import (
    Action,
    CancelTimer,
    LocalProtocolError,
    PeerId,
    RemoteProtocolError,
    SendBulk,
    SetTimer,
)
from p2pfl_gossip.averaging.dsgd import Dsgd
from p2pfl_gossip.averaging.epidemic import EpidemicLearning
from p2pfl_gossip.averaging.fedavg import GlobalModelHeader, make_fedavg
from p2pfl_gossip.averaging.neighbour_averaging import VectorHeader
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.roster import Roster
from p2pfl_gossip.topology import BaseGraph, OnePeerExponential, Ring, Star, Topology

DEADLINE_S = 10.0


def roster_of(n: int) -> Roster:
    return Roster(PeerId(f"peer-{index}") for index in range(n))


def make(kind: Any, n: int, index: int, **parameters: Any) -> Any:
    return kind(
        index=index,
        roster=roster_of(n),
        length=2,
        dtype=np.float32,
        deadline_s=DEADLINE_S,
        desk=Desk(),
        **parameters,
    )


def dsgd(topology: Topology, index: int) -> Dsgd:
    machine = make(Dsgd, topology.peer_count, index, topology=topology)
    assert isinstance(machine, Dsgd)
    return machine


def model(*values: float) -> Any:
    return np.array(values, np.float32)


def receivers(actions: list[Action]) -> list[str]:
    return [action.receiver for action in actions if isinstance(action, SendBulk)]


def hear(machine: Any, sender: int, round: int, *values: float, weight: float = 1.0) -> Any:
    header = VectorHeader(round, weight)
    assert machine.body_bytes(sender, header) == 8
    return machine.on_body(0.0, sender, header, model(*values))


def test_a_round_sends_to_the_neighbours_and_mixes_what_they_send() -> None:
    machine = dsgd(Ring(5), 0)
    own = model(3, 0)
    actions = machine.begin(100.0, 0, own, 1.0)
    assert receivers(actions) == ["peer-1", "peer-4"]
    assert all(action.parts == (own,) for action in actions[:2] if isinstance(action, SendBulk))
    timer = actions[2]
    assert isinstance(timer, SetTimer)
    assert timer.at_s == 110.0
    assert machine.partners(0) == (1, 4)
    assert hear(machine, 4, 0, 6, 3) == []
    assert machine.outcome is None
    assert hear(machine, 1, 0, 0, 3) == [CancelTimer(timer.ticket)]
    outcome = machine.outcome
    assert outcome is not None
    assert outcome.vector.tolist() == [3, 2]
    assert outcome.vector.dtype == np.float32
    assert not outcome.vector.flags.writeable
    assert (outcome.expected, outcome.contributors, outcome.complete) == (3, 3, True)
    assert own.tolist() == [3, 0]


def test_metropolis_hastings_weights_are_used() -> None:
    machine = dsgd(Star(4), 1)  # A leaf: the hub has three neighbours, so both ends weigh 1/4.
    machine.begin(0.0, 0, model(4, 8), 1.0)
    hear(machine, 0, 0, 0, 0)
    assert machine.outcome is not None
    assert machine.outcome.vector.tolist() == [3, 6]


def test_an_absent_neighbour_costs_one_deadline_and_its_weight_stays_at_home() -> None:
    machine = dsgd(Ring(5), 0)
    *_, timer = machine.begin(0.0, 0, model(3, 0), 1.0)
    assert isinstance(timer, SetTimer)
    hear(machine, 1, 0, 0, 3)
    assert machine._desk.on_timer(10.0, timer.ticket) == []
    outcome = machine.outcome
    assert outcome is not None
    np.testing.assert_allclose(outcome.vector, [2, 1], rtol=1e-6)
    assert (outcome.expected, outcome.contributors, outcome.complete) == (3, 2, True)


def test_epidemic_learning_divides_by_those_that_came() -> None:
    machine = make(EpidemicLearning, 6, 2, fanout=2, seed=b"s")
    round = next(r for r in range(100) if len(machine.senders(r)) == 3)
    first, _, third = machine.senders(round)
    *sends, timer = machine.begin(0.0, round, model(3, 0), 1.0)
    assert len(receivers(sends)) == 2
    hear(machine, third, round, 6, 0)
    hear(machine, first, round, 0, 3)
    machine._desk.on_timer(10.0, timer.ticket)
    assert machine.outcome.vector.tolist() == [3, 1]
    assert (machine.outcome.expected, machine.outcome.contributors) == (4, 3)


def test_weights_of_models_count() -> None:
    machine = dsgd(Ring(2), 0)
    machine.begin(0.0, 0, model(0, 8), 3.0)
    hear(machine, 1, 0, 4, 0, weight=1.0)
    assert machine.outcome is not None
    assert machine.outcome.vector.tolist() == [1, 6]


def test_neighbours_that_are_gone_are_not_waited_for() -> None:
    machine = dsgd(Ring(5), 0)
    machine.begin(0.0, 0, model(3, 0), 1.0)
    assert machine.on_peer_down(0.0, 1) == []
    machine.on_peer_down(0.0, 4)
    outcome = machine.outcome
    assert outcome is not None
    assert outcome.vector.tolist() == [3, 0]
    assert (outcome.expected, outcome.contributors) == (3, 1)
    assert not outcome.complete
    assert outcome.unreachable == 2


def test_neighbours_that_are_past_the_round_are_named() -> None:
    machine = dsgd(Ring(5), 0)
    machine.begin(0.0, 0, model(3, 0), 1.0)
    machine.on_past(0.0, 4)
    machine.on_past(0.0, 4)
    machine.on_past(0.0, 2)  # No neighbour of ours.
    assert machine.outcome is None
    hear(machine, 1, 0, 0, 0)
    assert machine.outcome is not None
    assert machine.outcome.past == (4,)


def test_on_a_directed_graph_nobody_is_awaited_once_all_receivers_are_past() -> None:
    machine = dsgd(OnePeerExponential(8), 0)
    actions = machine.begin(0.0, 0, model(3, 0), 1.0)
    assert receivers(actions) == ["peer-7"]
    assert machine.senders(0) == (1,)
    machine.on_past(0.0, 7)
    assert machine.outcome is not None
    assert machine.outcome.past == (7,)
    assert not machine.outcome.complete


def test_on_a_directed_graph_being_cut_off_shows_at_the_deadline() -> None:
    machine = dsgd(OnePeerExponential(8), 0)
    *_, timer = machine.begin(0.0, 0, model(3, 0), 1.0)
    assert isinstance(timer, SetTimer)
    machine.on_peer_down(0.0, 7)
    assert machine.outcome is None  # Peer 1 may have sent: it needs no link of ours.
    machine._desk.on_timer(10.0, timer.ticket)
    assert machine.outcome is not None
    assert machine.outcome.unreachable == 1


def test_a_model_of_a_later_round_tells_that_its_sender_has_left_ours() -> None:
    machine = dsgd(Ring(5), 0)
    machine.begin(0.0, 0, model(3, 0), 1.0)
    hear(machine, 1, 0, 0, 3)
    hear(machine, 4, 1, 9, 9)
    assert machine.outcome is not None
    np.testing.assert_allclose(machine.outcome.vector, [2, 1], rtol=1e-6)
    machine.outcome = None
    machine.begin(0.0, 1, model(0, 0), 1.0)
    hear(machine, 1, 1, 0, 0)
    np.testing.assert_allclose(machine.outcome.vector, [3, 3])


def test_models_that_came_early_end_a_round_at_once() -> None:
    machine = dsgd(Ring(5), 0)
    hear(machine, 4, 0, 6, 3)
    hear(machine, 1, 0, 0, 3)
    actions = machine.begin(0.0, 0, model(3, 0), 1.0)
    assert receivers(actions) == ["peer-1", "peer-4"]
    assert not any(isinstance(action, SetTimer) for action in actions)
    assert machine.outcome is not None
    assert machine.outcome.vector.tolist() == [3, 2]


def test_a_round_without_neighbours_is_complete() -> None:
    graph = BaseGraph(3, 1)
    idle = next(
        (round, peer)
        for round in range(graph.period)
        for peer in range(3)
        if not graph.neighbourhood(round, peer).in_neighbours
    )
    machine = dsgd(graph, idle[1])
    assert machine.begin(0.0, idle[0], model(3, 0), 1.0) == []
    assert machine.outcome is not None
    assert (machine.outcome.expected, machine.outcome.complete) == (1, True)


def test_a_round_that_was_given_up_can_be_done_again() -> None:
    machine = dsgd(Ring(5), 0)
    machine.begin(0.0, 0, model(3, 0), 1.0)
    hear(machine, 1, 0, 0, 3)
    assert len(machine.abandon()) == 1
    assert machine.on_past(0.0, 4) == machine.on_peer_down(0.0, 4) == []
    hear(machine, 4, 0, 6, 3)
    machine.begin(0.0, 0, model(3, 0), 1.0)
    assert machine.outcome is not None
    assert machine.outcome.vector.tolist() == [3, 2]


def test_peers_with_the_same_neighbourhood_end_with_the_same_bits() -> None:
    rng = np.random.default_rng(0)
    models = [rng.normal(size=2).astype(np.float32) for _ in range(3)]
    results = []
    for index in range(3):
        machine = dsgd(Ring(3), index)
        machine.begin(0.0, 0, models[index], 1.0)
        for other in (2, 1, 0):
            if other != index:
                hear(machine, other, 0, *models[other])
        assert machine.outcome is not None
        results.append(machine.outcome.vector.tobytes())
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize(
    ("sender", "header", "reason"),
    [
        (2, VectorHeader(0, 1.0), "not_a_neighbour"),
        (0, VectorHeader(0, 1.0), "not_a_neighbour"),
        (1, VectorHeader(0, 0.0), "weight_out_of_range"),
        (1, VectorHeader(0, -1.0), "weight_out_of_range"),
        (1, VectorHeader(0, float("inf")), "weight_out_of_range"),
        (1, VectorHeader(0, 1e308), "weight_out_of_range"),
        (1, VectorHeader(0, float("nan")), "weight_out_of_range"),
        (1, GlobalModelHeader(0), "unexpected_message"),
    ],
)
def test_headers_that_a_peer_may_not_send(sender: int, header: Any, reason: str) -> None:
    machine = dsgd(Ring(5), 0)
    machine.begin(0.0, 0, model(3, 0), 1.0)
    with pytest.raises(RemoteProtocolError, match=f"^{reason}$"):
        machine.body_bytes(sender, header)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1.1e30, -1.1e30])
def test_models_with_impossible_entries_are_refused(value: float) -> None:
    machine = dsgd(Ring(5), 0)
    machine.begin(0.0, 0, model(3, 0), 1.0)
    with pytest.raises(RemoteProtocolError, match=r"^entry_out_of_range$"):
        hear(machine, 1, 0, 0, value)
    hear(machine, 1, 0, 0, 3)
    hear(machine, 4, 0, 6, 3)
    assert machine.outcome is not None
    assert machine.outcome.vector.tolist() == [3, 2]


def test_a_second_model_is_not_wanted() -> None:
    machine = dsgd(Ring(5), 0)
    machine.begin(0.0, 0, model(3, 0), 1.0)
    hear(machine, 1, 0, 0, 3)
    assert machine.body_bytes(1, VectorHeader(0, 1.0)) is None
    # Two may have been under way at once.
    assert machine.on_body(0.0, 1, VectorHeader(0, 1.0), model(99, 99)) == []
    hear(machine, 4, 0, 6, 3)
    assert machine.outcome is not None
    assert machine.outcome.vector.tolist() == [3, 2]


def test_misuse_by_the_own_peer_is_an_error() -> None:
    machine = dsgd(Ring(5), 0)
    with pytest.raises(LocalProtocolError, match=r"float32\[2\]"):
        machine.begin(0.0, 0, model(1, 2, 3), 1.0)
    with pytest.raises(LocalProtocolError, match=r"float32\[2\]"):
        machine.begin(0.0, 0, np.zeros(2), 1.0)
    with pytest.raises(RemoteProtocolError, match=r"^unexpected_message$"):
        machine.on_message(0.0, 1, VectorHeader(0, 1.0))


def test_federated_averaging_weighs_models_and_sends_the_mean_back() -> None:
    server, client = make(make_fedavg, 3, 0), make(make_fedavg, 3, 1)
    own = model(0, 4)
    (send, timer) = client.begin(0.0, 0, own, 3.0)
    assert send.receiver == "peer-0"
    assert timer.at_s == 2 * DEADLINE_S  # The server's deadline, and the way back.
    server.begin(0.0, 0, model(4, 0), 1.0)
    hear(server, 1, 0, 0, 4, weight=3.0)
    assert server.outcome is None
    actions = hear(server, 2, 0, 4, 0, weight=4.0)
    assert server.outcome.vector.tolist() == [2.5, 1.5]
    assert receivers(actions) == ["peer-1", "peer-2"]
    assert client.body_bytes(0, actions[0].header) == 8
    client.on_body(0.0, 0, actions[0].header, actions[0].parts[0])
    assert client.outcome.vector.tolist() == [2.5, 1.5]
    assert (client.outcome.expected, client.outcome.contributors) == (2, 2)


def test_a_client_that_is_late_takes_the_mean_and_sends_nothing() -> None:
    client = make(make_fedavg, 3, 1)
    client.on_body(0.0, 0, GlobalModelHeader(0), model(1, 2))
    assert client.begin(0.0, 0, model(9, 9), 1.0) == []
    assert client.outcome.vector.tolist() == [1, 2]


def test_a_client_without_a_server_keeps_its_own_model() -> None:
    client = make(make_fedavg, 3, 1)
    client.begin(0.0, 0, model(9, 9), 1.0)
    client.on_peer_down(0.0, 0)
    assert client.outcome.vector.tolist() == [9, 9]
    assert not client.outcome.complete


def test_clients_do_not_talk_to_each_other() -> None:
    client = make(make_fedavg, 3, 1)
    with pytest.raises(RemoteProtocolError, match=r"^not_a_neighbour$"):
        client.body_bytes(2, GlobalModelHeader(0))
    with pytest.raises(RemoteProtocolError, match=r"^unexpected_message$"):
        client.body_bytes(2, VectorHeader(0, 1.0))
