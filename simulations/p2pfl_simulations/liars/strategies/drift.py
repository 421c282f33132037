"""Pushes a little in the same direction, every round."""

from p2pfl_gossip.learning import Train
from p2pfl_simulations.draws import array_stream
from p2pfl_simulations.liars.insight import Update
from p2pfl_simulations.liars.poisoning import VectorLiar, length_of, stretched


class Drift(VectorLiar):
    """Adds a push to its own update: small, and in the same direction in every round.

    All liars push alike. No round looks odd; what moves is their sum over rounds.

    Args:
        share: of its own update's norm, that the push has.
    """

    def __init__(self, share: float = 0.5) -> None:
        self._share = share

    def wish(self, job: Train, own: Update) -> Update:
        """Return what it learnt, pushed."""
        direction = self.me.shared.get("direction")
        if direction is None:
            rng = array_stream(self.me.colluders[0], "drift")
            direction = self.me.shared["direction"] = rng.standard_normal(len(own))
        return own + stretched(direction, self._share * length_of(own))
