"""Disks that take time, crashes between two actions, jobs in any order, and what breaks off."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scripted import IDS, Stage

from p2pfl_gossip.actions import (
    Action,
    CancelSend,
    CancelTimer,
    CancelWork,
    Disconnect,
    Job,
    Persist,
    Send,
    SendBulk,
    SetTimer,
    Work,
)
from p2pfl_gossip.catch_up import ModelHeader, Status
from p2pfl_gossip.learning import Evaluate, Evaluated, Train
from p2pfl_gossip.records import Record
from p2pfl_simulations import make_scenario, run
from p2pfl_simulations.disk import Disks
from p2pfl_simulations.group import Speeds
from p2pfl_simulations.host import SimulatedHost
from p2pfl_simulations.scenario import ScenarioError
from p2pfl_simulations.world_settings import DiskSettings

SECOND = {"kind": "drawn", "persist_s": {"mean_s": 1.0}}


def _stage(
    script: list[tuple[float, list[Action]]], disk: dict[str, Any] = SECOND, **options: Any
) -> Stage:
    stage = Stage({0: script}, **options)
    stage.world.disks = Disks(DiskSettings.model_validate(disk), seed=options.get("seed", 0))
    return stage


def _send(number: int = 0, to: int = 1) -> Send:
    return Send(IDS[to], Status(number))


def _body(to: int, size_bytes: int, ticket: int | None = None) -> SendBulk:
    return SendBulk(
        IDS[to], ModelHeader(1), (np.zeros(size_bytes, np.uint8),), size_bytes, ticket=ticket
    )


class Worker:
    def run(self, jobs: Sequence[tuple[int, Job]]) -> Sequence[Record]:
        return [Evaluated({}) for _ in jobs]


# --- disks ----------------------------------------------------------------------------------------


def test_what_follows_a_record_waits_for_the_disk_and_inputs_do_not() -> None:
    script: list[tuple[float, list[Action]]] = [
        (1.0, [_send(1), Persist({"a": b"1"}), _send(2)]),
        (1.5, [_send(3)]),
    ]
    stage = _stage(script)
    stage.at(1.9, lambda: stage.reports.append(("half", dict(stage.world.hosts[0].records))))
    stage.run()
    assert [(at_s, it.round) for at_s, _, _, it in stage.told(1, "message")] == [
        (1.1, 1), (2.1, 2), (2.1, 3),
    ]  # fmt: skip
    assert stage.reports == [("half", {})]
    assert stage.world.hosts[0].records == {"a": b"1"}


def test_a_disk_writes_one_record_after_the_other_and_a_model_by_its_bytes() -> None:
    vector = np.zeros(250, np.float32)
    actions: list[Action] = [
        Persist({"a": b"1"}),
        Persist({"model": vector, "gone": None}),
        _send(),
    ]
    stage = _stage([(0.0, actions)], {**SECOND, "bytes_per_s": 1000.0}).run()
    # A second and a byte; a second and a thousand bytes; a latency.
    assert stage.told(1, "message") == [(3.101, "message", 0, Status(0))]


def test_cancels_do_not_wait_for_the_disk() -> None:
    script: list[tuple[float, list[Action]]] = [
        (0.0, [Work(1, Evaluate(0, np.zeros(1, np.float32))), SetTimer(2, 0.5)]),
        (0.1, [Persist({"a": b"1"}), SetTimer(3, 0.3), _body(1, 10, ticket=4)]),
        (0.2, [CancelWork(1), CancelTimer(2), CancelTimer(3), CancelSend(4), CancelSend(99)]),
    ]
    stage = _stage(script, worker=Worker(), duration_s=lambda _index, _job: 0.4).run()
    assert [entry[1] for entry in stage.seen[0]] == ["start", "sent"]
    assert stage.told(0, "sent") == [(0.2, "sent", 4, False)]
    assert stage.told(1, "begin") == []


@pytest.mark.parametrize(
    ("disk", "told"),
    [
        ({"kind": "drawn"}, "takes persist_s"),
        ({"kind": "ssd", "persist_s": {"mean_s": 1.0}}, "no other kind does"),
        ({"bytes_per_s": 5.0}, "takes no bytes_per_s"),
        ({"kind": "fast"}, "disk.kind"),
    ],
)
def test_a_disk_that_cannot_be_is_refused(disk: dict[str, Any], told: str) -> None:
    with pytest.raises(ScenarioError, match=told):
        make_scenario({"learning": {"task": "integers"}, "disk": disk})


def test_kinds_of_disks_take_the_time_that_is_written_of_them() -> None:
    for kind, least_s, most_s in (("none", 0, 0), ("ssd", 1e-4, 1e-2), ("slow", 0.2, 1.5)):
        disks = Disks(DiskSettings.model_validate({"kind": kind}), seed=1)
        drawn = [disks.persist_s({"a": b""}) for _ in range(200)]
        assert least_s <= min(drawn) <= max(drawn) <= most_s
        assert disks.are_instant == (kind == "none")


# --- crashes at actions ---------------------------------------------------------------------------


def _killed_after(
    actions: int, script: list[Action], disk: dict[str, Any], seed: int = 0
) -> tuple[Stage, list[tuple[Any, ...]]]:
    """Kill host 0 at an action of this list, and start it again at 10 s."""
    stage = _stage([(1.0, script)], disk, seed=seed)
    host = stage.world.hosts[0]

    def kill(host: SimulatedHost) -> None:
        stage.world.take_offline(host, "test", kills=True)

    # The script's own timer is an action, too.
    stage.world.strike_after(host, 1 + actions, kill)
    stage.online(10.0, 0).run()
    return stage, stage.told(0, "start")


@pytest.mark.parametrize("disk", [{}, SECOND])
@pytest.mark.parametrize("actions", [1, 2, 3])
def test_a_process_dies_after_the_action_that_was_drawn_and_not_before(
    actions: int, disk: dict[str, Any]
) -> None:
    stage, starts = _killed_after(actions, [_send(number) for number in range(3)], disk)
    told = [message.round for _, _, _, message in stage.told(1, "message")]
    assert told == list(range(actions))
    assert [at_s for at_s, *_ in starts] == [0.0, 10.0]


@pytest.mark.parametrize("disk", [{}, SECOND])
def test_records_that_were_being_written_are_kept_all_or_lost_all(disk: dict[str, Any]) -> None:
    script: list[Action] = [_send(1), Persist({"a": b"1", "b": b"2"}), _send(2)]
    found = []
    for seed in range(20):
        stage, starts = _killed_after(2, script, disk, seed)
        assert [it.round for _, _, _, it in stage.told(1, "message")] == [1]
        found.append(starts[1][2])
    assert {len(records) for records in found} == {0, 2}
    # One action later they are durable, always.
    for seed in range(20):
        _, starts = _killed_after(3, script, disk, seed)
        assert starts[1][2] == {"a": b"1", "b": b"2"}


def test_a_crash_while_the_disk_writes_keeps_or_loses_too() -> None:
    found = set()
    for seed in range(20):
        stage = _stage([(1.0, [Persist({"a": b"1"}), _send(2)])], seed=seed)
        stage.offline(1.5, 0, kills=True).online(5.0, 0).run()
        found.add(len(stage.told(0, "start")[1][2]))
        assert stage.told(1, "message") == []
    assert found == {0, 1}


def test_a_fault_that_spares_its_host_spares_its_records() -> None:
    stage = _stage([(1.0, [Persist({"a": b"1"}), _send(2)])], {})
    stage.world.strike_after(stage.world.hosts[0], 2, lambda _host: None)
    stage.run()
    assert stage.world.hosts[0].records == {"a": b"1"}
    assert len(stage.told(1, "message")) == 1


CRASHING: dict[str, Any] = {
    "seed": 3,
    "peers": 6,
    "rounds": 4,
    "learning": {"task": "integers"},
    "averaging": {"algorithm": "cohorts", "cohort_size": 3, "masking": "none", "deadline_s": 1.0},
    "evaluation": {"baselines": []},
}
AT_ACTIONS = {"probability": 0.5, "actions": 20, "restart_s": {"mean_s": 0.5}}


def test_crashes_at_actions_are_of_the_seed_and_change_no_other_draw() -> None:
    crash = {"probability": 0.3, "restart_s": {"mean_s": 0.5}}
    faults = {"crash": crash, "crash_at_action": AT_ACTIONS}
    one, two = (run(make_scenario({**CRASHING, "faults": faults})) for _ in range(2))
    assert one.digest == two.digest
    assert sum(event.kind == "offline" and event.detail == "crash" for event in one.events) > 3
    assert {event.detail for event in one.events if event.kind == "online"} == {"crash"}
    without = run(make_scenario({**CRASHING, "faults": {"crash": crash}}))
    with_none = {"crash": crash, "crash_at_action": {**AT_ACTIONS, "probability": 0.0}}
    assert run(make_scenario({**CRASHING, "faults": with_none})).digest == without.digest


def test_disks_and_jitter_are_of_the_seed() -> None:
    changed = {"disk": {"kind": "slow"}, "compute": {"jitter": 2.0}}
    one, two = (run(make_scenario({**CRASHING, **changed})) for _ in range(2))
    assert one.digest == two.digest
    assert one.counters["persisted"] >= CRASHING["peers"] * CRASHING["rounds"]
    assert one.digest != run(make_scenario(CRASHING)).digest


def test_jobs_of_one_duration_end_in_any_order_with_jitter() -> None:
    scenario = make_scenario({**CRASHING, "compute": {"jitter": 1.0}})
    speeds = Speeds(scenario, lambda _peer, _job: 10)
    job = Train(0, np.empty(0, np.float32), "")
    drawn = [speeds.duration_s(0, job) for _ in range(100)]
    assert 0.1 <= min(drawn) < 0.11 < 0.19 < max(drawn) <= 0.2
    assert speeds.round_s(1) == [0.1]  # Faults are timed by what training takes at least.
    assert Speeds(make_scenario(CRASHING), lambda _peer, _job: 10).duration_s(0, job) == 0.1


# --- what breaks off ------------------------------------------------------------------------------


def test_a_cancelled_body_leaves_its_share_of_the_uplink_to_the_others() -> None:
    bodies = [_body(1, 1000, ticket=1), _body(2, 1000, ticket=2)]
    stage = Stage({0: [(0.0, list[Action](bodies)), (1.0, [CancelSend(1)])]}).run()
    # At 1.0 each has 500 bytes left; the second then goes on alone, at 1000 bytes a second.
    assert stage.told(0, "sent") == [(1.0, "sent", 1, False), (1.5, "sent", 2, True)]
    assert stage.told(1, "begin") == []
    assert stage.told(2, "body") == [(1.6, "body", 0)]


def test_a_body_that_has_left_cannot_be_cancelled() -> None:
    stage = Stage({0: [(0.0, [_body(1, 500, ticket=1)]), (0.55, [CancelSend(1)])]}).run()
    assert stage.told(0, "sent") == [(0.5, "sent", 1, True)]
    assert stage.told(1, "body") == [(0.6, "body", 0)]


def test_a_link_that_one_end_breaks_loses_what_is_on_its_way_both_ways() -> None:
    stage = Stage(
        {
            0: [(0.0, [_send(1), _body(1, 500, ticket=7)]), (0.3, [_send(2), _send(9, to=2)])],
            1: [
                (0.32, [Send(IDS[0], Status(3))]),
                (0.35, [Disconnect(IDS[0], "why"), Send(IDS[0], Status(4))]),
            ],
        }
    ).run()
    assert [it.round for _, _, _, it in stage.told(1, "message")] == [1]
    assert [it.round for _, _, _, it in stage.told(0, "message")] == [4]
    assert [it.round for _, _, _, it in stage.told(2, "message")] == [9]
    assert stage.told(0, "sent") == [(0.35, "sent", 7, False)]
    assert stage.told(1, "begin") == []
