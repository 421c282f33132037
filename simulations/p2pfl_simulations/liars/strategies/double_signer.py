"""Signs two entries of one round, or advertises twice for it: in a group that keeps a ledger."""

from collections.abc import Sequence

from p2pfl_gossip.actions import Action, Send
from p2pfl_gossip.ledger.messages import EntrySignature, GroupAdvert
from p2pfl_gossip.records import Message
from p2pfl_simulations.liars.forging import replaced
from p2pfl_simulations.liars.liar import Liar


class DoubleSigner(Liar):
    """Signs two entries of one round, and advertises twice for it, with other keys.

    Args:
        share: of the members, who hear the second version first.
    """

    in_groups = True

    def __init__(self, share: float = 0.5) -> None:
        self._share = share
        self._second: tuple[Message | None, Message | None] = (None, None)

    def tell(self, now_s: float, send: Send) -> Sequence[Action]:
        """Say both, in another order to some."""
        message = send.message
        is_own = isinstance(message, EntrySignature | GroupAdvert) and (
            message.member == self.me.index
        )
        if not is_own:
            return (send,)
        if self._second[0] is not message:
            field = "entry" if isinstance(message, EntrySignature) else "mask_key"
            other = replaced(message, **{field: self.me.rng.randbytes(31) + bytes(1)})
            self._second = (message, self.me.signed(other))
        both = (send, replaced(send, message=self._second[1]))
        is_second = self.me.index_of(send.receiver) < self._share * len(self.me.peers)
        return both[::-1] if is_second else both
