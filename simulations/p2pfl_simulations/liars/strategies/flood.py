"""Says as much as the limits let pass, of what costs others work."""

from p2pfl_gossip.actions import Action
from p2pfl_gossip.catch_up import ModelRequest, StatusRequest
from p2pfl_gossip.masked_sum.messages import Fetch, SessionMessage, Wanted
from p2pfl_gossip.records import Message
from p2pfl_simulations.liars.liar import Liar


class Flood(Liar):
    """Says as much as the limits let pass, of what costs others work: questions, and fetches.

    Args:
        count: messages to each peer in a round.
    """

    def __init__(self, count: int = 16) -> None:
        self._count = count
        self._session: bytes | None = None

    def hear(self, now_s: float, sender: int, message: Message) -> Message | None:
        """Note the session under way."""
        if isinstance(message, SessionMessage):
            self._session = message.session
        return message

    def on_round(self, now_s: float) -> list[Action]:
        """Ask everybody for everything."""
        questions: list[Message] = [StatusRequest(), ModelRequest(max(0, self.me.round - 1))]
        if self._session is not None:
            wanted = [Wanted.CHUNK, Wanted.SUM, Wanted.SHARE, Wanted.MANIFEST]
            questions += [Fetch(self._session, what, 0, self.me.rank) for what in wanted]
        rng = self.me.rng
        return [
            self.me.send(other, rng.choice(questions))
            for other in self.me.others
            for _ in range(self._count)
        ]
