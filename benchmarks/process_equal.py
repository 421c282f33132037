"""Holds the vectors of launched processes against the simulator's."""

import tempfile
from pathlib import Path

import numpy as np
from measuring import Figures

from p2pfl.learner.learner import make_learner
from p2pfl_crypto.encoding import Encoding
from p2pfl_simulations.launch.launching import launch
from p2pfl_simulations.running import Simulation
from p2pfl_simulations.scenario import Scenario, make_scenario

PEERS, SEED = 8, 11


def _scenario(masking: str, rounds: int) -> Scenario:
    return make_scenario(
        {
            "peers": PEERS,
            "rounds": rounds,
            "seed": SEED,
            "learning": {"task": "digits", "partition": {"kind": "dirichlet", "alpha": 0.5}},
            "averaging": {
                "algorithm": "cohorts",
                "cohort_size": PEERS,
                "masking": masking,
                "deadline_s": 60.0,
            },
            "evaluation": {"baselines": []},
        }
    )


def _launched(scenario: Scenario) -> list:
    with tempfile.TemporaryDirectory(prefix="p2pfl-equal-") as folder:
        launch(scenario, peers_folder=Path(folder), task_folder=None, progress=lambda _: None)
        last = scenario.rounds - 1
        return [
            np.load(Path(folder) / f"peer-{i}" / "models" / f"{last}.npy") for i in range(PEERS)
        ]


def _simulated(scenario: Scenario) -> list:
    learner = make_learner(scenario.learning, peer_count=PEERS, seed=SEED, folder=None, threads=1)
    simulation = Simulation(scenario, learner, lambda _: None)
    simulation.run()
    return [host.machine.vector for host in simulation.world.hosts]


def compare() -> Figures:
    """Compare plain vectors bit for bit, masked ones after a round with the error bound."""
    plain, rounds = _scenario("none", 5), 5
    pairs = list(zip(_launched(plain), _simulated(plain), strict=True))
    # A second round would train from the rounded mean, and no bound is known for that.
    masked = _launched(_scenario("real", 1))
    exact = _simulated(_scenario("none", 1))
    clip = plain.averaging.clip
    weights = PEERS * Encoding(PEERS, clip, 1.0).encode_weight(1.0)
    largest = max(float(np.abs(vector).max()) for vector in exact)
    rounding = 2 * largest * 2.0**-24  # Both means are rounded to float32.
    bound = 1.5 * PEERS * clip / weights + rounding
    errors = [
        float(np.abs(ours.astype(np.float64) - it.astype(np.float64)).max())
        for ours, it in zip(masked, exact, strict=True)
    ]
    assert all(np.array_equal(ours, other) for ours, other in pairs), "plain vectors differ"
    assert all(np.array_equal(masked[0], other) for other in masked), "masked vectors differ"
    assert max(errors) <= bound, f"an error of {max(errors)}, more than {bound}"
    return {
        "plain": f"{len(pairs)} vectors after {rounds} rounds equal the simulator's, bit for bit",
        "masked_largest_error": max(errors),
        "bound": bound,
        "bound_of_encoding": bound - rounding,
        "largest_entry": largest,
    }
