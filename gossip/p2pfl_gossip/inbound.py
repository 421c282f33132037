"""Bulk bodies under way to us: gathered, bounded, and given on whole."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from p2pfl_gossip.actions import Buffer, PeerId, RemoteProtocolError, Vector
from p2pfl_gossip.records import Message

BODIES_PER_SENDER_MAX = 4
"""Under way from one peer at once: a part, a mean, a model, and one of the next round."""

Bytes: TypeAlias = npt.NDArray[np.uint8]

Room: TypeAlias = Callable[[], Vector | None]
"""Gives memory for a body, if there is any."""


class _Body:
    """A body under way."""

    __slots__ = ("buffer", "filled", "header", "room", "sender", "size")

    def __init__(self, sender: PeerId, header: Message, size: int, room: Room | None) -> None:
        self.sender, self.header, self.size, self.room = sender, header, size, room
        self.filled = 0
        self.buffer: Bytes | None = None

    def make_buffer(self) -> Bytes:
        """Return memory for all of it: that which was offered, if it still is."""
        room = None if self.room is None else self.room()
        return np.empty(self.size, np.uint8) if room is None else room.view(np.uint8)


class Inbound:
    """Gathers the chunks of each body. One that comes in a single chunk is not copied."""

    def __init__(self, dtype: npt.DTypeLike) -> None:
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self._bodies: dict[int, _Body] = {}

    def begin(
        self, sender: PeerId, bulk: int, header: Message, size: int, room: Room | None = None
    ) -> None:
        """Expect a body of `size` bytes, or raise RemoteProtocolError if there are too many.

        One that comes in pieces is written to what `room` gives, if that is given.
        """
        # Counted where there are that many at all: senders are few who send more than one.
        if len(self._bodies) >= BODIES_PER_SENDER_MAX:
            count = sum(body.sender == sender for body in self._bodies.values())
            if count >= BODIES_PER_SENDER_MAX:
                raise RemoteProtocolError("too_many_bodies")
        self._bodies[bulk] = _Body(sender, header, size, room)

    def chunk(self, bulk: int, chunk: Buffer) -> None:
        """Take the next bytes, or raise RemoteProtocolError if they are too many."""
        body = self._bodies[bulk]
        fresh = np.frombuffer(chunk, np.uint8)
        end = body.filled + len(fresh)
        if end > body.size:
            self.lost(bulk)
            raise RemoteProtocolError("body_too_long")
        if len(fresh) == body.size and body.buffer is None:
            body.buffer = fresh
        elif len(fresh):  # Else `buffer` may be the sender's, which is not ours to write to.
            if body.buffer is None:
                body.buffer = body.make_buffer()
            body.buffer[body.filled : end] = fresh
        body.filled = end

    def end(self, bulk: int) -> tuple[Message, Vector]:
        """Return header and body, or raise RemoteProtocolError if it is too short."""
        body = self._bodies.pop(bulk)
        if body.filled != body.size:
            raise RemoteProtocolError("body_too_short")
        if body.buffer is None:
            body.buffer = np.empty(0, np.uint8)
        vector = body.buffer.view(self._dtype)
        vector.flags.writeable = False
        return body.header, vector

    def lost(self, bulk: int) -> Message:
        """Forget a body; return its header."""
        return self._bodies.pop(bulk).header
