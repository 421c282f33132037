"""Shows another share of the coins than it holds."""

from collections.abc import Sequence

from p2pfl_crypto.shamir import GROUP_ORDER
from p2pfl_gossip.actions import Action, Send
from p2pfl_gossip.masked_sum.messages import Coin
from p2pfl_simulations.liars.forging import replaced
from p2pfl_simulations.liars.liar import Liar


class FalseCoinShare(Liar):
    """Adds one to the sum of shares that it shows: no seed comes of it."""

    in_groups = True
    in_audits = True

    def tell(self, now_s: float, send: Send) -> Sequence[Action]:
        """Change what is shown."""
        if not isinstance(send.message, Coin):
            return (send,)
        number = (int.from_bytes(send.message.share, "little") + 1) % GROUP_ORDER
        coin = replaced(send.message, share=number.to_bytes(32, "little"))
        return (replaced(send, message=coin),)
