"""Sends old messages again: its own, and those of others, to whomever."""

from collections import deque
from collections.abc import Sequence

from p2pfl_gossip.actions import Action, Send
from p2pfl_gossip.records import Message
from p2pfl_simulations.liars.liar import Liar

KEPT = 256


class Replay(Liar):
    """Sends old messages again: its own, and those of others, to whomever.

    Args:
        probability: that one is sent again beside each message that is sent.
    """

    def __init__(self, probability: float = 0.2) -> None:
        self._probability = probability
        self._known: deque[Message] = deque(maxlen=KEPT)

    def hear(self, now_s: float, sender: int, message: Message) -> Message | None:
        """Keep what others say."""
        self._known.append(message)
        return message

    def tell(self, now_s: float, send: Send) -> Sequence[Action]:
        """Keep what is said, and now and then say something old."""
        self._known.append(send.message)
        rng = self.me.rng
        if rng.random() >= self._probability:
            return (send,)
        return (send, self.me.send(rng.choice(self.me.others), rng.choice(self._known)))
