"""The frames that wait for one peer, and the stream that they go by."""

import asyncio
from collections import deque

from p2pfl.libp2p import Connection, ProtocolRefused, Stream
from p2pfl_gossip.actions import Ticket


class Outbox:
    """What waits for one peer.

    Attributes:
        frames: each with its ticket, oldest first.
        waiting_bytes: of all frames.
        task: writes them, while there are any.
        stream: what they are written to; None until one was opened on `connection`.
        connection: of `stream`.
        is_fresh: whether there is a new connection, on which a stream is to be opened although
            nothing waits: that shows whether it is a link.
        refused_by: the connection over which the other end has said that it takes no frames of
            this group; it is not asked again.
        refusal: what it has said.
    """

    def __init__(self) -> None:
        self.frames: deque[tuple[bytes, Ticket | None]] = deque()
        self.waiting_bytes = 0
        self.task: asyncio.Task[None] | None = None
        self.stream: Stream | None = None
        self.connection: Connection | None = None
        self.is_fresh = False
        self.refused_by: Connection | None = None
        self.refusal = ProtocolRefused("")

    def add(self, frame: bytes, ticket: Ticket | None) -> None:
        """Put a frame at the end."""
        self.frames.append((frame, ticket))
        self.waiting_bytes += len(frame)

    def take(self) -> tuple[bytes, Ticket | None]:
        """Take the first frame out."""
        frame, ticket = self.frames.popleft()
        self.waiting_bytes -= len(frame)
        return frame, ticket
