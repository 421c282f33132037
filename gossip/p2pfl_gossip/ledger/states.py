"""States: what a certificate fixes, as a list of items, each by a digest over chunk digests.

An item is a long vector with a name: ``model`` first. It is cut into chunks of 1 MiB, the last
shorter. A chunk's digest is BLAKE3 of its bytes, and of nothing else: the same bytes have the same
digest in every item, so that a chunk which has not changed need not travel. The item's digest
names the item, its length and all chunk digests. So whoever has an item's digest can check the
list of chunk digests, whoever brings it, and by the list each chunk as it comes.

Bytes are little-endian float32 on every machine.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt

from p2pfl_crypto.hashing import DIGEST_BYTES, body_digest, hash_parts
from p2pfl_gossip.actions import Job, LocalProtocolError, Vector
from p2pfl_gossip.records import Digest, Message, Range, Record, TextForm, UInt32, UInt63

STATE_CHUNK_BYTES = 2**20
"""Small enough that a liar wastes little and that a few members share a model of 100 MB evenly;
large enough that its digest, 32 bytes, is nothing beside it."""

ENTRY_BYTES = 4
CHUNK_ENTRIES = STATE_CHUNK_BYTES // ENTRY_BYTES

Length = Annotated[int, Range(ge=1, le=2**63 - 1)]
ItemName = Annotated[str, TextForm(pattern=r"\A[a-z_]{1,32}\Z")]

Bytes = npt.NDArray[np.uint8]


class StateItem(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One item of a state, as an entry of the ledger fixes it.

    Attributes:
        name: ``"model"``, or of another vector that members go on from.
        dtype: of its entries.
        length: how many entries.
        digest: `item_digest` of all that and of the chunk digests.
    """

    name: ItemName
    dtype: Literal["float32"]
    length: Length
    digest: Digest

    @property
    def chunk_count(self) -> int:
        """Chunks, the last of which may be shorter."""
        return -(-self.length // CHUNK_ENTRIES)

    def bytes_of(self, first: int, count: int = 1) -> slice:
        """Return where `count` chunks from `first` on lie among the item's bytes."""
        end = min((first + count) * STATE_CHUNK_BYTES, self.length * ENTRY_BYTES)
        return slice(first * STATE_CHUNK_BYTES, end)

    def is_list(self, chunk_digests: bytes) -> bool:
        """Tell whether these are the digests of the item's chunks, 32 bytes each, in order."""
        return self.digest == item_digest(self.name, self.dtype, self.length, chunk_digests)


class Head(Message, frozen=True, array_like=True, forbid_unknown_fields=True, order=True):
    """Names an entry; of two the later one is greater."""

    epoch: UInt32
    round: UInt63
    entry: Digest

    @property
    def place(self) -> tuple[int, int]:
        """Epoch and round, by which heads are ordered."""
        return self.epoch, self.round


class StateJob(Job, frozen=True):
    """A job of states; `perform` does them."""


class DigestState(StateJob, frozen=True):
    """Hash a whole vector, float32[d], chunk by chunk, as an item of this name; read-only."""

    name: str
    vector: Vector


class StateDigested(Record, frozen=True):
    """The end of a `DigestState`: the item, and its chunk digests, 32 bytes each, in order."""

    item: StateItem
    chunk_digests: bytes


class DigestChunks(StateJob, frozen=True):
    """Hash chunks that arrived: bytes of one chunk each, not written to until this ends."""

    chunks: tuple[Bytes, ...]

    def __repr__(self) -> str:
        return f"DigestChunks({len(self.chunks)} chunks)"


class ChunksDigested(Record, frozen=True):
    """The end of a `DigestChunks`: digests in the same order."""

    digests: tuple[bytes, ...]


def item_digest(name: str, dtype: str, length: int, chunk_digests: bytes) -> bytes:
    """Digest an item.

    Args:
        name: of the item.
        dtype: of its entries.
        length: how many entries.
        chunk_digests: of its chunks in order, joined.

    Returns:
        32 bytes: H("p2pfl/state", name, dtype, LE64(length), chunk digests).
    """
    return hash_parts(
        b"p2pfl/state", name.encode(), dtype.encode(), length.to_bytes(8, "little"), chunk_digests
    )


def digest_chunks(vector: Vector) -> bytes:
    """Return the digests of a vector's chunks, joined; a second takes about 1.5 GB."""
    values = bytes_of_vector(vector)
    return b"".join(
        body_digest(values[start : start + STATE_CHUNK_BYTES].data)
        for start in range(0, len(values), STATE_CHUNK_BYTES)
    )


def digest_state(name: str, vector: Vector) -> StateDigested:
    """Make a vector an item of a state.

    Raises:
        ValueError: the vector is not float32, or not one-dimensional and contiguous.
    """
    chunk_digests = digest_chunks(vector)
    digest = item_digest(name, "float32", len(vector), chunk_digests)
    return StateDigested(StateItem(name, "float32", len(vector), digest), chunk_digests)


def bytes_of_vector(vector: Vector) -> Bytes:
    """Return a view of a vector's bytes.

    Raises:
        ValueError: the vector is not float32, or not one-dimensional and contiguous.
    """
    if vector.dtype != np.dtype("<f4") or vector.ndim != 1 or not vector.flags.c_contiguous:
        raise ValueError(f"no float32 vector in one piece: {vector.dtype}, shape {vector.shape}")
    return vector.view(np.uint8)


def digests_of(chunk_digests: bytes) -> Sequence[bytes]:
    """Take a list of chunk digests apart."""
    return [
        chunk_digests[start : start + DIGEST_BYTES]
        for start in range(0, len(chunk_digests), DIGEST_BYTES)
    ]


def perform(job: Job) -> Record:
    """Do a job of states: pure, on any thread; the hashes of whole chunks release the GIL.

    Raises:
        LocalProtocolError: the job is none of them.
        ValueError: a job's vector is not what it must be.
    """
    match job:
        case DigestState():
            return digest_state(job.name, job.vector)
        case DigestChunks():
            return ChunksDigested(tuple(body_digest(chunk.data) for chunk in job.chunks))
    raise LocalProtocolError(f"{type(job).__name__} is no job of states")
