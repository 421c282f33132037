"""Gives its own update, times a factor."""

from p2pfl_gossip.learning import Train
from p2pfl_simulations.liars.insight import Update
from p2pfl_simulations.liars.poisoning import VectorLiar


class ScaledUpdate(VectorLiar):
    """Gives its own update, times a factor.

    Args:
        factor: 100 drowns what others learnt; 0 gives nothing.
    """

    def __init__(self, factor: float = 100.0) -> None:
        self._factor = factor

    def wish(self, job: Train, own: Update) -> Update:
        """Return what it learnt, many times."""
        return self._factor * own
