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


class Kind(IntEnum):
    """What happened."""

    FRAME = 1
    BODY = 2
    TIMER = 3
    WORK = 4
    DOWN = 5
    ONLINE = 6
    OFFLINE = 7


class Trace:
    """Digests events as they happen."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=16, person=b"p2pfl/trace")
        self._pending: list[bytes] = []

    def add(self, now_s: float, kind: Kind, peer: int, other: int, content: bytes = b"") -> None:
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

    __slots__ = ("_digest", "_drawn", "parts")

    def __init__(self, parts: Iterable[Buffer]) -> None:
        self.parts = parts
        self._drawn: tuple[Buffer, ...] | None = None
        self._digest = b""

    def drawn(self) -> tuple[Buffer, ...]:
        """Return the body's buffers."""
        if self._drawn is None:
            self._drawn = tuple(self.parts)
        return self._drawn

    def digest(self) -> bytes:
        """Return the 16 bytes that stand for the body in the trace."""
        if not self._digest:
            state = xxhash.xxh3_128()
            for part in self.drawn():
                state.update(part.data if isinstance(part, np.ndarray) else part)
            self._digest = state.digest()
        return self._digest
