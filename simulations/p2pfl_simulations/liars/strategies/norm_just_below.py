"""Undoes what others learn by updates that are just as long as is allowed."""

import numpy as np

from p2pfl_gossip.learning import Train
from p2pfl_simulations.liars.insight import Update
from p2pfl_simulations.liars.poisoning import VectorLiar, length_of, stretched


class NormJustBelow(VectorLiar):
    """Undoes what others learn by updates just below the clip, or below the longest honest one.

    Args:
        share: of what is allowed, that it takes.
    """

    is_omniscient = True

    def __init__(self, share: float = 0.99) -> None:
        self._share = share

    def wish(self, job: Train, own: Update) -> Update | None:
        """Return the honest mean's opposite, of the length that passes."""
        honest = self.honest(job.round)
        if not honest:
            return None
        allowed = self.me.clip or max(length_of(it) for it in honest)
        return stretched(-np.mean(honest, axis=0), self._share * allowed)
