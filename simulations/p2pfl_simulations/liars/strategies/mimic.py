"""Gives a copy of one honest peer's update, so that this one counts many times."""

from p2pfl_gossip.learning import Train
from p2pfl_simulations.liars.insight import Update
from p2pfl_simulations.liars.poisoning import VectorLiar


class Mimic(VectorLiar):
    """Gives a copy of one honest peer's update (Karimireddy, He & Jaggi, ICLR 2022).

    No rule can tell it from an honest one; it makes the average that peer's, where data differ.

    Args:
        place: which of the honest peers, in the order of their indices.
    """

    is_omniscient = True
    is_stretched = False

    def __init__(self, place: int = 0) -> None:
        self._place = place

    def wish(self, job: Train, own: Update) -> Update | None:
        """Return the victim's update."""
        honest = self.honest(job.round)
        return honest[self._place % len(honest)] if honest else None
