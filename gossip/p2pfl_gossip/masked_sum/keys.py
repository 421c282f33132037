"""Where a session's fresh keys come from: its first phase, or whoever gathered them before it."""

from abc import ABC, abstractmethod

from p2pfl_gossip.masked_sum.jobs import Secrets
from p2pfl_gossip.masked_sum.messages import Fetch, SessionMessage
from p2pfl_gossip.records import Message


class SessionKeys(ABC):
    """The keys of U1, and our secrets.

    Attributes:
        secrets: ours, of this session.
        dealers: U1, ascending; nobody before it is known.
        share_keys: keys for sealed shares, by member of U1.
        mask_keys: keys for pair masks, by member of U1.
        tau1: the transcript that names them.
    """

    def __init__(self, secrets: Secrets) -> None:
        self.secrets = secrets
        self.dealers: tuple[int, ...] = ()
        self.share_keys: dict[int, bytes] = {}
        self.mask_keys: dict[int, bytes] = {}
        self.tau1 = b""

    @abstractmethod
    def start(self) -> None:
        """Come to the keys, and go on to DEAL."""

    def evidence_of(self, rank: int) -> tuple[Message, ...]:
        """Return what a member of U1 signed its keys in, where that is a session's message."""
        return ()

    @abstractmethod
    def on_other(self, rank: int) -> None:
        """Note that a member follows another list than ours."""

    @abstractmethod
    def on_ahead(self, rank: int) -> None:
        """Note that a member is further than we are."""

    @abstractmethod
    def on_gone(self) -> None:
        """Wait no longer for a member that cannot be reached."""

    def answer(self, fetch: Fetch) -> SessionMessage | None:
        """Find what a member asks for, if we have it."""
        return None

    def forget(self) -> None:
        """Drop our secrets."""
        nothing = bytes(32)
        self.secrets = Secrets(nothing, nothing, nothing, nothing)
