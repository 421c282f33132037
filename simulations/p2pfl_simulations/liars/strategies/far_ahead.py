"""Claims to be many rounds ahead, and gives a model of its own to whoever follows."""

import numpy as np

from p2pfl_gossip.actions import Action, SendBulk
from p2pfl_gossip.averaging.cohort_averaging import PartHeader
from p2pfl_gossip.catch_up import ModelHeader, ModelRequest
from p2pfl_gossip.records import Message
from p2pfl_simulations.liars.liar import Liar


class FarAhead(Liar):
    """Claims to be many rounds ahead, and gives a model of its own to whoever follows.

    Args:
        ahead: rounds; more than a peer waits for.
        value: entries of the model, either way from 0.
    """

    in_groups = False

    def __init__(self, ahead: int = 9, value: float = 1e29) -> None:
        self._ahead, self._value = ahead, value

    @property
    def _claimed(self) -> int:
        return min(self.me.round + self._ahead, self.me.rounds - 1)

    def on_round(self, now_s: float) -> list[Action]:
        """Send everybody a frame of the claimed round."""
        frame = PartHeader(round=self._claimed, weight=1.0)
        return [self.me.send(other, frame) for other in self.me.others]

    def hear(self, now_s: float, sender: int, message: Message) -> Message | None:
        """Give a model of the claimed round away."""
        if not isinstance(message, ModelRequest):
            return message
        signs = np.where(np.arange(len(self.me.initial)) % 2, 1, -1)
        model = (signs * self._value).astype(self.me.initial.dtype)
        body = SendBulk(self.me.peers[sender], ModelHeader(self._claimed), (model,), model.nbytes)
        self.me.later(0.0, [body])
        return None
