"""Trains on false labels."""

from dataclasses import replace

import numpy as np

from p2pfl.learner.tasks.base import Data, Rows
from p2pfl_gossip.learning import Train
from p2pfl_simulations.liars.insight import Update
from p2pfl_simulations.liars.poisoning import VectorLiar


class LabelFlip(VectorLiar):
    """Trains on false labels: the first for the last, the second for the last but one ...

    Args:
        factor: how many times it gives what it learnt so.
    """

    alters_rows = True

    def __init__(self, factor: float = 1.0) -> None:
        self._factor = factor

    def alter(self, data: Data) -> Data:
        """Turn all training labels round."""
        labels = np.asarray(data.train.targets)
        if not np.issubdtype(labels.dtype, np.integer):
            raise ValueError("'label-flip' needs a task whose targets are labels")
        turned = (labels.max() - labels).astype(labels.dtype)
        return replace(data, train=Rows(data.train.inputs, turned))

    def wish(self, job: Train, own: Update) -> Update | None:
        """Return what the false labels teach."""
        taught = self.me.train_altered(job)
        return None if taught is None else self._factor * taught
