"""Proves what it put in a good while after the others."""

from collections.abc import Sequence

from p2pfl_gossip.actions import Action, Send
from p2pfl_gossip.masked_sum.messages import AuditProof
from p2pfl_simulations.liars.liar import Liar


class LateProof(Liar):
    """Sends its proof late.

    Args:
        after_s: how late.
    """

    in_groups = True
    in_audits = True

    def __init__(self, after_s: float = 1.0) -> None:
        self._after_s = after_s

    def tell(self, now_s: float, send: Send) -> Sequence[Action]:
        """Put its own proof off."""
        if isinstance(send.message, AuditProof) and send.message.member == self.me.index:
            self.me.later(self._after_s, [send])
            return ()
        return (send,)
