"""What a checker is told of a run, and how it says that something does not hold."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from p2pfl_crypto.identity import PeerId
from p2pfl_gossip.actions import Action, Vector


class Violation(Exception):
    """What must hold does not; one line for people."""


@dataclass(frozen=True)
class Watched:
    """The run that checkers watch.

    Attributes:
        peers: all peers, by index.
        liars: indices of those that lie: nothing is demanded of them.
        initial: float32[d], the model that everybody starts with.
        rounds: that each peer does.
        hides_models: whether averaging is by masked sums.
        partners_of: a peer's partners in a round, by (index, round).
    """

    peers: Sequence[PeerId]
    liars: frozenset[int]
    initial: Vector
    rounds: int
    hides_models: bool
    partners_of: Callable[[int, int], tuple[int, ...]]

    def index_of(self, peer: PeerId) -> int:
        """Return a peer's index."""
        return self.peers.index(peer)

    def is_honest(self, index: int) -> bool:
        """Tell whether what must hold is demanded of a peer."""
        return index not in self.liars


class Checker:
    """One thing that must hold in every run; its docstring states it.

    The driver tells it what happens, in order. Whatever a checker does not override costs nothing.
    Every method may raise `Violation`.
    """

    watched: Watched

    def start(self, watched: Watched) -> None:
        """Begin, before anything happens."""
        self.watched = watched

    def on_input(self, now_s: float, host: int, name: str, arguments: tuple[Any, ...]) -> None:
        """A machine is about to be told something.

        Args:
            now_s: the time, in seconds.
            host: index of the peer.
            name: of the input, as `Machine` has it; ``"on_start"`` begins a new life.
            arguments: of the input, without the time.
        """

    def on_action(self, now_s: float, host: int, action: Action) -> None:
        """An action is carried out: a frame leaves the queue, a record is durable from here on."""

    def on_crash(self, now_s: float, host: int) -> None:
        """A peer's process died: what it had not persisted is gone."""

    def on_refused(self, now_s: float, host: int, sender: int, reason: str) -> None:
        """A peer has refused what another one sent, and broken the link."""

    def on_end(self, now_s: float) -> None:
        """The run is over."""
