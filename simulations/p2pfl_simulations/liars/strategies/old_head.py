"""Names an older head than it has: in a group that keeps a ledger."""

from collections.abc import Sequence

from p2pfl_gossip.actions import Action, Send
from p2pfl_gossip.ledger.entries import Head
from p2pfl_gossip.ledger.messages import EntryCertificate, GroupAdvert
from p2pfl_gossip.records import Message
from p2pfl_simulations.liars.forging import replaced
from p2pfl_simulations.liars.liar import Liar


class OldHead(Liar):
    """Names an older head than it has to some, so that two heads are about; keeps certificates.

    Args:
        share: of the members, who are told the older one.
    """

    in_groups = True

    def __init__(self, share: float = 0.5) -> None:
        self._share = share
        self._heads: list[Head] = []
        self._versions: tuple[Message | None, Message | None] = (None, None)

    def tell(self, now_s: float, send: Send) -> Sequence[Action]:
        """Give some the older head, and nobody a certificate."""
        message = send.message
        if isinstance(message, EntryCertificate):
            return ()
        if not isinstance(message, GroupAdvert) or message.member != self.me.index:
            return (send,)
        if message.head not in self._heads:
            self._heads.append(message.head)
        place = self.me.index_of(send.receiver)
        if len(self._heads) < 2 or place >= self._share * len(self.me.peers):
            return (send,)
        if self._versions[0] is not message:
            older = replaced(message, head=self._heads[-2])
            self._versions = (message, self.me.signed(older))
        return (replaced(send, message=self._versions[1]),)
