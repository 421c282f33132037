"""What a simulated round costs a member beside its training, which takes no time here.

    python simulated_rounds.py '{"members": 32, "entries": 100000, "masking": "modelled"}'

CPU milliseconds a member and round: the median over the rounds behind the first two, each from the
time at which the first member has ended the one before to that at which the first has ended it.
With `cohort_size` members gossip in cohorts; else they are one group with its ledger. With
`"shares": false` each member does for itself what they do once for all else, as on machines of
their own: it checks each signature, works out each model and its digest.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from measuring import give, peak_memory_mb, settle

from p2pfl_gossip.actions import Event, Job
from p2pfl_gossip.events import Finished, RoundEnded
from p2pfl_gossip.learning import Evaluate, Evaluated, Train, Trained
from p2pfl_gossip.ledger.jobs import perform
from p2pfl_gossip.records import Record
from p2pfl_simulations import masking
from p2pfl_simulations.batch import Workshop
from p2pfl_simulations.event_queue import EventQueue
from p2pfl_simulations.group import Speeds, board_of, make_peers, make_roster, whole_sums
from p2pfl_simulations.masking import MaskingWorker
from p2pfl_simulations.modelled import perform_modelled
from p2pfl_simulations.network import Network
from p2pfl_simulations.once import Once
from p2pfl_simulations.scenario import Scenario, make_scenario, masking_of
from p2pfl_simulations.world import World

STEPS = 20  # Of a training, in virtual time.


class Pushes:
    """A learner whose training adds one vector to a model."""

    def __init__(self, entries: int) -> None:
        self._push = np.random.default_rng(1).normal(0, 1e-3, entries).astype(np.float32)

    def run(self, jobs: Sequence[tuple[int, Job]]) -> list[Record]:
        """Do the jobs of learning."""
        return [self._do(job) for _, job in jobs]

    def _do(self, job: Job) -> Record:
        if isinstance(job, Evaluate):
            return Evaluated({"accuracy": 0.5})
        assert isinstance(job, Train)
        trained = job.vector + self._push
        trained.flags.writeable = False
        return Trained(trained, 1, 0.5)


class Watch:
    """Notes when each round is first ended, and ends the run with the last member."""

    def __init__(self, members: int) -> None:
        self.ended: dict[int, float] = {}
        self._left = members
        self.world: World

    def on_report(self, now_s: float, host: Any, event: Event) -> None:
        """Take an event."""
        if isinstance(event, RoundEnded):
            self.ended.setdefault(event.round, time.process_time())
        elif isinstance(event, Finished):
            self._left -= 1
            if not self._left:
                self.world.is_over = True

    def on_incident(self, now_s: float, host: Any, kind: str, detail: str) -> None:
        """Nothing goes wrong here."""


def scenario_of(spec: dict[str, Any]) -> Scenario:
    """Return the scenario of a specification."""
    averaging: dict[str, Any] = {"masking": spec["masking"], "deadline_s": 5.0}
    if "cohort_size" in spec:
        averaging |= {"algorithm": "cohorts", "cohort_size": spec["cohort_size"]}
    return make_scenario(
        {
            "peers": spec["members"],
            "rounds": spec.get("rounds", 6),
            "seed": spec.get("seed", 0),
            "checkpoint_every": 0,
            "learning": {"task": "integers", "training": {"steps": STEPS}},
            "averaging": averaging,
            "evaluation": {"every": 1000, "peers": 1, "baselines": []},
        }
    )


def make_world(scenario: Scenario, entries: int, *, shares: bool = True) -> tuple[World, Watch]:
    """Build a world of a scenario's peers around a learner that costs nothing."""
    initial = np.random.default_rng(0).normal(0, 0.1, entries).astype(np.float32)
    initial.flags.writeable = False
    roster, queue, watch = make_roster(scenario), EventQueue(), Watch(scenario.peers)
    speeds = Speeds(scenario, lambda _peer, _job: STEPS)
    do: Callable[[Job], Record] = Once(
        perform_modelled if masking_of(scenario) == "modelled" else perform
    )
    if not shares:
        vars(masking)["_verify_once"] = masking._verify_once.__wrapped__
        do = perform
    network = Network(scenario.network, peer_count=scenario.peers, seed=scenario.seed, queue=queue)
    watch.world = World(
        peer_ids=roster.peers,
        make_machine=make_peers(scenario, roster, initial, lambda _index: 100),
        network=network,
        queue=queue,
        workshop=Workshop(MaskingWorker(Pushes(entries), do)),
        duration_s=speeds.duration_s,
        shared_jobs=whole_sums(scenario, speeds),
        board=board_of(scenario),
        observers=(watch,),
    )
    return watch.world, watch


def main() -> None:
    """Run one simulation; print figures as JSON."""
    spec = json.loads(sys.argv[1])
    scenario = scenario_of(spec)
    world, watch = make_world(scenario, spec["entries"], shares=spec.get("shares", True))
    settle()
    began_s = time.process_time()
    world.start()
    world.run(1e9)
    took_s = time.process_time() - began_s
    ended = [watch.ended[round_] for round_ in sorted(watch.ended)]
    per_round = [later - before for before, later in pairwise(ended[1:])]
    give(
        {
            "member_ms": 1e3 * statistics.median(per_round) / spec["members"],
            "cpu_s": took_s,
            "rounds": len(ended),
            "virtual_s": world.queue.now_s,
            "events": world.queue.processed,
            "frames": world.frames_sent,
            "mb": world.bytes_sent / 1e6,
            "peak_mb": peak_memory_mb(),
        }
    )


if __name__ == "__main__":
    main()
