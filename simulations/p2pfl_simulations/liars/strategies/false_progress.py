"""Says that it works, and never delivers: in a group that keeps a ledger."""

from collections.abc import Sequence

from p2pfl_gossip.actions import Action, Send
from p2pfl_gossip.ledger.messages import GroupAdvert, Progress
from p2pfl_simulations.liars.liar import Liar


class FalseProgress(Liar):
    """Says that it works, and never advertises.

    Args:
        every_s: how often it says so.
    """

    in_groups = True

    def __init__(self, every_s: float = 0.25) -> None:
        self._every_s = every_s

    def on_round(self, now_s: float) -> list[Action]:
        """Say it for a while."""
        epoch = self.me.epoch
        if epoch is None:
            return []
        said = Progress(epoch.number, 2**32)
        for count in range(1, 200):
            told = [self.me.send(other, said) for other in self.me.others]
            self.me.later(count * self._every_s, [*told])
        return []

    def tell(self, now_s: float, send: Send) -> Sequence[Action]:
        """Keep back its own adverts."""
        message = send.message
        if isinstance(message, GroupAdvert) and message.member == self.me.index:
            return ()
        return (send,)
