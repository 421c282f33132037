"""Named random streams: SHAKE-128 (FIPS 202) of a name, read as 64-bit integers.

The same name gives the same draws on any machine and with any version of any library: nothing
here goes through a library's generators or its distribution code. Opening a stream costs about a
microsecond, where seeding a NumPy generator costs twenty: a thousand peers open one each a round.
"""

from collections.abc import Sequence
from hashlib import shake_128

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


def raw_draws(names: Sequence[str], count: int) -> npt.NDArray[np.uint64]:
    """Return the first draws of each stream: uint64[len(names), count], uniform."""
    joined = b"".join(shake_128(name.encode()).digest(8 * count) for name in names)
    return np.frombuffer(joined, "<u8").astype(np.uint64, copy=False).reshape(len(names), count)


def integers_below(limit: int, draws: npt.NDArray[np.uint64]) -> Integers:
    """Map draws to int64 in [0, limit), limit < 2**32; off from uniform by limit / 2**32."""
    return ((draws >> np.uint64(32)) * np.uint64(limit) >> np.uint64(32)).astype(np.int64)


def uniforms(draws: npt.NDArray[np.uint64]) -> npt.NDArray[np.float64]:
    """Map draws to float64 in [0, 1), multiples of 2**-53."""
    return (draws >> np.uint64(11)).astype(np.float64) * 2.0**-53


def permutations(draws: npt.NDArray[np.uint64]) -> Integers:
    """Map draws [..., n] to one permutation of 0..n-1 along the last axis: int64[..., n].

    It is the order of the draws; equal ones (a chance of n**2 / 2**65) keep their places.
    """
    order: Integers = np.argsort(draws, axis=-1, kind="stable")
    return order


def permutation(name: str, length: int) -> Integers:
    """Return a permutation of 0..length-1, by the stream's name."""
    order: Integers = permutations(raw_draws([name], length))[0]
    return order


def seed_of(name: str) -> int:
    """Return 63 bits by the stream's name, for a library that wants a seed."""
    return int(raw_draws([name], 1)[0, 0] >> np.uint64(1))
