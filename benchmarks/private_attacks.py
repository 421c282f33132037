"""Attacks on whole private runs: what they prove stands below what epsilon allows.

    ./scripts/bench private-attacks [--canaries 1000] [--epsilon 2] [--runs 30]

Groups of five learn from canaries, each in the data by a fair coin, through lots, clipped
gradients, noise, real masked sums and certificates. The attacker has all models and knows every
canary. Prints the epsilon that one run proves (`one_run_epsilon`, of 100 guesses; of all runs the
most), and which share of the canaries of all runs is found at 1 % false alarms, with bounds of 95 %
confidence, beside what epsilon allows at so many; the same of one run with rows four clips long
(planted), and of one without noise.

All five are there, so an outsider has five shares of noise before it: it may find less than the
coalition of the claim, which is left with three. Fails if the lower bound of what honest runs give
away is above what is allowed, or a planted fault is not found.
"""

import argparse
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from canaries import labels_and_coins
from measuring import say, table
from options import at_least, positive, positive_real
from replacing import replaced

from p2pfl.group.privacy_settings import mechanism_of
from p2pfl.learner.learner import make_learner
from p2pfl.learner.private.perceptron_sums import PerceptronSums
from p2pfl.privacy.accounting import account
from p2pfl.privacy.audits import Detected, detect, one_run_epsilon
from p2pfl_gossip.ledger.privacy import Privacy
from p2pfl_simulations.noiseless import noiseless
from p2pfl_simulations.scenario import Scenario, make_scenario
from p2pfl_simulations.simulation import Simulation

FOLDER = Path(__file__).parent
PEERS, ROUNDS, GUESSES, FALSE_ALARMS = 5, 20, 100, 0.01
CANARIES_MIN = 300  # A coin puts half of them in; an attack is judged by 100 of each kind.
TOO_LONG = 4
SMALL = 1e-4  # Steps that leave all gradients as they were, so that models add up their sums.

Floats = npt.NDArray[np.float64]


def scenario_of(canaries: int, epsilon: float, seed: int) -> Scenario:
    """Return the group."""
    return make_scenario(
        {
            "name": "canaries",
            "seed": seed,
            "peers": PEERS,
            "rounds": ROUNDS,
            "learning": {
                "task": "canaries:Canaries",
                "options": {"count": canaries, "seed": seed},
                "held_out": 0.0,
            },
            "averaging": {"algorithm": "group", "masking": "real"},
            "evaluation": {"every": ROUNDS, "peers": 1, "baselines": []},
            "privacy": {
                "epsilon": epsilon,
                "rate": "1/4",
                "spares": 0,
                "least": 4,
                "learning_rate": SMALL,
                "learning_rate_last": SMALL,
            },
        }
    )


def attack(
    scenario: Scenario, moved: Floats, canaries: int
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Score canaries by how far the model went the way that each would push it."""
    labels, is_in = labels_and_coins(canaries, scenario.seed)
    weights = moved[: 2 * canaries].reshape(canaries, 2)  # Perceptrons' vectors are by input.
    places = np.arange(canaries)
    return weights[places, labels] - weights[places, 1 - labels], is_in


def unclipped() -> AbstractContextManager[None]:
    """Plant the fault: gradients four times as long as they may be."""
    honest: Callable[..., Any] = PerceptronSums.lot_sum

    def planted(self: PerceptronSums, vector: Any, lot: Any, clip: float, seed: int) -> Any:
        return honest(self, vector, lot, TOO_LONG * clip, seed)

    return replaced([(PerceptronSums, "lot_sum", planted)])


def private(scenario: Scenario) -> tuple[Floats, Privacy, float]:
    """Run the group; return how its model moved, its charter's word, and epsilon."""
    learner = make_learner(
        scenario.learning, peer_count=PEERS, seed=scenario.seed, folder=FOLDER, threads=1
    )
    simulation = Simulation(scenario, learner, lambda _: None, folder=FOLDER)
    simulation.run()
    result = simulation.result()
    assert result.model is not None
    assert result.privacy is not None
    assert simulation.privacy is not None
    moved = (result.model - learner.initial_vector()).astype(np.float64)
    return moved, simulation.privacy, result.privacy.epsilon


def without_noise(scenario: Scenario, privacy: Privacy) -> Floats:
    """Run the same group without noise."""
    learner = make_learner(
        scenario.learning, peer_count=PEERS, seed=scenario.seed, folder=FOLDER, threads=1
    )
    *_, vector = noiseless(learner, privacy, peers=PEERS, rounds=ROUNDS, seed=scenario.seed)
    return (vector - learner.initial_vector()).astype(np.float64)


class Canaries:
    """The canaries of all runs of one kind: scores of those that were in, and of the others."""

    def __init__(self, name: str) -> None:
        self.name, self.runs, self.proved = name, 0, 0.0
        self._scores: list[Floats] = []
        self._are_in: list[npt.NDArray[np.bool_]] = []

    def add(self, scores: Floats, is_in: npt.NDArray[np.bool_], delta: float) -> None:
        """Take a run."""
        self.runs += 1
        of_run = one_run_epsilon(scores, is_in, guesses=GUESSES, delta=delta)
        self.proved = max(self.proved, of_run)
        self._scores.append(scores)
        self._are_in.append(is_in)

    def detected(self) -> Detected:
        """Return how many are found."""
        scores, are_in = np.concatenate(self._scores), np.concatenate(self._are_in)
        return detect(scores[~are_in], scores[are_in], FALSE_ALARMS)


def row_of(kind: Canaries, allowed: Callable[[float], float]) -> tuple[str, ...]:
    """Return a row of the table."""
    seen = kind.detected()
    low, high = 100 * seen.found_least, 100 * seen.found_most
    return (
        f"{kind.name}, runs: {kind.runs}",
        f"{kind.proved:.2f}",
        f"{100 * seen.alarms:.2f} (at most {100 * seen.alarms_most:.2f}) %",
        f"{100 * seen.found:.2f} ({low:.2f} to {high:.2f}) %",
        f"{100 * allowed(seen.alarms):.2f} (at most {100 * allowed(seen.alarms_most):.2f}) %",
    )


def main() -> int:
    """Attack, and return 1 if something is not as it must be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--canaries", type=at_least(CANARIES_MIN), default=1000)
    parser.add_argument("--epsilon", type=positive_real, default=2.0)
    parser.add_argument("--runs", type=positive, default=30)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    count = arguments.canaries
    honest, long, bare = (Canaries(it) for it in ("honest", "four clips", "no noise"))
    for seed in range(1, arguments.runs + 1):
        scenario = scenario_of(count, arguments.epsilon, seed)
        moved, privacy, epsilon = private(scenario)
        honest.add(*attack(scenario, moved, count), privacy.delta)
        if seed == 1:
            with unclipped():
                planted, *_ = private(scenario)
            long.add(*attack(scenario, planted, count), privacy.delta)
            quiet = without_noise(scenario, privacy)
            bare.add(*attack(scenario, quiet, count), privacy.delta)
        say(f"run {seed} of {arguments.runs}")
    releases = mechanism_of(privacy, PEERS).releases(ROUNDS, shares=PEERS)
    outsider = account([releases], privacy.delta)
    rows = [row_of(kind, outsider.detection) for kind in (honest, long, bare)]
    print(table(("", "epsilon proved, at most", "accused falsely", "found", "allowed"), rows))
    print(f"epsilon of the claim {epsilon:.2f}, of an outsider to five {outsider.epsilon:.2f}")
    seen = honest.detected()
    is_honest = seen.found_least <= outsider.detection(seen.alarms_most)
    return 0 if is_honest and honest.proved <= epsilon < min(long.proved, bare.proved) else 1


if __name__ == "__main__":
    sys.exit(main())
