"""Proves nothing of its input."""

from collections.abc import Sequence

from p2pfl_gossip.actions import Action, Send
from p2pfl_gossip.masked_sum.messages import AuditProof
from p2pfl_simulations.liars.liar import Liar


class NoProof(Liar):
    """Says in no audit what it put in: each round that it is in is void."""

    in_groups = True
    in_audits = True

    def tell(self, now_s: float, send: Send) -> Sequence[Action]:
        """Keep its own proof to itself."""
        is_own = isinstance(send.message, AuditProof) and send.message.member == self.me.index
        return () if is_own else (send,)
