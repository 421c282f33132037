"""Names a later round than its own whenever it is asked, and gives that round's model."""

from collections.abc import Sequence

import numpy as np

from p2pfl_gossip.actions import Action, Send, SendBulk
from p2pfl_gossip.catch_up import ModelHeader, ModelRequest, Status
from p2pfl_gossip.records import Message
from p2pfl_simulations.liars.forging import replaced
from p2pfl_simulations.liars.liar import Liar


class FalseStatus(Liar):
    """Names a later round than its own whenever it is asked, and gives that round's model.

    Args:
        ahead: rounds.
    """

    in_groups = False

    def __init__(self, ahead: int = 2) -> None:
        self._ahead = ahead

    @property
    def _claimed(self) -> int:
        return min(self.me.round + self._ahead, self.me.rounds)

    def on_round(self, now_s: float) -> list[Action]:
        """Tell everybody, unasked."""
        return [self.me.send(other, Status(self._claimed)) for other in self.me.others]

    def tell(self, now_s: float, send: Send) -> Sequence[Action]:
        """Put a later round in every answer."""
        if isinstance(send.message, Status):
            return (replaced(send, message=Status(self._claimed)),)
        return (send,)

    def hear(self, now_s: float, sender: int, message: Message) -> Message | None:
        """Give a model of noise away as that round's."""
        if not isinstance(message, ModelRequest):
            return message
        noise = np.array([self.me.rng.gauss(0, 1) for _ in self.me.initial])
        model = (self.me.initial + noise).astype(self.me.initial.dtype)
        body = SendBulk(self.me.peers[sender], ModelHeader(self._claimed), (model,), model.nbytes)
        self.me.later(0.0, [body])
        return None
