"""Batch norm on raw inputs, under masked sums: statistics stay local, and a clip is seen."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from p2pfl.learner.errors import LearningError
from p2pfl_gossip.averaging.masked_cohorts import MaskedCohorts
from p2pfl_gossip.events import MaskedSumEnded
from p2pfl_simulations import make_scenario, run

TASK = """
import numpy as np
from torch import nn
from p2pfl.learner.tasks import Data, Rows, Task

class Raw(Task):
    def data(self, data_dir):
        r = np.random.default_rng(0)
        x = r.normal(size=(400, 8)).astype("float32")
        y = (x @ np.random.default_rng(99).normal(size=(8, 3))).argmax(1)
        x = x * 40 + 300  # Inputs that nobody has normalised.
        return Data(Rows(x[:300], y[:300]), Rows(x[300:], y[300:]))
    def model(self):
        return nn.Sequential(nn.BatchNorm1d(8), nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))

class Travelling(Raw):
    def travelling(self, model):
        return [*super().travelling(model), "0.running_mean", "0.running_var"]

class Large(Raw):
    def model(self):
        model = super().model()
        nn.init.constant_(model[3].bias, -70.0)
        return model
"""


def ran(folder: Path, name: str) -> Any:
    (folder / "raw_task.py").write_text(TASK)
    sys.modules.pop("raw_task", None)
    scenario = make_scenario(
        {
            "peers": 5,
            "rounds": 25,
            "learning": {
                "task": f"raw_task:{name}",
                "training": {"batch_size": 20, "learning_rate": 0.1},
            },
            "averaging": {"algorithm": "cohorts", "cohort_size": 5, "masking": "real"},
            "evaluation": {"baselines": []},
        }
    )
    return run(scenario, folder=folder)


def test_statistics_stay_local_and_the_model_is_as_good_as_it_can_be(tmp_path: Path) -> None:
    result = ran(tmp_path, "Raw")
    assert result.rounds[-1].accuracy_mean >= 0.9
    assert result.masked_sums.clipped_entries == 0


def test_statistics_that_are_made_travel_are_cut_and_that_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports: list[MaskedSumEnded] = []
    settle = MaskedCohorts._take_outcome

    def watched(self: MaskedCohorts) -> Any:
        actions = settle(self)
        told = [getattr(it, "event", None) for it in actions]
        reports.extend(it for it in told if isinstance(it, MaskedSumEnded))
        return actions

    monkeypatch.setattr(MaskedCohorts, "_take_outcome", watched)
    result = ran(tmp_path, "Travelling")
    assert result.rounds[-1].accuracy_mean < 0.6
    assert result.masked_sums.clipped_entries > 0
    for report in reports:
        assert report.clipped == 16  # All means and variances.
        assert np.count_nonzero(np.abs(np.asarray(report.vector)) > 8) == 16


def test_a_start_that_masked_sums_would_cut_is_refused(tmp_path: Path) -> None:
    told = r"task 'raw_task:Large': masked sums would cut its initial model to averaging.clip = 8:"
    with pytest.raises(LearningError, match=told + r" 3 of 3 values of 3.bias \(up to 70\)"):
        ran(tmp_path, "Large")
