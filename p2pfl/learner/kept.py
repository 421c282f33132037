"""Which of several models counts: the best on rows to choose a model by, else the last."""

from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from p2pfl.learner.metrics import PrimaryMetric

ModelT = TypeVar("ModelT")
"""A model, or what is known of one."""


@dataclass(slots=True)
class Kept(Generic[ModelT]):
    """The model that counts, of those that came: the best on validation rows, else the last."""

    primary: PrimaryMetric
    model: ModelT | None = None
    best: float | None = None

    def offer(self, model: ModelT, validation: float | None) -> bool:
        """Take a model if it is the one that counts from now on, and tell whether it is."""
        is_taken = self.is_better(validation)
        if is_taken:
            self.best = validation
        elif validation is None or np.isnan(validation):
            is_taken = self.best is None
        if is_taken:
            self.model = model
        return is_taken

    def is_better(self, validation: float | None) -> bool:
        """Tell whether a figure is known, and better than all before it."""
        if validation is None or np.isnan(validation):
            return False
        return self.best is None or self.primary.gain(validation, self.best) > 0


@dataclass(slots=True)
class Stopping:
    """Tells when further rounds are not worth it: so many have given no better figure.

    It goes by validation rows alone, and by rounds in their order.

    Attributes:
        rounds: how many; None waits for ever.
        best: the round of the best figure so far.
        is_out: whether it is over; then it stays so.
    """

    kept: Kept[None]
    rounds: int | None
    best: int | None = None
    is_out: bool = False

    def offer(self, round_: int, validation: float | None) -> None:
        """Take a round's figure."""
        if self.is_out or self.rounds is None:
            return
        if self.kept.is_better(validation):
            self.kept.offer(None, validation)
            self.best = round_
        elif self.best is not None and round_ - self.best >= self.rounds:
            self.is_out = True
