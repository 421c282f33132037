"""The trace digest: one number for a whole run.

It covers the order, time and kind of all events, and every byte that travels: of frames as they
are, of bulk bodies by their 128-bit XXH3, which runs at memory speed. It finds differences between
runs; it is no proof against somebody who wants two runs to look alike.
"""

import hashlib
import struct
from collections.abc import Iterable
from enum import IntEnum

import numpy as np
import xxhash

from p2pfl_gossip.actions import Buffer

_HEADER = struct.Struct("<dBII")
_PENDING_MAX = 8192  # Records hashed at once; hashing each by itself doubles its cost.


class TraceKind(IntEnum):
    """What happened."""

    FRAME = 1
    BODY = 2
    TIMER = 3
    WORK = 4
    DOWN = 5
    ONLINE = 6
    OFFLINE = 7
    PERSISTED = 8  # By a disk that takes time.
    SUM = 9  # Of a whole session that is modelled at once.
    WAVE = 10  # Of what many say to all.


class Trace:
    """Digests events as they happen."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=16, person=b"p2pfl/trace")
        self._pending: list[bytes] = []

    def add(
        self, now_s: float, kind: TraceKind, peer: int, other: int, content: bytes = b""
    ) -> None:
        """Digest one event at a peer; `other` is the sender, or a ticket."""
        pending = self._pending
        pending.append(_HEADER.pack(now_s, kind, peer, other))
        if content:
            pending.append(content)
        if len(pending) >= _PENDING_MAX:
            self._flush()

    def hexdigest(self) -> str:
        """Return the digest of all so far."""
        self._flush()
        return self._hash.hexdigest()

    def _flush(self) -> None:
        self._hash.update(b"".join(self._pending))
        self._pending.clear()


class Body:
    """A bulk body that travels: drawn and digested once, at its first delivery, for all."""

    __slots__ = ("_content", "parts")

    def __init__(self, parts: Iterable[Buffer]) -> None:
        self.parts = parts
        self._content: tuple[tuple[Buffer, ...], bytes] | None = None

    def content(self) -> tuple[tuple[Buffer, ...], bytes]:
        """Return the body's buffers, and the 16 bytes that stand for them in the trace."""
        if self._content is None:
            buffers = tuple(self.parts)
            state = xxhash.xxh3_128()
            for buffer in buffers:
                state.update(buffer.data if isinstance(buffer, np.ndarray) else buffer)
            self._content = buffers, state.digest()
        return self._content
