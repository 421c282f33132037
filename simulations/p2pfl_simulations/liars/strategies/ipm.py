"""Gives the negative mean of honest updates, times a factor: inner-product manipulation."""

import numpy as np

from p2pfl_gossip.learning import Train
from p2pfl_simulations.liars.insight import Update
from p2pfl_simulations.liars.poisoning import VectorLiar


class Ipm(VectorLiar):
    """Gives the negative mean of honest updates, times a factor (Xie, Koyejo & Gupta, UAI 2019).

    Args:
        factor: epsilon. A small one turns the mean of many liars round and looks harmless; a large
            one takes the mean over.
    """

    is_omniscient = True

    def __init__(self, factor: float = 100.0) -> None:
        self._factor = factor

    def wish(self, job: Train, own: Update) -> Update | None:
        """Return what undoes the others' learning."""
        honest = self.honest(job.round)
        return -self._factor * np.mean(honest, axis=0) if honest else None
