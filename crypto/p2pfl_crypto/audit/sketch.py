"""A sketch of a vector: 256 integers whose norm tells the vector's (sparse Johnson-Lindenstrauss).

The sketch is p = A q, with A a sparse matrix of 0, 1 and -1 that follows from a public seed: each
coordinate of q is added to, or taken from, one of 32 entries in each of 8 blocks (Kane & Nelson,
"Sparser Johnson-Lindenstrauss transforms", J. ACM 2014). So |p|^2 is 8 |q|^2 on average. It is
linear and exact, over the integers: the sketches of inputs add up to the sketch of their sum.

Nobody may know the seed before q is fixed: a vector can be bent into the null space of a known A.
"""

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from p2pfl_crypto.masks import BLOCK_BYTES, KeyStream

BLOCKS = 8
BUCKETS = 32
SKETCH_ENTRIES = BLOCKS * BUCKETS
_SIGN = BUCKETS  # The bit of a stream's byte that makes the coordinate count negatively.
_BATCH = BLOCK_BYTES // BLOCKS  # Coordinates whose choices fill one block of a stream.

Sketch = npt.NDArray[np.int64]
Entries = npt.NDArray[np.int32]


def sketch_of(seed: bytes, chunks: Iterable[tuple[int, Entries]]) -> Sketch:
    """Sketch a vector.

    The choices for a chunk come from its key stream (AES-256-CTR of the seed). Each batch of at
    most 32,768 coordinates takes eight runs of bytes from it, one a block and a byte for each
    coordinate: the lowest five bits are its bucket, the next one is 1 if it counts negatively.

    Args:
        seed: 32 public bytes, unknown to everybody while the vector could still be chosen.
        chunks: number and int32 entries of each chunk; those left out count as zeros.

    Returns:
        int64[256]. Of at most 2^31 entries, no sum overflows.
    """
    totals = np.zeros((BLOCKS, BUCKETS), np.int64)
    room = bytearray(BLOCK_BYTES)
    for chunk, entries in chunks:
        if entries.dtype != np.int32 or entries.ndim != 1:
            raise ValueError("a chunk is a one-dimensional array of int32")
        stream = KeyStream(seed, chunk)
        for start in range(0, len(entries), _BATCH):
            batch = entries[start : start + _BATCH].astype(np.float64)
            choices = memoryview(room)[: BLOCKS * len(batch)]
            stream.fill(choices)
            bytes_of = np.frombuffer(choices, np.uint8).reshape(BLOCKS, len(batch))
            for block in range(BLOCKS):
                places = bytes_of[block] & (2 * BUCKETS - 1)
                # Sums of 2^15 entries below 2^31 are exact in binary64.
                sums = np.bincount(places, weights=batch, minlength=2 * BUCKETS).astype(np.int64)
                totals[block] += sums[:_SIGN]
                totals[block] -= sums[_SIGN:]
    return totals.reshape(SKETCH_ENTRIES)


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
