"""Attacks on whole private runs: what they prove stands below what epsilon allows.

    ./scripts/bench private-attacks [--canaries 1000] [--epsilon 2] [--runs 1]

A group of five learns from canaries, each in the data by a fair coin, through lots, clipped
gradients, noise, real masked sums and certificates. The attacker has all models and knows every
canary. Prints the epsilon that one run proves (`one_run_epsilon`, of 100 guesses), the share of
canaries that are found at 1 % false alarms, and what the claim allows; the same with rows four
clips long (planted), and without noise. Fails if the honest run proves more than is claimed or
finds more than is allowed (with three deviations of chance), or the planted fault is not found.
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
from replacing import replaced

from p2pfl.learner.learner import make_learner
from p2pfl.learner.private.perceptron_sums import PerceptronSums
from p2pfl.privacy.audits import one_run_epsilon
from p2pfl_gossip.ledger.privacy import Privacy
from p2pfl_simulations.noiseless import noiseless
from p2pfl_simulations.running import Simulation
from p2pfl_simulations.scenario import Scenario, make_scenario

FOLDER = Path(__file__).parent
PEERS, ROUNDS, GUESSES, FALSE_ALARMS = 5, 20, 100, 0.01
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


def found(scores: Floats, is_in: npt.NDArray[np.bool_]) -> float:
    """Return the share of canaries found, at 1 % false alarms."""
    return float(np.mean(scores[is_in] > np.quantile(scores[~is_in], 1 - FALSE_ALARMS)))


def unclipped() -> AbstractContextManager[None]:
    """Plant the fault: gradients four times as long as they may be."""
    honest: Callable[..., Any] = PerceptronSums.lot_sum

    def planted(self: PerceptronSums, vector: Any, lot: Any, clip: float, seed: int) -> Any:
        return honest(self, vector, lot, TOO_LONG * clip, seed)

    return replaced([(PerceptronSums, "lot_sum", planted)])


def private(scenario: Scenario) -> tuple[Floats, Privacy, float, float]:
    """Run the group; return how its model moved, its charter's word, and epsilon and finds."""
    learner = make_learner(
        scenario.learning, peer_count=PEERS, seed=scenario.seed, folder=FOLDER, threads=1
    )
    simulation = Simulation(scenario, learner, lambda _: None, folder=FOLDER)
    simulation.run()
    result = simulation.result()
    assert result.model is not None
    assert result.privacy is not None
    assert simulation.privacy is not None
    claim = next(it for it in result.privacy.claims if it.is_the_claim)
    moved = (result.model - learner.initial_vector()).astype(np.float64)
    return moved, simulation.privacy, result.privacy.epsilon, claim.found


def without_noise(scenario: Scenario, privacy: Privacy) -> Floats:
    """Run the same group without noise."""
    learner = make_learner(
        scenario.learning, peer_count=PEERS, seed=scenario.seed, folder=FOLDER, threads=1
    )
    *_, vector = noiseless(learner, privacy, peers=PEERS, rounds=ROUNDS, seed=scenario.seed)
    return (vector - learner.initial_vector()).astype(np.float64)


def main() -> int:
    """Attack, and return 1 if something is not as it must be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--canaries", type=int, default=1000)
    parser.add_argument("--epsilon", type=float, default=2.0)
    parser.add_argument("--runs", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    count, rows, ok = arguments.canaries, [], True
    for seed in range(1, arguments.runs + 1):
        scenario = scenario_of(count, arguments.epsilon, seed)
        moved, privacy, epsilon, allowed = private(scenario)
        with unclipped():
            planted, *_ = private(scenario)
        bare = without_noise(scenario, privacy)
        chance = allowed + 3 * (allowed / (count / 2)) ** 0.5 + 3 * (2 / count) ** 0.5 / 2
        for name, went in (("honest", moved), ("four clips", planted), ("no noise", bare)):
            scores, is_in = attack(scenario, went, count)
            proved = one_run_epsilon(scores, is_in, guesses=GUESSES, delta=privacy.delta)
            share = found(scores, is_in)
            rows.append((f"{name}, seed {seed}", f"{proved:.2f}", f"{100 * share:.1f} %"))
            say(f"{rows[-1]}")
            if name == "honest":
                ok &= proved <= epsilon and share <= chance
            else:
                ok &= proved > epsilon
        rows.append(("claimed, allowed", f"{epsilon:.2f}", f"{100 * allowed:.1f} %"))
    print(table(("", "epsilon proved", "found at 1 % false alarms"), rows))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
