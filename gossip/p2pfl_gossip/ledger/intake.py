"""Writes the chunks of an item in place as bodies bring them, in any order and from many at once.

A chunk is written to its place in the vector by the body that comes to it first; another that
brings the same chunk meanwhile writes beside, so that neither spoils what the other has written.
The first that is whole counts as here. From then on nobody writes to it, while it is hashed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from p2pfl_gossip.actions import Vector
from p2pfl_gossip.ledger.chunk_map import ChunkMap
from p2pfl_gossip.ledger.holders import AskedChunks, Holder
from p2pfl_gossip.ledger.states import Bytes, StateItem, bytes_of_vector, digests_of
from p2pfl_gossip.memory import vector_memory


@dataclass(frozen=True, slots=True)
class WholeChunk:
    """A chunk that has come in whole, and where it lies."""

    number: int
    room: Bytes
    is_in_place: bool


class ArrivingBody:
    """A body on its way to us.

    Attributes:
        holder: who brings it.
        asked: what it brings; None once its rest is of no use.
        left: bytes of the whole body still to come.
        whole: chunks that have come in whole, and wait to be hashed.
        is_hashing: whether earlier ones are being hashed.
    """

    __slots__ = ("asked", "filled", "holder", "is_hashing", "left", "room", "size", "whole")

    def __init__(self, holder: Holder, asked: AskedChunks, left: int) -> None:
        self.holder, self.left = holder, left
        self.asked: AskedChunks | None = asked
        self.room: Bytes | None = None  # What the present chunk is written to, if it is of use.
        self.filled = self.size = 0  # Bytes of the present chunk.
        self.whole: list[WholeChunk] = []
        self.is_hashing = False


class Intake:
    """The vector of an item, and the bodies that bring it.

    Args:
        item: what it is.
        chunks: which are here; told of each that comes.
        chunk_digests: of the item.

    Attributes:
        vector: float32[length]; whole once all chunks are verified.
        verified_count: chunks that are what they must be.
    """

    def __init__(self, item: StateItem, chunks: ChunkMap, chunk_digests: bytes) -> None:
        self.vector: Vector = vector_memory(item.length).take()
        self.verified_count = 0
        self._item, self._chunks = item, chunks
        self._digests = digests_of(chunk_digests)
        self._values = bytes_of_vector(self.vector)
        self._writers: dict[int, ArrivingBody] = {}  # By chunk: who writes to its place.

    def take_from(self, vector: Vector, chunk_digests: bytes) -> None:
        """Take the chunks that are equal in a vector of the same length."""
        values = bytes_of_vector(vector)
        for number, digest in enumerate(digests_of(chunk_digests)):
            if digest == self._digests[number]:
                where = self._item.bytes_of(number)
                self._values[where] = values[where]
                self._chunks.take(number)
                self.verified_count += 1

    def begin(self, holder: Holder, asked: AskedChunks) -> ArrivingBody:
        """Expect a body."""
        where = self._item.bytes_of(asked.first, asked.end - asked.first)
        body = ArrivingBody(holder, asked, where.stop - where.start)
        self._begin_chunk(body, asked.position)
        return body

    def write(self, body: ArrivingBody, fresh: Bytes) -> Bytes:
        """Take bytes up to the end of the present chunk; return the rest of them."""
        assert body.asked is not None
        taken = fresh[: body.size - body.filled]
        if body.room is not None:
            if self._chunks.is_here(body.asked.position):
                self.leave(body)
            else:
                body.room[body.filled : body.filled + len(taken)] = taken
        body.filled += len(taken)
        return fresh[len(taken) :]

    def end_chunk(self, body: ArrivingBody) -> None:
        """Take the chunk that has come in whole, and begin the next."""
        asked = body.asked
        assert asked is not None
        number, room = asked.position, body.room
        if room is not None and not self._chunks.is_here(number):
            body.whole.append(WholeChunk(number, room, self._writers.get(number) is body))
            self._chunks.take(number)
        self.leave(body)
        asked.position += 1
        if asked.is_counted:
            self._chunks.release(range(number, number + 1))
        if asked.left:
            self._begin_chunk(body, asked.position)

    def _begin_chunk(self, body: ArrivingBody, number: int) -> None:
        where = self._item.bytes_of(number)
        body.filled, body.size = 0, where.stop - where.start
        if self._chunks.is_here(number):
            body.room = None
        elif number in self._writers:
            body.room = np.empty(body.size, np.uint8)
        else:
            self._writers[number] = body
            body.room = self._values[where]

    def leave(self, body: ArrivingBody) -> None:
        """Write no more of the present chunk of a body."""
        body.room = None
        if body.asked is not None and self._writers.get(body.asked.position) is body:
            del self._writers[body.asked.position]

    def judge(self, whole: Sequence[WholeChunk], digests: Sequence[bytes]) -> bool:
        """Keep chunks whose digests are right, want the others again; tell whether all are."""
        false_count = 0
        for chunk, digest in zip(whole, digests, strict=True):
            if digest != self._digests[chunk.number]:
                self._chunks.refuse(chunk.number)
                false_count += 1
                continue
            if not chunk.is_in_place:
                self._values[self._item.bytes_of(chunk.number)] = chunk.room
            self.verified_count += 1
        return not false_count
