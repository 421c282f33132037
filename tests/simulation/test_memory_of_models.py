"""A run of many peers holds one model for each of them, and little beside."""

import tracemalloc
from pathlib import Path

from p2pfl.learner.learner import make_learner
from p2pfl_simulations.scenario import make_scenario
from p2pfl_simulations.simulation import Simulation

TASK = """
import numpy as np
from p2pfl.learner.tasks import Data, NumpyTask, Rows


class Long(NumpyTask):
    def data(self, data_dir):
        rows = Rows(np.zeros((64, 1), np.float32), np.zeros(64, np.int64))
        return Data(rows, rows)

    def initial_vector(self, seed):
        return np.zeros(16_000, np.float32)

    def step(self, vector, inputs, targets, rate):
        vector += 1
        return 0.0

    def evaluate(self, vector, inputs, targets):
        return {"loss": float(vector[0]), "accuracy": 1.0}
"""
MODEL_BYTES = 16_000 * 4  # Below what is taken from a slab for many.


def test_peers_that_wait_for_their_cohort_hold_one_model_each(tmp_path: Path) -> None:
    (tmp_path / "long_task_of_a_test.py").write_text(TASK)
    scenario = make_scenario(
        {
            "peers": 64,
            "rounds": 1,
            "checkpoint_every": 0,
            "learning": {"task": "long_task_of_a_test:Long", "held_out": 0},
            "averaging": {"algorithm": "cohorts", "cohort_size": 8, "masking": "none"},
            "evaluation": {"peers": 1, "baselines": []},
        }
    )
    learner = make_learner(scenario.learning, peer_count=64, seed=0, folder=tmp_path)
    simulation = Simulation(scenario, learner, lambda _: None)
    tracemalloc.start()
    try:
        simulation.run()
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert simulation.result().rounds[0].ended == 64
    assert peak_bytes < 1.9 * 64 * MODEL_BYTES  # 1.5; with two models for each, 2.3.
