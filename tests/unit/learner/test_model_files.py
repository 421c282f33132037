"""Models as files: what torch loads is what was measured."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from p2pfl.learner.learner import Learner, make_learner
from p2pfl.learner.model_files import ModelFileError, NamedModel, read_model
from p2pfl.learner.naming import LEFT_OUT, name_model
from p2pfl.learner.settings import LearningSettings, TrainingSettings
from p2pfl.learner.tasks import LearningError
from p2pfl.learner.tasks.registry import make_task
from p2pfl_gossip.learning import Evaluate, Evaluated, Train, Trained

TASK = """
import numpy as np, torch
from torch import nn
from p2pfl.learner.tasks import Data, Rows, Task

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.normed = nn.BatchNorm1d(6)
        self.base = nn.Linear(6, 6).requires_grad_(False)
        self.first = nn.Linear(6, 6, bias=False)
        self.second = nn.Linear(6, 6)
        self.second.weight = self.first.weight
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.head = nn.Linear(6, 3)
        self.register_buffer("steps", torch.tensor([7, 8]))
    def forward(self, x):
        x = self.base(self.normed(x))
        return self.head(torch.tanh(self.second(torch.relu(self.first(x)))) * self.scale)

class Mine(Task):
    def __init__(self, wide=False):
        self.wide = wide
    def data(self, data_dir):
        x = np.random.default_rng(0).normal(40, 9, size=(300, 6)).astype("float32")
        y = (x[:, :3]).argmax(1)
        return Data(Rows(x[:240], y[:240]), Rows(x[240:], y[240:]))
    def model(self):
        return nn.Linear(6, 3) if self.wide else Tied()
"""


STATISTICS = [f"normed.{it}" for it in ("running_mean", "running_var", "num_batches_tracked")]


@pytest.fixture
def settings(tmp_path: Path) -> LearningSettings:
    (tmp_path / "task_in_a_file.py").write_text(TASK)
    training = TrainingSettings(learning_rate=0.2, epochs=40)
    return LearningSettings(task="task_in_a_file:Mine", training=training)


def trained(learner: Learner) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    (result,) = learner.run([(0, Train(0, learner.initial_vector(), "stream"))])
    assert isinstance(result, Trained)
    return result.vector.astype(np.float32)


def test_what_torch_loads_gives_the_outputs_that_were_measured(
    tmp_path: Path, settings: LearningSettings
) -> None:
    made = make_learner(settings, peer_count=2, seed=1, folder=tmp_path, threads=1)
    vector = trained(made)
    (measured,) = made.run([(0, Evaluate(0, vector))])
    assert isinstance(measured, Evaluated)
    path = tmp_path / "model.safetensors"
    trained(made)  # Whatever is done in between.
    made.named(vector).write(path, {"task": "Mine"})
    task = make_task(settings.task, {}, folder=tmp_path)
    module = task.model()  # type: ignore[union-attr]
    state = load_file(path)
    assert {name: it.shape for name, it in state.items()} == {
        name: it.shape for name, it in module.state_dict().items()
    }
    module.load_state_dict(state)
    module.eval()
    rows = task.data(None).test
    assert rows is not None
    with torch.no_grad():
        right = module(torch.from_numpy(rows.inputs)).argmax(1).numpy() == rows.targets
    assert right.mean() == pytest.approx(measured.metrics["accuracy"])
    assert right.mean() > 0.7
    assert state["second.weight"].equal(state["first.weight"])
    assert state["steps"].tolist() == [7, 8]
    assert abs(float(state["normed.running_mean"][0]) - 40) < 3
    assert read_model(path)[0].origins == {
        "worked out from training rows of peer 0": STATISTICS,
        "of the start": ["steps", "base.weight", "base.bias"],
    }


def test_statistics_of_a_layer_that_is_used_twice_are_left_out_by_both_names(
    tmp_path: Path,
) -> None:
    (tmp_path / "task_of_shared_norm.py").write_text(
        "from torch import nn\n"
        "from p2pfl.learner.tasks import Task\n"
        "class Mine(Task):\n"
        "    def data(self, data_dir):\n"
        "        raise AssertionError\n"
        "    def model(self):\n"
        "        norm = nn.BatchNorm1d(3)\n"
        "        return nn.Sequential(norm, nn.Linear(3, 3), norm)\n"
    )
    settings = LearningSettings(task="task_of_shared_norm:Mine")
    named = name_model(settings, np.zeros(18, np.float32), seed=1, folder=tmp_path)
    weights = {f"{layer}.{name}" for layer in (0, 1, 2) for name in ("weight", "bias")}
    assert named.tensors.keys() == weights


def test_a_file_gives_its_vector_back_and_says_whose_it_is(
    tmp_path: Path, settings: LearningSettings
) -> None:
    made = make_learner(settings, peer_count=1, seed=1, folder=tmp_path, threads=1)
    vector = trained(made)
    path = tmp_path / "model.safetensors"
    made.named(vector).write(path, {"task": "Mine", "run": "abc"})
    model, metadata = read_model(path)
    assert model.vector().tobytes() == vector.tobytes()
    assert (metadata["task"], metadata["run"], metadata["format"]) == ("Mine", "abc", "pt")
    names = [name for name, _ in json.loads(metadata["travelling"])]
    assert names == [it.name for it in made.description.tensors]
    with safe_open(path, framework="numpy") as file:
        assert file.metadata()["digest"] == metadata["digest"]
    named = name_model(settings, vector, seed=1, folder=tmp_path)
    assert named.vector().tobytes() == vector.tobytes()
    assert named.tensors["base.weight"].tolist() == model.tensors["base.weight"].tolist()
    assert model.tensors.keys() - named.tensors.keys() == set(STATISTICS)
    assert named.origins[LEFT_OUT] == STATISTICS
    with pytest.raises(LearningError, match="has 5 entries, but that of task"):
        name_model(settings, vector[:5], seed=1, folder=tmp_path)


def test_a_file_that_was_changed_or_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    NamedModel.of_vector(np.arange(4.0)).write(path, {})
    assert read_model(path)[0].vector().tolist() == [0, 1, 2, 3]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="is damaged: its digest is another"):
        read_model(path)
    path.write_bytes(b"no model at all")
    with pytest.raises(ModelFileError, match="is no model of p2pfl"):
        read_model(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(ModelFileError, match="is no model of p2pfl"):
        read_model(path)
    save_file({"model": torch.ones(2)}, path)  # As versions before wrote it.
    assert read_model(path)[0].vector().tolist() == [1, 1]
