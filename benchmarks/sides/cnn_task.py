"""A small CNN on random pictures: what it learns plays no part in how long it takes."""

from pathlib import Path

import numpy as np
from torch import nn

from p2pfl.learner.tasks import Data, Rows, Task


class SmallPictures(Task):
    """Pictures of 28 x 28 in ten classes; 5,994 parameters."""

    def data(self, data_dir: Path | None) -> Data:
        """Draw the rows."""
        draw = np.random.default_rng(0)
        inputs = draw.normal(size=(4000, 1, 28, 28)).astype(np.float32)
        targets = draw.integers(0, 10, 4000)
        return Data(Rows(inputs[100:], targets[100:]), Rows(inputs[:100], targets[:100]))

    def model(self) -> nn.Module:
        """Two strided convolutions and a linear layer."""
        layers = [nn.Conv2d(1, 8, 5, stride=2), nn.ReLU(), nn.Conv2d(8, 16, 5, stride=2), nn.ReLU()]
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(256, 10))
