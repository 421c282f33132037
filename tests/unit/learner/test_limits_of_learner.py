# mypy: disable-error-code="attr-defined"
"""Each named limit of the learner, made small: as much is done at once, and no more."""

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from p2pfl.learner import arrays, partitions
from p2pfl.learner.engines import choice, one_by_one, perceptron, perceptron_step, vmap
from p2pfl.learner.engines.base import STATISTICS_ROWS_MIN
from p2pfl.learner.engines.stacked import convolution, engine, step
from p2pfl.learner.engines.stacked.program import NotStackable
from p2pfl.learner.errors import LearningError
from p2pfl.learner.learner import Learner, make_learner
from p2pfl.learner.settings import GroupsPartition, LearningSettings
from p2pfl.learner.statistics import cumulating
from p2pfl_gossip.learning import Evaluate, Evaluated

TASKS = """
from torch import nn
from p2pfl.learner.tasks.perceptrons import Digits

class Gelu(Digits):
    def model(self):
        return nn.Sequential(nn.Linear(64, 21), nn.LayerNorm(21), nn.GELU(), nn.Linear(21, 10))

class Clamped(Digits):
    def model(self):
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.first, self.last = nn.Linear(64, 32), nn.Linear(32, 10)
            def forward(self, x):
                return self.last(self.first(x).clamp(min=0))
        return Model()

class BatchNorm(Digits):
    def model(self):
        return nn.Sequential(nn.Linear(64, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, 10))
"""


@pytest.fixture(autouse=True)
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "limited_tasks.py").write_text(TASKS)


def learner(folder: Path, task: str = "digits", *, peers: int = 4, **settings: Any) -> Learner:
    name = task if task == "digits" else f"limited_tasks:{task}"
    training = {"batch_size": 1000 if task == "BatchNorm" else 20}
    chosen = LearningSettings.model_validate(
        {"task": name, "training": training, "held_out": 0, **settings}
    )
    return make_learner(chosen, peer_count=peers, seed=7, folder=folder, threads=1)


def rows_of_passes(made: Learner, monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, int]]:
    """How many rows the module is given at once while a peer evaluates; and whether to measure."""
    engine: Any = getattr(made._engine, "_alone", made._engine)
    seen: list[tuple[bool, int]] = []
    load = engine._flat.load

    def load_and_watch(vector: Any, own: Any) -> None:
        load(vector, own)
        norm = next((it for it in engine._module if isinstance(it, torch.nn.BatchNorm1d)), None)

        def note(_module: Any, inputs: tuple[torch.Tensor]) -> None:
            seen.append((norm is None or not norm.training, len(inputs[0])))

        hooks.append(engine._module.register_forward_pre_hook(note))

    hooks: list[Any] = []
    monkeypatch.setattr(engine._flat, "load", load_and_watch)
    (done,) = made.run([(0, Evaluate(0, made.initial_vector()))])
    for hook in hooks:
        hook.remove()
    assert isinstance(done, Evaluated)
    return seen


def test_labels_that_are_counted() -> None:
    both = partitions.Partition(np.arange(2), np.array([0, 1, 2]), "")
    counts = partitions.count_labels(both, np.array([0, partitions.LABELS_MAX - 1]))
    assert counts is not None
    assert len(counts[0]) == partitions.LABELS_MAX
    assert partitions.count_labels(both, np.array([0, partitions.LABELS_MAX])) is None


def test_groups_of_a_peer_that_are_named() -> None:
    def named(groups: int) -> tuple[str, ...] | None:
        return partitions.make_partition(
            GroupsPartition(kind="groups", column="ward"),
            targets=np.zeros(groups, np.int64),
            columns={"ward": np.arange(groups)},
            peer_count=1,
            seed=1,
        ).names

    all_of_them = " and ".join(f"ward {it}" for it in range(partitions.NAMED_MAX))
    assert named(partitions.NAMED_MAX) == (all_of_them,)
    assert named(partitions.NAMED_MAX + 1) == (f"{all_of_them} ...",)


@pytest.mark.parametrize("kind", ["tensor", "matrix"])
def test_bytes_of_a_sparse_matrix_as_an_array(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def dense(rows: int) -> Any:
        ones = np.ones((rows, 8), np.float32)
        held = torch.from_numpy(ones).to_sparse() if kind == "tensor" else None
        values = importlib.import_module("scipy.sparse").csr_array(ones) if held is None else held
        return arrays.as_numbers(values, "inputs", "").array

    monkeypatch.setattr(arrays, "DENSE_BYTES_MAX", 4 * 8 * 4)
    assert dense(4).tolist() == np.ones((4, 8)).tolist()
    with pytest.raises(LearningError, match="inputs are a sparse matrix of 5 x 8, which would"):
        dense(5)


def test_rows_of_one_forward_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = learner(tmp_path, "Gelu", evaluation_rows=51)
    monkeypatch.setattr(one_by_one, "EVALUATION_ROWS_MAX", 25)
    engine: Any = made._engine
    alone = getattr(engine, "_alone", engine)
    monkeypatch.setattr(made, "_engine", alone)
    assert [rows for _, rows in rows_of_passes(made, monkeypatch)] == [25, 25, 1]


@pytest.mark.parametrize(("surplus", "share"), [(0, 1), (1, 2)])
def test_rows_that_statistics_are_worked_out_from(
    surplus: int, share: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = learner(tmp_path, "BatchNorm", evaluation_rows=20)
    count = len(made._partition.rows_of(0))
    monkeypatch.setattr(one_by_one, "STATISTICS_ROWS_MAX", count - surplus)
    seen = rows_of_passes(made, monkeypatch)
    assert sum(rows for measures, rows in seen if not measures) == -(-count // share)


def test_peers_and_bytes_of_one_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chunks: list[int] = []
    train_chunk = perceptron.PerceptronEngine._train_chunk

    def note(engine: Any, chunk: Any) -> Any:
        chunks.append(len(chunk))
        return train_chunk(engine, chunk)

    monkeypatch.setattr(perceptron.PerceptronEngine, "_train_chunk", note)
    monkeypatch.setattr(perceptron, "CHUNK_PEERS_MAX", 3)
    train(learner(tmp_path))
    assert sorted(chunks) == [1, 3]
    chunks.clear()
    engine: Any = learner(tmp_path)._engine
    one_peer = perceptron.scratch_bytes(engine._widths, 20, momentum=engine._momentum > 0)
    monkeypatch.setattr(perceptron, "CHUNK_BYTES_MAX", 3 * one_peer - 1)
    train(learner(tmp_path))
    assert chunks == [2, 2]


def train(made: Learner) -> None:
    from p2pfl_gossip.learning import Train

    start = made.initial_vector()
    made.run([(peer, Train(0, start, f"7/{peer}/0/train/0")) for peer in range(4)])


def test_rows_of_one_product(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    addmm = torch.addmm

    def note(bias: torch.Tensor, values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        rows.append(len(values))
        return addmm(bias, values, weight)

    made = learner(tmp_path, evaluation_rows=51)
    monkeypatch.setattr(perceptron, "EVALUATION_ROWS_MAX", 25)
    monkeypatch.setattr(torch, "addmm", note)
    made.run([(0, Evaluate(0, made.initial_vector()))])
    layers = len(made._engine._widths) - 1
    assert rows == [25] * layers * 2 + [1] * layers


def test_views_that_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perceptron_step, "VIEWS_MAX", 3)
    stack: Any = learner(tmp_path)._engine._stack()

    def kept(cache: dict[Any, Any], view: Any) -> list[int]:
        cache.clear()
        counts = []
        for number in range(1, 5):
            view(number)
            counts.append(len(cache))
        return counts

    batches = kept(stack._batch_cache, lambda number: stack._batch_views(number, 16))
    models = kept(stack._model_cache, lambda number: stack._model_views(0, number))
    assert batches == models == [1, 2, 3, 1]


def test_peers_and_bytes_of_one_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stacks: list[int] = []
    train_stack = vmap.VmapEngine._train_stack

    def note(engine: Any, stack: Any) -> Any:
        stacks.append(len(stack))
        return train_stack(engine, stack)

    monkeypatch.setattr(vmap.VmapEngine, "_train_stack", note)
    monkeypatch.setattr(choice, "STACK_MEAN_MIN", 1.0)
    monkeypatch.setattr(vmap, "STACK_PEERS_MAX", 3)
    made = learner(tmp_path, "Clamped")
    train(made)
    assert sorted(stacks) == [1, 3]
    stacks.clear()
    monkeypatch.setattr(vmap, "STACK_BYTES_MAX", 3 * 4 * made.vector_length - 1)
    train(learner(tmp_path, "Clamped"))
    assert stacks == [2, 2]


def test_models_that_are_worth_a_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "STACK_MEAN_MIN", 4.0)
    assert learner(tmp_path, "Clamped", peers=4).batching == "stacked (vmap)"
    assert learner(tmp_path, "Clamped", peers=3).batching.startswith("one by one")


def test_batches_that_are_full_enough_for_a_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alike: dict[str, Any] = {"training": {"steps": 2, "sampling": "replacement", "batch_size": 16}}
    monkeypatch.setattr(choice, "STACK_FULL_MIN", 1.0)
    assert learner(tmp_path, "Clamped", **alike).batching == "stacked (vmap)"
    monkeypatch.setattr(choice, "STACK_FULL_MIN", 1.01)
    assert learner(tmp_path, "Clamped", **alike).batching.endswith("100% full gain nothing")


def test_peers_and_bytes_of_one_chunk_of_layers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunks: list[int] = []
    train_chunk = engine.StackedEngine._train_chunk

    def note(stacked: Any, chunk: Any) -> Any:
        chunks.append(len(chunk))
        return train_chunk(stacked, chunk)

    monkeypatch.setattr(engine.StackedEngine, "_train_chunk", note)
    monkeypatch.setattr(engine, "CHUNK_PEERS_MAX", 3)
    made: Any = learner(tmp_path, "Gelu")
    train(made)
    assert sorted(chunks) == [1, 3]
    chunks.clear()
    per_peer = made._engine._bytes_a_peer(20)
    monkeypatch.setattr(engine, "CHUNK_BYTES_MAX", 3 * per_peer - 1)
    made = learner(tmp_path, "Gelu")
    train(made)
    assert chunks == [2, 2]


def test_peers_that_are_worth_a_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: Any = learner(tmp_path, "Gelu")
    least = engine.CHUNK_PEERS_MIN * made._engine._bytes_a_peer(20)

    def make() -> engine.StackedEngine:
        return engine.StackedEngine(
            made._engine._task,
            made._engine._alone._module,
            made._engine._layout,
            data=made._engine._data,
            batch_size=20,
            optimiser=made._engine._optimiser,
            alone=made._engine._alone,
            workers=made._engine._workers,
        )

    monkeypatch.setattr(engine, "CHUNK_BYTES_MAX", least)
    assert make()._chunk_peers == engine.CHUNK_PEERS_MIN
    monkeypatch.setattr(engine, "CHUNK_BYTES_MAX", least - 1)
    with pytest.raises(NotStackable, match="fills a core's caches"):
        make()


def test_patches_at_one_time(monkeypatch: pytest.MonkeyPatch) -> None:
    windows = torch.zeros(5, 1, 2, 2, 3, 3, 16)  # 4 x 144 entries a peer.
    monkeypatch.setattr(convolution, "PATCHES_MAX", 2 * 576 + 1)
    memory = step.Memory()

    class Holder:
        def __init__(self) -> None:
            self.memory = memory

    parts: Any = convolution._patches(Holder(), windows)  # type: ignore[arg-type]
    assert [(first, last) for first, last, _ in parts] == [(0, 2), (2, 4), (4, 5)]


def test_views_of_a_stack_that_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "VIEWS_MAX", 3)
    made: Any = learner(tmp_path, "Gelu")
    models = made._engine._models()
    models._views.clear()
    counts = []
    for peers in range(1, 5):
        models.views(0, peers)
        counts.append(len(models._views))
    assert counts == [1, 2, 3, 1]


FEW_ROWS = """
import numpy as np
from torch import nn
from p2pfl.learner.tasks import Data, Rows, Task

class Mine(Task):
    def __init__(self, count):
        self.count = count
    def data(self, data_dir):
        rows = Rows(np.ones((self.count, 3, 4), np.float32), np.arange(self.count) % 2)
        return Data(rows, rows)
    def model(self):
        norm = nn.InstanceNorm1d(3, track_running_stats=True)
        return nn.Sequential(norm, nn.Flatten(), nn.Linear(12, 2))
"""


@pytest.mark.parametrize("missing", [0, 1])
def test_rows_without_which_statistics_stay_those_of_the_start(
    missing: int, tmp_path: Path
) -> None:
    """Fewer have no variance; the model says with what it was measured."""
    (tmp_path / "task_of_few_rows.py").write_text(FEW_ROWS)
    options = {"count": 2 * (STATISTICS_ROWS_MIN - missing)}
    settings = LearningSettings(task="task_of_few_rows:Mine", options=options, held_out=0)
    made = make_learner(settings, peer_count=2, seed=1, folder=tmp_path, threads=1)
    model = made.named(made.initial_vector(), 1)
    (origin,) = model.origins
    assert origin == ("of the start" if missing else "worked out from training rows of peer 1")
    assert model.tensors["0.running_mean"].tolist() == [0.0 if missing else 1.0] * 3


def test_instance_norm_takes_the_plain_mean_over_all_batches() -> None:
    layer: Any = torch.nn.InstanceNorm1d(3, track_running_stats=True).eval()
    rows = 5 + 3 * torch.randn(60, 3, 50, generator=torch.Generator().manual_seed(1))
    with torch.no_grad(), cumulating([layer]):
        for batch in torch.split(rows, 20):
            layer(batch)
    torch.testing.assert_close(layer.running_mean, rows.mean((0, 2)))
    torch.testing.assert_close(layer.running_var, rows.var(2).mean(0))
    before = layer.running_mean.clone()
    layer(rows + 7)
    assert (layer.momentum, layer.running_mean.equal(before)) == (0.1, True)
