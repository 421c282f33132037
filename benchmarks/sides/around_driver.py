"""What a bench puts around the driver of a peer: an identity, no journal, nobody who watches."""

import sys

from p2pfl_crypto.hashing import hash_parts
from p2pfl_crypto.identity import Identity, PeerId
from p2pfl_gossip.actions import Event, Vector
from p2pfl_gossip.records import Message


def identity(index: int) -> Identity:
    """Return the key of the peer with this number."""
    return Identity(hash_parts(b"p2pfl/bench", index.to_bytes(8, "little")))


class Nothing:
    """Keeps no records: what is measured is something else."""

    def records(self) -> dict[str, bytes | Vector]:
        return {}

    def persist(self, records: dict[str, bytes | Vector | None]) -> None:
        pass


class Deaf:
    """Shows nothing, but for faults."""

    def on_event(self, now_s: float, event: Event) -> None:
        pass

    def on_link(self, peer: PeerId, *, up: bool, reason: str) -> None:
        pass

    def on_refused(self, peer: PeerId, reason: str) -> None:
        print("refused", peer, reason, file=sys.stderr)

    def on_traffic(
        self, direction: str, peer: PeerId, message: Message, frame: bytes | bytearray
    ) -> None:
        pass
