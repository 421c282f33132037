"""What a task gives is checked before anything runs: one line, the same whatever engine trains."""

import sys
from pathlib import Path

import pytest

from p2pfl.learner.learner import Learner, make_learner
from p2pfl.learner.settings import LearningSettings
from p2pfl.learner.tasks import LearningError

# The hidden layer decides which engine trains: ReLU the one by hand, tanh the one by vmap.
TASK = """
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from p2pfl.learner.tasks import Data, Rows, Task

def rows():
    r = np.random.default_rng(0)
    x = r.normal(size=(40, 8)).astype("float32")
    return x, (x[:, :3]).argmax(1)

class Mine(Task):
    def data(self, data_dir):
        x, y = rows()
        x, y = self.inputs(x), self.targets(y)
        return Data(Rows(x[:30], y[:30]), Rows(x[30:], y[30:]))
    def inputs(self, x): return x
    def targets(self, y): return y
    def model(self):
        return nn.Sequential(nn.Linear(8, 16), nn.%s(), nn.Linear(16, 3))
"""
ENGINES = ["ReLU", "Tanh"]


def made(folder: Path, body: str, hidden: str = "ReLU") -> Learner:
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    own = f"\n\nclass Own(Mine):\n{lines}\n"
    (folder / "door_task.py").write_text(TASK % hidden + own)
    sys.modules.pop("door_task", None)
    settings = LearningSettings(task="door_task:Own")
    return make_learner(settings, peer_count=2, seed=1, folder=folder, threads=1)


REFUSED = {
    "text": (
        'def targets(self, y): return np.array(["a", "b", "c"])[y]',
        "its train targets are text (dtype <U1), as in row 0; make them numbers: classes are 0",
    ),
    "objects": ("def targets(self, y): return y.astype(object)", "train targets are objects"),
    "from one": (
        "def targets(self, y): return y + 1",
        "its train targets have class 3 in row ",
    ),
    "negative": ("def targets(self, y): return y - 1", "its train targets have class -1 in row "),
    "test rows alone": (
        "def targets(self, y): return np.r_[y[:30], y[30:] + 3]",
        "its test targets have class ",
    ),
    "floats": (
        'def targets(self, y): return y.astype("float64")',
        "its train targets are float32; cross-entropy takes classes, integers from 0 to 2",
    ),
    "one-hot": (
        'def targets(self, y): return np.eye(3, dtype="int64")[y]',
        "its train targets have shape [30, 3]; cross-entropy takes the number of one class a row,",
    ),
    "a column": ("def targets(self, y): return y[:, None]", "its train targets have shape [30, 1]"),
    "NaN": (
        "def inputs(self, x): x[5, 2] = np.nan; return x",
        "its train inputs contain NaN or infinity, first in row 5; fill them in",
    ),
    "too large": (
        'def inputs(self, x): return x.astype("float64") * 1e300',
        "its train inputs have values beyond float32, first in row 0; scale them",
    ),
    "tensors": (
        "def inputs(self, x): return torch.from_numpy(x)",
        "its train inputs are of type Tensor, no NumPy array; return .numpy() of it",
    ),
    "lists": ("def inputs(self, x): return x.tolist()", "train inputs are of type list, no NumPy"),
    "integers for a layer of floats": (
        'def inputs(self, x): return (x * 10).astype("int64")',
        "on a batch of 15 rows (inputs int64 [30, 8], targets int64 [30]); if the model takes",
    ),
    "no rows": (
        "def data(self, d):\n    x, y = rows()\n    return Data(Rows(x[:0], y[:0]), Rows(x, y))",
        "its train data have no rows; see what data() reads",
    ),
    "no data": ("def data(self, d): pass", "its data() returned nothing; return Data("),
    "tuples": (
        "def data(self, d): return Data(rows(), rows())",
        "its train data are of type tuple",
    ),
    "a loss that raises": (
        'def loss(self, o, t):\n    raise ZeroDivisionError("no positives in this batch")',
        "ZeroDivisionError: no positives in this batch (",
    ),
    "a loss that looks up": ('def loss(self, o, t): return {}["x"]', "KeyError: 'x' ("),
    "a loss that asserts": ("def loss(self, o, t): assert False", "AssertionError: no message ("),
    "a loss that ends": ("def loss(self, o, t): raise SystemExit(3)", "SystemExit: 3 ("),
    "two losses": (
        "def loss(self, o, t): return F.cross_entropy(o, t), o.mean()",
        "its loss gives tuple; return the mean over the batch, a scalar tensor",
    ),
    "a loss for each row": (
        'def loss(self, o, t): return F.cross_entropy(o, t, reduction="none")',
        "its loss gives a tensor of shape [15]; return the mean",
    ),
    "a loss of no gradient": (
        "def loss(self, o, t): return F.cross_entropy(o, t).detach()",
        "its loss gives a tensor without a gradient",
    ),
    "targets that make a loss NaN": (
        (
            "def targets(self, y): y = y.astype('float32'); y[7] = np.nan; return y\n"
            "def loss(self, o, t): return F.mse_loss(o[:, 0], t)"
        ),
        "its train targets contain NaN or infinity, as in row 7, and its loss is nan by them",
    ),
    "metrics that raise": (
        "def metrics(self, o, t): return {'accuracy': 1 / 0, 'loss': 0}",
        "ZeroDivisionError: division by zero (",
    ),
    "no accuracy": (
        "def metrics(self, o, t): return {'loss': 0.0}",
        "its metrics include 'accuracy' and 'loss'; found loss",
    ),
    "no figures": ("def metrics(self, o, t): return 0.5", "its metrics are of type float"),
    "words for figures": (
        "def metrics(self, o, t): return {'accuracy': 'good', 'loss': 0.0}",
        "its metrics are numbers by name",
    ),
    "no module": ("def model(self): return lambda x: x", "its model() returned function"),
    "a lazy layer": (
        "def model(self): return nn.Sequential(nn.LazyLinear(16), nn.Tanh(), nn.Linear(16, 3))",
        "tensor '0.weight' of its model has no shape yet; state the layer's sizes",
    ),
    "a model that raises": ("def model(self): return {}['x']", "KeyError: 'x' ("),
    "two outputs": (
        (
            "def model(self):\n"
            "    class M(nn.Linear):\n"
            "        def forward(self, x): return super().forward(x), x\n"
            "    return M(8, 3)"
        ),
        "its model gives tuple; cross-entropy takes [rows, classes]",
    ),
    "a start that is not finite": (
        (
            "def model(self):\n"
            "    m = super().model()\n"
            "    m.register_buffer('mask', torch.full((3,), -np.inf))\n"
            "    return m"
        ),
        "its initial model is not finite: mask has NaN or infinity; a tensor that is constant",
    ),
    "all frozen but a buffer": (
        (
            "def model(self):\n"
            "    m = super().model().requires_grad_(False)\n"
            "    m.register_buffer('mask', torch.zeros(3))\n"
            "    return m"
        ),
        "no tensor that travels takes a gradient, so nothing is learnt",
    ),
}


@pytest.mark.parametrize("hidden", ENGINES)
@pytest.mark.parametrize(("body", "told"), REFUSED.values(), ids=REFUSED)
def test_it_is_refused_in_one_line_that_names_the_task(
    tmp_path: Path, body: str, told: str, hidden: str
) -> None:
    with pytest.raises(LearningError) as refused:
        made(tmp_path, body, hidden)
    message = str(refused.value)
    assert message.startswith("task 'door_task:Own': ")
    assert told in message
    assert "\n" not in message
    if told.endswith(" ("):
        assert f"{tmp_path}/door_task.py, line " in message


TAKEN = {
    "int32": 'def targets(self, y): return y.astype("int32")',
    "uint16": 'def targets(self, y): return y.astype("uint16")',
    "bool": "def targets(self, y): return y > 0",
    "float16": 'def inputs(self, x): return x.astype("float16")',
    "another byte order": 'def inputs(self, x): return x.astype(">f4")',
    "a loss in one element": "def loss(self, o, t): return F.cross_entropy(o, t)[None]",
    "missing targets that the loss skips": (
        "def targets(self, y): y = y.astype('float32'); y[::2] = np.nan; return y\n"
        "def loss(self, o, t): return F.mse_loss(o[:, 0], t.nan_to_num())\n"
        "def metrics(self, o, t): return {'accuracy': 1.0, 'loss': 0.0}"
    ),
    "a figure that is not known yet": (
        "def metrics(self, o, t): return {'accuracy': float('nan'), 'loss': np.float32(1)}"
    ),
    "places that cross-entropy ignores": (
        "def targets(self, y): return np.stack([y, y * 0 - 100], axis=1)\n"
        "def model(self): return nn.Sequential(nn.Linear(8, 6), nn.Unflatten(1, (3, 2)))\n"
        "def metrics(self, o, t): return {'accuracy': 1.0, 'loss': 0.0}"
    ),
}


@pytest.mark.parametrize("hidden", ENGINES)
@pytest.mark.parametrize("body", TAKEN.values(), ids=TAKEN)
def test_it_is_taken(tmp_path: Path, body: str, hidden: str) -> None:
    assert made(tmp_path, body, hidden).vector_length > 0


def test_a_batch_of_one_row_is_refused_where_the_model_cannot_take_it(tmp_path: Path) -> None:
    body = (
        "def data(self, d):\n"
        "    x, y = rows()\n"
        "    return Data(Rows(np.tile(x, (2, 1))[:66], np.tile(y, 2)[:66]), Rows(x, y))\n"
        "def model(self): return nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))"
    )
    with pytest.raises(LearningError, match=r"batch of 1 row .*; choose batch_size or rows so"):
        made(tmp_path, body)  # Two peers of 33 rows, in batches of 32.


def test_a_peer_of_one_row_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "one_row.py").write_text(
        TASK % "ReLU" + "\nclass Own(Mine):\n"
        "    def data(self, d):\n"
        "        x, y = rows()\n"
        "        return Data(Rows(x[:1], y[:1]), Rows(x, y))\n"
        "    def model(self):\n"
        "        return nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))\n"
    )
    settings = LearningSettings(task="one_row:Own")
    with pytest.raises(LearningError, match=r"this peer has one training row: give it more$"):
        make_learner(settings, peer_count=1, seed=1, folder=tmp_path, threads=1)


def test_the_trial_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    body = (
        "def model(self):\n"
        "    m = nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))\n"
        "    type(self).made = m\n"
        "    return m"
    )
    made(tmp_path, body)
    norm = sys.modules["door_task"].Own.made[1]
    assert not norm.running_mean.any()
    assert int(norm.num_batches_tracked) == 0


NUMPY = """
import numpy as np
from p2pfl.learner.tasks import Data, NumpyTask, Rows
class Own(NumpyTask):
    def data(self, d):
        rows = Rows(np.ones((4, 2)), np.zeros(4))
        return Data(rows, rows)
    def initial_vector(self, seed): return np.zeros(3, np.float32)
    def step(self, v, x, y, rate): return 0.5
    def evaluate(self, v, x, y): return {"accuracy": 1.0, "loss": 0.0}
"""


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("return 0.5", "return None", "its step() returned NoneType; return the batch's loss"),
        ("return 0.5", "return 1 / 0", "division by zero ("),
        ('{"accuracy": 1.0, "loss": 0.0}', "1.0", "its metrics are of type float"),
        ("np.zeros(3, ", "np.zeros((3, 2), ", "its initial_vector has shape [3, 2]"),
        ("np.zeros(3, np.float32)", "[np.nan]", "or is not finite"),
    ],
)
def test_a_task_without_torch_is_tried_as_well(
    tmp_path: Path, before: str, after: str, told: str
) -> None:
    assert before in NUMPY
    (tmp_path / "door_numpy.py").write_text(NUMPY.replace(before, after))
    sys.modules.pop("door_numpy", None)
    with pytest.raises(LearningError) as refused:
        make_learner(LearningSettings(task="door_numpy:Own"), peer_count=1, seed=1, folder=tmp_path)
    assert str(refused.value).startswith("task 'door_numpy:Own': ")
    assert told in str(refused.value)
