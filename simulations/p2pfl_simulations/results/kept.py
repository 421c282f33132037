"""Which of a peer's models counts, and means of figures of which some are not known."""

from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from p2pfl.learner.metrics import PrimaryMetric

ModelT = TypeVar("ModelT")
"""A model, or what is known of one."""


@dataclass(slots=True)
class Kept(Generic[ModelT]):
    """The model that counts, of those that came: the best on validation rows, else the last."""

    primary: PrimaryMetric
    model: ModelT | None = None
    best: float | None = None

    def offer(self, model: ModelT, validation: float | None) -> None:
        """Take a model if it is the one that counts from now on."""
        if validation is None or np.isnan(validation):
            if self.best is None:
                self.model = model
        elif self.best is None or self.primary.gain(validation, self.best) > 0:
            self.model, self.best = model, validation


def mean_of(figures: npt.NDArray[np.float64]) -> float:
    """Return the mean of those that are known; NaN where none is."""
    known = figures[~np.isnan(figures)]
    return float(known.mean()) if len(known) else float("nan")
