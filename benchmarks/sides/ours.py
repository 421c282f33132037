"""One run of our simulator, measured; `simulate.py` starts it in a process of its own.

    ours.py '{"peers": 1000, "rounds": 5}'

Prints one JSON object: updates, seconds, memory, frames and bytes with what the formula says, the
evaluation's figures and its own seconds.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from measuring import Clock, Figures, Sampler, give, peak_memory_mb, settle

from p2pfl.learner.learner import make_learner
from p2pfl_gossip import wire
from p2pfl_gossip.actions import Job
from p2pfl_gossip.averaging.cohort_averaging import MeanHeader, PartHeader
from p2pfl_gossip.learning import Evaluate, Evaluated, Trained, WorkFailed
from p2pfl_simulations.scenario import Scenario, make_scenario
from p2pfl_simulations.simulation import Simulation

COHORT_SIZE = 8
EVALUATED_PEERS, EVALUATED_ROWS = 10, 2000


def scenario_of(spec: dict[str, Any]) -> Scenario:
    """Return the scenario of a specification: peers, rounds, and what differs from the rest."""
    rows = spec.get("rows_per_peer")
    partition = {"kind": "iid", **({"rows_per_peer": rows, "reuse": True} if rows else {})}
    return make_scenario(
        {
            "name": "benchmark",
            "peers": spec["peers"],
            "rounds": spec["rounds"],
            "checkpoint_every": 0,
            "learning": {
                "task": spec.get("task", "fashion-mnist"),
                "partition": partition,
                "held_out": 0,  # As the others train: on all rows.
                "training": {"learning_rate": 0.1, "batch_size": 32, "epochs": 1},
                "evaluation_rows": EVALUATED_ROWS,
            },
            # Plain, as what it is compared with: none of the others masks anything.
            "averaging": {"algorithm": "cohorts", "cohort_size": COHORT_SIZE, "masking": "none"},
            "evaluation": {
                "every": spec["rounds"],
                "peers": EVALUATED_PEERS,
                "baselines": [],
            },
            **spec.get("settings", {}),
        }
    )


class TimedLearner:
    """A learner that measures how long its evaluations take."""

    def __init__(self, learner: Any) -> None:
        self._learner = learner
        self.evaluation_wall_s = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._learner, name)

    def run(self, jobs: Sequence[tuple[int, Job]]) -> list[Trained | Evaluated | WorkFailed]:
        """Do jobs as the learner does, evaluations by themselves."""
        results: list[Any] = [None] * len(jobs)
        for is_evaluation in (False, True):
            places = [
                place
                for place, (_, job) in enumerate(jobs)
                if isinstance(job, Evaluate) is is_evaluation
            ]
            if not places:
                continue
            clock = Clock()
            done = self._learner.run([jobs[place] for place in places])
            if is_evaluation:
                self.evaluation_wall_s += clock.figures()["wall_s"]
            for place, result in zip(places, done, strict=True):
                results[place] = result
        return results


def expected_traffic(peers: int, rounds: int, model_bytes: int) -> tuple[int, int]:
    """Return frames and bytes of fault-free cohorts: 2 (s - 1) / s models a peer, and headers.

    In a cohort of s, every member sends s - 1 parts and s - 1 means, together 2 (s - 1) / s times
    the model's bytes; each body follows a header.
    """
    count = peers // COHORT_SIZE
    smaller, more = divmod(peers, count)
    frames = size_bytes = 0
    for round_ in range(rounds):
        for size, cohorts in ((smaller + 1, more), (smaller, count - more)):
            bitmap = bytes((size + 7) // 8)
            headers = len(wire.encode(PartHeader(round_, 1.0)))
            headers += len(wire.encode(MeanHeader(round_, bitmap)))
            frames += cohorts * size * 2 * (size - 1)
            size_bytes += cohorts * (size - 1) * (2 * model_bytes + size * headers)
    return frames, size_bytes


def part_of(file: str) -> str | None:
    """Name the part of the simulation that a source file belongs to."""
    parts = {
        "p2pfl/learner/": "learner: training",
        "p2pfl_simulations/trace.py": "trace: digests of frames and bodies",
        "p2pfl_simulations/event_queue.py": "event queue",
        "p2pfl_simulations/network.py": "links: latency, shared bandwidth",
        "p2pfl_simulations/world.py": "world: carrying out actions, deliveries",
        "p2pfl_simulations/batch.py": "waiting for training, which runs beside",
        "p2pfl_simulations/results/recorder.py": "recorder: tables, average of all models",
        "p2pfl_simulations/faults.py": "faults",
        "p2pfl_gossip/averaging/": "exchange: averaging machines (sums, copies)",
        "p2pfl_gossip/": "exchange: peers, frames",
    }
    return next((part for place, part in parts.items() if place in file), None)


def measure(spec: dict[str, Any]) -> Figures:
    """Run a specification and return its figures."""
    scenario = scenario_of(spec)
    preparation = Clock()
    learner = TimedLearner(
        make_learner(scenario.learning, peer_count=scenario.peers, seed=scenario.seed, folder=None)
    )
    simulation = Simulation(scenario, learner, lambda _: None)  # type: ignore[arg-type]
    prepared = preparation.figures()
    settle()
    clock = Clock()
    shares: dict[str, float] = {}
    if spec.get("sample"):
        with Sampler(part_of) as sampler:
            simulation.run()
        shares = sampler.shares()
    else:
        simulation.run()
    took = clock.figures()
    run = simulation.result()  # Settles figures of the average: after the clock was read.
    updates = sum(row.ended for row in run.rounds)
    frames, size_bytes = expected_traffic(
        scenario.peers, scenario.rounds, 4 * learner.vector_length
    )
    return {
        "updates": updates,
        **took,  # Evaluations are in it: they run beside the rest, and are few.
        "updates_per_s": updates / took["wall_s"],
        "evaluation_s": learner.evaluation_wall_s,
        "preparation_s": prepared["wall_s"],
        "peak_mb": peak_memory_mb(),
        "parameters": learner.vector_length,
        "frames": run.counters["frames_sent"],
        "bytes": run.counters["bytes_sent"],
        "frames_by_formula": frames,
        "bytes_by_formula": size_bytes,
        "events": run.counters["events"],
        "mean_batch": run.counters["jobs_run"] / max(1, run.counters["batches"]),
        "lost": sum(row.lost for row in run.rounds),
        "virtual_s": run.virtual_s,
        "accuracy": run.rounds[-1].common_mean,
        "digest": run.digest,
        "batching": run.batching,
        "shares": shares,
    }


if __name__ == "__main__":
    give(measure(json.loads(sys.argv[1])))
