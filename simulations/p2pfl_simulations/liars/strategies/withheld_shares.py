"""Deals shares to some only, or shares that cannot be opened."""

from collections.abc import Sequence

from p2pfl_gossip.actions import Action, Send
from p2pfl_gossip.masked_sum.messages import Share
from p2pfl_simulations.liars.forging import replaced
from p2pfl_simulations.liars.liar import Liar


class WithheldShares(Liar):
    """Deals shares to some only, or shares that cannot be opened.

    Args:
        share: of the members, who get none, or a broken one.
        broken: whether they get one whose seal is broken.
    """

    def __init__(self, share: float = 0.4, broken: bool = False) -> None:
        self._share, self._broken = share, broken

    def tell(self, now_s: float, send: Send) -> Sequence[Action]:
        """Withhold or break."""
        message = send.message
        if not isinstance(message, Share) or self.me.rng.random() >= self._share:
            return (send,)
        if not self._broken:
            return ()
        sealed = bytes([message.sealed[0] ^ 1]) + message.sealed[1:]
        return (replaced(send, message=replaced(message, sealed=sealed)),)
