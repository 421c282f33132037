"""What members say to each other about states: who wants which item, and what they are given.

Nothing here is signed: what is given is checked against an item's digest, which a certificate
fixes, and links say who gave it.
"""

from typing import Annotated

from p2pfl_crypto.hashing import DIGEST_BYTES
from p2pfl_gossip.ledger.states import StateItem
from p2pfl_gossip.records import ByteSize, Digest, Message, Range, UInt32

PAGE_CHUNKS_MAX = 1024
"""Chunk digests in one message, 32 KiB: those of a model of 1 GiB. A longer list has more pages."""

CHUNKS_PER_REQUEST_MAX = 64
"""Chunks that one request of some 50 bytes leads to. A body of 64 MiB is long enough that a link
with a round trip of a fifth of a second is busy, once its window has grown."""

ChunkCount = Annotated[int, Range(ge=1, le=CHUNKS_PER_REQUEST_MAX)]


class StateMessage(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A message about the item of a state that has this digest."""

    digest: Digest


class StateRequest(StateMessage, frozen=True, tag=140):
    """Give me a page of the item's chunk digests."""

    page: UInt32


class StateChunkDigests(StateMessage, frozen=True, tag=141):
    """A page of the item's chunk digests: 32 bytes each, in order."""

    page: UInt32
    chunk_digests: Annotated[bytes, ByteSize(max_length=PAGE_CHUNKS_MAX * DIGEST_BYTES)]


class StateRefusal(StateMessage, frozen=True, tag=142):
    """I do not have the item, or have given you enough of it for now: ask others."""


class ChunksRequest(StateMessage, frozen=True, tag=143):
    """Give me `count` chunks of the item, from `first` on."""

    first: UInt32
    count: ChunkCount


class StateChunks(StateMessage, frozen=True, tag=144):
    """The body is `count` chunks of the item, from `first` on."""

    first: UInt32
    count: ChunkCount


class ChunksCancel(StateMessage, frozen=True, tag=145):
    """I have the chunks that I asked for from `first` on: send no more of them."""

    first: UInt32


STATE_MESSAGES = (
    StateRequest | StateChunkDigests | StateRefusal | ChunksRequest | StateChunks | ChunksCancel
)
"""All that is said about states."""


def page_count(item: StateItem) -> int:
    """Return how many pages an item's chunk digests fill."""
    return -(-item.chunk_count // PAGE_CHUNKS_MAX)


def page_of(chunk_digests: bytes, page: int) -> bytes:
    """Cut a page out of an item's chunk digests."""
    size = PAGE_CHUNKS_MAX * DIGEST_BYTES
    return chunk_digests[page * size : (page + 1) * size]
