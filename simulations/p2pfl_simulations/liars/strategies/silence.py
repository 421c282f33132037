"""Says nothing to some, and all to the others."""

from collections.abc import Sequence

from p2pfl_gossip.actions import Action, Send, SendBulk
from p2pfl_simulations.liars.liar import Liar


class Silence(Liar):
    """Says nothing to some, and all to the others.

    Args:
        share: of the peers, whom it says nothing; drawn anew each round, and the same for all
            liars of the group.
    """

    def __init__(self, share: float = 0.5) -> None:
        self._share = share

    def say(self, now_s: float, action: Action) -> Sequence[Action]:
        """Drop what goes to them; a body, too, of which the machine is not told."""
        if not isinstance(action, Send | SendBulk):
            return (action,)
        key = ("silence", self.me.round)
        if key not in self.me.shared:
            count = round(self._share * len(self.me.peers))
            drawn = self.me.rng.sample(range(len(self.me.peers)), count)
            self.me.shared[key] = frozenset(drawn)
        if self.me.index_of(action.receiver) in self.me.shared[key]:
            return ()
        return (action,)
