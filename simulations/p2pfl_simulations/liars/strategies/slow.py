"""Says everything, but late."""

from collections.abc import Sequence

from p2pfl_gossip.actions import Action, Send
from p2pfl_simulations.liars.liar import Liar


class Slow(Liar):
    """Says everything, but late, and in another order: just before deadlines, or just after.

    Args:
        delay_s: at most; drawn for each message.
        probability: that a message is delayed.
    """

    def __init__(self, delay_s: float = 1.0, probability: float = 0.5) -> None:
        self._delay_s, self._probability = delay_s, probability

    def tell(self, now_s: float, send: Send) -> Sequence[Action]:
        """Put it off."""
        if self.me.rng.random() >= self._probability:
            return (send,)
        self.me.later(self.me.rng.random() * self._delay_s, [send])
        return ()
