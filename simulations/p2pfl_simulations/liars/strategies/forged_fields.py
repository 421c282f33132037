"""Changes a field of what it sends, at random, and signs it as its own."""

from collections.abc import Sequence

from p2pfl_gossip.actions import Action, Send, SendBulk
from p2pfl_simulations.liars.forging import mutated, replaced
from p2pfl_simulations.liars.liar import Liar


class ForgedFields(Liar):
    """Changes a field of what it sends, at random, and signs it as its own.

    Args:
        probability: for each message and header.
        signs: whether what is changed gets a good signature.
    """

    def __init__(self, probability: float = 0.1, signs: bool = True) -> None:
        self._probability, self._signs = probability, signs

    def say(self, now_s: float, action: Action) -> Sequence[Action]:
        """Forge messages and the headers of bodies."""
        if not isinstance(action, Send | SendBulk) or self.me.rng.random() >= self._probability:
            return (action,)
        honest = action.message if isinstance(action, Send) else action.header
        forged = mutated(honest, self.me.rng)
        if self._signs:
            forged = self.me.signed(forged)
        if isinstance(action, Send):
            return (replaced(action, message=forged),)
        return (replaced(action, header=forged),)
