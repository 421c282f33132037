"""Who the members of a running peer's group are now, and by what they go.

A roster's group has one directory for good. A charter's has another with each epoch: `enter` puts
it in, and whoever keeps links, names or views of members is told.
"""

from collections.abc import Callable

from p2pfl.group.roster_file import RosterFile
from p2pfl_crypto.identity import PeerId


class Directory:
    """The members, as the parts of a daemon know them.

    Attributes:
        roster: members, with addresses, and what they agree on.
        group_id: names the group's protocols, for good.
        own: our identity.
        listeners: are told after each change.
    """

    def __init__(self, roster: RosterFile, group_id: bytes, own: PeerId) -> None:
        self.roster, self.group_id, self.own = roster, group_id, own
        self.listeners: list[Callable[[], None]] = []

    @property
    def index(self) -> int | None:
        """Our place; None while we have none."""
        return next(
            (place for place, it in enumerate(self.roster.members) if it.peer_id == self.own), None
        )

    @property
    def name(self) -> str:
        """What we are called; our identity while we are no member."""
        return self.own if self.index is None else self.roster.members[self.index].name

    @property
    def others(self) -> dict[PeerId, tuple[str, ...]]:
        """All other members, and where they are."""
        return {
            PeerId(it.peer_id): it.addresses for it in self.roster.members if it.peer_id != self.own
        }

    @property
    def names(self) -> dict[PeerId, str]:
        """What other members are called."""
        return {PeerId(it.peer_id): it.name for it in self.roster.members if it.peer_id != self.own}

    def enter(self, roster: RosterFile) -> None:
        """Go by another charter from now on."""
        self.roster = roster
        for listener in self.listeners:
            listener()
