"""One odd task, given to every engine: what each says of it, or makes of it."""

import sys
from pathlib import Path

import pytest

from p2pfl.learner.engines import choice
from p2pfl.learner.errors import LearningError
from p2pfl.learner.learner import Learner, make_learner
from p2pfl.learner.settings import LearningSettings
from p2pfl_gossip.learning import Evaluate, Evaluated, Train, Trained

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
        return self.changed(nn.Sequential(nn.Linear(8, 16), {hidden}, nn.Linear(16, 3)))
    def changed(self, model): return model
"""

ENGINES = {
    "PerceptronEngine": "nn.ReLU()",
    "StackedEngine": "nn.Tanh()",
    "VmapEngine": "nn.CELU()",
    "ModuleEngine": "nn.RReLU()",
}
"""Every engine of torch tasks, by the hidden layer that has it chosen. A new engine belongs here:
test_every_engine_stands_at_the_door sees one that is missing."""

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

WITHOUT_TORCH = {"NumpyEngine"}


def made(folder: Path, body: str, engine: str, *, peers: int = 2) -> Learner:
    """Make the learner of a task whose class has `body`, for an engine; or be refused."""
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    own = f"\n\nclass Own(Mine):\n{lines}\n"
    path = folder / "door_task.py"
    path.write_text(TASK.replace("{hidden}", ENGINES[engine]) + own)
    sys.modules.pop("door_task", None)
    settings = LearningSettings(task="door_task:Own", held_out=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choice, "STACK_MEAN_MIN", 1.0)  # A stack of two is no gain, but here it is.
        return make_learner(settings, peer_count=peers, seed=1, folder=folder, threads=1)


def verdicts(folder: Path, body: str) -> dict[str, str]:
    """Say what becomes of a task with each engine: 'taken', or why it is not."""
    found = {}
    for engine in ENGINES:
        try:
            made(folder, body, engine)
            found[engine] = "taken"
        except LearningError as refused:
            found[engine] = str(refused)
    return found


def trained(learner: Learner) -> tuple[bytes, dict[str, float]]:
    """Train a round, and measure what it gives."""
    (result,) = learner.run([(0, Train(0, learner.initial_vector(), "a"))])
    assert isinstance(result, Trained), result
    (figures,) = learner.run([(0, Evaluate(0, result.vector))])
    assert isinstance(figures, Evaluated), figures
    return result.vector.tobytes(), dict(figures.metrics)
