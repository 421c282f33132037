"""Odd models, losses and metrics: taken, or refused in one line, whatever engine trains."""

import importlib
import pkgutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from door_tasks import ENGINES, NUMPY, WITHOUT_TORCH, made, trained, verdicts

from p2pfl.explaining import MESSAGE_CHARACTERS_MAX
from p2pfl.learner.errors import LearningError
from p2pfl.learner.learner import make_learner
from p2pfl.learner.settings import LearningSettings

REFUSED = {
    "a loss that raises": (
        'def loss(self, o, t):\n    raise ZeroDivisionError("no positives in this batch")',
        "ZeroDivisionError: no positives in this batch (",
    ),
    "a loss that looks up": ('def loss(self, o, t): return {}["x"]', "KeyError: 'x' ("),
    "a loss that asks for more": (
        "def loss(self, o, t): return t.nothing",
        "AttributeError: 'Tensor' object has no attribute 'nothing' (",
    ),
    "a loss that asserts": ("def loss(self, o, t): assert False", "AssertionError: no message ("),
    "a loss that ends": ("def loss(self, o, t): raise SystemExit(3)", "SystemExit: 3 ("),
    "a loss that says much": (
        "def loss(self, o, t): raise ValueError('a\\nlong story ' * 1000)",
        "ValueError: a long story a long story",
    ),
    "a loss whose error cannot be told": (
        (
            "def loss(self, o, t):\n"
            "    class Odd(Exception):\n"
            "        def __str__(self): raise ValueError\n"
            "    raise Odd"
        ),
        "Odd: no message (",
    ),
    "a loss that says two lines": (
        (
            "def loss(self, o, t):\n"
            "    from p2pfl.learner.tasks import LearningError\n"
            "    raise LearningError(\"task 'door_task:Own': first\\n second\")"
        ),
        "task 'door_task:Own': first second",
    ),
    "two losses": (
        "def loss(self, o, t): return F.cross_entropy(o, t), o.mean()",
        "its loss gives tuple; return the mean over the batch, a scalar tensor",
    ),
    "a loss for each row": (
        'def loss(self, o, t): return F.cross_entropy(o, t, reduction="none")',
        "its loss gives a tensor of shape [15]; return the mean",
    ),
    "a loss that is a number": (
        "def loss(self, o, t): return F.cross_entropy(o, t).item()",
        "its loss gives float; return the mean over the batch, a scalar tensor",
    ),
    "a complex loss": (
        "def loss(self, o, t): return F.cross_entropy(o, t).to(torch.complex64)",
        "its loss gives a tensor of complex64; return the mean",
    ),
    "a loss that counts": (
        "def loss(self, o, t): return (o.argmax(1) == t).sum()",
        "its loss gives a tensor of int64; return the mean",
    ),
    "a loss of no gradient": (
        "def loss(self, o, t): return F.cross_entropy(o, t).detach()",
        "its loss gives a tensor without a gradient",
    ),
    "a loss of something else": (
        "def loss(self, o, t): return torch.ones(1, requires_grad=True).sum()",
        "its loss depends on no tensor that travels, so nothing is learnt; see forward and loss",
    ),
    "a loss that is NaN": (
        "def loss(self, o, t): return (o.sum() * 0).log() - (o.sum() * 0).log()",
        "its loss is nan at the start on a batch of 15 rows (inputs float32 [30, 8], targets",
    ),
    "a loss that is infinite": (
        "def loss(self, o, t): return (o * 1e30).square().mean()",
        "its loss is inf at the start on a batch of 15 rows (inputs float32 [30, 8], targets int64",
    ),
    "a gradient that is NaN": (
        "def loss(self, o, t): return F.cross_entropy(o, t) + (o * 0).sum().sqrt()",
        "the gradient of tensor '0.weight' is not finite in the first step, though the loss is",
    ),
    "a loss that goes back by itself": (
        "def loss(self, o, t): loss = F.cross_entropy(o, t); loss.backward(); return loss",
        "RuntimeError: Trying to backward through the graph a second time",
    ),
    "a loss that pairs all with all": (
        (
            "def targets(self, y): return y.astype('float32')\n"
            "def changed(self, model): return nn.Sequential(model, nn.Linear(3, 1))\n"
            "def loss(self, o, t): return ((o - t) ** 2).mean()"
        ),
        "its loss holds outputs [15, 1] against targets [15], which torch broadcasts to [15, 15]",
    ),
    "metrics that raise": (
        "def metrics(self, o, t): return {'accuracy': 1 / 0, 'loss': 0}",
        "ZeroDivisionError: division by zero (",
    ),
    "metrics that change their targets": (
        "def metrics(self, o, t): t[0] = 1; return {'accuracy': 1.0, 'loss': 0.0}",
        "ValueError: assignment destination is read-only (",
    ),
    "no figures": ("def metrics(self, o, t): return 0.5", "its metrics are of type float"),
    "words for figures": (
        "def metrics(self, o, t): return {'accuracy': 'good', 'loss': 0.0}",
        "its metrics are numbers by name",
    ),
    "no module": ("def changed(self, m): return lambda x: x", "its model() returned function"),
    "nothing for a model": ("def changed(self, m): pass", "its model() returned nothing; return"),
    "a class for a model": ("def changed(self, m): return nn.Linear", "its model() returned type"),
    "a lazy layer": (
        "def changed(self, m): return nn.Sequential(nn.LazyLinear(8), m)",
        "tensor '0.weight' of its model has no shape yet; state the layer's sizes",
    ),
    "a lazy buffer": (
        "def changed(self, m): return nn.Sequential(nn.LazyBatchNorm1d(affine=False), m)",
        "tensor '0.running_mean' of its model has no shape yet",
    ),
    "a model without memory": (
        "def changed(self, m): return m.to('meta')",
        "tensor '0.weight' of its model is on device 'meta'; make the model on the CPU",
    ),
    "a model that raises": ("def changed(self, m): return {}['x']", "KeyError: 'x' ("),
    "a model that ends": ("def changed(self, m): raise SystemExit", "SystemExit: no message ("),
    "a forward that raises": (
        (
            "def changed(self, m):\n"
            "    def stop(module, args): raise KeyError('forward')\n"
            "    m.register_forward_pre_hook(stop)\n"
            "    return m"
        ),
        "KeyError: 'forward' (",
    ),
    "a model without parameters": (
        "def changed(self, m): return nn.Flatten()",
        "no tensor of its model takes a gradient, so nothing is learnt",
    ),
    "a frozen model": (
        "def changed(self, m): return m.requires_grad_(False)",
        "no tensor of its model takes a gradient, so nothing is learnt",
    ),
    "two outputs": (
        (
            "def changed(self, m):\n"
            "    m.register_forward_hook(lambda m, i, o: (o, i))\n"
            "    return m"
        ),
        "its model gives tuple; cross-entropy takes [rows, classes]",
    ),
    "two outputs for a loss of one's own": (
        (
            "def changed(self, m):\n"
            "    m.register_forward_hook(lambda m, i, o: {'logits': o})\n"
            "    return m\n"
            "def loss(self, o, t): return F.cross_entropy(o['logits'], t)"
        ),
        "its model gives dict; metrics take one tensor of outputs: have forward return that",
    ),
    "one output for all rows": (
        (
            "def changed(self, m):\n"
            "    m.register_forward_hook(lambda m, i, o: o.mean())\n"
            "    return m\n"
            "def loss(self, o, t): return o"
        ),
        "its model gives a tensor of shape [] for 10 rows; metrics take one output a row",
    ),
    "complex outputs": (
        (
            "def changed(self, m):\n"
            "    m.register_forward_hook(lambda m, i, o: o.to(torch.complex64))\n"
            "    return m\n"
            "def loss(self, o, t): return o.abs().mean()"
        ),
        "its model gives complex numbers; metrics take floats",
    ),
    "complex parameters": (
        "def changed(self, m): m.w = nn.Parameter(torch.ones(3) * 1j); return m",
        "tensor 'w' is of torch.complex64 and cannot be averaged",
    ),
    "half floats for whole ones": (
        "def changed(self, m): return m.to(torch.bfloat16)",
        "its model is of bfloat16: leave it float32, or cast in forward",
    ),
    "sparse gradients": (
        (
            "def inputs(self, x): return (abs(x) * 3).astype(int)\n"
            "def changed(self, m):\n"
            "    return nn.Sequential(nn.Embedding(50, 1, sparse=True), nn.Flatten(), m)"
        ),
        "tensor '0.weight' of its model has sparse gradients; make the layer with sparse=False",
    ),
    "a start that is not finite": (
        ("def changed(self, m):\n    with torch.no_grad(): m[0].bias[3] = np.nan\n    return m"),
        "its initial model is not finite: 0.bias has NaN or infinity",
    ),
    "a start beyond float32": (
        (
            "def changed(self, m):\n"
            "    m.w = nn.Parameter(torch.tensor([1e300], dtype=torch.float64))\n"
            "    return m"
        ),
        "its initial model has values beyond float32",
    ),
    "a constant that is said to travel": (
        (
            "def changed(self, m): m.register_buffer('table', torch.arange(8.)); return m\n"
            "def travelling(self, m): return [*super().travelling(m), 'table']"
        ),
        "it names 'table' as travelling, and a step of training leaves that as it was; leave it",
    ),
    "a frozen tensor that is said to travel": (
        (
            "def changed(self, m): m[0].requires_grad_(False); return m\n"
            "def travelling(self, m): return ['0.weight', '2.weight', '2.bias']"
        ),
        "it names '0.weight' as travelling, and a step of training leaves that as it was",
    ),
    "frozen tensors alone": (
        (
            "def changed(self, m): m[0].requires_grad_(False); return m\n"
            "def travelling(self, m): return ['0.weight']"
        ),
        "no tensor that travels takes a gradient, so nothing is learnt; set requires_grad",
    ),
    "a name that there is not": (
        "def travelling(self, m): return ['0.weigth']",
        "the task names '0.weigth' as travelling, but its model has no such tensor; it has 0.wei",
    ),
    "a text of names": (
        "def travelling(self, m): return '0.weight'",
        "its travelling() returned the text '0.weight'; return a list of names",
    ),
    "no names": ("def travelling(self, m): pass", "its travelling() returned nothing; return a"),
    "tensors for names": (
        "def travelling(self, m): return m.parameters()",
        "its travelling() returned a Parameter; return names of tensors, as text",
    ),
    "travelling that raises": ("def travelling(self, m): return {}['x']", "KeyError: 'x' ("),
    "tied in part": (
        "def changed(self, m): m[2].bias.data = m[0].bias.data[:3]; return m",
        "tensors '0.bias' and '2.bias' of its model share memory in part, or in another shape",
    ),
    "tied in another order": (
        (
            "def changed(self, m):\n"
            "    m.back = nn.Linear(16, 8); m.back.weight.data = m[0].weight.data.t()\n"
            "    return m"
        ),
        "tensors '0.weight' and 'back.weight' of its model share memory in part, or in another",
    ),
    "tied to one that is frozen": (
        (
            "def changed(self, m):\n"
            "    m.back = nn.Linear(8, 16).requires_grad_(False)\n"
            "    m.back.weight.data = m[0].weight.data\n"
            "    return m"
        ),
        "'0.weight' and 'back.weight' of its model share memory, and only '0.weight' takes grad",
    ),
    "a bias that is one number": (
        "def changed(self, m): m[0].bias.data = torch.zeros(1).expand(16); return m",
        "elements of tensor '0.bias' of its model share memory, as after expand(): .clone() it",
    ),
}


@pytest.mark.parametrize(("body", "told"), REFUSED.values(), ids=REFUSED)
def test_it_is_refused_alike_in_one_line(tmp_path: Path, body: str, told: str) -> None:
    found = verdicts(tmp_path, body)
    assert len(set(found.values())) == 1, found
    message = next(iter(found.values()))
    assert message.startswith("task 'door_task:Own': ")
    assert told in message
    assert "\n" not in message
    assert len(message) < MESSAGE_CHARACTERS_MAX + 300
    if told.endswith(" ("):
        assert f"{tmp_path}/door_task.py, line " in message


TAKEN = {
    "a loss in one element": "def loss(self, o, t): return F.cross_entropy(o, t)[None]",
    "a loss that counts in NumPy": (
        "def loss(self, o, t):\n"
        "    n = np.bincount(t.numpy(), minlength=3)\n"
        "    return F.cross_entropy(o, t, weight=torch.tensor(1 / (1 + n), dtype=torch.float32))"
    ),
    "a loss that looks at values": (
        "def loss(self, o, t):\n"
        "    return F.cross_entropy(o, t) * {True: 1, False: 2}[float(o.detach()[0, 0]) > 0]"
    ),
    "a loss that tells stacks apart": (
        "def loss(self, o, t):\n"
        "    assert not torch._C._functorch.is_functorch_wrapped_tensor(o)\n"
        "    return F.cross_entropy(o, t)"
    ),
    "a loss that keeps what it saw": (
        "seen = {}\n"
        "def loss(self, o, t):\n"
        "    self.seen[float(t[0])] = 1\n"
        "    return F.cross_entropy(o, t)"
    ),
    "outputs [n, 1], where the loss takes care": (
        "def targets(self, y): return y.astype('float32')\n"
        "def changed(self, model): return nn.Sequential(model, nn.Linear(3, 1))\n"
        "def loss(self, o, t): return F.mse_loss(o, t[:, None])\n"
        "def metrics(self, o, t): return {'accuracy': 1.0, 'loss': 0.0}"
    ),
    "places that cross-entropy ignores": (
        "def targets(self, y): return np.stack([y, y * 0 - 100], axis=1)\n"
        "def changed(self, m): return nn.Sequential(m, nn.Linear(3, 6), nn.Unflatten(1, (3, 2)))\n"
        "def metrics(self, o, t): return {'accuracy': 1.0, 'loss': 0.0}"
    ),
    "-inf in a buffer": (
        "def changed(self, m): m.register_buffer('mask', torch.full((3,), -np.inf)); return m"
    ),
    "bytes for an embedding": (
        "def inputs(self, x): return (abs(x) * 3).astype('uint8')\n"
        "def changed(self, m): return nn.Sequential(nn.Embedding(50, 1), nn.Flatten(), m)"
    ),
    "a start by NumPy": (
        "def changed(self, m):\n"
        "    m[0].weight.data = torch.tensor(np.random.normal(size=(16, 8)), dtype=torch.float32)\n"
        "    return m"
    ),
    "parameters out of order in memory": (
        "def changed(self, m):\n"
        "    m[0].weight.data = m[0].weight.data.t().contiguous().t()\n"
        "    return m"
    ),
    "parametrised weights": (
        "def changed(self, m):\n"
        "    torch.nn.utils.parametrizations.spectral_norm(m[0])\n"
        "    return m"
    ),
    "a buffer that is another object after each step": (
        "def changed(self, m):\n"
        "    m.register_buffer('seen', torch.zeros(1))\n"
        "    def count(module, args): module.seen = module.seen + 1\n"
        "    m.register_forward_pre_hook(count)\n"
        "    return m"
    ),
    "a buffer that is born in the first step": (
        "def changed(self, m):\n"
        "    def count(module, args): module.register_buffer('late', torch.zeros(1))\n"
        "    m.register_forward_pre_hook(count)\n"
        "    return m"
    ),
    "slices of one storage that do not meet": (
        "def changed(self, m):\n"
        "    flat = torch.zeros(19)\n"
        "    m[0].bias.data, m[2].bias.data = flat[:16], flat[16:]\n"
        "    return m"
    ),
}


@pytest.mark.parametrize("body", TAKEN.values(), ids=TAKEN)
def test_it_is_taken_and_trains(tmp_path: Path, body: str) -> None:
    for engine in ENGINES:
        trained(made(tmp_path, body, engine))


TIED = {
    "by parameter": "twice.weight = m[0].weight",
    "by module": "twice = m[0]",
    "by data": "twice.weight.data = m[0].weight.data",
    "by a view": "twice.weight.data = m[0].weight.data.view(16, 8)",
}


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_tied_stays_tied(tmp_path: Path, engine: str) -> None:
    weights = set()
    for how in TIED.values():
        body = (
            "def changed(self, m):\n"
            "    class Twice(nn.Module):\n"
            "        def __init__(self, twice):\n"
            "            super().__init__()\n"
            "            self.m, self.twice = m, twice\n"
            "        def forward(self, x):\n"
            "            return self.m(x) + F.linear(x, self.twice.weight)[:, :3]\n"
            f"    twice = nn.Linear(8, 16, bias=False); {how}\n"
            "    type(self).kept = Twice(twice)\n"
            "    return self.kept"
        )
        learner = made(tmp_path, body, engine)
        module = sys.modules["door_task"].Own.kept
        assert module.twice.weight is module.m[0].weight
        names = {it.name for it in learner.description.tensors}
        assert names == {"m.0.weight", "m.0.bias", "m.2.weight", "m.2.bias"}
        weights.add(trained(learner)[0])
    assert len(weights) == 1


def test_the_start_is_the_same_whatever_generator_a_model_draws_from(tmp_path: Path) -> None:
    body = (
        "def changed(self, m):\n"
        "    import random\n"
        "    with torch.no_grad():\n"
        "        m[0].bias.fill_(float(np.random.normal()))\n"
        "        m[2].bias.fill_(random.random())\n"
        "    return m"
    )
    before = np.random.get_state()[1].tolist()  # type: ignore[index]  # noqa: NPY002
    starts = {made(tmp_path, body, "ModuleEngine").initial_vector().tobytes() for _ in range(2)}
    assert len(starts) == 1
    assert np.random.get_state()[1].tolist() == before  # type: ignore[index]  # noqa: NPY002


def test_buffers_do_not_travel(tmp_path: Path) -> None:
    body = "def changed(self, m): m.register_buffer('table', torch.arange(8.)); return m"
    plain = made(tmp_path, "pass", "ModuleEngine")
    assert made(tmp_path, body, "ModuleEngine").vector_length == plain.vector_length


def test_every_engine_stands_at_the_door(tmp_path: Path) -> None:
    import p2pfl.learner.engines as folder

    found = set()
    for info in pkgutil.walk_packages(folder.__path__, f"{folder.__name__}."):
        name, module = info.name, importlib.import_module(info.name)
        found |= {
            value.__name__
            for value in vars(module).values()
            if isinstance(value, type)
            and value.__module__ == name
            and hasattr(value, "train")
            and hasattr(value, "evaluate")
            and not getattr(value, "_is_protocol", False)
            and value.__name__ != "OwnParts"  # It is around any of them, and trains nothing.
        }
    assert found == {*ENGINES, *WITHOUT_TORCH}
    for engine in ENGINES:
        assert type(made(tmp_path, "pass", engine)._engine).__name__ == engine


def test_the_trial_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    body = (
        "def changed(self, m):\n"
        "    m = nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))\n"
        "    def clamp(module, args):\n"
        "        with torch.no_grad(): module[0].weight.clamp_(-0.01, 0.01)\n"
        "    m.register_forward_pre_hook(clamp)\n"
        "    type(self).kept = m, m[0].weight.detach().clone()\n"
        "    return m"
    )
    learner = made(tmp_path, body, "ModuleEngine")
    module, weight = sys.modules["door_task"].Own.kept
    assert not module[1].running_mean.any()
    assert int(module[1].num_batches_tracked) == 0
    assert torch.equal(
        torch.from_numpy(learner.named(learner.initial_vector()).tensors["0.weight"]), weight
    )


def test_a_peer_of_one_row_is_told_so(tmp_path: Path) -> None:
    body = (
        "def data(self, d):\n"
        "    x, y = rows()\n"
        "    return Data(Rows(x[:1], y[:1]), Rows(x, y))\n"
        "def changed(self, m): return nn.Sequential(nn.BatchNorm1d(8), m)"
    )
    for engine in ENGINES:
        with pytest.raises(LearningError, match=r"this peer has one training row: give it more$"):
            made(tmp_path, body, engine, peers=1)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("return 0.5", "return None", "its step() returned NoneType; return the batch's loss"),
        (
            "return 0.5",
            "return np.nan",
            "its step() gives the loss nan at the start on a batch of 4 rows; see",
        ),
        ("return 0.5", "v += np.inf; return 0.5", "its step() at a rate of 0 makes the model inf"),
        ("return 0.5", "return 1 / 0", "division by zero ("),
        ("return 0.5", "raise SystemExit(1)", "SystemExit: 1 ("),
        ('{"accuracy": 1.0, "loss": 0.0}', "1.0", "its metrics are of type float"),
        ('return {"accuracy"', 'x[0] = 1; return {"accuracy"', "destination is read-only ("),
        ("np.zeros(3, ", "np.zeros((3, 2), ", "its initial_vector has shape [3, 2]; return"),
        ("np.zeros(3, ", "np.zeros(0, ", "its initial_vector has shape [0]; return"),
        ("np.zeros(3, np.float32)", "[np.nan]", "its initial_vector is not finite; return"),
        ("np.zeros(3, np.float32)", "[1e300]", "its initial_vector is not finite; return"),
        ("np.zeros(3, np.float32)", "'abc'", "its initial_vector is of type str, no"),
        ("np.zeros(3, np.float32)", "None", "its initial_vector is nothing, no"),
        ("np.zeros(3, np.float32)", "1 / 0", "division by zero ("),
    ],
)
def test_a_task_without_torch_is_tried_as_well(
    tmp_path: Path, before: str, after: str, told: str
) -> None:
    assert before in NUMPY
    (tmp_path / "door_numpy.py").write_text(NUMPY.replace(before, after))
    sys.modules.pop("door_numpy", None)
    with pytest.raises(LearningError) as refused:
        make_learner(
            LearningSettings(task="door_numpy:Own", held_out=0),
            peer_count=1,
            seed=1,
            folder=tmp_path,
        )
    message = str(refused.value)
    assert message.startswith("task 'door_numpy:Own': ")
    assert told in message
    if told.endswith(" ("):
        assert f"{tmp_path}/door_numpy.py, line " in message


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("import nothing_of_that_name", "ModuleNotFoundError: No module named 'nothing_of_that_na"),
        ("x = = 1", "SyntaxError: "),
        ("raise SystemExit(3)", "SystemExit: 3 ({file}, line 1)"),
        ("{}['x']", "KeyError: 'x' ({file}, line 1)"),
        ("def data(): pass", "Own is not there in {file}"),
        ("Own = 3", "Own is no subclass of Task or NumpyTask in {file}"),
    ],
)
def test_a_file_that_cannot_be_imported_is_told_in_one_line(
    tmp_path: Path, file: str, told: str
) -> None:
    path = tmp_path / "door_file.py"
    path.write_text(file)
    sys.modules.pop("door_file", None)
    with pytest.raises(LearningError) as refused:
        make_learner(LearningSettings(task="door_file:Own"), peer_count=1, seed=1, folder=tmp_path)
    assert told.format(file=path) in str(refused.value)
    assert "\n" not in str(refused.value)
