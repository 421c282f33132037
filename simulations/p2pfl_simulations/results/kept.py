"""Which of a peer's models counts, and means of figures of which some are not known."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from p2pfl.learner.metrics import PrimaryMetric
from p2pfl_gossip.actions import Vector


@dataclass(slots=True)
class Kept:
    """The model that counts, of those that came: the best on validation rows, else the last."""

    primary: PrimaryMetric
    vector: Vector | None = None
    best: float | None = None

    def offer(self, vector: Vector, validation: float | None) -> None:
        """Take a model if it is the one that counts from now on."""
        if validation is None or np.isnan(validation):
            if self.best is None:
                self.vector = vector
        elif self.best is None or self.primary.gain(validation, self.best) > 0:
            self.vector, self.best = vector, validation


def mean_of(figures: npt.NDArray[np.float64]) -> float:
    """Return the mean of those that are known; NaN where none is."""
    known = figures[~np.isnan(figures)]
    return float(known.mean()) if len(known) else float("nan")
