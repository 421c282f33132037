"""Whole groups whose disks take time, whose jobs end in any order and which die at any action.

    python tests/any_order.py --seeds 0:1000

Each member is what a daemon runs: an opening around a peer around masked cohorts. The faults end at
a drawn time; then every member must finish all rounds. A failure prints the line that replays it.
"""

import argparse
import sys
from random import Random
from typing import Any

from p2pfl.learner.learner import make_learner
from p2pfl_gossip.actions import Event
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.masked_sum.jobs import perform
from p2pfl_gossip.opening import Opening
from p2pfl_gossip.peer import Peer
from p2pfl_gossip.peer_state import State
from p2pfl_simulations.batch import Workshop
from p2pfl_simulations.disk import Disks
from p2pfl_simulations.draws import stream
from p2pfl_simulations.event_queue import EventQueue
from p2pfl_simulations.faults import FaultInjector
from p2pfl_simulations.group import Speeds, make_gossips, make_roster
from p2pfl_simulations.host import SimulatedHost
from p2pfl_simulations.masking import MaskingWorker
from p2pfl_simulations.network import Network
from p2pfl_simulations.scenario import Scenario, make_scenario
from p2pfl_simulations.world import World

DISKS: list[dict[str, Any]] = [
    {},
    {"kind": "ssd"},
    {"kind": "slow"},
    {"kind": "drawn", "persist_s": {"kind": "exponential", "mean_s": 0.3}, "bytes_per_s": 1e4},
]


def draw(seed: int) -> tuple[Scenario, float]:
    """Draw a scenario, and when its faults end."""
    rng = Random(f"{seed}/any-order")
    faults: dict[str, Any] = {
        "crash_at_action": {
            "probability": rng.choice([0.3, 0.6, 0.9]),
            "actions": rng.choice([5, 40, 200, 600]),
            "restart_s": {"kind": "uniform", "low_s": 0.0, "high_s": rng.choice([0.5, 5.0])},
        }
    }
    if rng.random() < 0.3:
        faults["crash"] = {"probability": 0.2, "restart_s": {"mean_s": 1.0}}
    document = {
        "seed": seed,
        "peers": rng.randint(5, 8),
        "rounds": rng.randint(1, 4),
        "learning": {"task": "integers", "training": {"steps": 2}},
        "averaging": {
            "algorithm": "cohorts",
            "cohort_size": 5,
            "masking": "real",
            "deadline_s": rng.choice([1.0, 3.0]),
        },
        "network": {"latency": {"kind": "exponential", "mean_s": 0.05}},
        "compute": {"step_s": rng.choice([0.01, 0.3]), "jitter": rng.choice([0.0, 1.0, 50.0])},
        "disk": rng.choice(DISKS),
        "faults": faults,
        "evaluation": {"baselines": []},
    }
    return make_scenario(document), rng.uniform(1, 30)


class Group:
    """The world of one scenario."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.learner = learner = make_learner(
            scenario.learning, peer_count=scenario.peers, seed=scenario.seed, folder=None
        )
        self.roster, queue = make_roster(scenario), EventQueue()
        self.speeds = Speeds(scenario, learner.steps)
        self.faults = FaultInjector(
            scenario.faults,
            seed=scenario.seed,
            training_s=self.speeds.round_s(scenario.peers),
        )
        self.make_peer = make_gossips(scenario, self.roster, learner.initial_vector())
        self.reports: list[tuple[float, int, Event]] = []
        self.refused: list[str] = []
        self.crashes = 0
        self.world = World(
            peer_ids=self.roster.peers,
            make_machine=self._make,
            network=Network(
                scenario.network, peer_count=scenario.peers, seed=scenario.seed, queue=queue
            ),
            queue=queue,
            workshop=Workshop(MaskingWorker(learner, perform)),
            duration_s=self.speeds.duration_s,
            disks=Disks(scenario.disk, seed=scenario.seed),
            observers=(self.faults, self),
        )
        self.faults.start(self.world)

    def _make(self, index: int) -> Opening:
        life = self.world.hosts[index].life

        def make_peer(_seed: bytes, desk: Desk) -> Peer:
            return self.make_peer(index, desk)

        return Opening(
            index=index,
            roster=self.roster,
            deadline_s=self.scenario.averaging.deadline_s,
            draw_seed=bytes(32),
            description=self.learner.description,
            make_peer=make_peer,
            rng=stream(self.scenario.seed, f"opening/{index}/{life}"),
        )

    def on_report(self, now_s: float, host: SimulatedHost, event: Event) -> None:
        self.reports.append((now_s, host.index, event))
        self.world.is_over = self.all_finished()

    def on_incident(self, now_s: float, host: SimulatedHost | None, kind: str, detail: str) -> None:
        self.crashes += kind == "offline"
        if kind == "protocol_error":
            self.refused.append(detail)

    def peers(self) -> list[Peer | None]:
        machines = [host.machine for host in self.world.hosts]
        return [it.peer if isinstance(it, Opening) else None for it in machines]

    def all_finished(self) -> bool:
        return all(peer is not None and peer.state is State.FINISHED for peer in self.peers())

    def run(self, heal_s: float, patience_s: float = 2000.0) -> None:
        """Run to the end of all faults, then until all have finished; raise if they do not."""
        self.world.start()
        self.world.run(heal_s)
        self.faults.heal()
        self.world.is_over = self.all_finished()
        self.world.run(self.world.queue.now_s + patience_s)
        if not self.all_finished():
            states = [peer and f"{peer.state} {peer.round}" for peer in self.peers()]
            raise AssertionError(f"have not finished: {states}")
        if self.refused:
            raise AssertionError(f"honest members were refused: {self.refused}")


def check(seed: int) -> Group:
    """Run one seed; raise with the line that replays it."""
    scenario, heal_s = draw(seed)
    group = Group(scenario)
    try:
        group.run(heal_s)
    except Exception as error:
        raise AssertionError(
            f"seed {seed}: {type(error).__name__}: {error};"
            f" replay: python tests/any_order.py --seeds {seed}:{seed + 1}"
        ) from error
    return group


def main() -> int:
    parser = argparse.ArgumentParser(description="Disks, orders of jobs, crashes, by seed.")
    parser.add_argument("--seeds", default="0:100", help="first and one past the last, 0:100")
    first, _, last = parser.parse_args().seeds.partition(":")
    failed = crashes = 0
    for seed in range(int(first), int(last)):
        try:
            crashes += check(seed).crashes
        except AssertionError as error:
            failed += 1
            print(error, flush=True)
    print(f"{int(last) - int(first)} seeds, {crashes} crashes, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
