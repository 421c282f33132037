"""What a checker is told of a run, and how it says that something does not hold."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import xxhash

from p2pfl_crypto.identity import PeerId
from p2pfl_crypto.masks import Masked
from p2pfl_gossip.actions import Action, Vector


class Violation(Exception):
    """What must hold does not; one line for people."""


class Stalled(Violation):
    """What must come about does not."""


@dataclass(frozen=True)
class Watched:
    """The run that checkers watch.

    Attributes:
        peers: all peers, by index.
        liars: indices of those that lie: nothing is demanded of them.
        initial: float32[d], the model that everybody starts with.
        rounds: that each peer does.
        has_cohorts: whether peers average in cohorts.
        is_group: whether they keep a ledger.
        hides_models: whether they do so by masked sums.
        partners_of: a peer's partners in a round, by (index, round).
        epochs: indices of the members of each epoch of a group, by rank, as far as it has come;
            of the first one all peers, if it is not given.
        epoch_of: the epoch of what an honest member of a group advertised last, by index.
    """

    peers: Sequence[PeerId]
    liars: frozenset[int]
    initial: Vector
    rounds: int
    has_cohorts: bool
    hides_models: bool
    partners_of: Callable[[int, int], tuple[int, ...]]
    is_group: bool = False
    epochs: dict[int, tuple[int, ...]] = field(default_factory=dict)
    epoch_of: dict[int, int] = field(default_factory=dict)
    _indices: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        indices = {str(peer): index for index, peer in enumerate(self.peers)}
        object.__setattr__(self, "_indices", indices)
        self.epochs.setdefault(0, tuple(range(len(self.peers))))

    def index_of(self, peer: PeerId | str) -> int:
        """Return a peer's index."""
        return self._indices[peer]

    def cohort_of(self, index: int, round_: int) -> tuple[int, ...]:
        """Return the members of a peer's cohort in a round, by rank.

        In a group, they are the members of the epoch that the peer is in.
        """
        if self.is_group:
            return self.members_of(index)
        return tuple(sorted((index, *self.partners_of(index, round_))))

    def members_of(self, index: int) -> tuple[int, ...]:
        """Return the members, by rank, of the epoch that a member of a group is in."""
        return self.epochs[self.epoch_of.get(index, 0)]

    def rank_of(self, index: int, epoch: int) -> int:
        """Return a peer's rank in an epoch; -1 if it is no member of it, or it has not begun."""
        members = self.epochs.get(epoch, ())
        return members.index(index) if index in members else -1

    def is_own(self, index: int, epoch: int, member: int) -> bool:
        """Tell whether what is said as a member of an epoch is a peer's own, and not passed on."""
        return self.rank_of(index, epoch) == member

    def is_honest(self, index: int) -> bool:
        """Tell whether what must hold is demanded of a peer."""
        return index not in self.liars


class Checker:
    """One thing that must hold in every run; its docstring states it.

    The driver tells it what happens, in order. Whatever a checker does not override costs nothing.
    Every method may raise `Violation`.
    """

    actions: ClassVar[tuple[type, ...]] = ()
    """The kinds of action that `on_action` is told of; empty for all."""

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

    def on_lost(self, now_s: float, host: int) -> None:
        """A peer's computer is gone, for good: nothing more is to come of it."""

    def on_refused(self, now_s: float, host: int, sender: int, reason: str) -> None:
        """A peer has refused what another one sent, and broken the link."""

    def on_end(self, now_s: float) -> None:
        """The run is over."""


def told_of_actions(checkers: Sequence[Checker], kind: type) -> tuple[Checker, ...]:
    """Return the checkers that are to be told of a kind of action, in order."""
    return tuple(
        checker
        for checker in checkers
        if type(checker).on_action is not Checker.on_action
        and (not checker.actions or kind in checker.actions)
    )


def told_of_inputs(checkers: Sequence[Checker]) -> tuple[Checker, ...]:
    """Return the checkers that are to be told of inputs, in order."""
    return tuple(it for it in checkers if type(it).on_input is not Checker.on_input)


def fingerprint(vector: Vector | Masked) -> bytes:
    """Return 16 bytes by which models are told apart: two are alike where these are."""
    return xxhash.xxh3_128_digest(vector.data)
