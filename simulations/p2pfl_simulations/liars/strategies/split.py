"""Has one liar put in what all of them may, and the others nothing."""

import numpy as np

from p2pfl_gossip.learning import Train
from p2pfl_simulations.liars.insight import Update
from p2pfl_simulations.liars.poisoning import VectorLiar, length_of, stretched


class SplitPush(VectorLiar):
    """Has one liar put in what all of them may, and the others nothing.

    A bound on each member's own length would find the one; a bound on what all move together does
    not ask who did it.

    Args:
        share: of what is allowed to one, that each gives to the one; 1 is as much as honest members
            may together.
    """

    is_omniscient = True

    def __init__(self, share: float = 1.0) -> None:
        self._share = share

    def wish(self, job: Train, own: Update) -> Update | None:
        """Return the whole push, of the first liar; nothing, of the others."""
        if self.me.index != self.me.colluders[0]:
            return np.zeros_like(own)
        honest = self.honest(job.round)
        if not honest:
            return None
        allowed = self.me.norm or self.me.clip or length_of(own)
        length = self._share * allowed * len(self.me.colluders)
        return stretched(-np.mean(honest, axis=0), length)

    @property
    def is_stretched(self) -> bool:  # type: ignore[override]
        """Never: it makes its own length of the norm."""
        return False
