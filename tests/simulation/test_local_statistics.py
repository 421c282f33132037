"""Batch norm on raw inputs, under masked sums: statistics stay local, and a clip is seen."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sampled import sampled

from p2pfl.learner.errors import LearningError
from p2pfl_gossip.averaging.masked_cohorts import MaskedCohorts
from p2pfl_gossip.events import MaskedSumEnded
from p2pfl_simulations import make_scenario, run
from p2pfl_simulations.results.cautions import loss_sentences
from p2pfl_simulations.results.folder import read_run, write_run
from p2pfl_simulations.results.summary import summarise

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


COHORTS = {"algorithm": "cohorts", "cohort_size": 5, "masking": "real"}


def ran(
    folder: Path,
    name: str,
    *,
    rounds: int = 25,
    averaging: dict[str, Any] = COHORTS,
    seed: int = 0,
) -> Any:
    (folder / "raw_task.py").write_text(TASK)
    sys.modules.pop("raw_task", None)
    scenario = make_scenario(
        {
            "seed": seed,
            "peers": 5,
            "rounds": rounds,
            "learning": {
                "task": f"raw_task:{name}",
                "training": {"batch_size": 20, "learning_rate": 0.1},
            },
            "averaging": averaging,
            "evaluation": {"baselines": []},
        }
    )
    return run(scenario, folder=folder)


@pytest.mark.parametrize("seed", sampled([1, 2, 3], every=3))
def test_under_masks_batch_norm_on_raw_inputs_is_within_a_point_of_plain(
    tmp_path: Path, seed: int
) -> None:
    plain = ran(tmp_path, "Raw", seed=seed, averaging=COHORTS | {"masking": "none"})
    for averaging in (COHORTS, {"algorithm": "group"}):
        masked = ran(tmp_path, "Raw", seed=seed, averaging=averaging)
        assert masked.masked_sums.clipped_entries == 0
        assert not masked.losses
        assert masked.rounds[-1].common_mean >= 0.85
        for figure in ("common_mean", "own_mean"):
            with_masks, without = (getattr(it.rounds[-1], figure) for it in (masked, plain))
            assert with_masks == pytest.approx(without, abs=0.0101)


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
    assert result.rounds[-1].own_mean < 0.6
    assert result.masked_sums.clipped_entries > 0
    for report in reports:
        assert report.clipped == 16  # All means and variances.
        assert np.count_nonzero(np.abs(np.asarray(report.vector)) > 8) == 16
    rows = {row.tensor: row for row in result.losses}
    assert set(rows) == {"0.running_mean", "0.running_var"}
    assert rows["0.running_var"].peers == 5
    assert rows["0.running_var"].times == 125
    assert rows["0.running_var"].largest > 600
    first = [it for it in result.events if it.kind == "values_clipped"]
    assert len(first) == 10  # Of each peer and tensor once.
    assert all(it.round == 0 for it in first)
    (told,) = loss_sentences(summarise(result).losses)
    assert told.startswith("Values of 0.running_var and 1 tensor more were cut to the clip at 5")
    assert told.endswith("where 8 counts: raise averaging.clip, or keep such tensors local.")
    write_run(result, tmp_path / "run")
    assert read_run(tmp_path / "run").losses == result.losses


def test_a_start_that_masked_sums_would_cut_is_refused(tmp_path: Path) -> None:
    told = r"task 'raw_task:Large': masked sums would cut its initial model to averaging.clip = 8:"
    with pytest.raises(LearningError, match=told + r" 3 of 3 values of 3.bias \(up to 70\)"):
        ran(tmp_path, "Large")


def test_updates_that_are_shrunk_and_weights_that_are_capped_are_told(tmp_path: Path) -> None:
    group = ran(tmp_path, "Raw", rounds=2, averaging={"algorithm": "group", "clip": 0.01})
    (told,) = loss_sentences(group.losses)
    assert told.startswith("Updates, most of ")
    assert " were shrunk to the clip at 5 peers, 10 times, up to " in told
    assert {row.kind for row in group.losses} == {"update_shrunk"}
    assert sum(row.times for row in group.losses) == 10
    heavy = {"algorithm": "cohorts", "cohort_size": 5, "weights": "samples", "weight_max": 3}
    capped = ran(tmp_path, "Raw", rounds=2, averaging=heavy)
    (told,) = loss_sentences(capped.losses)
    assert told == (
        "Rows beyond averaging.weight_max did not count at 5 peers, 10 times: raise"
        " averaging.weight_max if they are to count in full."
    )
    assert [row.limit for row in capped.losses] == [3]
