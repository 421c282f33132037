"""Push-sum: shares, running sums, and what loss, restarts and liars do to them."""

from typing import Any

import numpy as np
import pytest

from p2pfl_gossip.actions import PeerId, RemoteProtocolError, SendBulk, SetTimer
from p2pfl_gossip.averaging.push_sum import PushSum, RunningSumHeader
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.roster import Roster
from p2pfl_gossip.topology import Epidemic, OnePeerExponential, Ring, Star, Topology, TopologyError


def machine_of(topology: Topology, index: int, dtype: Any = np.float32) -> PushSum:
    return PushSum(
        topology=topology,
        index=index,
        roster=Roster(PeerId(f"peer-{peer}") for peer in range(topology.peer_count)),
        length=2,
        dtype=dtype,
        deadline_s=10.0,
        desk=Desk(),
    )


def model(*values: float) -> Any:
    return np.array(values, np.float32)


def begin(machine: PushSum, round: int, vector: Any, weight: float = 1.0) -> list[SendBulk]:
    machine.outcome = None
    actions = machine.begin(0.0, round, vector, weight)
    return [action for action in actions if isinstance(action, SendBulk)]


def hear(
    machine: PushSum, sender: int, round: int, *total: float, weight: float, since: int = 0
) -> None:
    header = RunningSumHeader(round, since, weight)
    assert machine.body_bytes(sender, header) == 16
    # As it comes from the wire: bytes, seen as the peer's own kind of float.
    machine.on_body(0.0, sender, header, np.array(total).view(np.float32))


def time_out(machine: PushSum) -> None:
    (ticket,) = machine._desk.open
    machine._desk.on_timer(10.0, ticket)


def held(machine: PushSum) -> tuple[list[float], float]:
    assert machine.mass is not None
    return machine.mass[0].tolist(), machine.mass[1]


def test_a_round_keeps_one_share_and_sends_the_others() -> None:
    machine = machine_of(Ring(5), 0)
    first, second = begin(machine, 0, model(3, 6))
    assert [first.receiver, second.receiver] == ["peer-1", "peer-4"]
    assert first.header == RunningSumHeader(0, 0, 1 / 3)
    (body,) = first.parts
    assert body.dtype == np.float64  # type: ignore[union-attr]
    np.testing.assert_allclose(body, [1, 2])  # type: ignore[arg-type]
    assert not body.flags.writeable  # type: ignore[union-attr]
    assert first.size_bytes == 16
    assert first.parts is second.parts
    hear(machine, 1, 0, 4.0, 0.0, weight=0.5)
    hear(machine, 4, 0, 0.0, 1.0, weight=0.5)
    assert machine.outcome is not None
    np.testing.assert_allclose(machine.outcome.vector, [5 / (4 / 3), 3 / (4 / 3)], rtol=1e-6)
    assert machine.outcome.vector.dtype == np.float32


def test_sums_run_so_that_the_next_message_brings_what_was_lost() -> None:
    machine = machine_of(Ring(2), 0, np.float64)
    begin(machine, 0, np.array([4.0, 0.0]))
    time_out(machine)  # The neighbour's message of round 0, (1, 1) of weight 1/2, was lost.
    assert machine.outcome is not None
    assert machine.outcome.vector.tolist() == [4, 0]
    assert held(machine) == ([2, 0], 0.5)
    (sent,) = begin(machine, 1, machine.outcome.vector)
    assert sent.header == RunningSumHeader(1, 0, 0.75)
    assert sent.parts[0].tolist() == [3, 0]  # type: ignore[index]
    hear(machine, 1, 1, 2.0, 2.0, weight=1.0)
    assert held(machine) == ([3, 2], 1.25)


def test_what_a_peer_trained_is_its_estimate_however_light_it_is() -> None:
    machine = machine_of(Ring(2), 0, np.float64)
    begin(machine, 0, np.array([4.0, 0.0]))
    time_out(machine)
    begin(machine, 1, np.array([5.0, 1.0]))  # From the estimate (4, 0), of mass (2, 0) and 1/2.
    assert held(machine) == ([1.25, 0.25], 0.25)
    time_out(machine)
    assert machine.outcome is not None
    assert machine.outcome.vector.tolist() == [5, 1]


def test_on_irregular_graphs_shares_are_mixing_weights_so_that_weights_stay_one() -> None:
    hub, leaf = machine_of(Star(4), 0, np.float64), machine_of(Star(4), 1, np.float64)
    sent_by_hub = begin(hub, 0, np.array([4.0, 0.0]))
    (sent_by_leaf,) = begin(leaf, 0, np.array([0.0, 8.0]))
    assert [send.header for send in sent_by_hub] == [RunningSumHeader(0, 0, 0.25)] * 3
    assert all(send.parts is sent_by_hub[0].parts for send in sent_by_hub)
    assert sent_by_leaf.header == RunningSumHeader(0, 0, 0.25)
    hear(leaf, 0, 0, 1.0, 0.0, weight=0.25)
    assert held(leaf) == ([1, 6], 1)


def test_weights_of_models_scale_mass() -> None:
    machine = machine_of(Ring(2), 0, np.float64)
    begin(machine, 0, np.array([4.0, 0.0]), weight=6.0)
    assert held(machine) == ([12, 0], 3)
    time_out(machine)
    begin(machine, 1, np.array([5.0, 0.0]), weight=6.0)
    assert held(machine) == ([7.5, 0], 1.5)


def test_on_a_graph_that_varies_every_link_has_its_own_sum() -> None:
    machine = machine_of(OnePeerExponential(4), 0, np.float64)
    (first,) = begin(machine, 0, np.array([8.0, 0.0]))
    time_out(machine)
    (second,) = begin(machine, 1, np.array([8.0, 0.0]))
    time_out(machine)
    (third,) = begin(machine, 2, np.array([8.0, 0.0]))
    assert [first.receiver, second.receiver, third.receiver] == ["peer-3", "peer-2", "peer-3"]
    assert [sent.header.weight for sent in (first, second, third)] == [0.5, 0.25, 0.625]  # type: ignore[attr-defined]


def test_a_neighbour_that_restarted_counts_from_zero() -> None:
    machine = machine_of(Ring(2), 0, np.float64)
    begin(machine, 0, np.array([0.0, 0.0]))
    hear(machine, 1, 0, 2.0, 2.0, weight=0.5)
    for round in range(1, 3):
        begin(machine, round, machine._estimate)
        time_out(machine)
    before = held(machine)
    begin(machine, 3, machine._estimate)
    hear(machine, 1, 3, 1.0, 1.0, weight=0.5, since=3)
    assert held(machine) == ([before[0][0] / 2 + 1, before[0][1] / 2 + 1], before[1] / 2 + 0.5)


def test_one_that_restarted_takes_a_running_links_first_sum_as_zero() -> None:
    machine = machine_of(Ring(2), 0, np.float64)
    (sent,) = begin(machine, 7, np.array([4.0, 0.0]))
    assert sent.header == RunningSumHeader(7, 7, 0.5)
    hear(machine, 1, 7, 90.0, 90.0, weight=4.5)
    assert held(machine) == ([2, 0], 0.5)
    begin(machine, 8, machine._estimate)
    hear(machine, 1, 8, 91.0, 92.0, weight=5.0)
    assert held(machine) == ([2, 2], 0.75)


def test_a_sum_that_shrinks_changes_nothing() -> None:
    machine = machine_of(Ring(2), 0, np.float64)
    begin(machine, 0, np.array([0.0, 0.0]))
    hear(machine, 1, 0, 2.0, 2.0, weight=0.5)
    begin(machine, 1, machine._estimate)
    before = held(machine)
    hear(machine, 1, 1, 1.0, 1.0, weight=0.25)
    assert held(machine) == before
    begin(machine, 2, machine._estimate)
    hear(machine, 1, 2, 3.0, 3.0, weight=0.75)
    assert held(machine) == ([before[0][0] / 2 + 1, before[0][1] / 2 + 1], before[1] / 2 + 0.25)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (RunningSumHeader(3, 4, 1.0), "since_out_of_range"),
        (RunningSumHeader(3, 0, 0.0), "weight_out_of_range"),
        (RunningSumHeader(3, 0, float("nan")), "weight_out_of_range"),
    ],
)
def test_headers_out_of_bounds(header: RunningSumHeader, reason: str) -> None:
    with pytest.raises(RemoteProtocolError, match=f"^{reason}$"):
        machine_of(Ring(2), 0).body_bytes(1, header)


def test_sums_that_are_not_finite_are_refused() -> None:
    machine = machine_of(Ring(2), 0)
    begin(machine, 0, model(1, 1))
    with pytest.raises(RemoteProtocolError, match=r"^entry_out_of_range$"):
        hear(machine, 1, 0, 1.0, float("nan"), weight=0.5)


def test_a_peer_that_hears_nobody_does_not_give_all_of_its_mass_away() -> None:
    machine = machine_of(Ring(5), 0)
    vector = model(3, 5)
    for round in range(1500):  # A third is left each time: 3^-1500 is no float.
        begin(machine, round, vector)
        time_out(machine)
        assert machine.outcome is not None
        vector = machine.outcome.vector
    assert vector.tolist() == [3, 5]


def test_mass_that_would_give_no_finite_model_is_not_taken() -> None:
    machine = machine_of(Ring(2), 0)
    begin(machine, 0, model(3, 5), weight=1e-20)
    hear(machine, 1, 0, 1e30, 0.0, weight=1e-20)
    assert machine.outcome is not None
    assert machine.outcome.vector.tolist() == [3, 5]
    assert held(machine)[1] == 5e-21


def test_graphs_that_never_repeat_are_refused() -> None:
    with pytest.raises(TopologyError, match="take a topology that repeats"):
        machine_of(Epidemic(5, 2, b"s"), 0)


def test_the_deadline_is_set_once_for_each_round() -> None:
    machine = machine_of(Ring(2), 0)
    actions = machine.begin(2.0, 0, model(1, 1), 1.0)
    assert [action.at_s for action in actions if isinstance(action, SetTimer)] == [12.0]
