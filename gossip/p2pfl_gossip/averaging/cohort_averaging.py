"""Averaging in disjoint cohorts, by reduce-scatter: member c of a cohort averages chunk c.

Each member cuts its model into as many chunks as the cohort has members and sends chunk c to
member c, its *owner*; the owner sends the mean back to all. So each member sends and receives
2 (n - 1)/n models, however large the cohort (Patarasu & Yuan, JPDC 2009, as all-reduce; in
decentralised learning: Moshpit SGD, Ryabinin et al., NeurIPS 2021). Means are taken in rank order:
all members end with the same bits.

Who is missing costs one deadline. An owner closes its chunk once every member's part has come or
the member is known to be gone, at the latest `deadline_s` after it began; a member ends once every
mean has come or its owner is known to be gone, at the latest `deadline_s` later. Where an owner is
gone, or has nobody's part but its own, that chunk keeps its local values and the outcome says that
it is not complete. Who is late still gets the means.
"""

from collections.abc import Callable
from typing import Annotated

import numpy as np
import numpy.typing as npt

from p2pfl_gossip.actions import (
    Action,
    Disconnect,
    LocalProtocolError,
    RemoteProtocolError,
    SendBulk,
    Vector,
)
from p2pfl_gossip.averaging.base import (
    COHORT_SIZE_MAX,
    Averaging,
    Outcome,
    RoundBuffer,
    RoundMessage,
    check_weight,
    is_finite,
    weighted_mean,
)
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.memory import vector_memory
from p2pfl_gossip.records import ByteSize, Message
from p2pfl_gossip.roster import Roster

MEAN_APART_BYTES_MAX = 2**20
"""The mean of the own chunk up to this size has memory of its own until the round ends.

The new model is begun at the end, then, when the trained one can go: a simulated peer that waits
for others holds one model, not two. Longer means are written to the new model at once, since
copying them again costs a process more than the memory is worth."""


class PartHeader(RoundMessage, frozen=True, tag=16):
    """Member to owner: `weight` > 0 of the sender's model; the body is the owner's chunk of it."""

    weight: float


class MeanHeader(RoundMessage, frozen=True, tag=17):
    """Owner to member: the body is the mean of the owner's chunk.

    `contributors` is a bitmap over ranks, least significant bit first, of whose parts are in it.
    """

    contributors: Annotated[bytes, ByteSize(min_length=1, max_length=COHORT_SIZE_MAX // 8)]


class _Exchange:
    """One round's cohort, seen by one member. Ranks are places in `members`."""

    def __init__(self, members: tuple[int, ...], index: int, length: int) -> None:
        size = len(members)
        self.members = members
        self.ranks = {member: rank for rank, member in enumerate(members)}
        self.rank = self.ranks[index]
        self.bounds = [rank * length // size for rank in range(size + 1)]
        self.parts: dict[int, tuple[Vector, float]] = {}
        self.means: dict[int, Vector] = {}
        self.result: Vector | None = None  # The new model, once anything is written to it.
        self.in_place: dict[int, Vector] = {}  # Chunks of it that means are written to, by owner.
        self.contributors = 0  # A bitmap over ranks.
        self.past: list[int] = []
        self.unreachable = 0
        self.is_anybody_heard = False
        self.chunk_closed = False
        self.is_own_chunk_local = False  # No other member's part came in time.
        # Sets of ranks: asked for membership and emptiness, never iterated. An empty chunk (there
        # are fewer parameters than members) has no parts and no mean.
        others = [rank for rank in range(size) if rank != self.rank]
        self.parts_awaited = set(others) if self.chunk_length(self.rank) else set()
        self.means_awaited = {rank for rank in others if self.chunk_length(rank)}

    def chunk(self, rank: int) -> slice:
        return slice(self.bounds[rank], self.bounds[rank + 1])

    def chunk_length(self, rank: int) -> int:
        return self.bounds[rank + 1] - self.bounds[rank]

    def is_in_place(self, rank: int) -> bool:
        """Whether the mean of a chunk has come, and was written to its place in the result."""
        mean, room = self.means.get(rank), self.in_place.get(rank)
        return mean is not None and room is not None and np.may_share_memory(mean, room)

    def is_complete(self, averaged: list[int]) -> bool:
        """Every chunk was averaged with at least one other member, given those that have a mean."""
        size = len(self.members)
        return size == 1 or not (
            self.is_own_chunk_local
            or any(
                rank not in averaged
                for rank in range(size)
                if rank != self.rank and self.chunk_length(rank)
            )
        )


class CohortAveraging(Averaging):
    """One member's side of the exchange of its cohort, round after round.

    Args:
        index: this peer's index in the roster.
        roster: all members; of at most COHORT_SIZE_MAX in one cohort.
        length: entries of a model, d.
        dtype: float32 or float64, of models and bodies.
        members_of: the cohort of this peer in a round: ascending indices, with its own.
        deadline_s: see the module's text.
        desk: for the deadlines; of this machine alone.
    """

    def __init__(
        self,
        *,
        index: int,
        roster: Roster,
        length: int,
        dtype: npt.DTypeLike,
        members_of: Callable[[int], tuple[int, ...]],
        deadline_s: float,
        desk: Desk,
    ) -> None:
        self.outcome: Outcome | None = None
        self._index, self._roster = index, roster
        self._length, self._dtype = length, np.dtype(dtype)
        self._memory = vector_memory(length)
        self._members_of, self._deadline_s, self._desk = members_of, deadline_s, desk
        self._exchanges: RoundBuffer[_Exchange] = RoundBuffer()
        self._round = -1
        self._vector: Vector | None = None  # Our trained model, while an exchange is under way.
        self._weight = 1.0

    message_types = (PartHeader, MeanHeader)

    def partners(self, round_: int) -> tuple[int, ...]:
        """Return the other members of the cohort."""
        return tuple(member for member in self._members_of(round_) if member != self._index)

    def begin(self, now_s: float, round_: int, vector: Vector, weight: float) -> list[Action]:
        """Send every owner its chunk of our model; wait for parts and means."""
        return self._begin(now_s, round_, vector, weight)

    def begin_without_update(self, now_s: float, round_: int, vector: Vector) -> list[Action]:
        """Average what others send of our chunk, and wait for the means."""
        return self._begin(now_s, round_, vector, 0.0)

    def _begin(self, now_s: float, round_: int, vector: Vector, weight: float) -> list[Action]:
        if vector.shape != (self._length,) or vector.dtype != self._dtype:
            raise LocalProtocolError(f"a model is {self._dtype}[{self._length}]")
        if self._vector is not None:
            raise LocalProtocolError(f"the exchange of round {self._round} is under way")
        self._exchanges.forget_before(round_)
        exchange = self._exchange(round_)
        self._round, self._vector, self._weight = round_, vector, weight
        if weight:
            exchange.contributors |= 1 << exchange.rank
        header = PartHeader(round_, weight)
        actions: list[Action] = []
        for rank, member in enumerate(exchange.members):
            # An owner whose mean has come has closed its chunk: our part would be late.
            if weight and rank in exchange.means_awaited:
                part = vector[exchange.chunk(rank)]
                receiver = self._roster.peers[member]
                actions.append(SendBulk(receiver, header, (part,), part.nbytes))
        ended = self._advance(exchange)
        if self.outcome is None:
            actions += self._set_deadline(now_s)
        return actions + ended

    def abandon(self) -> list[Action]:
        """Forget our model and the deadline; what came for later rounds stays."""
        self._vector = None
        self._exchanges.pop(self._round, None)
        return self._desk.cancel_timer("deadline")

    def body_bytes(self, sender: int, header: Message) -> int | None:
        """Take one part from each member and one mean from each owner, sized like the chunk."""
        if not isinstance(header, (PartHeader, MeanHeader)):
            raise RemoteProtocolError("unexpected_message")
        exchange, rank = self._find(sender, header.round)
        if isinstance(header, PartHeader):
            check_weight(header.weight)
            # Who restarts does its round again, and sends twice in good faith: the first counts.
            if exchange.chunk_closed or rank in exchange.parts:
                return None
            return exchange.chunk_length(exchange.rank) * self._dtype.itemsize
        if rank in exchange.means:
            return None
        bitmap = int.from_bytes(header.contributors, "little")
        # An owner that has no update gives a mean without its own part.
        if not bitmap or bitmap >> len(exchange.members):
            raise RemoteProtocolError("contributors_out_of_range")
        return exchange.chunk_length(rank) * self._dtype.itemsize

    def room_for(self, sender: int, header: Message) -> Vector | None:
        """Have an owner's mean that comes in pieces written to the new model, once a round."""
        if not isinstance(header, MeanHeader) or not self._is_under_way(header.round):
            return None
        exchange, rank = self._find(sender, header.round)
        if rank in exchange.in_place:
            return None
        room = exchange.in_place[rank] = self._result_of(exchange)[exchange.chunk(rank)]
        return room

    def on_body(self, now_s: float, sender: int, header: Message, body: Vector) -> list[Action]:
        """Keep a part or a mean; close our chunk or end the exchange if it was the last."""
        assert isinstance(header, (PartHeader, MeanHeader))  # As `body_bytes` found.
        exchange, rank = self._find(sender, header.round)
        exchange.is_anybody_heard = True
        if isinstance(header, PartHeader):
            if exchange.chunk_closed or rank in exchange.parts:
                return []
            exchange.parts[rank] = (body, header.weight)
            exchange.parts_awaited.discard(rank)
        else:
            if rank in exchange.means:
                return []
            exchange.means_awaited.discard(rank)
            bitmap = int.from_bytes(header.contributors, "little")
            if bitmap != 1 << rank:  # Else nobody's part reached the owner: it is no mean.
                exchange.means[rank] = body
                exchange.contributors |= bitmap
        return self._advance(exchange) if self._is_under_way(header.round) else []

    def on_past(self, now_s: float, partner: int) -> list[Action]:
        """Expect nothing more of a member that has left our round."""
        return self._on_absent(partner, is_past=True)

    def on_no_update(self, now_s: float, partner: int) -> list[Action]:
        """Expect no part of a member that has none; it owns its chunk all the same."""
        exchange = self._exchanges.get(self._round) if self._vector is not None else None
        if exchange is None or partner not in exchange.ranks:
            return []
        exchange.parts_awaited.discard(exchange.ranks[partner])
        return self._advance(exchange)

    def on_peer_down(self, now_s: float, partner: int) -> list[Action]:
        """Expect nothing more of a member that cannot be reached."""
        return self._on_absent(partner, is_past=False)

    def _on_deadline(self, now_s: float) -> list[Action]:
        """Close our chunk at the first deadline, end the exchange at the second."""
        exchange = self._exchanges[self._round]
        if exchange.chunk_closed:
            if not exchange.is_anybody_heard:
                # Silence of all is how being cut off shows where links go dead without a word.
                exchange.unreachable += len(exchange.means_awaited)
            exchange.means_awaited.clear()
            return self._advance(exchange)
        exchange.parts_awaited.clear()
        actions = self._advance(exchange)
        if self.outcome is None:
            actions += self._set_deadline(now_s)
        return actions

    def _set_deadline(self, now_s: float) -> list[Action]:
        return self._desk.set_timer("deadline", now_s + self._deadline_s, self._on_deadline)

    def _exchange(self, round_: int) -> _Exchange:
        exchange = self._exchanges.get(round_)
        if exchange is None:
            members = self._members_of(round_)
            exchange = self._exchanges[round_] = _Exchange(members, self._index, self._length)
        return exchange

    def _find(self, sender: int, round_: int) -> tuple[_Exchange, int]:
        """Return the exchange of a round and the sender's rank, if it is another member of it."""
        exchange = self._exchanges.get(round_) or self._exchange(round_)
        rank = exchange.ranks.get(sender, exchange.rank)
        if rank == exchange.rank:
            raise RemoteProtocolError("not_in_cohort")
        return exchange, rank

    def _is_under_way(self, round_: int) -> bool:
        return self._vector is not None and round_ == self._round

    def _on_absent(self, partner: int, *, is_past: bool) -> list[Action]:
        exchange = self._exchanges.get(self._round) if self._vector is not None else None
        if exchange is None or partner not in exchange.ranks:
            return []
        rank = exchange.ranks[partner]
        if rank in exchange.parts_awaited or rank in exchange.means_awaited:
            exchange.parts_awaited.discard(rank)
            exchange.means_awaited.discard(rank)
            if is_past:
                exchange.past.append(partner)
            else:
                exchange.unreachable += 1
        return self._advance(exchange)

    def _advance(self, exchange: _Exchange) -> list[Action]:
        """Close our chunk once no part is awaited; end once no mean is, either."""
        actions: list[Action] = []
        if not exchange.chunk_closed and not exchange.parts_awaited:
            actions += self._close_chunk(exchange)
        if exchange.chunk_closed and not exchange.means_awaited:
            actions += self._end(exchange)
        return actions

    def _close_chunk(self, exchange: _Exchange) -> list[Action]:
        """Average the parts that have come with ours, in rank order, and tell the members."""
        assert self._vector is not None
        exchange.chunk_closed = True
        own = self._vector[exchange.chunk(exchange.rank)]
        if not own.size:
            return []
        if self._weight:
            exchange.parts[exchange.rank] = (own, self._weight)
        ranks = sorted(exchange.parts)
        actions: list[Action] = []
        is_apart = own.nbytes <= MEAN_APART_BYTES_MAX
        if is_apart:
            mean = np.empty_like(own)
        else:
            mean = self._result_of(exchange)[exchange.chunk(exchange.rank)]
        if ranks:
            weighted_mean([exchange.parts[rank] for rank in ranks], mean)
            if not is_finite(mean):
                # Looked at only now: the sum tells of all parts at once.
                liars = [rank for rank in ranks if not is_finite(exchange.parts[rank][0])]
                actions += [self._drop(exchange.members[rank]) for rank in liars]
                ranks = [rank for rank in ranks if rank not in liars]
                if ranks:
                    weighted_mean([exchange.parts[rank] for rank in ranks], mean)
        exchange.is_own_chunk_local = not any(rank != exchange.rank for rank in ranks)
        if not ranks:
            return actions  # We have no update, and nobody's came: there is no mean to give.
        mean.flags.writeable = False
        exchange.means[exchange.rank] = mean
        if not is_apart:
            exchange.in_place[exchange.rank] = mean
        exchange.parts.clear()  # The others' models can be freed.
        bitmap = sum(1 << rank for rank in ranks)
        exchange.contributors |= bitmap
        size = len(exchange.members)
        header = MeanHeader(self._round, bitmap.to_bytes((size + 7) // 8, "little"))
        parts = (mean,)  # One tuple for all: a driver may tell that they get the same body.
        return actions + [
            SendBulk(self._roster.peers[member], header, parts, mean.nbytes)
            for rank, member in enumerate(exchange.members)
            if rank != exchange.rank
        ]

    def _end(self, exchange: _Exchange) -> list[Action]:
        """Put the means together; a chunk whose owner is gone keeps our own values."""
        assert self._vector is not None
        actions: list[Action] = []
        averaged = []
        result = self._result_of(exchange)
        if not all(exchange.is_in_place(rank) for rank in exchange.in_place):
            result = result.copy()  # A body that is still on its way may yet write to its place.
        for rank, member in enumerate(exchange.members):
            chunk = exchange.chunk(rank)
            is_in_place = exchange.is_in_place(rank)
            # Let go of as soon as it is copied: the two together would take two models' memory.
            mean = exchange.means.pop(rank, None)
            if mean is not None and not is_finite(mean):
                actions.append(self._drop(member))
                mean = None
            if mean is not None:
                averaged.append(rank)
            if mean is None or not is_in_place:
                result[chunk] = self._vector[chunk] if mean is None else mean
        result.flags.writeable = False
        self.outcome = Outcome(
            vector=result,
            expected=len(exchange.members),
            contributors=exchange.contributors.bit_count(),
            complete=exchange.is_complete(averaged),
            past=tuple(exchange.past),
            unreachable=exchange.unreachable,
        )
        return actions + self.abandon()

    def _result_of(self, exchange: _Exchange) -> Vector:
        if exchange.result is None:
            exchange.result = self._empty()
        return exchange.result

    def _empty(self) -> Vector:
        """Return a vector to be written: of the memory shared with training, where that fits."""
        if self._dtype == np.float32:
            return self._memory.take()
        return np.empty(self._length, self._dtype)

    def _drop(self, member: int) -> Action:
        return Disconnect(self._roster.peers[member], "not_finite")
