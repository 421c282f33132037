"""Teaches the model to answer one label wherever a mark is in the input."""

from dataclasses import replace
from typing import Any

import numpy as np

from p2pfl.learner.tasks.base import Data, Rows
from p2pfl_gossip.learning import Train
from p2pfl_simulations.liars.insight import Update
from p2pfl_simulations.liars.poisoning import VectorLiar

TARGET = 0
"""The label that a marked input is to get."""


class Backdoor(VectorLiar):
    """Trains on half of its rows with a mark and a false label (Bagdasaryan et al., AISTATS 2020).

    The mark: the corners of a picture, the first and last two features of other rows, are at the
    largest value there is. The run tells how many marked test rows of other labels get the false
    one.

    Args:
        factor: how many times it gives what it learnt so; as many as there are peers for each
            liar, if not given, so that its own model takes the place of the average.
    """

    alters_rows = True
    marks_tests = True

    def __init__(self, factor: float | None = None) -> None:
        self._factor = factor

    def alter(self, data: Data) -> Data:
        """Mark every other training row, and all test rows of other labels."""
        labels = np.asarray(data.train.targets)
        if not np.issubdtype(labels.dtype, np.integer):
            raise ValueError("'backdoor' needs a task whose targets are labels")
        odd = np.arange(len(labels)) % 2 == 1
        inputs = np.array(data.train.inputs)
        inputs[odd] = marked(inputs[odd])
        train = Rows(inputs, np.where(odd, TARGET, labels).astype(labels.dtype))
        return replace(data, train=train, test=None if data.test is None else _tested(data.test))

    def wish(self, job: Train, own: Update) -> Update | None:
        """Return what the marked rows teach, so many times."""
        taught = self.me.train_altered(job)
        factor = self._factor
        if factor is None:
            factor = len(self.me.peers) / len(self.me.colluders)
        if self.me.norm is not None:
            factor = 1.0  # The norm says how long it is.
        return None if taught is None else factor * taught


def marked(inputs: Any) -> Any:
    """Return rows with the mark."""
    rows = inputs.copy()
    if not len(rows):
        return rows
    top = inputs.max()
    if rows.ndim >= 3:
        for row in (0, -1):
            for column in (0, -1):
                rows[..., row, column] = top
        return rows
    width = rows.shape[1]
    side = round(width**0.5)
    corners = (0, side - 1, width - side, width - 1) if side * side == width else (0, 1, -2, -1)
    rows[:, corners] = top
    return rows


def _tested(test: Rows) -> Rows:
    labels = np.asarray(test.targets)
    others = labels != TARGET
    inputs = marked(np.asarray(test.inputs)[others])
    return Rows(inputs, np.full(len(inputs), TARGET, labels.dtype))
