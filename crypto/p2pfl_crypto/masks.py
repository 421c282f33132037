"""Masks: AES-256-CTR key streams (NIST SP 800-38A) read as little-endian uint32, added modulo 2^32.

AES because nearly all processors that train models have instructions for it: with them it takes a
fifth to two thirds of ChaCha20's time. Without them it takes several times as long, and OpenSSL
then uses code without tables, so that timing tells nothing. A stream of b blocks differs from a
random one in that no two of its blocks are equal, which an observer sees with probability below
b^2 / 2^129: 2^-80 for a model of 400 MB.

A vector of y_i = q_i + sum of sgn * mask is memory-bound if each mask is made whole and then
added. So the accumulator is walked in blocks that stay in the second-level cache, and for each
block all streams are advanced: the masks themselves never exist longer than one block. Both the
key stream and the additions release the GIL, so threads that mask different chunks run side by
side. Making a cipher takes as long as 40 KB of its stream, so one serves all chunks of a job.

Source of the construction: Bonawitz et al., "Practical Secure Aggregation", CCS 2017.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

Masked: TypeAlias = npt.NDArray[np.uint32]

KEY_BYTES = 32
# Accumulator, key stream and zeros of one block are 768 KiB: they fit a 1 MiB second-level cache.
# Half of it is as fast on one thread, but two threads then lose a fifth to taking the GIL in turns.
BLOCK_BYTES = 256 * 1024
_BLOCK_ENTRIES = BLOCK_BYTES // 4
_ZEROS = memoryview(bytes(BLOCK_BYTES))
# 2^32 blocks: for them, a stream can be told from a random one with probability below 2^-65.
CHUNK_ENTRIES_MAX = 2**32 * 16 // 4


@dataclass(frozen=True, slots=True)
class Mask:
    """One mask to add or to subtract.

    Attributes:
        key: 32 secret bytes that were derived for this one mask; never shown by `repr`.
        sign: +1 to add, -1 to subtract.
    """

    key: bytes = field(repr=False)
    sign: Literal[1, -1] = 1

    def __post_init__(self) -> None:
        if len(self.key) != KEY_BYTES:
            raise ValueError(f"a mask's key has {KEY_BYTES} bytes, not {len(self.key)}")
        if self.sign not in (1, -1):
            raise ValueError(f"a mask's sign is 1 or -1, not {self.sign}")

    def negated(self) -> "Mask":
        """Return the mask that takes this one away."""
        return Mask(self.key, 1 if self.sign < 0 else -1)


def nonce_of(chunk: int) -> bytes:
    """The first counter block of a chunk: its number as BE64, then the count of blocks, BE64 0.

    Raises:
        ValueError: the chunk is not in 0 <= chunk < 2^64.
    """
    if not 0 <= chunk < 2**64:
        raise ValueError(f"chunk {chunk} is out of range")
    return chunk.to_bytes(8, "big") + bytes(8)


class KeyStream:
    """The AES-256-CTR stream of one key and chunk: block i is AES(key, BE64(chunk) || BE64(i)).

    Raises:
        ValueError: the key is not 32 bytes, or the chunk not in 0 <= chunk < 2^64.
    """

    def __init__(self, key: bytes, chunk: int) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a stream's key has {KEY_BYTES} bytes, not {len(key)}")
        self._encryptor = Cipher(algorithms.AES(key), modes.CTR(nonce_of(chunk))).encryptor()

    def restart(self, nonce: bytes) -> None:
        """Go to the beginning of the stream of the chunk whose `nonce_of` is given."""
        self._encryptor.reset_nonce(nonce)

    def fill(self, room: memoryview) -> None:
        """Fill at most `BLOCK_BYTES` bytes with the next bytes of the stream."""
        self._encryptor.update_into(_ZEROS[: room.nbytes], room)


class MaskStreams:
    """The streams of some masks, for one chunk after another. Not for two threads at once."""

    def __init__(self, masks: Sequence[Mask]) -> None:
        self._streams = [(KeyStream(mask.key, 0), mask.sign) for mask in masks]
        self._room = bytearray()

    def __len__(self) -> int:
        """Count the masks."""
        return len(self._streams)

    def add(self, accumulator: Masked, chunk: int) -> None:
        """Add the streams of `chunk` to the accumulator, modulo 2^32 and in place.

        Args:
            accumulator: uint32[d], one-dimensional, contiguous and writable.
            chunk: number of the chunk, 0 <= chunk < 2^64; each chunk has streams of its own.

        Raises:
            ValueError: the accumulator is of another form, or the chunk out of range.
        """
        _require_accumulator(accumulator)
        nonce = nonce_of(chunk)
        for stream, _ in self._streams:
            stream.restart(nonce)
        if len(self._room) < min(BLOCK_BYTES, accumulator.nbytes):
            self._room = bytearray(min(BLOCK_BYTES, accumulator.nbytes))
        for start in range(0, len(accumulator), _BLOCK_ENTRIES):
            block = accumulator[start : start + _BLOCK_ENTRIES]
            stream_bytes = memoryview(self._room)[: block.nbytes]
            entries = np.frombuffer(stream_bytes, dtype="<u4")
            for stream, sign in self._streams:
                stream.fill(stream_bytes)
                if sign > 0:
                    np.add(block, entries, out=block)
                else:
                    np.subtract(block, entries, out=block)


def add_masks(accumulator: Masked, masks: Sequence[Mask], chunk: int) -> None:
    """Add the masks' streams of one chunk, as `MaskStreams.add` does."""
    MaskStreams(masks).add(accumulator, chunk)


def add_vectors(accumulator: Masked, vectors: Sequence[Masked]) -> None:
    """Add vectors to the accumulator, modulo 2^32, in place and block by block.

    Raises:
        ValueError: a vector has another length or type.
    """
    for vector in vectors:
        if vector.dtype != np.uint32 or vector.shape != accumulator.shape:
            raise ValueError("all vectors are uint32 of the accumulator's length")
    for start in range(0, len(accumulator), _BLOCK_ENTRIES):
        block = accumulator[start : start + _BLOCK_ENTRIES]
        for vector in vectors:
            np.add(block, vector[start : start + _BLOCK_ENTRIES], out=block)


def _require_accumulator(accumulator: Masked) -> None:
    if accumulator.dtype != np.uint32 or accumulator.ndim != 1:
        raise ValueError("an accumulator is a one-dimensional array of uint32")
    if not (accumulator.flags.c_contiguous and accumulator.flags.writeable):
        raise ValueError("an accumulator is contiguous and writable")
    if len(accumulator) > CHUNK_ENTRIES_MAX:
        raise ValueError(f"a chunk has at most {CHUNK_ENTRIES_MAX} entries")
