"""Says one thing to some, and another thing, as well signed, to the others."""

from collections.abc import Sequence

from p2pfl_gossip.actions import Action, Send
from p2pfl_gossip.ledger.messages import LedgerMessage
from p2pfl_gossip.masked_sum.messages import SessionMessage
from p2pfl_gossip.records import Message
from p2pfl_simulations.liars.forging import mutated, replaced
from p2pfl_simulations.liars.liar import Liar


class TwoVersions(Liar):
    """Says one thing to some, and another thing, as well signed, to the others.

    Args:
        statements: names of message types; all if empty.
        share: of the peers, who get the second version; drawn once.
    """

    def __init__(self, statements: Sequence[str] = (), share: float = 0.5) -> None:
        self._statements, self._share = tuple(statements), share
        self._versions: tuple[Message | None, Message | None] = (None, None)
        self._second: frozenset[int] | None = None

    def tell(self, now_s: float, send: Send) -> Sequence[Action]:
        """Give the second version to those who get it."""
        message = send.message
        if not isinstance(message, SessionMessage | LedgerMessage) or not (
            not self._statements or type(message).__name__ in self._statements
        ):
            return (send,)
        if self._second is None:
            count = round(self._share * len(self.me.peers))
            self._second = frozenset(self.me.rng.sample(range(len(self.me.peers)), count))
        if self.me.index_of(send.receiver) not in self._second:
            return (send,)
        if self._versions[0] is not message:
            forged = self.me.signed(mutated(message, self.me.rng))
            self._versions = (message, forged)
        return (replaced(send, message=self._versions[1]),)
