"""Tasks whose steps take time, as training does, and no processor.

On two cores, rounds without a pause end faster than a process starts: most of a run would pass
before a peer that was killed is back.
"""

import time
from typing import TYPE_CHECKING

from p2pfl.learner.tasks.base import Array, Floats
from p2pfl.learner.tasks.integers import Integers
from p2pfl.learner.tasks.perceptrons import BreastCancer

if TYPE_CHECKING:
    import torch


class PacedIntegers(Integers):
    """Trains as `integers` does; each step sleeps `pace_s` first."""

    def __init__(self, pace_s: float) -> None:
        self._pace_s = pace_s

    def step(self, vector: Floats, inputs: Array, targets: Array, rate: float) -> float:
        time.sleep(self._pace_s)
        return super().step(vector, inputs, targets, rate)


class PacedBreastCancer(BreastCancer):
    """Trains as `breast-cancer` does; each step sleeps `pace_s` first."""

    def __init__(self, pace_s: float) -> None:
        super().__init__()
        self._pace_s = pace_s

    def loss(self, outputs: "torch.Tensor", targets: "torch.Tensor") -> "torch.Tensor":
        time.sleep(self._pace_s)
        return super().loss(outputs, targets)
