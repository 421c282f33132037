"""Gives the mean of honest updates, less some standard deviations: a little is enough."""

from statistics import NormalDist

import numpy as np

from p2pfl_gossip.learning import Train
from p2pfl_simulations.liars.insight import Update
from p2pfl_simulations.liars.poisoning import VectorLiar


class Alie(VectorLiar):
    """Gives the mean of honest updates less z deviations (Baruch, Baruch & Goldberg, NeurIPS 2019).

    Args:
        deviations: z; the largest at which enough honest updates are farther out, if not given.
    """

    is_omniscient = True
    is_stretched = False

    def __init__(self, deviations: float | None = None) -> None:
        self._deviations = deviations

    def wish(self, job: Train, own: Update) -> Update | None:
        """Return what lies within the honest spread, on one side."""
        honest = self.honest(job.round)
        if not honest:
            return None
        z = self._deviations
        if z is None:
            z = largest_deviations(len(honest), len(self.me.colluders))
        found: Update = np.mean(honest, axis=0) - z * np.std(honest, axis=0)
        return found


def largest_deviations(honest: int, liars: int) -> float:
    """Return z of the paper: with s supporters a majority lies nearer to the liars."""
    supporters = (honest + liars) // 2 + 1 - liars
    share = (honest - supporters) / honest
    return NormalDist().inv_cdf(min(max(share, 1e-6), 1 - 1e-6))
