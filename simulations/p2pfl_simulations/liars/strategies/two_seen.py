"""Signs two digests of all sums."""

from collections.abc import Sequence

from p2pfl_gossip.actions import Action, Send
from p2pfl_gossip.masked_sum.messages import SumsSeen
from p2pfl_simulations.liars.forging import replaced
from p2pfl_simulations.liars.liar import Liar


class TwoDigests(Liar):
    """Tells every member the sums that it has, and then others."""

    in_groups = True
    in_audits = True

    def tell(self, now_s: float, send: Send) -> Sequence[Action]:
        """Say both."""
        if not isinstance(send.message, SumsSeen):
            return (send,)
        other = self.me.signed(replaced(send.message, sums=bytes(32)))
        return (send, replaced(send, message=other))
