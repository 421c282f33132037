"""Says what another member has said of its input."""

from p2pfl_gossip.actions import Action, Send
from p2pfl_gossip.masked_sum.messages import AuditProof
from p2pfl_gossip.records import Message
from p2pfl_simulations.liars.forging import replaced
from p2pfl_simulations.liars.liar import Liar


class CopiedCommitment(Liar):
    """Says nothing in an audit until another has, and then the same, signed by itself."""

    in_groups = True
    in_audits = True

    def tell(self, now_s: float, send: Send) -> list[Action]:
        """Keep its own proof to itself."""
        is_own = isinstance(send.message, AuditProof) and send.message.member == self.me.index
        return [] if is_own else [send]

    def hear(self, now_s: float, sender: int, message: Message) -> Message | None:
        """Copy the first proof of a session."""
        if isinstance(message, AuditProof) and message.member == sender:
            key = ("copied", message.session)
            if key not in self.me.shared:
                self.me.shared[key] = True
                copied = self.me.signed(replaced(message, member=self.me.index))
                self.me.later(0.0, [self.me.send(other, copied) for other in self.me.others])
        return message
