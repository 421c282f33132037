"""Gives its own update the wrong way round, times a factor."""

from p2pfl_gossip.learning import Train
from p2pfl_simulations.liars.insight import Update
from p2pfl_simulations.liars.poisoning import VectorLiar


class SignFlip(VectorLiar):
    """Gives its own update the wrong way round, times a factor (Li et al., AAAI 2019).

    Args:
        factor: how much longer it is.
    """

    def __init__(self, factor: float = 10.0) -> None:
        self._factor = factor

    def wish(self, job: Train, own: Update) -> Update:
        """Return what undoes its own learning."""
        return -self._factor * own
