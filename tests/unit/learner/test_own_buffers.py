"""Buffers that training changes: a peer goes on with its own, and they are in no other's model."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from p2pfl.learner.engines.own_buffers import packed, unpacked
from p2pfl.learner.errors import LearningError
from p2pfl.learner.learner import Learner, make_learner
from p2pfl.learner.naming import name_model
from p2pfl.learner.settings import LearningSettings
from p2pfl_gossip.learning import Evaluate, Evaluated, Train, Trained
from p2pfl_gossip.own_state import NOTHING, Arrays

TASKS = """
import numpy as np
import torch
from torch import nn
from p2pfl.learner.tasks import Data, Rows, Task

class Counting(Task):
    grows = False

    def data(self, data_dir):
        draw = np.random.default_rng(0)
        x = draw.normal(2.0, 1.0, (90, 4)).astype(np.float32)
        return Data(Rows(x, (x[:, 0] > 2).astype(int)))

    def model(self):
        grows = self.grows

        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.linear = nn.Linear(4, 2)
                self.norm = nn.BatchNorm1d(4)  # Its statistics are worked out anew.
                self.register_buffer("mean", torch.zeros(4))
                self.register_buffer("seen", torch.tensor(0))
                self.register_buffer("signs", torch.zeros(3, dtype=torch.bool))
                self.register_buffer("table", torch.arange(5.0))

            def forward(self, x):
                if self.training:
                    self.mean.mul_(0.9).add_(0.1 * x.mean(0))
                    self.seen = self.seen + len(x)  # Another tensor in its place.
                    self.signs |= torch.tensor([True, False, bool(self.seen > 40)])
                    if grows and self.seen > 40:
                        self.mean = torch.zeros(5)
                        return self.linear(x)
                return self.linear(self.norm(x) + self.mean)
        return Model()

class Growing(Counting):
    grows = True

class Personal(Counting):
    def personal(self, model):
        return ["linear.bias"]
"""


@pytest.fixture(autouse=True)
def tasks(tmp_path: Path) -> Iterator[None]:
    (tmp_path / "tasks_of_buffers.py").write_text(TASKS)
    yield
    sys.modules.pop("tasks_of_buffers", None)


def learner_of(folder: Path, kind: str = "Counting", **training: Any) -> Learner:
    document = {"task": f"tasks_of_buffers:{kind}", "training": {"epochs": 1, **training}}
    settings = LearningSettings.model_validate(document)
    return make_learner(settings, peer_count=3, seed=1, folder=folder, threads=1)


def train(learner: Learner, round_: int, own: Arrays = NOTHING, peer: int = 0) -> Trained:
    (result,) = learner.run([(peer, Train(round_, learner.initial_vector(), f"{round_}", own))])
    assert isinstance(result, Trained)
    return result


def seen(own: Arrays, prefix: str = "") -> int:
    return int(unpacked(own[f"{prefix}buffers/seen"], torch.tensor(0)))


def test_they_go_on_in_the_next_job_and_nowhere_else(tmp_path: Path) -> None:
    learner = learner_of(tmp_path)
    first = train(learner, 0)
    assert set(first.own) == {"buffers/mean", "buffers/seen", "buffers/signs"}
    assert seen(first.own) == 24
    second = train(learner, 1, first.own)
    assert seen(second.own) == 48
    assert second.own["buffers/mean"][0] > first.own["buffers/mean"][0] > 0
    signs = unpacked(second.own["buffers/signs"], torch.zeros(3, dtype=torch.bool))
    assert signs.tolist() == [True, False, True]
    # Another peer's job in between, and one without, begin at the start.
    assert seen(train(learner, 1, peer=1).own) == 24
    again = train(learner_of(tmp_path), 1, first.own)
    assert again.vector.tobytes() == second.vector.tobytes()
    assert again.vector.tobytes() != train(learner, 1).vector.tobytes()


def test_a_model_is_measured_and_named_with_them(tmp_path: Path) -> None:
    learner = learner_of(tmp_path)
    result = train(learner, 0)
    own = {**result.own, "buffers/mean": np.full(4, 1e3, np.float32)}
    jobs = [(0, Evaluate(0, result.vector, it)) for it in (NOTHING, result.own, own)]
    figures = [it.own["loss"] for it in learner.run(jobs) if isinstance(it, Evaluated)]
    assert len(set(figures)) == 3
    named = learner.named(result.vector, 0, result.own)
    assert named.tensors["seen"] == 24
    assert named.tensors["seen"].dtype == np.int64
    assert named.tensors["mean"].tolist() == result.own["buffers/mean"].tolist()
    assert named.origins["the peer's own"] == ["mean", "seen", "signs"]
    assert named.origins["of the start"] == ["table"]
    joint = learner.named(result.vector)
    assert joint.tensors["seen"] == 0
    task = LearningSettings.model_validate({"task": "tasks_of_buffers:Counting"})
    without_rows = name_model(task, result.vector, result.own, seed=1, folder=tmp_path)
    assert without_rows.tensors["seen"] == 24
    assert "norm.running_mean" not in without_rows.tensors


def test_two_models_of_a_peer_have_each_their_own(tmp_path: Path) -> None:
    learner = learner_of(
        tmp_path,
        "Personal",
        local={"kind": "ditto", "pull": 0.1},
        optimiser={"kind": "sgd", "momentum": 0.9},
        keep_moments=True,
    )
    first = train(learner, 0)
    assert {"personal", "model", "model/buffers/seen", "buffers/seen"} <= set(first.own)
    assert any(name.startswith("moments/") for name in first.own)
    own = {**first.own, "buffers/seen": packed(torch.tensor(100))}
    second = train(learner, 1, own)
    assert (seen(second.own), seen(second.own, "model/")) == (124, 48)
    assert learner.named(second.vector, 0, second.own).tensors["seen"] == 48


def test_one_that_changes_its_shape_is_refused_by_name(tmp_path: Path) -> None:
    learner = learner_of(tmp_path, "Growing")
    first = train(learner, 0)
    with pytest.raises(LearningError, match=r"'mean' .* float32\[4\], and is float32\[5\]"):
        train(learner, 1, first.own)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.randn(2, 3),
        torch.tensor(float("nan")),
        torch.tensor(-(2**62) + 1),
        torch.tensor([True, False, True]),
        torch.randn(3, dtype=torch.float64),
        torch.randn(5).to(torch.bfloat16),
        torch.zeros(0, dtype=torch.int16),
        torch.randn(4, 2).t(),
    ],
)
def test_every_type_survives(tensor: torch.Tensor) -> None:
    array = packed(tensor)
    assert array.dtype == np.float32
    again = unpacked(array, tensor)
    assert (again.dtype, again.shape) == (tensor.dtype, tensor.shape)
    torch.testing.assert_close(again, tensor, rtol=0, atol=0, equal_nan=True)
