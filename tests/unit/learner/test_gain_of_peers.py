"""What a peer gains by joining, and how sure that is."""

import sys
from pathlib import Path

import numpy as np
import pytest

from p2pfl.learner.gains import (
    Gain,
    interval,
    mean_gain,
    mean_pooled_gain,
    measure_gains,
)
from p2pfl.learner.learner import Learner, make_learner
from p2pfl.learner.metrics import PrimaryMetric
from p2pfl.learner.peer_models import PeerModel
from p2pfl.learner.settings import LearningSettings
from p2pfl_gossip.learning import Evaluate, Evaluated

TASK = """
import numpy as np
from torch import nn
from p2pfl.learner.tasks import Data, PrimaryMetric, RegressionTask, Rows, Task

x = np.random.default_rng(0).normal(size=(300, 1)).astype("float32")

class Signs(Task):
    def data(self, data_dir): return Data(Rows(x, (x[:, 0] > 0).astype("int64")))
    def model(self): return nn.Sequential(nn.Linear(1, 2, bias=False))

class ByArea(Signs):
    primary = PrimaryMetric("auroc")

class Renamed(Signs):
    def metrics(self, outputs, targets):
        return {"accuracy": float((outputs.argmax(axis=1) == targets).mean() ** 2)}

class Double(RegressionTask):
    def data(self, data_dir): return Data(Rows(x, 2 * x[:, 0]))
    def model(self): return nn.Sequential(nn.Linear(1, 1, bias=False))
"""


@pytest.fixture
def learner_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "gain_task", raising=False)
    (tmp_path / "gain_task.py").write_text(TASK)

    def make(name: str) -> Learner:
        settings = LearningSettings(task=f"gain_task:{name}")
        return make_learner(settings, peer_count=2, seed=1, folder=tmp_path, threads=1)

    return make


def gains_of(learner: Learner, joint: list[float], local: list[float]) -> list[Gain]:
    models = [PeerModel(np.array(it, np.float32)) for it in (joint, local)]
    return measure_gains(
        learner,
        [0, 1],
        0,
        seed=1,
        joint=[models[0]] * 2,
        local=[models[1], None],
        pooled=(learner.pooled(), models[0]),
    )


GOOD, BAD = [-1.0, 1.0], [1.0, -1.0]


@pytest.mark.parametrize("task", ["Signs", "ByArea", "Renamed"])
def test_a_better_model_gains_and_is_sure(learner_of, task: str) -> None:  # type: ignore[no-untyped-def]
    learner = learner_of(task)
    gain, without = gains_of(learner, GOOD, BAD)
    assert (gain.joint, gain.local, gain.pooled, gain.gain) == (1.0, 0.0, 1.0, 1.0)
    assert (gain.low, gain.high) == (1.0, 1.0)
    assert (without.gain, without.low, without.joint) == (None, None, 1.0)
    lost, _ = gains_of(learner, BAD, GOOD)
    assert (lost.gain, lost.low, lost.high) == (-1.0, -1.0, -1.0)


def test_where_less_is_better_the_smaller_error_gains(learner_of) -> None:  # type: ignore[no-untyped-def]
    gain, _ = gains_of(learner_of("Double"), [2.0], [0.0])
    assert gain.gain is not None
    assert gain.low is not None
    assert 1.2 < gain.low < gain.gain < 2.5
    assert gain.confusion is None


def test_the_interval_is_a_bootstrap_over_the_peers_own_rows(learner_of) -> None:  # type: ignore[no-untyped-def]
    """Of two guessers, against the spread of a mean of independent rows."""
    learner = learner_of("Signs")
    # Always the same class: right in about half of the rows.
    gain, _ = gains_of(learner, GOOD, [0.0, 0.0])
    (figures,) = learner.run([(0, Evaluate(0, np.zeros(2, np.float32)))])
    assert isinstance(figures, Evaluated)
    share = figures.own["accuracy"]
    assert gain.gain == pytest.approx(1 - share)
    rows = learner.test_count(0)
    assert rows == 30
    spread = np.sqrt(share * (1 - share) / rows)
    assert gain.low is not None
    assert gain.high is not None
    assert gain.high - gain.low == pytest.approx(2 * 1.96 * spread, rel=0.15)
    assert gain.confusion is not None
    assert np.trace(gain.confusion) == rows


def test_a_metric_by_another_meaning_is_worked_out_anew(learner_of) -> None:  # type: ignore[no-untyped-def]
    gain, _ = gains_of(learner_of("Renamed"), GOOD, [0.0, 0.0])
    assert gain.local is not None
    plain, _ = gains_of(learner_of("Signs"), GOOD, [0.0, 0.0])
    assert plain.local is not None
    assert gain.local == pytest.approx(plain.local**2)
    assert len(gain.draws) < len(plain.draws)


def one(gain: float | None, *draws: float) -> Gain:
    return Gain(0.5, 0.4, 0.7, gain, None, None, np.array(draws), np.array([0.1, 0.3]), None)


def test_the_mean_counts_each_peer_alike() -> None:
    found = mean_gain([one(0.2, 0.1, 0.3), one(0.4, 0.3, np.nan), one(None)])
    assert found is not None
    assert found.mean == pytest.approx(0.3)
    assert found.low == pytest.approx(0.2 + 0.025 * 0.1)
    assert found.high == pytest.approx(0.3 - 0.025 * 0.1)
    assert mean_gain([one(None)]) is None
    pooled = mean_pooled_gain(PrimaryMetric(), [one(0.2, 0.1, 0.3)])
    assert pooled is not None
    assert pooled.mean == pytest.approx(0.2)


def test_draws_that_mostly_tell_nothing_give_no_interval() -> None:
    assert interval(np.array([np.nan, np.nan, 1.0])) == (None, None)
    assert interval(np.array([np.nan, 1.0, 1.0])) == (1.0, 1.0)
