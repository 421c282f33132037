"""How honest peers must treat each other."""

from p2pfl_gossip.actions import Action, Disconnect, Report
from p2pfl_gossip.events import MemberBlamed
from p2pfl_simulations.checkers.base import Checker, Violation


class NoHonestRefused(Checker):
    """No honest peer refuses what another honest one sends."""

    actions = (Disconnect,)

    def on_refused(self, now_s: float, host: int, sender: int, reason: str) -> None:
        """A frame or body was refused as it came."""
        if self.watched.is_honest(host) and self.watched.is_honest(sender):
            raise Violation(f"peer {host} refuses peer {sender}: {reason}")

    def on_action(self, now_s: float, host: int, action: Action) -> None:
        """A machine found out later, and wants the link ended."""
        if isinstance(action, Disconnect) and self.watched.is_honest(host):
            other = self.watched.index_of(action.peer)
            if self.watched.is_honest(other):
                raise Violation(f"peer {host} ends its link to peer {other}: {action.reason}")


class NoHonestBlamed(Checker):
    """No honest peer blames another honest one."""

    actions = (Report,)

    def on_action(self, now_s: float, host: int, action: Action) -> None:
        """Look at who is blamed."""
        if not isinstance(action, Report) or not isinstance(action.event, MemberBlamed):
            return
        other = self.watched.index_of(action.event.member)
        if self.watched.is_honest(host) and self.watched.is_honest(other):
            raise Violation(f"peer {host} blames peer {other}: {action.event.fault}")
