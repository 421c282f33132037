"""Built-in and own tasks: what they are, and how they are refused."""

import gzip
import hashlib
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from p2pfl.learner.errors import LearningError
from p2pfl.learner.learner import make_learner
from p2pfl.learner.settings import LearningSettings
from p2pfl.learner.tasks import Task, built_in_tasks, make_task, perceptrons
from p2pfl.learner.tasks.perceptrons import FashionMnist, read_idx
from p2pfl_gossip.learning import Evaluate, Evaluated, Train, Trained


@pytest.mark.parametrize("summary", built_in_tasks(), ids=lambda summary: summary.name)
def test_listed_figures_are_those_of_the_task(summary: Any) -> None:
    if summary.name == "fashion-mnist" and not FashionMnist.folder.is_dir():
        pytest.skip("Debian's dataset-fashion-mnist is not installed")
    assert summary.description
    made = make_learner(
        LearningSettings(task=summary.name, held_out=0),
        peer_count=2,
        seed=0,
        folder=None,
        threads=1,
    )
    task = make_task(summary.name, {}, folder=None)
    inputs = task.data(None).train.inputs
    assert made.vector_length == summary.parameters
    assert inputs.shape == (summary.rows, summary.features)
    assert made.sample_count(0) + made.sample_count(1) == summary.rows


def test_tasks_without_torch_import_none() -> None:
    code = (
        "import sys\n"
        "from p2pfl.learner.tasks import built_in_tasks\n"
        "from p2pfl.learner.learner import make_learner\n"
        "from p2pfl.learner.settings import LearningSettings\n"
        "assert len(built_in_tasks()) > 3\n"
        "make_learner(LearningSettings(task='integers'), peer_count=2, seed=0, folder=None)\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ)


def test_the_integer_task_gives_the_same_bits_on_any_machine() -> None:
    settings = LearningSettings(task="integers", held_out=0)
    made = make_learner(settings, peer_count=3, seed=5, folder=None)
    vector, digest = made.initial_vector(), hashlib.sha256()
    for round_number in range(4):
        jobs = [(peer, Train(round_number, vector, f"{peer}/{round_number}")) for peer in range(3)]
        results = [result for result in made.run(jobs) if isinstance(result, Trained)]
        for result in results:
            assert (result.vector == np.floor(result.vector)).all()
            digest.update(result.vector.astype("<f4").tobytes())
        vector = (results[0].vector + results[1].vector + results[2].vector) / np.float32(3)
    (figures,) = made.run([(0, Evaluate(3, vector))])
    assert isinstance(figures, Evaluated)
    assert figures.metrics["accuracy"] == 1.0
    assert digest.hexdigest() == INTEGERS_DIGEST


def test_breast_cancer_tells_how_many_sick_are_found() -> None:
    task = make_task("breast-cancer", {}, folder=None)
    assert isinstance(task, Task)
    outputs = np.array([[2, 1], [0, 1], [1, 0], [0, 3], [4, 0]], np.float32)
    metrics = task.metrics(outputs, np.array([0, 0, 1, 1, 0]))
    assert metrics["accuracy"] == 0.6
    assert metrics["sensitivity"] == 0.5
    assert metrics["auroc"] == pytest.approx((1 + 2) / 6 + 0.5 * 1 / 6 + 1 / 6)


def test_the_start_of_the_reference_is_uniform_with_zero_biases() -> None:
    task = FashionMnist([64], "zero-biases")
    torch.manual_seed(0)
    layers: Any = task.model()
    first, _, second = layers
    for layer, bound in ((first, 1 / 28), (second, 1 / 8)):
        weights = layer.weight.detach()
        assert float(weights.abs().max()) <= bound
        assert float(weights.abs().mean()) == pytest.approx(bound / 2, rel=0.05)
        assert not layer.bias.any()


def write_idx(folder: Path, name: str, values: np.ndarray) -> None:
    header = b"\0\0\x08" + bytes([values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    (folder / f"{name}.gz").write_bytes(gzip.compress(header + values.tobytes()))


def test_fashion_mnist_is_read_from_a_folder_and_scaled(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 28, 28), dtype=np.uint8)
    for part, rows in (("train", 40), ("t10k", 20)):
        write_idx(tmp_path, f"{part}-images-idx3-ubyte", pixels[:rows])
        write_idx(tmp_path, f"{part}-labels-idx1-ubyte", np.arange(rows, dtype=np.uint8) % 10)
    settings = LearningSettings(task="fashion-mnist", data_dir=Path("files"), held_out=0)
    (tmp_path / "scenario").mkdir()
    (tmp_path / "scenario" / "files").symlink_to(tmp_path)
    made = make_learner(settings, peer_count=2, seed=0, folder=tmp_path / "scenario", threads=1)
    assert made.sample_count(0) == 20
    data = FashionMnist().data(tmp_path)
    assert data.train.inputs.dtype == np.uint8
    assert 255 * data.scale + data.offset == pytest.approx((1 - 0.2860) / 0.3530)
    assert data.offset == pytest.approx(-0.2860 / 0.3530)


def test_missing_and_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(LearningError, match="dataset-fashion-mnist"):
        FashionMnist().data(tmp_path)
    for content in (b"", b"no gzip"):
        (tmp_path / "a.gz").write_bytes(content)
        with pytest.raises(LearningError, match=r"a\.gz"):
            read_idx(tmp_path, "a")
    whole = b"\0\0\x08\x01" + struct.pack(">I", 3) + b"abc"
    for content in (b"", b"\0\0\x08", whole[:-1], whole + b"d", b"\0\0\x0d" + whole[3:]):
        (tmp_path / "b").write_bytes(content)
        with pytest.raises(LearningError, match="no IDX file"):
            read_idx(tmp_path, "b")
    (tmp_path / "b").write_bytes(whole)
    assert read_idx(tmp_path, "b").tolist() == [97, 98, 99]


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("digit", {}, "did you mean 'digits'"),
        ("digits", {"hiden": [3]}, "its options are: hidden, initialisation"),
        ("digits", {"hidden": [0]}, "options.hidden lists"),
        ("digits", {"hidden": "wide"}, "options.hidden lists"),
        ("digits", {"initialisation": "ones"}, "'torch' or 'zero-biases'"),
        ("nowhere:Mine", {}, "cannot be imported from .*No module named 'nowhere'"),
        ("broken_task:Mine", {}, "cannot be imported from .*ZeroDivisionError"),
        ("good_task:Other", {}, "Other is not there"),
        ("good_task:NoTask", {}, "NoTask is no subclass of Task"),
        ("good_task:Unfinished", {}, "does not define model"),
        ("good_task:Empty", {}, "its train data have no rows"),
        ("good_task:Nan", {}, "its test inputs contain NaN"),
        ("good_task:Integer", {}, "'0.num_batches_tracked' is of torch.int64"),
        ("good_task:Unknown", {}, "no such tensor; it has 0.weight"),
        ("good_task:Unmeasured", {}, "lack 'accuracy', its primary metric; found error"),
    ],
)
def test_what_is_no_task_is_refused(
    name: str, options: dict[str, Any], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "good_task", raising=False)
    (tmp_path / "broken_task.py").write_text("1 / 0\n")
    (tmp_path / "good_task.py").write_text(GOOD_TASK)
    settings = LearningSettings(task=name, options=options)

    def make_and_measure() -> None:
        made = make_learner(settings, peer_count=2, seed=0, folder=tmp_path, threads=1)
        made.run([(0, Evaluate(0, made.initial_vector()))])

    with pytest.raises(LearningError, match=says):
        make_and_measure()


def test_tasks_of_one_module_name_come_each_from_their_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "same_name", raising=False)
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same_name.py").write_text(
            "from p2pfl.learner.tasks.integers import Integers\n"
            f"class Mine(Integers):\n    description = {folder!r}\n"
        )
    for folder in ("first", "second", "first"):
        task = make_task("same_name:Mine", {}, folder=tmp_path / folder)
        assert task.description == folder


INTEGERS_DIGEST = "5b7f75751b351231998d0f674a6d579c7014c581a90969ab57f408b7acc81431"

GOOD_TASK = """
import numpy as np
import torch
from p2pfl.learner.tasks import Data, Rows, Task

class NoTask:
    pass

class Unfinished(Task):
    def data(self, data_dir):
        rows = Rows(np.ones((8, 3), np.float32), np.arange(8) % 2)
        return Data(rows, rows)

class Base(Unfinished):
    def model(self):
        return torch.nn.Sequential(torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 2))

class Empty(Base):
    def data(self, data_dir):
        rows = Rows(np.ones((0, 3), np.float32), np.zeros(0, np.int64))
        return Data(rows, rows)

class Nan(Base):
    def data(self, data_dir):
        data = super().data(data_dir)
        return Data(data.train, Rows(np.full((8, 3), np.nan), np.arange(8) % 2))

class Integer(Base):
    def travelling(self, model):
        return ["1.weight", "0.num_batches_tracked"]

class Unknown(Base):
    def travelling(self, model):
        return ["2.weight"]

class Unmeasured(Base):
    def metrics(self, outputs, targets):
        return {"error": 0.0}
"""


@pytest.mark.parametrize(
    ("name", "heading", "load"),
    [("digits.csv.gz", 0, "load_digits"), ("breast_cancer.csv", 1, "load_breast_cancer")],
)
def test_bundled_tables_are_those_that_scikit_learn_loads(
    name: str, heading: int, load: str
) -> None:
    from sklearn import datasets  # It takes seconds, and most runs of tests have no need of it.

    inputs, targets = perceptrons._bundled(name, heading=heading)
    their_inputs, their_targets = getattr(datasets, load)(return_X_y=True)
    assert inputs.tobytes() == their_inputs.tobytes()
    assert targets.tolist() == their_targets.tolist()


def test_a_table_that_is_not_bundled_is_named() -> None:
    with pytest.raises(LearningError, match=r"no datasets/data/digits.csv here; install"):
        perceptrons._bundled("digits.csv")
