"""Gives noise."""

import numpy as np

from p2pfl_gossip.learning import Train
from p2pfl_simulations.liars.insight import Update
from p2pfl_simulations.liars.poisoning import VectorLiar, length_of, stretched


class Gaussian(VectorLiar):
    """Gives normal noise, many times as long as its own update.

    Args:
        factor: its norm, in norms of the own update.
    """

    def __init__(self, factor: float = 100.0) -> None:
        self._factor = factor

    def wish(self, job: Train, own: Update) -> Update:
        """Return fresh noise."""
        rng = np.random.default_rng(self.me.rng.getrandbits(64))
        noise: Update = rng.standard_normal(len(own))
        return stretched(noise, self._factor * length_of(own))
