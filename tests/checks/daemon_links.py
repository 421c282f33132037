"""Whom the links of a daemon tell what arrives, where a test looks at the links alone."""

import asyncio
from collections.abc import Callable

from p2pfl_crypto.hashing import hash_parts
from p2pfl_crypto.identity import Identity
from p2pfl_gossip.actions import PeerId, Ticket

GROUP = bytes(range(32))


def identity(index: int) -> Identity:
    """The identity behind `scripted.IDS[index]`."""
    return Identity(hash_parts(b"test/scripted", bytes([index])))


class Nobody:
    """Wants every body, and notes frames and what left."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.sent: list[tuple[Ticket, bool]] = []
        self._changed = asyncio.Event()

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so; looked at after each frame."""
        while not is_so():
            self._changed.clear()
            await asyncio.wait_for(self._changed.wait(), 60.0)

    def on_frame(self, peer: PeerId, frame: bytearray) -> None:
        self.frames.append(bytes(frame))
        self._changed.set()

    def on_bulk_begin(self, peer: PeerId, bulk: int, frame: bytearray) -> bool:
        return True

    def on_bulk_chunk(self, peer: PeerId, bulk: int, chunk: bytearray) -> bool:
        return True

    def on_bulk_end(self, peer: PeerId, bulk: int, frame: bytearray | None) -> None:
        pass

    def on_bulk_lost(self, peer: PeerId, bulk: int) -> None:
        pass

    def on_sent(self, ticket: Ticket, ok: bool) -> None:
        self.sent.append((ticket, ok))

    def on_peer_up(self, peer: PeerId) -> None:
        pass

    def on_peer_down(self, peer: PeerId, reason: str) -> None:
        pass

    def on_failed(self, error: BaseException) -> None:
        raise error
