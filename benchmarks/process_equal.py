"""Holds the vectors of launched processes against the simulator's."""

import tempfile
from pathlib import Path

import numpy as np
from measuring import Figures

from p2pfl.group.settings import GroupSettings
from p2pfl.learner.learner import make_learner
from p2pfl_gossip.actions import Vector
from p2pfl_simulations.launch.launching import launch
from p2pfl_simulations.running_peer import running_peer
from p2pfl_simulations.scenario import Scenario, make_scenario
from p2pfl_simulations.simulation import Simulation

PEERS, SEED = 8, 11


def _scenario(averaging: dict[str, object], rounds: int) -> Scenario:
    return make_scenario(
        {
            "peers": PEERS,
            "rounds": rounds,
            "seed": SEED,
            "learning": {"task": "digits", "partition": {"kind": "dirichlet", "alpha": 0.5}},
            "averaging": averaging,
            "evaluation": {"baselines": []},
        }
    )


PLAIN = {"algorithm": "cohorts", "cohort_size": PEERS, "masking": "none", "deadline_s": 60.0}
GROUP = {"algorithm": "group", "deadline_s": 60.0}


def _launched(scenario: Scenario) -> list[Vector]:
    with tempfile.TemporaryDirectory(prefix="p2pfl-equal-") as folder:
        launch(scenario, peers_folder=Path(folder), task_folder=None, progress=lambda _: None)
        last = scenario.rounds - 1
        return [
            np.load(Path(folder) / f"peer-{i}" / "models" / f"{last}.npy") for i in range(PEERS)
        ]


def _simulated(scenario: Scenario) -> list[Vector]:
    learner = make_learner(scenario.learning, peer_count=PEERS, seed=SEED, folder=None, threads=1)
    simulation = Simulation(scenario, learner, lambda _: None)
    simulation.run()
    machines = [host.machine for host in simulation.world.hosts]
    return [running_peer(machine).vector for machine in machines if machine is not None]


def compare() -> Figures:
    """Compare plain vectors bit for bit, a group's after a round with the error bound.

    Launched peers draw the roundings of a masked sum in private, so that their updates are rounded
    otherwise than a simulation's; where the draws are the same, so are the bits
    (tests/unit/daemon/test_same_as_simulation.py).
    """
    plain, rounds = _scenario(PLAIN, 5), 5
    pairs = list(zip(_launched(plain), _simulated(plain), strict=True))
    # A second round would train from the rounded model, and no bound is known for that.
    one_round = _scenario(GROUP, 1)
    certified, simulated = _launched(one_round), _simulated(one_round)
    # Each of the updates is rounded by less than one unit of the encoding, in either world.
    assert isinstance(one_round.averaging, GroupSettings)
    unit = one_round.averaging.clip / ((2**31 - 1) // PEERS)
    largest = max(float(np.abs(vector).max()) for vector in simulated)
    bound = 2 * unit + 2 * largest * 2.0**-24  # And the models to float32.
    errors = [
        float(np.abs(ours.astype(np.float64) - it.astype(np.float64)).max())
        for ours, it in zip(certified, simulated, strict=True)
    ]
    assert all(np.array_equal(ours, other) for ours, other in pairs), "plain vectors differ"
    assert all(np.array_equal(certified[0], it) for it in certified), "certified models differ"
    assert max(errors) <= bound, f"an error of {max(errors)}, more than {bound}"
    return {
        "plain": f"{len(pairs)} vectors after {rounds} rounds equal the simulator's, bit for bit",
        "certified": f"{len(certified)} models of a group after a round are the same, bit for bit",
        "certified_largest_error": max(errors),
        "bound": bound,
        "largest_entry": largest,
    }
