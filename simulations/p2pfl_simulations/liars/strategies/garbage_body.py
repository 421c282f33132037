"""Sends bodies of random bytes behind good headers."""

from collections.abc import Sequence

from p2pfl_gossip.actions import Action, SendBulk
from p2pfl_simulations.liars.forging import replaced
from p2pfl_simulations.liars.liar import Liar


class GarbageBody(Liar):
    """Sends bodies of random bytes behind good headers.

    Args:
        probability: for each body.
        keeps_size: whether they are as long as they should be.
    """

    def __init__(self, probability: float = 0.5, keeps_size: bool = True) -> None:
        self._probability, self._keeps_size = probability, keeps_size

    def say(self, now_s: float, action: Action) -> Sequence[Action]:
        """Replace bodies."""
        rng = self.me.rng
        if not isinstance(action, SendBulk) or rng.random() >= self._probability:
            return (action,)
        size = action.size_bytes if self._keeps_size else rng.randrange(2 * action.size_bytes)
        return (replaced(action, parts=(rng.randbytes(size),), size_bytes=size),)
