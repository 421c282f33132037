"""A training that fails puts nothing into a mean: what it made, NaN or not, is nowhere."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from p2pfl.group.settings import NoAveragingSettings
from p2pfl_simulations import make_scenario, run
from p2pfl_simulations.results.folder import read_run, write_run

TASK = """
import numpy as np
from p2pfl.learner.tasks import Data, NumpyTask, Rows

class Count(NumpyTask):  # A sound peer adds 1 to each entry; one whose rows are -1 makes NaN.
    def data(self, data_dir):
        inputs, site = np.ones((60, 1), np.float32), np.repeat(np.arange(6), 10)
        inputs[site == 3] = -1
        rows = Rows(inputs, np.zeros(60, np.int64))
        return Data(rows, Rows(inputs[:5], np.zeros(5, np.int64)), columns={"site": site})
    def initial_vector(self, seed): return np.zeros(16, np.float32)
    def step(self, vector, inputs, targets, rate):
        vector += (1 if inputs[0, 0] > 0 else np.nan) * (rate > 0)
        return float(vector[0])
    def evaluate(self, vector, inputs, targets): return {"accuracy": 0.5, "loss": 1.0}
"""


@pytest.mark.parametrize("weights", ["equal", "samples"])
@pytest.mark.parametrize(
    "averaging",
    [
        {"algorithm": "cohorts", "cohort_size": 6, "masking": "none"},
        {"algorithm": "cohorts", "cohort_size": 6, "masking": "real"},
        {"algorithm": "fedavg"},
        {"algorithm": "group", "clip": 100},
    ],
    ids=["plain", "masked", "server", "group"],
)
def test_a_failed_training_is_in_no_mean(
    tmp_path: Path, averaging: dict[str, Any], weights: str
) -> None:
    (tmp_path / "counting.py").write_text(TASK)
    sys.modules.pop("counting", None)
    scenario = make_scenario(
        {
            "peers": 6,
            "rounds": 2,
            "learning": {
                "task": "counting:Count",
                "partition": {"kind": "groups", "column": "site"},
            },
            "averaging": averaging | {"weights": weights},
            "evaluation": {"baselines": []},
        }
    )
    result = run(scenario, folder=tmp_path)
    # A group divides by the weight of all members that its ledger does not say are out, so that
    # nobody's influence grows when others stay away: there, no update is a step of nothing.
    expected = 5 / 3 if averaging["algorithm"] == "group" else 2.0
    np.testing.assert_allclose(result.require_model(), expected, atol=0.01)
    assert all(row.failed for row in result.rounds)  # A group may try a round again.
    (failed,) = [row for row in result.losses if row.kind == "training_failed"]
    assert (failed.peers, failed.times) == (1, sum(row.failed for row in result.rounds))


@pytest.mark.parametrize("failing", [2, 3])
def test_a_run_without_any_sum_has_no_common_model_and_says_so(
    tmp_path: Path, failing: int
) -> None:
    """Five of six must stay for a sum. The mean of starts and of what some trained is no model."""
    (tmp_path / "uncounted.py").write_text(TASK.replace("site == 3", f"site >= {6 - failing}"))
    sys.modules.pop("uncounted", None)
    scenario = make_scenario(
        {
            "peers": 6,
            "rounds": 2,
            "learning": {
                "task": "uncounted:Count",
                "partition": {"kind": "groups", "column": "site"},
            },
            "averaging": {"algorithm": "cohorts", "cohort_size": 6, "masking": "real"},
        }
    )
    result = run(scenario, folder=tmp_path)
    assert result.model is None
    assert result.gains == []
    html = result._repr_html_()
    assert "No common model: in 2 rounds of 6 peers no two models were averaged." in html
    assert f"Training gave no usable model {2 * failing} times" in html
    folder = write_run(result, tmp_path / "run")
    assert not (folder / "model.safetensors").exists()
    assert read_run(folder).model is None
    nobody = NoAveragingSettings(algorithm="none")
    alone = run(scenario.model_copy(update={"averaging": nobody}), folder=tmp_path)
    assert alone.model is not None  # Nobody wanted models to be averaged: their mean is asked for.
