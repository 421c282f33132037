"""Real processes: they end with the simulator's bits, and survive being killed and frozen."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from p2pfl.learner.learner import make_learner
from p2pfl_gossip import events
from p2pfl_gossip.actions import Event
from p2pfl_simulations.launch.folders import make_folders
from p2pfl_simulations.launch.launching import launch
from p2pfl_simulations.launch.processes import PeerProcess
from p2pfl_simulations.launch.testbed import ProcessTestbed
from p2pfl_simulations.scenario import Scenario, make_scenario
from p2pfl_simulations.simulation import Simulation


@pytest.mark.usefixtures("forked_launches")
def test_processes_end_with_the_simulated_vectors(tmp_path: Path) -> None:
    scenario = make_scenario(
        {
            "peers": 3,  # Each imports torch.
            "rounds": 2,
            "seed": 11,
            "learning": {"task": "digits", "partition": {"kind": "dirichlet", "alpha": 0.5}},
            "averaging": {
                "algorithm": "cohorts",
                "cohort_size": 3,
                "masking": "none",
                "deadline_s": 60.0,
            },
            "evaluation": {"baselines": []},
        }
    )
    run = launch(scenario, peers_folder=tmp_path, task_folder=None, progress=lambda _: None)
    assert [(row.ended, row.lost, row.incomplete) for row in run.rounds] == [(3, 0, 0)] * 2
    learner = make_learner(scenario.learning, peer_count=3, seed=11, folder=None, threads=1)
    simulation = Simulation(scenario, learner, lambda _: None)
    simulation.run()
    for index, host in enumerate(simulation.world.hosts):
        launched = np.load(tmp_path / f"peer-{index}" / "models" / "1.npy")
        assert np.array_equal(launched, host.machine.vector)  # type: ignore[union-attr]


class Faults:
    """Kills one peer and freezes another, each in the middle of a sum; notes what all report."""

    def __init__(self, testbed: ProcessTestbed, rounds: int) -> None:
        self._testbed, self._rounds = testbed, rounds
        self.seen: list[list[Event]] = [[] for _ in testbed.hosts]
        self._struck: set[str] = set()

    def on_report(self, now_s: float, host: PeerProcess, event: Event) -> None:
        self.seen[host.index].append(event)
        if isinstance(event, events.AveragingStarted):
            if host.index == 1 and event.round >= 2:
                self._strike("crash", host, kills=True, away_s=0.5)
            elif host.index == 2 and event.round >= 4:
                self._strike("dropout", host, kills=False, away_s=4.0)
        done = [any(isinstance(it, events.Finished) for it in seen) for seen in self.seen]
        self._testbed.is_over = all(done)

    def on_incident(self, now_s: float, host: Any, kind: str, detail: str) -> None:
        pass

    def _strike(self, what: str, host: PeerProcess, *, kills: bool, away_s: float) -> None:
        if what not in self._struck:
            self._struck.add(what)
            self._testbed.take_offline(host, what, kills=kills)
            at_s = self._testbed.queue.now_s + away_s
            self._testbed.queue.call_at(at_s, self._testbed.bring_online, host, what)


def masked_scenario() -> Scenario:
    return make_scenario(
        {
            "peers": 6,
            "rounds": 9,
            "learning": {"task": "integers"},
            "averaging": {
                "algorithm": "cohorts",
                "cohort_size": 6,
                "masking": "real",
                "clip": 65536.0,
                "deadline_s": 2.0,  # On a busy machine a member may be a second late.
            },
        }
    )


@pytest.mark.long
@pytest.mark.usefixtures("forked_launches")
def test_the_others_go_on_while_one_is_killed_and_another_frozen(tmp_path: Path) -> None:
    scenario = masked_scenario()
    learner = make_learner(scenario.learning, peer_count=6, seed=1, folder=None)
    folders = make_folders(scenario, tmp_path, None, learner)
    testbed = ProcessTestbed(scenario, [PeerProcess(i, folder) for i, folder in enumerate(folders)])
    faults = Faults(testbed, scenario.rounds)
    try:
        testbed.run([faults])
    finally:
        testbed.end()
    assert [process.exit_code for process in testbed.hosts] == [0] * 6
    ended_by_others: set[int] = set()
    for index, seen in enumerate(faults.seen):
        ended = [it.round for it in seen if isinstance(it, events.RoundEnded)]
        assert ended == sorted(set(ended))
        if index not in (1, 2):  # On a busy machine one of them may be late for a round.
            ended_by_others.update(ended)
        assert ended[-1] == scenario.rounds - 1
        assert not [it for it in seen if isinstance(it, events.MemberBlamed)]
    summed = [
        it.contributors
        for it in faults.seen[0]
        if isinstance(it, events.MaskedSumEnded) and it.result == "summed"
    ]
    assert ended_by_others == set(range(scenario.rounds))
    assert 6 in summed[:2]
    assert 6 in summed[-2:], "the two that were away are back"
