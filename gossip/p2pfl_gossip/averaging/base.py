"""The one interface of all averaging algorithms.

An algorithm is a machine within the peer: the peer tells it when a model is trained (`begin`) and
passes on what arrives; it answers with actions, and sets `outcome` once the round's exchange has
ended. What it waits for by a ticket, it asks of the desk that the peer gives it (desk.py). It names
peers by their index in the roster.

Rounds of different peers are not aligned. What arrives early, for a round up to `LOOKAHEAD_ROUNDS`
ahead of ours, is kept until we get there; what arrives late is for the peer to answer, which tells
the sender that it is behind.
"""

import math
from abc import ABC, abstractmethod
from typing import ClassVar, TypeVar

import numpy as np

from p2pfl_gossip.actions import Action, RemoteProtocolError, Vector
from p2pfl_gossip.masked_sum.certificate import Certificate
from p2pfl_gossip.records import Message, Record, UInt32

LOOKAHEAD_ROUNDS = 8
"""How far ahead of us a partner may be.

In a fault-free run the slowest peer's influence reaches everybody in log_g(N) rounds of cohorts of
g, at most 5 for N = 10,000 and g = 8; a partner further ahead did not wait for us. Bounds memory:
one round's bodies are about one model.
"""

UNKNOWN_ROUND = -1
"""Of a message whose round cannot be told; before every round."""

COHORT_SIZE_MAX = 1024
"""Bounds the bitmaps that travel."""

ENTRY_MAX = 1e30
"""Of a model that arrives, either way from 0: the sum of many such stays within float32."""

WEIGHT_MAX = 2.0**53
"""Of a model: exact as a count of rows. A sum of weights without a bound overflows, and raises."""


class RoundMessage(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A message of one round; the peer compares `round` with its own before anything else."""

    round: UInt32


class Outcome(Record, frozen=True):
    """The end of one round's exchange.

    Attributes:
        vector: the new model, of the shape and dtype of the one that was given; read-only.
        expected: peers that were to contribute, itself included.
        contributors: peers whose models are in the result, itself included; 0 if it has no update
            and heard of none.
        complete: every part of the model was averaged with somebody, or nobody was expected.
        past: indices of partners that had left this round behind when we asked them.
        unreachable: how many partners could not be reached.
    """

    vector: Vector
    expected: int
    contributors: int
    complete: bool
    past: tuple[int, ...] = ()
    unreachable: int = 0


class Averaging(ABC):
    """One peer's side of an averaging algorithm.

    An algorithm that needs no messages or records leaves those inputs as they are
    here.

    Attributes:
        outcome: set when the exchange that `begin` started has ended; the peer takes it and
            sets it back to None.
    """

    outcome: Outcome | None

    message_types: ClassVar[tuple[type[Message], ...]] = ()
    """All that this algorithm takes; anything else is refused before its round is looked at."""

    def restore(self, records: dict[str, bytes | Vector]) -> None:  # noqa: B027  # Optional.
        """Take what earlier incarnations persisted, before anything else."""

    @abstractmethod
    def partners(self, round_: int) -> tuple[int, ...]:
        """Return the indices of the peers that this one exchanges with in a round."""

    def round_of(self, message: Message, round_: int) -> int | None:
        """Return the round of a message that does not name it; `round_` is the peer's.

        None where rounds do not matter; UNKNOWN_ROUND where it is of none that we know, so that
        the sender is told ours.
        """
        return None

    def lingers(self, round_: int, message: Message) -> bool:
        """Tell whether an exchange that has ended for us still has a use for a message of it.

        If not, its sender is told our round.
        """
        return False

    @abstractmethod
    def begin(self, now_s: float, round_: int, vector: Vector, weight: float) -> list[Action]:
        """Start the exchange of a round with this peer's trained model; forget earlier rounds."""

    @abstractmethod
    def begin_without_update(self, now_s: float, round_: int, vector: Vector) -> list[Action]:
        """Start the exchange of a round whose training failed: nothing of ours is averaged.

        `vector` is the model that the round began with; the outcome is what the others give, or
        that. Never called of an algorithm that hides models.
        """

    @abstractmethod
    def abandon(self) -> list[Action]:
        """Give up the exchange under way, if any: the peer goes elsewhere."""

    def close(self) -> list[Action]:
        """End all: the peer leaves."""
        return self.abandon()

    @abstractmethod
    def body_bytes(self, sender: int, header: Message) -> int | None:
        """Return the size of the body behind a header, or None if it is not wanted any more.

        A RoundMessage's round is the peer's own or at most LOOKAHEAD_ROUNDS ahead; messages of
        other kinds come as they are. Raises RemoteProtocolError for a header that the sender may
        not send.
        """

    def room_for(self, sender: int, header: Message) -> Vector | None:
        """Return memory that a body which comes in pieces may be written to, if there is any.

        It is asked for a body that is wanted, as its first piece comes. What is in it counts once
        `on_body` has told of it, and never before.
        """
        return None

    def on_header(self, now_s: float, sender: int, header: Message) -> list[Action]:
        """Do what a header leads to by itself, once `body_bytes` has told of its body."""
        return []

    @abstractmethod
    def on_body(self, now_s: float, sender: int, header: Message, body: Vector) -> list[Action]:
        """Take a whole body, of the size that `body_bytes` told."""

    def on_message(self, now_s: float, sender: int, message: Message) -> list[Action]:
        """Take a message of the own round or one ahead, or raise RemoteProtocolError."""
        raise RemoteProtocolError("unexpected_message")

    def on_past(self, now_s: float, partner: int) -> list[Action]:
        """A partner has left our round behind: it will not contribute."""
        return []

    def on_no_update(self, now_s: float, partner: int) -> list[Action]:
        """A partner has no update in our round: nothing of its model will come."""
        return []

    def on_peer_up(self, partner: int) -> None:  # noqa: B027  # Optional.
        """Note that a link to a member stands."""

    def on_peer_down(self, now_s: float, partner: int) -> list[Action]:
        """The link to a partner broke, or could not be made."""
        return []


class CertifiedAveraging(Averaging):
    """An algorithm that shows nobody a peer's own model: others' count by certificates alone.

    Attributes:
        certificate: set once the mean of a round, as its outcome gave it, is certified; the peer
            takes it and sets it back to None.
    """

    certificate: Certificate | None

    @abstractmethod
    def liars_max(self, round_: int) -> int:
        """Return how many members of our cohort of a round may lie."""

    @abstractmethod
    def require_certified(self, certificate: Certificate) -> None:
        """Check a certificate from anybody, or raise RemoteProtocolError."""

    @abstractmethod
    def require_mean_of(self, certificate: Certificate, vector: Vector) -> None:
        """Check that a certificate, which is in order, is of this vector.

        Raises RemoteProtocolError if it is of another.
        """


T = TypeVar("T")


class RoundBuffer(dict[int, T]):
    """What has arrived for the own round and those ahead, by round: at most LOOKAHEAD_ROUNDS + 1.

    The peer admits no frame of another round, so the size is bounded by construction.
    """

    def forget_before(self, round_: int) -> None:
        """Drop what belongs to rounds that are over."""
        for old in [key for key in self if key < round_]:
            del self[old]


def is_finite(vector: Vector) -> bool:
    """Tell whether no entry is NaN or infinite."""
    if vector.dtype != np.float32:
        # Of float64, BLAS would have all cores sum long vectors: they wait more than they sum.
        return bool(np.isfinite(vector).all())
    # A sum of squares that is finite has finite terms only, and takes a third of the time or less;
    # one that overflowed says nothing.
    with np.errstate(over="ignore"):
        squares = float(np.dot(vector, vector))
    return math.isfinite(squares) or bool(np.isfinite(vector).all())


def check_entries(vector: Vector) -> None:
    """Raise RemoteProtocolError if an entry is NaN, infinite or beyond ENTRY_MAX."""
    # A NaN is the maximum of its array, and no comparison with it holds.
    if not (vector.max() <= ENTRY_MAX and vector.min() >= -ENTRY_MAX):
        raise RemoteProtocolError("entry_out_of_range")


def check_weight(weight: float) -> None:
    """Raise RemoteProtocolError unless a model's weight is above 0 and at most WEIGHT_MAX."""
    if not 0 < weight <= WEIGHT_MAX:
        raise RemoteProtocolError("weight_out_of_range")


def weighted_mean(parts: list[tuple[Vector, float]], out: Vector | None = None) -> Vector:
    """Average vectors by their weights, in the order given; read-only, or written to `out`.

    Equal weights take a sum and one division, so that the mean of equal models is exact. The mean
    of finite vectors is finite, even where their sum is not.
    """
    with np.errstate(over="raise", invalid="ignore"):
        try:
            mean = _mean(parts, np.empty_like(parts[0][0]) if out is None else out)
        except FloatingPointError:
            mean = _mean_of_huge(parts)
            if out is not None:
                out[:] = mean
                mean = out
    if out is None:
        mean.flags.writeable = False
    return mean


def _mean(parts: list[tuple[Vector, float]], mean: Vector) -> Vector:
    first_weight = parts[0][1]
    if all(weight == first_weight for _, weight in parts):
        mean[:] = parts[0][0]
        for vector, _ in parts[1:]:
            mean += vector
        mean /= len(parts)
    else:
        total = math.fsum(weight for _, weight in parts)
        np.multiply(parts[0][0], parts[0][1] / total, out=mean)
        for vector, weight in parts[1:]:
            mean += vector * (weight / total)
    return mean


def _mean_of_huge(parts: list[tuple[Vector, float]]) -> Vector:
    """Average halves, so that no sum overflows, and double the result."""
    total = math.fsum(weight for _, weight in parts)
    half = np.zeros_like(parts[0][0])
    for vector, weight in parts:
        half += vector * (weight / total / 2)
    limit = np.finfo(half.dtype).max / 2
    np.clip(half, -limit, limit, out=half)
    half *= 2
    return half
