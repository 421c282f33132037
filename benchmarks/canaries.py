"""A task of canaries: rows whose gradients have nothing in common, each clipped.

Row i has one feature, its own, so large that its gradient is clipped. Its label is drawn. A fair
coin says whether it is in the data at all: private-attacks asks of each which it was.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from p2pfl.learner.tasks.base import Data, Rows, Task

LENGTH = 10.0  # A row's gradient is about 7 clips long.
COMMON = 8  # Test rows, since a task has some; nobody looks at them.


def labels_and_coins(count: int, seed: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return each canary's label, and whether it is in the data."""
    generator = np.random.default_rng(seed)
    return generator.integers(0, 2, count), generator.random(count) < 0.5


class Canaries(Task):
    """Logistic regression without a bias, on rows of one feature each."""

    description = "canaries for audits"

    def __init__(self, count: int = 1000, seed: int = 1) -> None:
        self._count, self._seed = count, seed

    def data(self, _data_dir: Path | None) -> Data:
        """Make the rows that the coins let in."""
        labels, is_in = labels_and_coins(self._count, self._seed)
        inputs = (LENGTH * np.eye(self._count)).astype(np.float32)
        train = Rows(inputs[is_in], labels[is_in])
        return Data(train, Rows(inputs[:COMMON], labels[:COMMON]))

    def model(self) -> torch.nn.Module:
        """Make a model that is zero: two outputs."""
        layer = torch.nn.Linear(self._count, 2)
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
        return torch.nn.Sequential(layer)
