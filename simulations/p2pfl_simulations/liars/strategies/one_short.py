"""Leaves whatever takes t members one short: of one honest member, and of its own word."""

from collections.abc import Sequence
from typing import Any

from p2pfl_gossip.actions import Action, Send
from p2pfl_gossip.masked_sum.messages import Ack, Manifest, Receipt, Share, Vote
from p2pfl_gossip.records import Message
from p2pfl_simulations.liars.forging import replaced
from p2pfl_simulations.liars.liar import Liar

_SAID: dict[str, tuple[type[Message], type[Ack] | type[Vote]]] = {
    "share": (Share, Ack),
    "header": (Share, Ack),
    "manifest": (Manifest, Vote),
    "receipt": (Receipt, Vote),
}


class OneShort(Liar):
    """Keeps one honest member from its ACK or vote, another one each round, and its own to itself.

    As many as may lie, if they all do it, leave each round one short.

    Args:
        by: what that member is not given (`"share"`), or in another version than the others:
            `"header"`, `"manifest"` or `"receipt"`.
    """

    in_groups = True

    def __init__(self, by: str = "share") -> None:
        if by not in _SAID:
            raise ValueError(f"'by' is one of {', '.join(_SAID)}, not {by!r}")
        self._by = by
        self._kind, self._refused = _SAID[by]

    def tell(self, now_s: float, send: Send) -> Sequence[Action]:
        """Refuse, and give the one another version."""
        message: Any = send.message
        me = self.me
        if isinstance(message, self._refused) and message.member == me.rank:
            return ()
        if not isinstance(message, self._kind) or self._author(message) != me.rank:
            return (send,)
        honest = [index for index in me.others if index not in me.colluders]
        if me.index_of(send.receiver) != honest[me.round % len(honest)]:
            return (send,)
        other = self._other(message)
        return () if other is None else (replaced(send, message=other),)

    @staticmethod
    def _author(message: Any) -> int:
        if isinstance(message, Share):
            return message.header.dealer
        return int(message.owner if isinstance(message, Receipt) else message.member)

    def _other(self, message: Any) -> Any:
        match self._by:
            case "header":
                digests = message.header.share_digests[:-32] + bytes(32)
                header = replaced(message.header, share_digests=digests)
                return replaced(message, header=self.me.signed(header))
            case "manifest":
                digests = message.chunk_digests[:-32] + bytes(32)
                return self.me.signed(replaced(message, chunk_digests=digests))
            case "receipt":
                return self.me.signed(replaced(message, bitmaps=bytes(len(message.bitmaps))))
        return None
