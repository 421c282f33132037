"""What operators do by plan in simulated groups: it comes about, and checkers find nothing."""

from typing import Any

import pytest

from p2pfl.learner.learner import make_learner
from p2pfl_gossip.events import EpochBegun, Left, MemberDeparted, Opened
from p2pfl_gossip.ledger.approving import kind_of_change
from p2pfl_gossip.ledger.entries import EntryStep
from p2pfl_gossip.ledger.member import GroupMember
from p2pfl_gossip.ledger.privacy import Privacy, read_feature
from p2pfl_gossip.ledger.record import read_record, write_record
from p2pfl_gossip.masked_sum.cohort import liars_max_of
from p2pfl_gossip.peer_state import State
from p2pfl_gossip.records import replaced
from p2pfl_simulations.checkers import all_checkers
from p2pfl_simulations.checkers.progress import AllFinish
from p2pfl_simulations.group import ROUNDS_MAX
from p2pfl_simulations.results.cautions import cautions
from p2pfl_simulations.results.participation import OVERDUE_HEIGHTS, overdue_sentence
from p2pfl_simulations.results.summary import summarise
from p2pfl_simulations.scenario import ScenarioError, make_scenario
from p2pfl_simulations.simulation import Simulation


class Reports:
    """Keeps what peers report, by index; ends the world once `is_over` says so."""

    def __init__(self) -> None:
        self.events: list[tuple[int, Any]] = []

    def on_report(self, now_s: float, host: Any, event: Any) -> None:
        self.events.append((host.index, event))

    def on_incident(self, now_s: float, host: Any, kind: str, detail: str) -> None:
        """Nothing."""

    def of(self, kind: type) -> list[int]:
        return sorted({index for index, event in self.events if isinstance(event, kind)})


QUICK: dict[str, Any] = {
    "averaging": {"algorithm": "group", "clip": 65536.0, "masking": "modelled", "deadline_s": 2.0},
    "compute": {"step_s": 0.3},
}
"""Operators look often, and a round takes some seconds."""


def simulate(changes: list[dict[str, Any]], **more: Any) -> tuple[Simulation, Reports]:
    scenario = make_scenario(
        {
            "seed": 5,
            "peers": 7,
            "rounds": 4,
            "learning": {"task": "integers"},
            "averaging": {"algorithm": "group", "clip": 65536.0, "masking": "modelled"},
            "evaluation": {"baselines": []},
            "changes": changes,
            "time_limit_s": 400.0,
        }
        | more
    )
    learner = make_learner(scenario.learning, peer_count=7, seed=5, folder=None)
    reports = Reports()
    checkers = (*all_checkers(), AllFinish())
    simulation = Simulation(
        scenario, learner, lambda _: None, checkers=checkers, observers=(reports,)
    )
    simulation.run()
    assert simulation.operators.is_done
    return simulation, reports


def member(simulation: Simulation, index: int = 0) -> GroupMember:
    machine = simulation.world.hosts[index].machine
    assert isinstance(machine, GroupMember)
    return machine


def test_operators_do_nothing_without_a_plan() -> None:
    simulation, reports = simulate([])
    assert reports.of(EpochBegun) == []
    assert member(simulation).round == 4


def test_peers_give_a_group_more_rounds_after_its_end() -> None:
    simulation, reports = simulate([{"kind": "extend", "at_s": 200.0, "rounds": 3}])
    assert reports.of(EpochBegun) == list(range(7))
    assert member(simulation).round == 7


def test_more_rounds_than_the_bounds_allow_take_governance_keys() -> None:
    simulation, _ = simulate([])
    charter = member(simulation).epoch.charter
    for rounds, kind in ((ROUNDS_MAX, "running"), (ROUNDS_MAX + 1, "founding")):
        following = replaced(charter, present=charter.digest(), rounds=rounds)
        assert kind_of_change(charter, following) == kind


def test_who_signs_later_takes_part_later() -> None:
    changes = [{"kind": "amend", "at_s": 1.0, "peers": [5], "duration_s": 30.0}]
    simulation, reports = simulate(changes, rounds=30)
    assert reports.of(EpochBegun) == list(range(7))
    assert member(simulation, 5).proposals.rest == 0


def test_whose_signature_was_lost_signs_again() -> None:
    """It was handed in where nobody was up, and the charter came without it."""
    changes = [{"kind": "amend", "at_s": 5.0}]
    crash = {"kind": "crash", "peers": [5, 6], "start_s": 4.0, "duration_s": 5.0}
    averaging = QUICK["averaging"] | {"deadline_s": 6.0}
    more = QUICK | {"seed": 1, "averaging": averaging, "faults": {"planned": [crash]}}
    simulation, reports = simulate(changes, rounds=30, **more)
    assert reports.of(EpochBegun) == list(range(7))
    assert [member(simulation, index).proposals.rest for index in range(7)] == [0] * 7


def test_one_leaves_another_is_expelled_and_the_record_is_in_order() -> None:
    changes = [
        {"kind": "leave", "at_s": 1.0, "peers": [2]},
        {"kind": "expel", "at_s": 6.0, "peers": [6]},
    ]
    simulation, reports = simulate(changes, rounds=12)
    assert {2, 6} <= set(reports.of(Left))
    assert 2 in reports.of(MemberDeparted)
    history = member(simulation).history
    assert [epoch.size for epoch in history.epochs] == [7, 6]
    assert read_record(write_record(history)).head.head == history.head.head


def test_members_get_other_governance_keys_and_leave_by_them() -> None:
    changes = [
        {"kind": "rekey", "at_s": 1.0, "peers": [1, 2]},
        {"kind": "leave", "at_s": 40.0, "peers": [2]},
        {"kind": "amend", "at_s": 60.0, "peers": [1], "duration_s": 10.0},
    ]
    simulation, reports = simulate(changes, rounds=30)
    history = member(simulation).history
    first, rekeyed = (epoch.charter.members for epoch in history.epochs[:2])
    changed = [i for i in range(7) if first[i].governance != rekeyed[i].governance]
    assert changed == [1, 2]
    assert reports.of(MemberDeparted)
    assert len(history.epochs) == 3
    assert read_record(write_record(history)).head.head == history.head.head


def is_one_history(simulation: Simulation) -> bool:
    """Whether those that are there end with one model, and each one's record is in order."""
    hosts = [host.index for host in simulation.world.hosts if host.is_there]
    members = [member(simulation, index) for index in hosts]
    active = [it for it in members if it.state is not State.LEFT]
    models = {it.vector.tobytes() for it in active}
    heights = {read_record(write_record(it.history)).head.entry.height for it in active}
    return len(active) >= 5 and len(models) == len(heights) == 1


def test_a_peer_joins_with_a_charter_and_a_head_alone() -> None:
    changes = [{"kind": "admit", "at_s": 1.0, "peers": [6], "duration_s": 2.0}]
    simulation, reports = simulate(changes, rounds=8, **QUICK)
    newcomer = member(simulation, 6)
    assert newcomer.state is State.FINISHED
    assert [epoch.size for epoch in newcomer.history.epochs] == [6, 7]
    assert [index for index, event in reports.events if event == Opened()][-1] == 6
    (share,) = [it for it in simulation.result().participation or () if it.peer == 6]
    assert 0 < share.heights_in <= share.heights < 8
    assert is_one_history(simulation)


@pytest.mark.parametrize("stolen", [False, True])
def test_a_member_goes_on_by_another_key_on_another_computer(stolen: bool) -> None:
    """Whose old key runs on elsewhere is a stranger as soon as the charter holds, and stops."""
    changes = [{"kind": "replace", "at_s": 1.0, "peers": [2, 6], "stolen": stolen}]
    simulation, reports = simulate(changes, rounds=6, **QUICK)
    history = member(simulation).history
    first, second = (epoch.charter.members for epoch in history.epochs)
    assert [it.name for it in first] == [it.name for it in second]
    changed = [one.name for one, other in zip(first, second, strict=True) if one != other]
    assert changed == ["peer-2"]
    assert (2 in reports.of(Left)) == stolen
    assert (simulation.world.hosts[2].machine is None) != stolen
    assert is_one_history(simulation)


def test_a_group_goes_back_to_where_an_epoch_began() -> None:
    changes = [
        {"kind": "amend", "at_s": 1.0},
        {"kind": "back", "at_s": 30.0, "epoch": 1},
        {"kind": "admit", "at_s": 32.0, "peers": [6]},
    ]
    simulation, reports = simulate(changes, rounds=6, **QUICK)
    history = member(simulation).history
    ended = history.closings(0)[0].certificate.entry
    assert history.epochs[2].charter.state == ended.state
    assert [event.is_anew for index, event in reports.events if isinstance(event, EpochBegun)]
    assert member(simulation, 6).round == 6
    rows = simulation.result().participation or []
    assert max(row.heights - row.last_height for row in rows) >= OVERDUE_HEIGHTS
    assert overdue_sentence(rows) == ""  # Heights have begun again, and all are in.
    assert is_one_history(simulation)


def test_a_group_rests_while_its_charter_has_lapsed() -> None:
    lapse = [{"kind": "lapse", "at_s": 1.0, "duration_s": 60.0}]
    simulation, _ = simulate(lapse, rounds=3)
    assert member(simulation).round == 3


def test_a_lapsed_charter_stops_all_until_another_one_renews_it() -> None:
    """Nobody's calendar is turned back: only the renewal lets work go on."""
    renew = [{"kind": "renew", "at_s": 1.0, "duration_s": 60.0}]
    simulation, reports = simulate(renew, rounds=3, **QUICK)
    assert reports.of(EpochBegun) == list(range(7))
    history = member(simulation).history
    assert (history.beginning(1).entry.height, history.height) == (0, 3)


def test_a_stolen_key_whose_charter_lapsed_learns_that_another_is_in_its_place() -> None:
    """It was cut off meanwhile. It says nothing but which charters it knows, and stops."""
    changes = [
        {"kind": "replace", "at_s": 1.0, "peers": [2, 6], "stolen": True},
        {"kind": "renew", "at_s": 1.0, "duration_s": 10.0},
    ]
    absent = [{"kind": "absent", "peers": [2], "start_s": 0.1, "duration_s": 60.0}]
    simulation, reports = simulate(changes, rounds=6, **QUICK, faults={"planned": absent})
    assert reports.of(Left) == [2]
    assert member(simulation, 2).round == 0
    assert member(simulation, 6).round == 6


def test_who_begins_long_after_a_renewal_does_not_rest_by_the_charter_before() -> None:
    """On its way through the epochs it comes to one that is over; its operator looks again."""
    changes = [
        {"kind": "renew", "at_s": 1.0, "duration_s": 2.0},
        {"kind": "admit", "at_s": 1.0, "peers": [6], "duration_s": 60.0},
    ]
    simulation, _ = simulate(changes, rounds=40, **QUICK)
    newcomer = member(simulation, 6)
    assert newcomer.proposals.rest == 0
    assert newcomer.state is State.FINISHED


def test_a_group_goes_on_without_a_computer_that_is_lost_for_good() -> None:
    simulation, _ = simulate([{"kind": "lose", "at_s": 1.0, "peers": [3]}], rounds=3)
    assert simulation.world.hosts[3].machine is None
    assert member(simulation).round == 3
    assert len(member(simulation).history.epochs) == 1  # It stays a member, and may come back.


def test_a_plan_is_the_same_each_time() -> None:
    changes = [
        {"kind": "extend", "at_s": 2.0, "rounds": 2},
        {"kind": "amend", "at_s": 2.5},
        {"kind": "revoke", "at_s": 4.0, "peers": [1]},
    ]
    digests = {simulate(changes)[0].world.trace.hexdigest() for _ in range(2)}
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("change", "more", "why"),
    [
        ({"kind": "leave", "at_s": 1.0, "peers": [7]}, {}, "no such peer"),
        ({"kind": "expel", "at_s": 1.0, "peers": [3, 4]}, {}, "one peer is expelled at a time"),
        ({"kind": "admit", "at_s": 1.0}, {}, "admit names the peers that it is for"),
        ({"kind": "lose", "at_s": 1.0}, {}, "lose names the peers that it is for"),
        ({"kind": "admit", "at_s": 1.0, "peers": [6, 6]}, {}, "a peer comes twice"),
        ({"kind": "admit", "at_s": 1.0, "peers": [4, 5, 6]}, {}, "a group of 4 hides nothing"),
        ({"kind": "replace", "at_s": 1.0, "peers": [6]}, {}, "which one takes its place"),
        (
            {"kind": "admit", "at_s": 1.0, "peers": [6]},
            {"faults": {"liars": {"strategy": "silence", "peers": [6]}}},
            "peer 6 comes later, and does not lie",
        ),
        (
            {"kind": "extend", "at_s": 1.0, "rounds": 1},
            {"averaging": {"algorithm": "dsgd", "topology": {"kind": "ring"}}},
            "only a group has a charter",
        ),
    ],
)
def test_plans_that_cannot_be_are_refused(
    change: dict[str, Any], more: dict[str, Any], why: str
) -> None:
    with pytest.raises(ScenarioError, match=why):
        simulate([change], **more)


PRIVATE: dict[str, Any] = {
    "averaging": {"algorithm": "group", "deadline_s": 2.0, "masking": "modelled"},
    "compute": {"step_s": 0.3},
    "rounds": 6,
}
UNITS: dict[str, dict[str, Any]] = {
    "record": {
        "learning": {"task": "breast-cancer"},
        "privacy": {"epsilon": 20.0, "rate": "1/4", "spares": 6, "momentum": 0.5},
    },
    "member": {"privacy": {"epsilon": 20.0, "unit": "member", "spares": 6}},
}


def plans_of(simulation: Simulation) -> list[Privacy]:
    """What each epoch's charter says of privacy, once each certified sum is held against it."""
    history = member(simulation).history
    plans = []
    for epoch in history.epochs:
        said = epoch.charter.privacy
        assert said is not None
        assert epoch.threshold <= said.least == epoch.least <= epoch.size
        assert said.colluding == liars_max_of(epoch.size)
        assert said.table == said.width(epoch.size).digest
        plans.append(said)
    step: EntryStep | None = history.head
    while step is not None and step.entry.round:
        epoch = history.epochs[step.entry.epoch]
        for feature in step.entry.features:
            said = plans[epoch.number]
            assert read_feature(feature.value).sensitivity == said.sensitivity(epoch.size)
            assert len(epoch.unpack(step.entry.members) or ()) >= said.least
        step = history.step(step.entry.base)
    return plans


@pytest.mark.parametrize("unit", UNITS)
def test_in_a_private_group_each_epoch_has_the_shares_of_noise_of_its_members(unit: str) -> None:
    changes = [
        {"kind": "admit", "at_s": 1.0, "peers": [6]},
        {"kind": "expel", "at_s": 16.0, "peers": [2]},
    ]
    simulation, _ = simulate(changes, **PRIVATE | UNITS[unit])
    assert [epoch.size for epoch in member(simulation).history.epochs] == [6, 7, 6]
    assert member(simulation).round == 6
    assert is_one_history(simulation)
    first, second, third = plans_of(simulation)
    assert first.spends == 12 >= second.spends > third.spends > 6
    assert second.rows > first.rows or unit == "member"


@pytest.mark.parametrize("unit", UNITS)
def test_in_a_private_group_noise_stays_where_neither_members_nor_rounds_change(unit: str) -> None:
    """It pays for the rounds that are left, beside as many spares."""
    changes = [{"kind": "renew", "at_s": 4.0, "duration_s": 10.0}]
    simulation, _ = simulate(changes, **PRIVATE | UNITS[unit] | {"peers": 6})
    assert member(simulation).round == 6
    height = member(simulation).history.beginning(1).entry.height
    assert 0 < height < 6
    first, second = plans_of(simulation)
    assert (first.spends, second.spends) == (12, 12 - height)
    assert replaced(second, spends=12) == first


@pytest.mark.parametrize("unit", UNITS)
def test_a_private_group_goes_on_after_its_end_and_by_another_key(unit: str) -> None:
    changes = [
        {"kind": "replace", "at_s": 2.0, "peers": [1, 6], "stolen": True},
        {"kind": "extend", "at_s": 120.0, "rounds": 3},
    ]
    simulation, _ = simulate(changes, **PRIVATE | UNITS[unit])
    assert member(simulation).round == 9
    assert is_one_history(simulation)
    # Three more models, and six spares: what was given before is not paid for again.
    assert plans_of(simulation)[-1].spends == 9
    run = simulation.result()
    (told,) = [it for it in cautions(run, summarise(run)) if "first charter" in it]
    assert told.startswith("Epsilon, noise and rounds are those of the first charter")
