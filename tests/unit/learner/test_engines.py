"""Models that are no plain perceptrons: stacked by vmap, or one by one, and what stays put."""

import sys
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from p2pfl.learner.engines.base import Evaluation
from p2pfl.learner.engines.vmap_calls import StackedCalls, draw_masks
from p2pfl.learner.errors import LearningError
from p2pfl.learner.learner import Learner, make_learner
from p2pfl.learner.settings import LearningSettings
from p2pfl.learner.streams import seed_of
from p2pfl.learner.tasks.base import Task
from p2pfl.learner.tasks.registry import make_task
from p2pfl.learner.vectors import VectorLayout
from p2pfl_gossip.learning import Evaluate, Evaluated, LotSummed, Train, Trained, WorkFailed

TASKS = """
import numpy as np
import torch
from torch import nn
from p2pfl.learner.tasks.perceptrons import Digits

class Convolution(Digits):
    def model(self):
        layers = [nn.Conv2d(1, 5, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(45, 10)]
        return nn.Sequential(nn.Unflatten(1, (1, 8, 8)), *layers)

class Gelu(Digits):
    def model(self):
        return nn.Sequential(nn.Linear(64, 21), nn.LayerNorm(21), nn.GELU(), nn.Linear(21, 10))

class Grouped(Digits):
    def model(self):
        layers = [nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=2), nn.Flatten()]
        return nn.Sequential(nn.Unflatten(1, (1, 8, 8)), *layers, nn.Linear(64, 10))

class RandomLoss(Digits):
    def loss(self, outputs, targets):
        return super().loss(outputs + 0.1 * torch.randn_like(outputs), targets)
    def model(self):
        return nn.Sequential(nn.Linear(64, 10), nn.Tanh())

class Wide(Digits):
    def model(self):
        return nn.Sequential(nn.Linear(64, 2000), nn.Tanh(), nn.Linear(2000, 600))

class Hooked(Digits):
    def model(self):
        module = nn.Sequential(nn.Linear(64, 10), nn.Dropout(0.2))
        module[0].register_forward_hook(lambda _, inputs, output: output * 2)
        return module

class OwnLoss(Digits):
    def loss(self, outputs, targets):
        return nn.functional.cross_entropy(outputs, targets, label_smoothing=0.1)

class Tied(Digits):
    def model(self):
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.encode = nn.Linear(64, 12, bias=False)
                self.decode = nn.Linear(64, 12, bias=False)
                self.decode.weight = self.encode.weight
                self.last = nn.Linear(64, 10)
            def forward(self, x):
                return self.last(self.encode(x).relu() @ self.decode.weight)
        return Model()

class Frozen(Digits):
    def model(self):
        base = nn.Linear(64, 30)
        base.requires_grad_(False)
        return nn.Sequential(base, nn.ReLU(), nn.Linear(30, 10))

class Dropout(Digits):
    def model(self):
        return nn.Sequential(nn.Linear(64, 20), nn.ReLU(), nn.Dropout(0.5), nn.Linear(20, 10))

class BatchNorm(Digits):
    def model(self):
        return nn.Sequential(nn.Linear(64, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, 10))

class Branching(Digits):
    def model(self):
        class Model(nn.Linear):
            def forward(self, x):
                return super().forward(x) * (2 if float(x.sum()) > 0 else 1)
        return Model(64, 10)

class TravellingStatistics(Digits):
    def model(self):
        return nn.Sequential(nn.Linear(64, 20), nn.BatchNorm1d(20), nn.Linear(20, 10))
    def travelling(self, model):
        return [*super().travelling(model), "1.running_mean", "1.running_var"]

class RaisesLater(Digits):
    calls = 0
    def loss(self, outputs, targets):
        self.calls += 1
        if self.calls > 6:
            raise KeyError("later")
        return super().loss(outputs, targets)
    def model(self):
        return nn.Sequential(nn.Linear(64, 10), nn.Dropout(0.1))

class Float64(Digits):
    def model(self):
        class Model(nn.Linear):
            def forward(self, x):
                return super().forward(x.double()) * (2 if float(x.sum()) > 0 else 1)
        return Model(64, 10, dtype=torch.float64)

class Replaced(Digits):
    def model(self):
        class Model(nn.Linear):
            def __init__(self):
                super().__init__(64, 10)
                self.register_buffer("seen", torch.ones(1))
                self.register_buffer("kept", torch.ones(1))
            def forward(self, x):
                if self.training:
                    self.seen = self.seen + 1
                    self.kept = self.kept + 1
                return super().forward(x) * self.kept
        return Model()
    def travelling(self, model):
        return ["seen", "weight", "bias"]

class Mixed(Digits):
    def model(self):
        return nn.Sequential(nn.Linear(64, 20), nn.BatchNorm1d(20), nn.Linear(20, 10))
    def travelling(self, model):
        return ["1.running_mean", "0.weight", "1.running_var", "0.bias", "2.weight", "2.bias"]

class Attending(Digits):
    drop = 0.0
    def model(self):
        drop = self.drop
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.parts, self.last = nn.Linear(16, 24), nn.Linear(8, 10)
            def forward(self, x):
                q, k, v = self.parts(x.view(-1, 2, 2, 16)).split(8, -1)
                y = nn.functional.scaled_dot_product_attention(
                    q, k, v, dropout_p=drop if self.training else 0.0
                )
                return self.last(nn.functional.dropout(y, drop, self.training).mean((1, 2)))
        return Model()

class AttendingDropout(Attending):
    drop = 0.3

class Pairs(Digits):
    def loss(self, outputs, targets):  # No mean over rows: padding would change it.
        return nn.functional.cross_entropy(outputs, targets) + outputs.var(0).mean()
    def model(self):
        return nn.Sequential(nn.Linear(64, 20), nn.CELU(), nn.Linear(20, 10))

class Mixing(Digits):
    def model(self):
        class Model(nn.Linear):
            def forward(self, x):
                return super().forward(x - x.mean(0)).clamp(max=9)
        return Model(64, 10)

class Counting(Digits):
    def model(self):
        class Model(nn.Linear):
            def __init__(self):
                super().__init__(64, 10)
                self.register_buffer("seen", torch.zeros(()))
            def forward(self, x):
                self.seen = self.seen + 1
                return super().forward(x).clamp(max=9) / self.seen
        return Model()

class LossDraws(Digits):
    def loss(self, outputs, targets):
        return super().loss(outputs + 0.1 * torch.randn_like(outputs), targets)
    def model(self):
        return nn.Sequential(nn.Linear(64, 10), nn.CELU())

class Heads(Digits):
    def model(self):
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
                self.last = nn.Linear(16, 10)
            def forward(self, x):
                x = x.view(-1, 4, 16)
                return self.last(self.attention(x, x, x, need_weights=False)[0].amax(1))
        return Model()

class Unused(Digits):
    def model(self):
        class Model(nn.Linear):
            def __init__(self):
                super().__init__(64, 10)
                self.spare = nn.Parameter(torch.ones(3))
        return Model()
"""

BY_HAND = ["Convolution", "Gelu", "OwnLoss", "Frozen", "Dropout", "BatchNorm"]
BY_VMAP = ["Tied", "Unused", "Attending", "Pairs"]
BY_VMAP_WITH_DROPOUT = ["Hooked", "AttendingDropout"]
ALONE = {
    "Grouped": "one by one: no stacked layers for a convolution with groups, dilation or another"
    " padding than zeros; stacked convolutions are slower than single ones",
    "Branching": "one by one: no stacked layers for Model, which cannot be traced",
    "RandomLoss": "one by one: no stacked layers for a loss that draws random numbers; its steps",
    "Wide": "one by one: no stacked layers for a model that fills a core's caches by itself; sta",
    "Mixing": "one by one: no stacked layers for mean() in its forward; its stacked gradient of we",
    "Counting": "one by one: no stacked layers for linear() in its forward; its forward changes b",
    "LossDraws": "one by one: no stacked layers for celu() in its forward; its steps draw",
    "Heads": "one by one: no stacked layers for amax() in its forward; stacked attention layers of",
}


@pytest.fixture(autouse=True)
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "engine_tasks.py").write_text(TASKS)


def learner(
    folder: Path, name: str, *, threads: int = 1, peers: int = 60, **training: Any
) -> Learner:
    # Batch norm refuses batches of one row, which some peers' epochs would end with.
    training = ({"batch_size": 1000} if name in ("BatchNorm", "Mixed") else {}) | training
    settings = LearningSettings.model_validate(
        {
            "task": f"engine_tasks:{name}",
            "partition": {"kind": "quantity", "alpha": 2, "minimum_rows": 5},
            "training": training,
            "evaluation_rows": 50,
            "held_out": 0,
        }
    )
    return make_learner(settings, peer_count=peers, seed=2, folder=folder, threads=threads)


def train_jobs(made: Learner, count: int = 40) -> list[tuple[int, Train]]:
    jobs = []
    for peer in range(count):
        noise = np.random.default_rng(peer).normal(0, 0.01, made.vector_length)
        vector = (made.initial_vector() + noise).astype(np.float32)
        jobs.append((peer, Train(0, vector, f"2/{peer}/1/train/0")))
    return jobs


def trained(results: list[Trained | LotSummed | Evaluated | WorkFailed]) -> list[Trained]:
    assert all(isinstance(result, Trained) for result in results)
    return [result for result in results if isinstance(result, Trained)]


@pytest.mark.parametrize("name", [*BY_HAND, *BY_VMAP, *BY_VMAP_WITH_DROPOUT, *ALONE])
def test_a_result_is_the_same_bits_in_any_batch(name: str, tmp_path: Path) -> None:
    made = learner(tmp_path, name)
    expected = ALONE.get(name, "stacked (vmap)")
    if name in BY_HAND:
        expected = "stacked (layers by hand)"
    assert made.batching.startswith(expected)
    jobs = train_jobs(made, 9 if name in ALONE else 40)
    together = trained(made.run(jobs))
    rng = Random(3)
    for count in (1, 1, 2, 7) if name in ALONE else (1, 2, 7, 33):
        some = rng.sample(range(len(jobs)), count)
        for peer, result in zip(some, trained(made.run([jobs[i] for i in some])), strict=True):
            assert result.vector.tobytes() == together[peer].vector.tobytes()
            assert result.loss == together[peer].loss
    other = learner(tmp_path, name, threads=2)
    for result, again in zip(together, trained(other.run(jobs)), strict=True):
        assert result.vector.tobytes() == again.vector.tobytes()


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("name", [*BY_HAND, *BY_VMAP])
def test_stacked_modules_train_as_they_would_alone(
    name: str, momentum: float, tmp_path: Path
) -> None:
    made = learner(tmp_path, name, momentum=momentum, learning_rate=0.03, epochs=2)
    jobs = train_jobs(made, 12)
    stacked = trained(made.run(jobs))
    made._engine = made._engine._alone  # type: ignore[attr-defined]
    for (_, job), result, alone in zip(jobs, stacked, trained(made.run(jobs)), strict=True):
        np.testing.assert_allclose(result.vector, alone.vector, atol=2e-5)
        assert result.loss == pytest.approx(alone.loss, rel=1e-4)
        assert np.abs(result.vector - job.vector).max() > 1e-4


@pytest.mark.parametrize("name", BY_VMAP_WITH_DROPOUT)
def test_stacked_dropout_is_that_of_masks_of_one_s_own(name: str, tmp_path: Path) -> None:
    """One step, held against the module itself in float64, with the masks of the job's stream."""
    made = learner(
        tmp_path, name, batch_size=24, steps=1, sampling="replacement", learning_rate=1.0
    )
    assert made.batching == "stacked (vmap)"
    jobs = train_jobs(made)[:3]
    task: Any = make_task(f"engine_tasks:{name}", {}, folder=tmp_path)
    data = task.data(None).train
    for (peer, job), result in zip(jobs, trained(made.run(jobs)), strict=True):
        rows = made._partition.rows_of(peer)
        order = rows[made._plan(peer).draw([job.stream])[0]]
        padded = np.concatenate([order, np.repeat(order[:1], 32 - len(order))])
        module = task.model()
        layout = VectorLayout(module, list(task.travelling(module)))
        layout.to_module(job.vector.astype(np.float32), module)
        module.double()
        calls = StackedCalls()
        with calls, torch.no_grad():
            module(torch.from_numpy(data.inputs[padded]).double())
        assert calls.asked
        generator = torch.Generator().manual_seed(seed_of(f"{job.stream}/torch"))
        masks = [mask[0].double() for mask in draw_masks(calls.asked, [generator])]
        with StackedCalls(masks):
            outputs = module(torch.from_numpy(data.inputs[padded]).double())[: len(order)]
        loss = nn.functional.cross_entropy(outputs, torch.from_numpy(data.targets[order]))
        loss.backward()
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.sub_(parameter.grad)
        np.testing.assert_allclose(result.vector, layout.to_vector(module), atol=2e-6)
        assert result.loss == pytest.approx(float(loss.detach()), rel=1e-5)


def test_few_peers_and_uneven_ones_are_not_stacked_by_vmap(tmp_path: Path) -> None:
    def told(peers: int, **training: Any) -> str:
        return learner(tmp_path, "Unused", peers=peers, **training).batching

    assert told(4, steps=2, sampling="replacement", batch_size=16) == "stacked (vmap)"
    assert told(2, steps=2, sampling="replacement", batch_size=16).endswith(
        "; stacks of 2.0 models in the mean gain nothing"
    )
    # Four again, whose batches are of as many sizes.
    assert told(4, batch_size=1000).endswith("full gain nothing")


def test_all_rows_in_one_place_train_by_themselves(tmp_path: Path) -> None:
    made = learner(tmp_path, "Unused")
    assert made.batching == "stacked (vmap)"
    assert made.pooled().batching == "one by one"


def test_only_what_travels_is_in_the_vector_and_tied_tensors_once(tmp_path: Path) -> None:
    assert learner(tmp_path, "Tied").vector_length == 64 * 12 + 64 * 10 + 10
    assert learner(tmp_path, "Frozen").vector_length == 30 * 10 + 10
    assert learner(tmp_path, "BatchNorm").vector_length == 64 * 20 + 20 + 2 * 20 + 20 * 10 + 10


def test_statistics_are_those_of_the_measured_model_on_the_peers_own_rows(tmp_path: Path) -> None:
    made = learner(tmp_path, "BatchNorm")
    vector = made.initial_vector()
    ours, same, theirs = made.run([(peer, Evaluate(0, vector)) for peer in (0, 0, 1)])
    assert ours == same != theirs
    engine: Any = made._engine._alone  # type: ignore[attr-defined]
    rows = made._partition.rows_of(0)
    with torch.no_grad():
        engine._evaluate(Evaluation(Evaluate(0, vector), rows, rows[:0]))
        hidden = engine._module[0](torch.from_numpy(engine._data.train.inputs[rows]))
    norm = engine._module[1]
    torch.testing.assert_close(norm.running_mean, hidden.mean(0))
    torch.testing.assert_close(norm.running_var, hidden.var(0))
    assert norm.momentum == 0.1


def test_statistics_that_a_task_names_travel_as_before(tmp_path: Path) -> None:
    made = learner(tmp_path, "TravellingStatistics", batch_size=1000)
    start = made.initial_vector()
    (result,) = trained(made.run([(0, Train(0, start, "a"))]))
    means = slice(-40, -20)
    assert not start[means].any()
    assert result.vector[means].all()
    one, other = made.run([(peer, Evaluate(0, result.vector)) for peer in (0, 1)])
    assert one == other


def test_what_a_task_raises_later_is_told_with_its_line(tmp_path: Path) -> None:
    made = learner(tmp_path, "RaisesLater")
    with pytest.raises(LearningError, match=r"KeyError: 'later' \(.*engine_tasks.py, line \d+\)$"):
        made.run([(0, Train(0, made.initial_vector(), f"{k}")) for k in range(20)])


@pytest.mark.parametrize("name", ["Dropout", "BatchNorm", "Frozen", "Float64", "Replaced", "Mixed"])
def test_a_job_leaves_nothing_behind(name: str, tmp_path: Path) -> None:
    made = learner(tmp_path, name)
    job = (0, Train(0, made.initial_vector(), "a"))
    figures = (0, Evaluate(0, made.initial_vector()))
    generator = torch.random.get_rng_state()
    first = made.run([figures, job])
    made.run([(1, Train(0, first[1].vector, "b"))])  # type: ignore[union-attr]
    again = made.run([figures, job])
    assert first[0] == again[0]
    assert trained(first[1:])[0].vector.tobytes() == trained(again[1:])[0].vector.tobytes()
    assert torch.equal(generator, torch.random.get_rng_state())


@pytest.mark.parametrize("name", ["Float64", "Mixed", "Grouped"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_one_by_one_trains_as_a_plain_loop(name: str, momentum: float, tmp_path: Path) -> None:
    made = learner(tmp_path, name, momentum=momentum, learning_rate=0.03, batch_size=1000, epochs=3)
    assert made.batching.startswith("one by one")
    job = train_jobs(made)[3][1]
    (result,) = trained(made.run([(3, job)]))
    task = make_task(f"engine_tasks:{name}", {}, folder=tmp_path)
    assert isinstance(task, Task)
    module = task.model()
    names = list(task.travelling(module))
    layout = VectorLayout(module, names)
    layout.to_module(job.vector.astype(np.float32), module)
    travelling = [p for n, p in module.named_parameters() if n in names]
    optimiser = torch.optim.SGD(travelling, lr=0.03, momentum=momentum)
    data, rows = task.data(None).train, made._partition.rows_of(3)
    plan = made._plan(3)
    order = rows[plan.draw([job.stream])[0]].reshape(3, -1)
    for batch in order:
        inputs, targets = (
            torch.from_numpy(data.inputs[batch]),
            torch.from_numpy(data.targets[batch]),
        )
        optimiser.zero_grad()
        torch.autograd.backward(task.loss(module(inputs), targets))
        optimiser.step()
    np.testing.assert_allclose(result.vector, layout.to_vector(module), atol=1e-5)


@pytest.mark.parametrize("name", ["Gelu", "Dropout"])
def test_a_model_that_fails_disturbs_no_other(name: str, tmp_path: Path) -> None:
    made = learner(tmp_path, name)
    jobs = train_jobs(made)[:5]
    undisturbed = trained(made.run(jobs))
    broken = (2, Train(3, np.full(made.vector_length, np.nan, np.float32), "broken"))
    results = made.run([*jobs[:2], broken, *jobs[3:]])
    assert isinstance(results[2], WorkFailed)
    assert "step 1 of" in results[2].reason
    for peer in (0, 1, 3, 4):
        (result,) = trained([results[peer]])
        assert result.vector.tobytes() == undisturbed[peer].vector.tobytes()
