"""What private rounds reach through simulated peers, beside the same group without noise.

    ./scripts/bench private-utility --tasks digits breast-cancer --peers 8 16 --seeds 3
    ./scripts/bench private-utility tune --tasks digits --peers 8 --seeds 3
    ./scripts/bench private-utility place --tasks fashion-mnist --peers 16 32 --seeds 2

Each run is a whole simulation: lots, noise, sums, certificates; masks are modelled, as sums are the
same bits without them. Every member is there, and u_min is t, the most noise that the claim allows
for; p = 1/16, 200 rounds, clip 1. Prints the mean accuracy on common test rows, which nobody trains
on, its deviation over seeds, and that of the same lots and steps without noise (`inf`).

`place` trains the same in one place: the same lots, clip, steps and deviation of the noise, drawn
as floats, and no messages. It costs an eighth of the time.

`tune` chose the learning rates in `RATES`: a fifth of the training rows is set aside, the rest is
trained on with the same lots, clip, steps and noise in one place, and the rate with the best mean
accuracy on the rows set aside is taken, of equals the larger. No common test row is looked at. A
run takes minutes; start it with nice.
"""

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import say, table
from options import at_least, positive, positive_real

from p2pfl.group.privacy_settings import plan_for, privacy_of
from p2pfl.learner.learner import Learner, make_learner
from p2pfl.learner.peer_models import PeerModel
from p2pfl_gossip.learning import Evaluated
from p2pfl_simulations.noiseless import noiseless
from p2pfl_simulations.running import run
from p2pfl_simulations.scenario import Scenario, make_scenario

FOLDER = Path(__file__).parent
ROUNDS = 200
TUNED = 0.2  # Of the training rows, to choose by.
WITHOUT = float("inf")  # The epsilon of a group without noise.
EPSILONS = (1.0, 2.0, 4.0, 8.0, WITHOUT)  # Those that learning rates were chosen for.


@dataclass(frozen=True)
class Setting:
    """What is learnt, and by which steps.

    Attributes:
        learning: the scenario's table.
        choices: learning rates that are tried.
        rates: the one chosen, by peers and epsilon, of the first step; it falls to a tenth.
    """

    learning: dict[str, Any]
    choices: tuple[float, ...]
    rates: dict[int, dict[float, float]] = field(default_factory=dict)

    def rate_of(self, peers: int, epsilon: float) -> float:
        """Return the rate that was chosen; of groups that were not tuned, that of the nearest."""
        nearest = min(self.rates, key=lambda tuned: abs(tuned - peers))
        return self.rates[nearest][epsilon]


RATES = {
    "digits": Setting(
        {"task": "centred_digits:CentredDigits", "options": {"hidden": [64]}},
        (0.5, 1.0, 2.0, 4.0),
        {
            8: {1.0: 0.5, 2.0: 1.0, 4.0: 1.0, 8.0: 2.0, WITHOUT: 4.0},
            16: {1.0: 0.5, 2.0: 1.0, 4.0: 1.0, 8.0: 1.0, WITHOUT: 4.0},
        },
    ),
    "breast-cancer": Setting(
        {"task": "breast-cancer"},
        (0.125, 0.25, 0.5, 1.0),
        {
            8: {1.0: 0.125, 2.0: 0.25, 4.0: 0.5, 8.0: 0.25, WITHOUT: 0.25},
            16: {1.0: 0.125, 2.0: 0.125, 4.0: 0.125, 8.0: 0.5, WITHOUT: 0.25},
        },
    ),
    "fashion-mnist": Setting(
        {"task": "fashion-mnist", "partition": {"kind": "iid", "rows_per_peer": 1000}},
        (1.0, 2.0, 4.0, 8.0, 16.0),
        {
            8: {1.0: 1.0, 2.0: 2.0, 4.0: 2.0, 8.0: 4.0, WITHOUT: 8.0},
            16: {1.0: 2.0, 2.0: 4.0, 4.0: 4.0, 8.0: 8.0, WITHOUT: 16.0},
            32: {1.0: 4.0, 2.0: 8.0, 4.0: 8.0, 8.0: 8.0, WITHOUT: 8.0},
        },
    ),
}


def scenario_of(
    task: str, peers: int, epsilon: float, rate: float, *, seed: int, held_out: float = 0.0
) -> Scenario:
    """Return what is run; without noise, epsilon is of no account."""
    return make_scenario(
        {
            "name": f"{task}-{peers}-{epsilon:g}",
            "seed": seed,
            "peers": peers,
            "rounds": ROUNDS,
            "learning": {**RATES[task].learning, "held_out": held_out},
            "averaging": {"algorithm": "group", "masking": "modelled"},
            "evaluation": {"every": ROUNDS, "peers": 1, "baselines": []},
            "privacy": {
                "epsilon": min(epsilon, 8.0),
                "rate": "1/16",
                "spares": 0,
                "least": 2 * peers // 3 + 1,
                "learning_rate": rate,
            },
        }
    )


def in_one_place(scenario: Scenario, epsilon: float, seed: int) -> float:
    """Train the group without masks; return the accuracy on rows set aside, or on common ones."""
    learner = make_learner(
        scenario.learning, peer_count=scenario.peers, seed=seed, folder=FOLDER, threads=1
    )
    assert scenario.privacy is not None
    rows = sum(learner.lots.units(peer).count for peer in range(scenario.peers))
    plan = plan_for(
        scenario.privacy,
        members=scenario.peers,
        rows=rows,
        rounds=ROUNDS,
        entries=learner.vector_length,
        drops=0.0,
    )
    privacy = privacy_of(scenario.privacy, plan)
    generator = np.random.default_rng(seed)
    deviation = plan.mechanism.share * scenario.peers**0.5 * privacy.clip

    def noise() -> Any:
        return deviation * generator.standard_normal(learner.vector_length)

    *_, vector = noiseless(
        learner,
        privacy,
        peers=scenario.peers,
        rounds=ROUNDS,
        seed=seed,
        noise=None if epsilon == WITHOUT else noise,
    )
    return accuracy_of(learner, vector, own=scenario.learning.held_out > 0, peers=scenario.peers)


def accuracy_of(learner: Learner, vector: Any, *, own: bool, peers: int) -> float:
    """Measure a model on rows set aside, or on common test rows."""
    model = PeerModel(vector)
    jobs = [(peer, model.evaluate(0)) for peer in range(peers if own else 1)]
    found = [it for it in learner.evaluate(jobs, with_common=not own) if isinstance(it, Evaluated)]
    return statistics.fmean((it.own if own else it.metrics)["accuracy"] for it in found)


def tune(
    task: str, peers: int, epsilons: Sequence[float], seeds: int, rates: list[float] | None
) -> dict[float, float]:
    """Choose a learning rate for each epsilon, on rows that are nobody's test."""
    chosen = {}
    for epsilon in epsilons:
        best: dict[float, float] = {}
        for rate in rates or RATES[task].choices:
            scenario = scenario_of(task, peers, epsilon, rate, seed=1, held_out=TUNED)
            figures = [in_one_place(scenario, epsilon, 1000 + seed) for seed in range(seeds)]
            best[rate] = statistics.fmean(figures)
        chosen[epsilon] = max(best, key=lambda it: (best[it], it))
        say(f"{task}, n = {peers}, epsilon {epsilon:g}: {best}")
    return chosen


def accuracy(task: str, peers: int, epsilon: float, seed: int, *, is_place: bool) -> float:
    """Return what a run reaches on common test rows; without noise always in one place."""
    rate = RATES[task].rate_of(peers, epsilon)
    scenario = scenario_of(task, peers, epsilon, rate, seed=seed)
    if is_place or epsilon == WITHOUT:
        return in_one_place(scenario, epsilon, seed)
    return float(run(scenario, folder=FOLDER, threads=1).rounds[-1].common_mean or 0.0)


def main() -> None:
    """Choose rates, or run all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="?", choices=["run", "place", "tune"], default="run")
    parser.add_argument("--tasks", nargs="+", default=["digits"], choices=list(RATES))
    parser.add_argument("--peers", nargs="+", type=at_least(5), default=[8, 16])
    parser.add_argument("--epsilons", nargs="+", type=float, choices=EPSILONS, default=EPSILONS)
    parser.add_argument("--seeds", type=positive, default=1)
    parser.add_argument("--rates", nargs="+", type=positive_real, help="what tune tries")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for task in arguments.tasks:
        for peers in arguments.peers:
            cells = [f"{task}, n = {peers}"]
            if arguments.what == "tune":
                chosen = tune(task, peers, arguments.epsilons, arguments.seeds, arguments.rates)
                rows.append(cells + [f"{chosen[it]:g}" for it in arguments.epsilons])
                continue
            for epsilon in arguments.epsilons:
                found = [
                    accuracy(task, peers, epsilon, seed, is_place=arguments.what == "place")
                    for seed in range(1, arguments.seeds + 1)
                ]
                spread = f" ± {statistics.stdev(found):.3f}" if len(found) > 1 else ""
                cells.append(f"{statistics.fmean(found):.3f}{spread}")
                say(f"{cells[0]}, epsilon {epsilon:g}: {cells[-1]}")
            rows.append(cells)
    print(table(["", *(f"{it:g}" for it in arguments.epsilons)], rows))


if __name__ == "__main__":
    main()
