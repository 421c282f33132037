"""Who the members of a running peer's group are now, and by what they go.

A network has one directory for good. A group has another with each epoch: `enter` puts it in, and
whoever keeps links, names or views of members is told.
"""

from collections.abc import Callable, Mapping

from p2pfl.charter.charter_file import CharterFile
from p2pfl.charter.settled import settled
from p2pfl.daemon.config import PeerConfig
from p2pfl.group.agreed import Agreed
from p2pfl_crypto.identity import PeerId


def agreed_in(file: CharterFile, config: PeerConfig) -> Agreed:
    """Return what a charter says; in a trial, with what its launcher says."""
    if config.trial is None:
        return settled(file)
    return settled(file, config.trial.partition, checkpoint_every=config.trial.checkpoint_every)


class Directory:
    """The members, as the parts of a daemon know them.

    Args:
        agreed: members, with addresses, and what they agree on.
        group_id: names the group's protocols, for good.
        own: our identity.
        reached: where this peer reaches members, by name, instead of at their addresses.

    Attributes:
        listeners: are told after each change.
    """

    def __init__(
        self,
        agreed: Agreed,
        group_id: bytes,
        own: PeerId,
        reached: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        self.agreed, self.group_id, self.own = agreed, group_id, own
        self._reached = reached or {}
        self.listeners: list[Callable[[], None]] = []

    @property
    def index(self) -> int | None:
        """Our place; None while we have none."""
        return next(
            (place for place, it in enumerate(self.agreed.members) if it.peer_id == self.own), None
        )

    @property
    def name(self) -> str:
        """What we are called; our identity while we are no member."""
        return self.own if self.index is None else self.agreed.members[self.index].name

    @property
    def others(self) -> dict[PeerId, tuple[str, ...]]:
        """All other members, and where they are."""
        return {
            PeerId(it.peer_id): self._reached.get(it.name, it.addresses)
            for it in self.agreed.members
            if it.peer_id != self.own
        }

    @property
    def names(self) -> dict[PeerId, str]:
        """What other members are called."""
        return {PeerId(it.peer_id): it.name for it in self.agreed.members if it.peer_id != self.own}

    def enter(self, agreed: Agreed) -> None:
        """Go by another charter from now on."""
        self.agreed = agreed
        for listener in self.listeners:
            listener()
