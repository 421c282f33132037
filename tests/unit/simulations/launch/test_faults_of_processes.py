"""Faults of a scenario, done to processes: cut links, slower peers, late ones; and what is not."""

import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import pytest
from calling import P2pfl

from p2pfl.charter.papers import Papers
from p2pfl.daemon.building import make_work
from p2pfl.daemon.config import PeerConfig, PeerFolder, read_config, write_config
from p2pfl.daemon.task_in_hand import TaskInHand
from p2pfl.learner.learner import make_learner
from p2pfl.learner.settings import LearningSettings, TrainingSettings
from p2pfl_gossip.learning import Evaluate, Train, Trained
from p2pfl_simulations.launch import relays as relays_module
from p2pfl_simulations.launch.errors import LaunchError
from p2pfl_simulations.launch.folders import LOOPBACK, make_folders
from p2pfl_simulations.launch.hastening import hastened
from p2pfl_simulations.launch.launching import launch, step_times
from p2pfl_simulations.launch.processes import PeerProcess
from p2pfl_simulations.launch.relays import (
    Pair,
    PairRelays,
    between,
    both_ways,
    relayed,
)
from p2pfl_simulations.launch.testbed import (
    ProcessTestbed,
    cut_pairs,
    late_peers,
    left_out,
)
from p2pfl_simulations.scenario import Scenario, load_scenario, make_scenario

ALL_OF_THREE = {(one, two) for one in range(3) for two in range(3) if one != two}


def of_three(**faults: Any) -> Scenario:
    return make_scenario(
        {
            "peers": 3,
            "learning": {"task": "integers"},
            "averaging": {"algorithm": "cohorts", "masking": "none"},
            "faults": faults,
        }
    )


def planned(kind: str, peers: list[int], start_s: float = 1.0) -> dict[str, Any]:
    return {"kind": kind, "peers": peers, "start_s": start_s, "duration_s": 5.0}


@pytest.mark.parametrize(
    ("faults", "pairs", "late"),
    [
        ({}, set(), set()),
        ({"planned": [planned("link", [2, 0])]}, {(0, 2), (2, 0)}, set()),
        ({"planned": [planned("absent", [1])]}, both_ways([(1, 0), (1, 2)]), set()),
        ({"partitions": [{"start_s": 1, "duration_s": 1}]}, ALL_OF_THREE, set()),
        ({"planned": [planned("crash", [1], 0.0), planned("crash", [2])]}, set(), {1}),
    ],
)
def test_links_that_can_be_cut_and_peers_that_come_late(
    faults: dict[str, Any], pairs: set[Pair], late: set[int]
) -> None:
    scenario = of_three(**faults)
    assert cut_pairs(scenario) == pairs
    assert late_peers(scenario) == late
    assert left_out(scenario) == ["latency and bandwidth of links (network)"]


def test_what_is_not_done_to_processes_is_named() -> None:
    scenario = make_scenario(
        {
            "peers": 5,
            "learning": {"task": "integers"},
            "compute": {"jitter": 0.5},
            "disk": {"kind": "ssd"},
            "network": {"loss": 0.1},
            "changes": [{"kind": "extend", "at_s": 1.0, "rounds": 2}],
            "faults": {
                "crash_at_action": {"probability": 0.1},
                "backups": {"every_s": 1.0, "probability": 0.1},
                "own": "my_module:MyFault",
            },
        }
    )
    named = [told.rpartition("(")[2].rstrip(")") for told in left_out(scenario)]
    assert named == [
        *("faults.crash_at_action", "faults.backups", "faults.own", "changes", "disk"),
        *("compute.jitter", "network.loss", "network"),
    ]
    there = of_three(availability={"plugin": "trace", "options": {}})
    assert "models of who is there (faults.availability)" in left_out(there)


def test_a_launch_says_what_it_leaves_out_before_anything_runs(
    p2pfl: P2pfl, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise LaunchError("no process in this test")

    monkeypatch.setattr("p2pfl_simulations.commands.launching.launch", refuse)
    ended = p2pfl("launch", "consortium", "--faster", "20")
    assert (ended.code, "Left out, as it is not done to processes" in ended.err) == (2, True)
    assert "stragglers" not in ended.err
    assert p2pfl("launch", "consortium", "--faster", "0.5").code == 2


class Blocked:
    """Notes what relays are to block."""

    def __init__(self) -> None:
        self.now: set[Pair] = set()

    def block(self, pairs: Iterable[Pair]) -> None:
        self.now = set(pairs)


class Still(PeerProcess):
    """A process that is none: its starts are counted."""

    starts = 0

    def start(self) -> None:
        self.starts += 1

    @property
    def is_running(self) -> bool:
        return self.starts > self.life

    def kill(self) -> None:
        self.life += 1


class Seen:
    """Notes incidents, and ends the run at the first one."""

    def __init__(self) -> None:
        self.told: list[tuple[int | None, str, str]] = []

    def on_report(self, now_s: float, host: Any, event: object) -> None:
        raise AssertionError

    def on_incident(self, now_s: float, host: Any, kind: str, detail: str) -> None:
        self.told.append((host and host.index, kind, detail))


@pytest.fixture
def blocked() -> Blocked:
    return Blocked()


@pytest.fixture
def testbed(tmp_path: Path, blocked: Blocked) -> ProcessTestbed:
    peers = [Still(index, tmp_path) for index in range(3)]
    return ProcessTestbed(of_three(), peers, relays=cast(PairRelays, blocked), late=[2])


def test_overlapping_faults_cut_what_any_of_them_cuts(
    testbed: ProcessTestbed, blocked: Blocked
) -> None:
    one, two, _ = testbed.hosts
    one.start()
    testbed.cut(one, two)
    testbed.cut(two, one)
    testbed.take_offline(one, "absent")
    assert one.is_running
    testbed.split([0, 1, 0])
    assert blocked.now == ALL_OF_THREE
    testbed.bring_online(one, "absent")
    assert cast(Still, one).starts == 1
    assert blocked.now == ALL_OF_THREE - {(0, 2), (2, 0)}
    testbed.split(None)
    testbed.mend(one, two)
    assert blocked.now == {(0, 1), (1, 0)}
    testbed.mend(one, two)
    assert blocked.now == set()
    testbed.take_offline(one, "absent")
    testbed.take_offline(two, "absent")
    assert blocked.now == ALL_OF_THREE


def test_without_relays_nothing_is_cut_in_silence(tmp_path: Path) -> None:
    bare = ProcessTestbed(of_three(), [Still(index, tmp_path) for index in range(3)])
    with pytest.raises(LaunchError):
        bare.cut(*bare.hosts[:2])


def test_who_is_set_up_late_has_no_process_until_then(testbed: ProcessTestbed) -> None:
    seen, late = Seen(), testbed.hosts[2]
    testbed.is_over = True
    testbed.run([seen])
    assert [cast(Still, host).starts for host in testbed.hosts] == [1, 1, 0]
    assert seen.told == [(2, "offline", "crash")]
    testbed.take_offline(late, "crash", kills=True)  # As the fault itself does.
    assert late.life == 0
    testbed.bring_online(late, "crash")
    assert cast(Still, late).starts == 1
    assert late.is_online


def is_ended(end: socket.socket) -> bool:
    """Wait for what comes at one end of a connection; tell whether it is its end."""
    try:
        return end.recv(1) == b""
    except ConnectionResetError:
        return True


def test_a_relay_carries_bytes_until_its_link_is_cut_and_again_when_it_is_mended() -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        server.settimeout(60)
        relays = PairRelays([0, server.getsockname()[1]], {(0, 1)})
        address = (LOOPBACK, relays.ports[0, 1])
        try:
            for piece in (b"hello", b"again"):
                with socket.create_connection(address, 60) as dialled, server.accept()[0] as other:
                    for here, there in ((dialled, other), (other, dialled)):
                        here.sendall(piece)
                        assert there.recv(5) == piece
                    relays.block(both_ways([(1, 0)]))
                    assert is_ended(dialled)
                    assert is_ended(other)
                with socket.create_connection(address, 60) as refused:
                    assert is_ended(refused)
                relays.block(())
        finally:
            relays.close()


def test_only_links_that_can_be_cut_go_through_relays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders: list[Path] = []
    for name in ("a", "b", "c"):
        folder = tmp_path / name
        folder.mkdir()
        address = (f"/ip4/{LOOPBACK}/tcp/{4001 + len(folders)}",)
        write_config(folder, PeerConfig(name=name, listen=address, addresses=address))
        folders.append(folder)
    relays = relayed(folders, both_ways([(0, 2)]))
    try:
        reached = [read_config(folder).reached for folder in folders]
    finally:
        relays.close()
    assert reached == [
        {"c": (f"/ip4/{LOOPBACK}/tcp/{relays.ports[0, 2]}",)},
        None,
        {"a": (f"/ip4/{LOOPBACK}/tcp/{relays.ports[2, 0]}",)},
    ]
    monkeypatch.setattr(relays_module, "raise_limit", lambda: 260)
    with pytest.raises(LaunchError, match="take 262 sockets, and this process may have 260"):
        relayed(folders, {(0, 2), (2, 0)})


def test_a_side_is_cut_from_all_others() -> None:
    assert between([0], 3) == both_ways([(0, 1), (0, 2)])


class Clock:
    """Time that goes by where somebody sleeps."""

    now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def test_a_slower_peer_learns_the_same_in_the_time_that_its_steps_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    monkeypatch.setattr("p2pfl.daemon.building.time", clock)
    learner = make_learner(
        LearningSettings(task="integers", training=TrainingSettings(steps=3)),
        peer_count=1,
        seed=1,
        folder=None,
        threads=1,
    )
    train = Train(0, learner.initial_vector(), "stream")
    results = []
    for step_s, lasts_s in ((0.0, 0.0), (2.0, 6.0)):
        began_s = clock.now_s
        result = make_work(learner, 0, step_s=step_s)(train)
        assert isinstance(result, Trained)
        results.append(result.vector.tobytes())
        assert clock.now_s - began_s == lasts_s
    assert results[0] == results[1]
    began_s = clock.now_s
    make_work(learner, 0, step_s=2.0)(Evaluate(0, learner.initial_vector()))
    assert clock.now_s - began_s == 2.0


def test_a_launched_peer_trains_as_long_as_the_simulated_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = of_three(stragglers={"peers": [1], "factor": 20.0})
    learner = make_learner(scenario.learning, peer_count=3, seed=1, folder=None, threads=1)
    step_s = step_times(scenario, learner)
    assert step_s == [0.01, 0.2, 0.01]
    assert step_times(of_three(), learner) is None
    folders = make_folders(scenario, tmp_path, None, learner, step_s=step_s)
    clock = Clock()
    monkeypatch.setattr("p2pfl.daemon.building.time", clock)
    job = Train(0, learner.initial_vector(), "stream")
    for peer, folder in enumerate(folders):
        papers = Papers(PeerFolder(folder).charters)
        papers.read()
        task = TaskInHand(PeerFolder(folder), read_config(folder))
        task.want(papers.founding())
        began_s = clock.now_s
        assert isinstance(task.work(job), Trained)
        lasted_s = clock.now_s - began_s
        assert lasted_s == pytest.approx(learner.steps(peer, job) * step_s[peer])


def test_a_scenario_goes_by_faster_but_for_what_machines_need() -> None:
    drill = load_scenario("consortium", {"faults.crash": {"probability": 0.5}})
    quick = hastened(drill, 20.0)
    assert quick.compute.step_s == 0.05
    assert quick.averaging.deadline_s == drill.averaging.deadline_s
    assert quick.averaging.patience_s == 90.0  # type: ignore[union-attr]  # It is a group.
    assert quick.faults.stragglers == drill.faults.stragglers
    link, *_, absent = quick.faults.planned
    assert (link.start_s, link.duration_s, link.every_s) == (5.0, 9.0, 45.0)
    assert (absent.start_s, absent.duration_s, absent.every_s) == (400.0, 175.0, None)
    assert quick.faults.crash is not None
    assert quick.faults.crash.restart_s.mean_s == 0.25
    assert hastened(drill, 1.0) is drill
    fitted = load_scenario("consortium", {"learning.training": {"seconds": 60.0}})
    assert hastened(fitted, 20.0).learning.training.seconds == 3.0
    assert hastened(fitted, 20.0).compute == quick.compute


def test_a_launch_under_which_nobody_draws_rows_is_refused(tmp_path: Path) -> None:
    scenario = make_scenario(
        {
            "peers": 5,
            "learning": {"task": "integers", "training": {"batch_size": 10**6}},
            "averaging": {"algorithm": "group", "clip": 65536.0},
        }
    )
    with pytest.raises(LaunchError, match=r"batch_size = 1000000: .*full_batch = true"):
        launch(scenario, peers_folder=tmp_path, task_folder=None, progress=lambda _: None)
    assert not list(tmp_path.iterdir())
