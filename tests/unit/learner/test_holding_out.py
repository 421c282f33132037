"""Each peer's own test rows: never trained on, and of its own mix."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from p2pfl.learner.errors import LearningError
from p2pfl.learner.holding_out import HeldOut, hold_out, round_half_up
from p2pfl.learner.learner import Learner, make_learner
from p2pfl.learner.partitions import Partition, make_partition
from p2pfl.learner.settings import LearningSettings
from p2pfl_gossip.learning import Evaluate, Evaluated


def split(
    kind: dict[str, Any], *, labels: np.ndarray, peers: int, seed: int = 3, **shares: Any
) -> tuple[Partition, HeldOut]:
    settings = LearningSettings.model_validate({"partition": kind}).partition
    partition = make_partition(settings, targets=labels, columns={}, peer_count=peers, seed=seed)
    chosen = {"test_share": 0.2, "validation_share": 0.0, "seed": seed} | shares
    return partition, hold_out(partition, labels, **chosen)


LABELS = np.random.default_rng(0).integers(0, 5, 600)
KINDS: list[dict[str, Any]] = [
    {"kind": "iid"},
    {"kind": "dirichlet", "alpha": 0.2},
    {"kind": "quantity", "alpha": 0.5},
    {"kind": "iid", "rows_per_peer": 90, "reuse": True},
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("validation", [0.0, 0.1])
def test_nobody_trains_on_anybodys_held_out_rows(kind: dict[str, Any], validation: float) -> None:
    partition, held_out = split(kind, labels=LABELS, peers=12, validation_share=validation)
    test = set(np.concatenate(held_out.test).tolist())
    choosing = set(np.concatenate(held_out.validation).tolist())
    assert not test & choosing
    assert bool(choosing) == bool(validation)
    for peer in range(12):
        rows = set(partition.rows_of(peer).tolist())
        trained = held_out.training.rows_of(peer).tolist()
        assert trained
        assert not set(trained) & (test | choosing)
        own = set(held_out.test[peer].tolist()) | set(held_out.validation[peer].tolist())
        assert set(trained) | own == rows


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_share_of_each_peers_rows_is_held_out(kind: dict[str, Any]) -> None:
    partition, held_out = split(kind, labels=LABELS, peers=12)
    for peer, test in enumerate(held_out.test):
        count = len(np.unique(partition.rows_of(peer)))
        if "reuse" in kind:  # Chosen once for all who hold a row.
            assert 0.05 * count < len(test) < 0.4 * count
        elif kind["kind"] != "dirichlet":  # There, small peers share rows.
            assert len(test) == min(round_half_up(0.2 * count), count - 1)


def test_the_held_out_rows_are_of_the_peers_mix() -> None:
    partition, held_out = split({"kind": "dirichlet", "alpha": 0.5}, labels=LABELS, peers=4)
    for peer, test in enumerate(held_out.test):
        have = np.bincount(LABELS[partition.rows_of(peer)], minlength=5)
        held = np.bincount(LABELS[test], minlength=5)
        assert (np.abs(held - 0.2 * have) < 1).all()


def test_another_seed_holds_out_other_rows_and_the_same_the_same() -> None:
    one, same, other = (
        split({"kind": "iid"}, labels=LABELS, peers=3, seed=seed)[1].test[0] for seed in (1, 1, 2)
    )
    assert one.tolist() == same.tolist() != other.tolist()


def test_values_to_regress_are_no_labels() -> None:
    _, held_out = split({"kind": "iid"}, labels=np.linspace(0, 1, 50), peers=2)
    assert [len(test) for test in held_out.test] == [5, 5]


def test_a_peer_keeps_a_row_to_train_on() -> None:
    partition = Partition(np.array([0, 1, 2, 0]), np.array([0, 3, 4]), "")
    flags = np.array([True, True, True])
    held_out = hold_out(
        partition, np.zeros(3), test_share=0, validation_share=0, seed=0, given_test=flags
    )
    assert held_out.training.row_count(0) >= 1
    assert held_out.training.row_count(1) == 1
    few = hold_out(partition, np.zeros(3), test_share=0.9, validation_share=0.09, seed=0)
    assert [few.training.row_count(peer) for peer in (0, 1)] >= [1, 1]


TASK = """
import numpy as np
from torch import nn
from p2pfl.learner.tasks import Data, Rows, Task

x = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")
y = (x[:, 0] > 0).astype("int64")

class Given(Task):
    def data(self, data_dir):
        return Data(Rows(x, y), own_test=np.arange(40) < 10, own_validation=np.arange(40) < 16)
    def model(self): return nn.Sequential(nn.Linear(4, 2))

class Misshapen(Given):
    def data(self, data_dir): return Data(Rows(x, y), own_test=np.arange(10))

class NoTest(Given):
    def data(self, data_dir): return Data(Rows(x, y))
"""


def made(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> Learner:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "held_out_task", raising=False)
    (folder / "held_out_task.py").write_text(TASK)
    chosen = LearningSettings.model_validate({"task": f"held_out_task:{name}", **settings})
    return make_learner(chosen, peer_count=2, seed=1, folder=folder, threads=1)


def test_a_task_may_choose_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learner = made(tmp_path, "Given", monkeypatch, held_out=0.5)
    assert learner.test_count(0) + learner.test_count(1) == 10
    assert learner.sample_count(0) + learner.sample_count(1) == 24
    (found,) = learner.run([(0, Evaluate(0, learner.initial_vector()))])
    assert isinstance(found, Evaluated)
    assert found.metrics == {}
    assert {"accuracy", "auroc", "loss"} <= found.own.keys()
    assert found.validation.keys() == found.own.keys()


@pytest.mark.parametrize(
    ("name", "settings", "told"),
    [
        ("Misshapen", {}, r"own_test is of int64 \[10\]; make it one bool for each of the 40"),
        ("NoTest", {"held_out": 0}, "nothing to measure on.*set learning.held_out above 0"),
    ],
)
def test_what_cannot_be_held_out_is_told(
    name: str, settings: Any, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(LearningError, match=told):
        made(tmp_path, name, monkeypatch, **settings)


def test_pooled_is_measured_on_each_peers_own_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = made(tmp_path, "NoTest", monkeypatch)
    pooled, vector = learner.pooled(), learner.initial_vector()
    jobs = [(peer, Evaluate(0, vector)) for peer in (0, 1)]
    assert pooled.run(jobs) == learner.run(jobs)
    assert pooled.sample_count(0) == learner.sample_count(0) + learner.sample_count(1) == 32


def test_shares_that_leave_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="leave no rows to train on"):
        LearningSettings(held_out=0.6, validation=0.4)
