"""A member of a toy group that lies: its real machine, wrapped, which changes what it says."""

from collections.abc import Callable
from typing import Any

from ledger_world import identity_of

from p2pfl_crypto.identity import Identity, PeerId
from p2pfl_gossip.actions import Action, Send
from p2pfl_gossip.ledger.certificates import sign
from p2pfl_gossip.ledger.charter import Epoch
from p2pfl_gossip.ledger.entries import Head
from p2pfl_gossip.ledger.member import GroupMember
from p2pfl_gossip.ledger.messages import GroupAdvert, head_statement
from p2pfl_gossip.records import Message, replaced

INPUTS = (
    "on_start",
    "on_message",
    "on_bulk_chunk",
    "on_bulk_end",
    "on_bulk_lost",
    "on_timer",
    "on_sent",
    "on_peer_up",
    "on_peer_down",
    "on_work_done",
    "on_work_part",
    "on_work_failed",
    "on_command",
)

Say = Callable[[PeerId, Message], list[Message]]
"""Takes a receiver and what the real machine says to it; returns what the liar says."""


class GroupLiar:
    """Runs a member's machine, and passes all that it says through `say`.

    Attributes:
        inner: the real machine.
        heard: what came, in order: (sender, message).
        also: messages to send at the next input, by receiver.
    """

    def __init__(self, inner: GroupMember, say: Say | None = None) -> None:
        self.inner = inner
        self.say: Say = say or (lambda _receiver, message: [message])
        self.heard: list[tuple[PeerId, Message]] = []
        self.also: list[tuple[PeerId, Message]] = []

    def on_bulk_begin(self, *arguments: Any) -> tuple[bool, list[Action]]:
        is_wanted, actions = self.inner.on_bulk_begin(*arguments)
        return is_wanted, self._pass(actions)

    def __getattr__(self, name: str) -> Any:
        if name not in INPUTS:
            return getattr(self.inner, name)
        method = getattr(self.inner, name)

        def call(*arguments: Any) -> list[Action]:
            if name == "on_message":
                self.heard.append((arguments[1], arguments[2]))
            return self._pass(method(*arguments))

        return call

    def _pass(self, actions: list[Action]) -> list[Action]:
        said: list[Action] = []
        for action in actions:
            if isinstance(action, Send):
                said += [
                    Send(action.receiver, message)
                    for message in self.say(action.receiver, action.message)
                ]
            else:
                said.append(action)
        also, self.also = self.also, []
        return said + [Send(receiver, message) for receiver, message in also]


def signed_advert(epoch: Epoch, identity: Identity, advert: GroupAdvert, **changes: Any) -> Any:
    """Sign an advert anew, with other fields, as only its author can."""
    changed = replaced(advert, **changes)
    statement = head_statement(epoch, changed.round, changed.head)
    changed = replaced(changed, head_signature=sign(identity, changed.member, b"head", statement))
    return changed.signed(sign(identity, changed.member, b"advert", changed.digest(epoch)))


def key_of(index: int) -> Identity:
    """Return a member's keys."""
    return identity_of(index)


FAR_HEAD = Head(0, 10**6, b"\x77" * 32)
"""A head that nobody has."""
