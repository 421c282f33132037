"""A sketch of a vector: 256 integers whose norm tells the vector's (sparse Johnson-Lindenstrauss).

The sketch is p = A q, with A a sparse matrix of 0, 1 and -1 that follows from a public seed: each
coordinate of q is added to, or taken from, one of 32 entries in each of 8 blocks (Kane & Nelson,
"Sparser Johnson-Lindenstrauss transforms", J. ACM 2014). So |p|^2 is 8 |q|^2 on average. It is
linear and exact, over the integers: the sketches of inputs add up to the sketch of their sum.

Nobody may know the seed before q is fixed: a vector can be bent into the null space of a known A.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from p2pfl_crypto.masks import BLOCK_BYTES, KeyStream

BLOCKS = 8
BUCKETS = 32
SKETCH_ENTRIES = BLOCKS * BUCKETS
_SIGN = BUCKETS  # The bit of a stream's byte that makes the coordinate count negatively.
_PLACES = 2 * BUCKETS
_PLACE = _PLACES - 1
_BATCH = BLOCK_BYTES // BLOCKS  # Coordinates whose choices fill one block of a stream.

Sketch = npt.NDArray[np.int64]
Entries = npt.NDArray[np.int32]


def sketch_of(seed: bytes, chunks: Iterable[tuple[int, Entries]]) -> Sketch:
    """Sketch a vector: see `sketches_of`.

    Args:
        seed: 32 public bytes, unknown to everybody while the vector could still be chosen.
        chunks: number and int32 entries of each chunk; those left out count as zeros.

    Returns:
        int64[256].
    """
    return sketches_of(seed, 1, ((chunk, (entries,)) for chunk, entries in chunks))[0]


def sketches_of(
    seed: bytes, count: int, chunks: Iterable[tuple[int, Sequence[Entries]]]
) -> list[Sketch]:
    """Sketch vectors by one seed, in less time than one after the other.

    The choices for a chunk come from its key stream (AES-256-CTR of the seed). Each batch of at
    most 32,768 coordinates takes eight runs of bytes from it, one a block and a byte for each
    coordinate: the lowest five bits are its bucket, the next one is 1 if it counts negatively.

    Args:
        seed: 32 public bytes, unknown to everybody while the vectors could still be chosen.
        count: of the vectors.
        chunks: number of each chunk, and its int32 entries in each vector, of one length; chunks
            that are left out count as zeros.

    Returns:
        int64[256] of each vector. Of at most 2^31 entries, no sum overflows.
    """
    totals = np.zeros((count, BLOCKS, BUCKETS), np.int64)
    room = bytearray(BLOCK_BYTES)
    for chunk, parts in chunks:
        if any(part.dtype != np.int32 or part.ndim != 1 for part in parts):
            raise ValueError("a chunk is a one-dimensional array of int32")
        stream, length = KeyStream(seed, chunk), len(parts[0])
        for start in range(0, length, _BATCH):
            batches = [part[start : start + _BATCH].astype(np.float64) for part in parts]
            choices = memoryview(room)[: BLOCKS * min(_BATCH, length - start)]
            stream.fill(choices)
            bytes_of = np.frombuffer(choices, np.uint8).reshape(BLOCKS, -1)
            for block in range(0, BLOCKS, 2):
                # The places of two blocks at once: to count takes as long as for those of one.
                places = (bytes_of[block] & _PLACE).astype(np.intp)
                places += (bytes_of[block + 1] & _PLACE).astype(np.intp) * _PLACES
                for total, batch in zip(totals, batches, strict=True):
                    # Sums of 2^15 entries below 2^31 are exact in binary64.
                    sums = np.bincount(places, weights=batch, minlength=_PLACES**2)
                    square = sums.reshape(_PLACES, _PLACES)
                    for beside, axis in enumerate((0, 1)):
                        of_block = square.sum(axis=axis).astype(np.int64)
                        total[block + beside] += of_block[:_SIGN]
                        total[block + beside] -= of_block[_SIGN:]
    return [total.reshape(SKETCH_ENTRIES) for total in totals]


def square_norm_max(quantum_max: int, share: float, entries: int) -> int:
    """The largest |p|^2 that an honest member's sketch may have: T, the same number at all.

    An input is at most share * Q long, and each entry's rounding adds at most 1, so that
    b = ceil(share * Q) + isqrt(d) + 2 bounds its norm. T = floor(1.6 * 8 * b^2): one honest sketch
    of 3e8 is longer (chi-square of 256 degrees), and one of 1e9 of an input of norm 1.69 is not.

    Args:
        quantum_max: Q, what the clip is encoded as.
        share: the member's weight over the largest, 0 < share <= 1, one division in binary64.
        entries: d, the length of the vectors.
    """
    longest = math.ceil(share * quantum_max) + math.isqrt(entries) + 2
    return 64 * longest * longest // 5  # 1.6 * 8 is 64 / 5.
