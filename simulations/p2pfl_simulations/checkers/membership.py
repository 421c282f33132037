"""Who is a member of which epoch of a group: other checkers count and name members by it."""

from p2pfl_gossip.actions import Action, Report, Send
from p2pfl_gossip.events import EpochBegun
from p2pfl_gossip.ledger.messages import GroupAdvert
from p2pfl_simulations.checkers.base import Checker, Violation


class SameMembers(Checker):
    """An epoch has the same members at all honest peers; it comes before those that ask for them.

    A member's rank is its place in a charter, so it changes when one before it leaves.
    """

    actions = (Report, Send)

    def on_action(self, now_s: float, host: int, action: Action) -> None:
        """Note the members of an epoch that begins, and which one a member speaks in."""
        if not self.watched.is_group or not self.watched.is_honest(host):
            return
        if isinstance(action, Report):
            if isinstance(action.event, EpochBegun):
                self._begin(host, action.event)
        elif isinstance(action, Send) and isinstance(action.message, GroupAdvert):
            said = action.message
            if said.epoch not in self.watched.epochs:
                raise Violation(f"peer {host} speaks in epoch {said.epoch}, which nobody has begun")
            if self.watched.is_own(host, said.epoch, said.member):
                self.watched.epoch_of[host] = said.epoch

    def _begin(self, host: int, event: EpochBegun) -> None:
        members = tuple(self.watched.index_of(peer) for peer in event.members)
        known = self.watched.epochs.setdefault(event.epoch, members)
        if known != members:
            raise Violation(f"peer {host} begins epoch {event.epoch} with {members}, not {known}")
