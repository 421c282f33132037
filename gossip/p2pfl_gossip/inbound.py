"""Bulk bodies under way to us: gathered, bounded, and given on whole."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from p2pfl_gossip.actions import Buffer, PeerId, RemoteProtocolError, Vector
from p2pfl_gossip.records import Message

BODIES_PER_SENDER_MAX = 4
"""Under way from one peer at once: a part, a mean, a model, and one of the next round."""


@dataclass(slots=True)
class _Body:
    sender: PeerId
    header: Message
    size: int
    filled: int = 0
    buffer: npt.NDArray[np.uint8] | None = None


class Inbound:
    """Gathers the chunks of each body. A body that comes in one chunk is not copied."""

    def __init__(self, dtype: npt.DTypeLike) -> None:
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self._bodies: dict[int, _Body] = {}
        self._counts: dict[PeerId, int] = {}

    def begin(self, sender: PeerId, bulk: int, header: Message, size: int) -> None:
        """Expect a body of `size` bytes, or raise RemoteProtocolError if there are too many."""
        count = self._counts.get(sender, 0)
        if count >= BODIES_PER_SENDER_MAX:
            raise RemoteProtocolError("too_many_bodies")
        self._counts[sender] = count + 1
        self._bodies[bulk] = _Body(sender, header, size)

    def chunk(self, bulk: int, chunk: Buffer) -> None:
        """Take the next bytes, or raise RemoteProtocolError if they are too many."""
        body = self._bodies[bulk]
        fresh = np.frombuffer(chunk, np.uint8)
        end = body.filled + fresh.size
        if end > body.size:
            self.lost(bulk)
            raise RemoteProtocolError("body_too_long")
        if fresh.size == body.size:
            body.buffer = fresh
        elif fresh.size:  # Else `buffer` may be the sender's, which is not ours to write to.
            if body.buffer is None:
                body.buffer = np.empty(body.size, np.uint8)
            body.buffer[body.filled : end] = fresh
        body.filled = end

    def end(self, bulk: int) -> tuple[Message, Vector]:
        """Return header and body, or raise RemoteProtocolError if it is too short."""
        body = self._bodies[bulk]
        self.lost(bulk)
        if body.filled != body.size:
            raise RemoteProtocolError("body_too_short")
        if body.buffer is None:
            body.buffer = np.empty(0, np.uint8)
        vector = body.buffer.view(self._dtype)
        vector.flags.writeable = False
        return body.header, vector

    def lost(self, bulk: int) -> None:
        """Forget a body."""
        body = self._bodies.pop(bulk)
        if self._counts[body.sender] == 1:
            del self._counts[body.sender]
        else:
            self._counts[body.sender] -= 1
