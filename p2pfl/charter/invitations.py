"""Invitations: what somebody who joins a running group is to find there.

A newcomer hears the history of the group from peers, and old keys may have leaked: t former peer
keys could make up another history for a newcomer whose whole network somebody holds. So a member
tells it, by another way than the network, which charter it joins by and with which model the epoch
before ended: as a file, and as nine words to compare on the telephone. A peer that is shown another
history says nothing in it.
"""

from pathlib import Path
from typing import Literal

from p2pfl.charter.errors import PaperError
from p2pfl.charter.words import phrase_of
from p2pfl.group.cards import Digest
from p2pfl.group.documents import read_document, write_document
from p2pfl.learner.settings import SettingsTable
from p2pfl_gossip.ledger.history import History, invitation_of

INVITATION = "invitation.toml"


class Invitation(SettingsTable):
    """What a newcomer is to find."""

    format: Literal[1] = 1
    group: Digest
    """The group: digest of its founding charter."""
    charter: Digest
    """The first charter that names the newcomer."""
    model: Digest
    """The model with which the epoch before ended."""

    @property
    def digest(self) -> bytes:
        """All of it as one digest; the machine goes by it."""
        return invitation_of(bytes.fromhex(self.charter), bytes.fromhex(self.model))

    @property
    def phrase(self) -> tuple[str, ...]:
        """The nine words."""
        return phrase_of(self.digest)


def invitation_to(history: History, name: str) -> Invitation:
    """Write the invitation of a member, whose peer's key came after the founding.

    Raises:
        PaperError: there is no such member, or it is a founder.
    """
    keys = [member.key for member in history.epoch.charter.members if member.name == name]
    for epoch in history.epochs:
        if keys and any(member.key == keys[0] for member in epoch.charter.members):
            if not epoch.number:
                raise PaperError(f"{name} is a founder: it needs no invitation")
            began_with = history.beginning(epoch.number).entry.state[0]
            return Invitation(
                group=epoch.group.hex(), charter=epoch.digest.hex(), model=began_with.digest.hex()
            )
    raise PaperError(
        f"{name} is no member by the charter in force: the one that admits it must be, first"
    )


def read_invitation(path: Path) -> Invitation:
    """Read an invitation.

    Raises:
        PaperError: it cannot be read, or is none.
    """
    return read_document(path, Invitation, PaperError)


def write_invitation(path: Path, invitation: Invitation) -> None:
    """Write an invitation.

    Raises:
        PaperError: it cannot be written.
    """
    write_document(path, invitation, PaperError)
