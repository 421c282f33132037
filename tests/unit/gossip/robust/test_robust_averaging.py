# mypy: disable-error-code="attr-defined,union-attr,arg-type"
"""Robust averaging on graphs, in cohorts and with a server: whose models count, and when."""

from typing import Any

import numpy as np
import pytest

from p2pfl.group.averaging import AveragingError, require_possible
from p2pfl.group.settings import CohortSettings, DsgdSettings, chosen_algorithm
from p2pfl_gossip.actions import CancelTimer, CancelWork, LocalProtocolError, PeerId, SendBulk, Work
from p2pfl_gossip.averaging.fedavg import FedAvgServer, GlobalModelHeader, make_fedavg
from p2pfl_gossip.averaging.neighbour_averaging import VectorHeader
from p2pfl_gossip.averaging.robust.combining import perform
from p2pfl_gossip.averaging.robust.registry import RobustRule
from p2pfl_gossip.averaging.robust_neighbours import RobustNeighbours
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.roster import Roster
from p2pfl_gossip.topology import Complete, Ring, Topology
from p2pfl_simulations.scenario import ScenarioError, make_scenario


def common(n: int, index: int) -> dict[str, Any]:
    roster = Roster(PeerId(f"peer-{number}") for number in range(n))
    settings = {"length": 2, "dtype": np.float32, "deadline_s": 10.0, "desk": Desk()}
    return {"index": index, "roster": roster, **settings}


def machine(topology: Topology, rule: RobustRule, index: int = 0) -> Any:
    return RobustNeighbours(
        rule=rule,
        neighbourhood_of=lambda round_: topology.neighbourhood(round_, index),
        **common(topology.peer_count, index),
    )


def model(*values: float) -> Any:
    return np.array(values, np.float32)


def hear(it: Any, sender: int, *values: float, round_: int = 0) -> Any:
    header = VectorHeader(round_, 1.0)
    assert it.body_bytes(sender, header) == 8
    return it.on_body(0.0, sender, header, model(*values))


def work_of(actions: Any) -> Work:
    (work,) = [action for action in actions if isinstance(action, Work)]
    return work


def finish(it: Any, work: Work) -> Any:
    return it._desk.on_work_done(1.0, work.ticket, perform(work.job))


def test_models_go_whole_to_all_and_the_rule_works_on_all_of_them() -> None:
    it = machine(Complete(5), RobustRule("median", 1))
    sends = it.begin(0.0, 0, model(1, 1), 1.0)
    assert [action.receiver for action in sends if isinstance(action, SendBulk)] == [
        f"peer-{number}" for number in (1, 2, 3, 4)
    ]
    assert [hear(it, n, n, 1) for n in (1, 2, 3)] == [[], [], []]
    actions = hear(it, 4, 1e9, -1e9)
    assert isinstance(actions[0], CancelTimer)
    assert it.outcome is None
    assert finish(it, work_of(actions)) == []
    assert it.outcome.vector.tolist() == [2, 1]
    assert (it.outcome.expected, it.outcome.contributors, it.outcome.complete) == (5, 5, True)


def test_weights_that_others_claim_do_not_count() -> None:
    it = machine(Complete(3), RobustRule("trimmed-mean", 1))
    it.begin(0.0, 0, model(0, 0), 1.0)
    hear(it, 1, 1, 1)
    header = VectorHeader(0, 1e15)
    it.body_bytes(2, header)
    finish(it, work_of(it.on_body(0.0, 2, header, model(9, 9))))
    assert it.outcome.vector.tolist() == [1, 1]


def test_too_few_models_leave_a_peer_with_its_own() -> None:
    it = machine(Complete(5), RobustRule("median", 2))
    *_, timer = it.begin(0.0, 0, model(1, 1), 1.0)
    hear(it, 1, 9, 9)
    hear(it, 2, 9, 9)
    assert it._desk.on_timer(10.0, timer.ticket) == []
    outcome = it.outcome
    assert outcome.vector.tolist() == [1, 1]
    assert (outcome.expected, outcome.contributors, outcome.complete) == (5, 1, False)


def test_what_comes_while_the_rule_works_counts_no_more() -> None:
    it = machine(Complete(4), RobustRule("median", 1))
    *_, timer = it.begin(0.0, 0, model(1, 1), 1.0)
    hear(it, 1, 2, 2)
    hear(it, 2, 3, 3)
    work = work_of(it._desk.on_timer(10.0, timer.ticket))
    assert hear(it, 3, 4, 4) == []
    assert it.on_peer_down(10.5, 3) == it.on_past(10.5, 3) == []
    finish(it, work)
    assert it.outcome.vector.tolist() == [2, 2]
    assert it.outcome.contributors == 3


def test_an_exchange_that_is_given_up_cancels_its_rule_and_the_next_begins_anew() -> None:
    it = machine(Complete(3), RobustRule("median", 1))
    it.begin(0.0, 0, model(1, 1), 1.0)
    hear(it, 1, 2, 2)
    work = work_of(hear(it, 2, 3, 3))
    assert it.abandon() == [CancelWork(work.ticket)]
    assert it._desk.on_work_done(1.0, work.ticket, perform(work.job)) == []
    assert it.outcome is None
    it.begin(2.0, 1, model(5, 5), 1.0)
    hear(it, 1, 6, 6, round_=1)
    finish(it, work_of(hear(it, 2, 7, 7, round_=1)))
    assert it.outcome.vector.tolist() == [6, 6]


def test_a_rule_that_fails_on_models_in_bounds_is_a_fault_of_ours() -> None:
    it = machine(Complete(3), RobustRule("median", 1))
    it.begin(0.0, 0, model(1, 1), 1.0)
    hear(it, 1, 2, 2)
    work = work_of(hear(it, 2, 3, 3))
    with pytest.raises(LocalProtocolError, match="cannot be averaged"):
        it._desk.on_work_failed(1.0, work.ticket, "no memory")


def test_without_an_update_others_are_averaged_and_a_centre_is_no_vote() -> None:
    it = machine(Complete(4), RobustRule("median", 1))
    assert it.begin_without_update(0.0, 0, model(50, 50))[:-1] == []
    hear(it, 1, 1, 1)
    hear(it, 2, 2, 2)
    finish(it, work_of(hear(it, 3, 3, 3)))
    assert it.outcome.vector.tolist() == [2, 2]
    assert it.outcome.contributors == 3


def test_on_a_graph_differences_are_clipped_by_its_weights() -> None:
    it = machine(Ring(5), RobustRule("self-centred-clipping", 1, radius=1.5))
    it.begin(0.0, 0, model(0, 0), 1.0)
    hear(it, 1, 1, 0)
    work = work_of(hear(it, 4, 0, 1e6))
    assert work.job.own == 0
    assert sum(work.job.weights) == pytest.approx(1)
    finish(it, work)
    np.testing.assert_allclose(it.outcome.vector, [1 / 3, 0.5], rtol=1e-6)


def test_a_server_averages_by_a_rule_and_sends_what_came_of_it() -> None:
    server: Any = make_fedavg(**common(4, 0), rule=RobustRule("median", 1))
    assert isinstance(server, FedAvgServer)
    server.begin(0.0, 0, model(1, 1), 1.0)
    hear(server, 1, 2, 2)
    hear(server, 2, 3, 3)
    sent = finish(server, work_of(hear(server, 3, 1e9, 1e9)))
    assert server.outcome.vector.tolist() == [2.5, 2.5]
    assert [it.header for it in sent] == [GlobalModelHeader(0)] * 3


def test_a_server_with_too_few_models_sends_nothing() -> None:
    server: Any = make_fedavg(**common(4, 0), rule=RobustRule("median", 1))
    *_, timer = server.begin(0.0, 0, model(1, 1), 1.0)
    hear(server, 1, 2, 2)
    assert server._desk.on_timer(10.0, timer.ticket) == []
    assert server.outcome.vector.tolist() == [1, 1]
    assert not server.outcome.complete


def scenario(**averaging: Any) -> Any:
    learning = {"task": "digits", "training": {"steps": 1}}
    return make_scenario({"peers": 12, "learning": learning, "averaging": averaging})


GRAPH = {"algorithm": "dsgd", "topology": {"kind": "regular", "degree": 4}}
PLAIN = {"algorithm": "cohorts", "masking": "none", "cohort_size": 12}


@pytest.mark.parametrize(
    ("averaging", "told"),
    [
        ({"robust": "median"}, "masks hide them: the two are never had together"),
        ({"algorithm": "group", "robust": "median"}, "masks hide them: the two are never had"),
        (
            {"algorithm": "cohorts", "masking": "modelled", "robust": "median"},
            "Set masking to 'none'",
        ),
        ({"algorithm": "push-sum", "robust": "median"}, "'cohorts', 'dsgd' and 'fedavg'"),
        ({**PLAIN, "robust": "medain"}, "did you mean 'median'"),
        ({**PLAIN, "robust": "median", "weights": "samples"}, "a liar may claim any weight"),
        ({**PLAIN, "robust": {"rule": "median", "radius": 1.0}}, "takes no radius"),
        ({**PLAIN, "robust": {"rule": "median", "liars": 0}}, "liars"),
        ({**GRAPH, "robust": {"rule": "clipped-sum", "first": "nnm"}}, "set first to 'none'"),
    ],
)
def test_what_cannot_be_is_refused_at_the_door(averaging: dict[str, Any], told: str) -> None:
    with pytest.raises(ScenarioError, match=told):
        scenario(**averaging)


@pytest.mark.parametrize(
    ("averaging", "told"),
    [
        ({**PLAIN, "robust": {"rule": "median", "liars": 6}}, "to at most 5"),
        ({**PLAIN, "cohort_size": 5, "robust": {"rule": "krum", "liars": 2}}, "to at most 1"),
        ({**GRAPH, "robust": {"rule": "clipped-sum", "liars": 2}}, "to at most 1"),
        ({**GRAPH, "topology": {"kind": "exponential"}, "robust": "median"}, "average more models"),
        ({**PLAIN, "robust": "self-centred-clipping"}, "set averaging.algorithm to 'dsgd'"),
    ],
)
def test_too_many_liars_for_so_few_models_are_refused(averaging: Any, told: str) -> None:
    settings = scenario(**averaging).averaging
    with pytest.raises(AveragingError, match=told):
        require_possible(settings, 12, 3, b"seed")


def test_what_can_be_is_taken() -> None:
    for averaging in ({**PLAIN, "robust": "krum"}, {**GRAPH, "robust": "clipped-sum"}):
        require_possible(scenario(**averaging).averaging, 12, 3, b"seed")
    assert isinstance(scenario(**GRAPH, robust="median").averaging, DsgdSettings)


def test_a_rule_alone_asks_for_cohorts() -> None:
    assert chosen_algorithm({"robust": "median", "masking": "none"}, 32) == "cohorts"
    table = {"masking": "none", "robust": {"rule": "krum", "liars": 1}}
    assert isinstance(scenario(**table).averaging, CohortSettings)
