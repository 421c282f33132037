"""Gives another model than it trained."""

import numpy as np

from p2pfl_gossip.actions import Job, Vector
from p2pfl_gossip.learning import Train, Trained
from p2pfl_gossip.records import Record
from p2pfl_simulations.liars.liar import Liar


class PoisonedVector(Liar):
    """Gives another model than it trained: the start, and its own update times a factor.

    Args:
        factor: -1 undoes what others learn; 100 drowns them; 0 gives nothing.
    """

    def __init__(self, factor: float = -10.0) -> None:
        self._factor = factor

    def learn(self, now_s: float, job: Job, result: Record) -> Record:
        """Replace the trained model."""
        if not isinstance(job, Train) or not isinstance(result, Trained):
            return result
        with np.errstate(over="ignore"):
            update = self._factor * (result.vector - job.vector)
            vector: Vector = np.clip(job.vector + update, -1e29, 1e29).astype(np.float32)
        vector.flags.writeable = False
        return Trained(vector, result.sample_count, result.loss)
