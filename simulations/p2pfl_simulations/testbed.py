"""What watches and disturbs a run needs of it, be it simulated or made of real processes."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from p2pfl_gossip.actions import Event


class PeerHandle(Protocol):
    """Where one peer runs.

    Attributes:
        index: the peer's place in the roster.
        is_online: whether others can reach it.
        life: counts its processes.
        bytes_sent: by it, up to now.
    """

    index: int
    is_online: bool
    life: int
    bytes_sent: int


class Schedule(Protocol):
    """A clock, and what is to happen by it."""

    @property
    def now_s(self) -> float:
        """Seconds since the run began."""

    def call_at(self, at_s: float, call: Callable[..., None], *args: Any) -> None:
        """Call at a time, or at once if it is past."""


class Latencies(Protocol):
    """The network, as far as faults are timed by it."""

    @property
    def draw_latency(self) -> Callable[[], float]:
        """Draws seconds that a frame takes."""


class Testbed(Protocol):
    """A run, seen from outside its peers.

    Attributes:
        is_over: set by who watches, to end the run.
    """

    is_over: bool

    @property
    def frames_sent(self) -> int:
        """By all peers, up to now."""

    @property
    def bytes_sent(self) -> int:
        """By all peers, up to now."""

    @property
    def hosts(self) -> Sequence[Any]:
        """The places of all peers, by index."""

    @property
    def queue(self) -> Schedule:
        """The clock."""

    @property
    def network(self) -> Latencies:
        """The links."""

    def take_offline(
        self, host: Any, detail: str, *, kills: bool = False, silent: bool = False
    ) -> None:
        """Cut a peer off; with `kills`, end its process."""

    def bring_online(self, host: Any, detail: str) -> None:
        """Let a peer go on, or start its process again."""

    def strike_after(self, host: Any, actions: int, strike: Callable[[Any], None]) -> None:
        """Call `strike` once a peer has carried out so many more actions."""

    def copy_records(self, host: Any) -> None:
        """Copy what a peer has on its disk."""

    def restore_records(self, host: Any) -> None:
        """Put the last copy back, of a peer whose process is down."""

    def cut(self, one: Any, other: Any) -> None:
        """Let two peers no longer reach each other."""

    def mend(self, one: Any, other: Any) -> None:
        """Let two peers reach each other again."""

    def split(self, parts: list[int] | None) -> None:
        """Let peers reach only those of the same part; None heals."""


class RunWatcher(Protocol):
    """Watches a testbed; it may plan faults, but nothing it knows reaches a machine."""

    def on_report(self, now_s: float, host: Any, event: Event) -> None:
        """A peer has reported an event."""

    def on_incident(self, now_s: float, host: Any, kind: str, detail: str) -> None:
        """Something happened to a host, or to the whole network if it is None.

        `kind`: ``offline``, ``online``, ``protocol_error``, ``partition``, ``healed``.
        """
