"""Reveals shares that are not those that were dealt."""

from collections.abc import Sequence

from p2pfl_gossip.actions import Action, Send
from p2pfl_gossip.masked_sum.messages import Reveal
from p2pfl_simulations.liars.forging import replaced
from p2pfl_simulations.liars.liar import Liar


class CorruptReveal(Liar):
    """Reveals shares that are not those that were dealt.

    Args:
        probability: for each reveal that is sent.
    """

    def __init__(self, probability: float = 1.0) -> None:
        self._probability = probability

    def tell(self, now_s: float, send: Send) -> Sequence[Action]:
        """Flip a bit of each share."""
        message = send.message
        if not isinstance(message, Reveal) or self.me.rng.random() >= self._probability:
            return (send,)
        shares = bytearray(message.shares)
        for place in range(0, len(shares), 32):
            shares[place] ^= 1
        return (replaced(send, message=replaced(message, shares=bytes(shares))),)
