"""A peer's model: what travels, and what it keeps of its own beside that."""

from typing import NamedTuple

from p2pfl_gossip.actions import Vector
from p2pfl_gossip.learning import Evaluate, Train
from p2pfl_gossip.own_state import NOTHING, Arrays


class PeerModel(NamedTuple):
    """The two belong together: a vector measured with other own state is another model.

    Attributes:
        vector: float32[d] or float64[d], what travels.
        own: what the peer keeps of its own, as a training left it.
    """

    vector: Vector
    own: Arrays = NOTHING

    def train(self, round_number: int, stream: str) -> Train:
        """Return the job that trains it further."""
        return Train(round_number, self.vector, stream, self.own)

    def evaluate(self, round_number: int) -> Evaluate:
        """Return the job that measures it."""
        return Evaluate(round_number, self.vector, self.own)
