"""Integer noise: the discrete Gaussian of two fixed widths, from an exact table.

D(sigma) has P(x) proportional to exp(-x^2 / (2 sigma^2)) on the integers (Canonne, Kamath, Steinke,
"The Discrete Gaussian for Differential Privacy", NeurIPS 2020). A draw is x = a + k b, where a and
b are draws of D(sigma_0), each by inversion of its distribution function: a table of thresholds of
128 bits.

**Why x is of D(sigma), sigma^2 = sigma_0^2 (1 + k^2).** For one b, a = x - k b, so P(x) is a sum
over b of exp(-((x - k b)^2 + b^2) / (2 sigma_0^2)). Completing the square turns each term into
exp(-x^2 / (2 sigma^2)) * exp(-(b - c)^2 (1 + k^2) / (2 sigma_0^2)) with c = k x / (1 + k^2). Only
the second factor's sum over b goes by x, through c, and by Poisson's summation formula it varies
by a factor of at most (1 + e) / (1 - e), where e = 2 q / (1 - q^3), q = exp(-2 pi^2 s^2),
s = sigma_0 / sqrt(1 + k^2). For both widths s is 3.01: e < 2^-256. The same follows, with
slightly stronger conditions, from the convolution theorem of Micciancio and Walter, "Gaussian
Sampling over the Integers: Efficient, Generic, Constant-Time" (CRYPTO 2017).

**How far a draw is from D(sigma).** Each of a table's 27,238 thresholds is rounded down by less
than 2^-128, and tails of less than 2^-131 are cut: a table draw is within 2^-114 of D(sigma_0), in
statistical distance, and x, two of them, within `DRAW_DISTANCE` = 2^-113 of D(sigma). So 1,000
releases of 10^7 entries are within 2^-79 of releases with exact noise.

**Timing.** Inversion is a look-up, and a search for one draw in twenty, so its time tells something
of the noise. Draw before a vector's time of sending can show it.
"""

from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from p2pfl_crypto.hashing import hash_parts
from p2pfl_crypto.private_streams import PrivateStream

Noise: TypeAlias = npt.NDArray[np.int32]

DRAW_DISTANCE = 2.0**-113
"""Statistical distance of a draw from the discrete Gaussian, at most (see above)."""

_FRACTION_BITS = 320  # Of weights while thresholds are made; 128 are kept.
_THRESHOLD_BITS = 128
_GUIDE_BITS = 16  # 65,536 places of int32 are 256 KiB: they stay in a 1 MiB cache.
# Draws of one block; their stream is 256 KiB. Part of the format: it orders what a stream gives.
BLOCK_DRAWS = 32 * 1024


@dataclass(frozen=True, slots=True)
class NoiseWidth:
    """A width of noise: x = a + `factor` b, where a and b are draws of D(`base`).

    Attributes:
        base: sigma_0, 1 to 1024.
        factor: k >= 0; 0 for one draw of the base.
    """

    base: int
    factor: int

    def __post_init__(self) -> None:
        if not 1 <= self.base <= 1024:
            raise ValueError(f"a table's width is 1 to 1024, not {self.base}")
        if self.factor < 0:
            raise ValueError(f"a factor is not negative: {self.factor}")

    @property
    def variance(self) -> int:
        """sigma^2, exactly (the variance itself is off from it by less than 2^-200)."""
        return self.base**2 * (1 + self.factor**2)

    @property
    def largest(self) -> int:
        """The largest |x| that a draw can have: 13.3 sigma_0 (1 + k)."""
        return _tail_of(self.base) * (1 + self.factor)

    @property
    def digest(self) -> bytes:
        """Digest of the thresholds and the factor, 32 bytes: all members' must be equal."""
        table = _table(self.base)
        return hash_parts(
            b"p2pfl/dp-table",
            self.base.to_bytes(4, "little"),
            self.factor.to_bytes(4, "little"),
            table.high.astype("<u8").tobytes(),
            table.low.astype("<u8").tobytes(),
        )


WIDE = NoiseWidth(1024, 340)
NARROW = NoiseWidth(512, 170)
WIDE_MEMBERS_MAX = 32  # Above, sums of the wide noise would leave too little of int32 to updates.

TABLE_DIGESTS = {
    WIDE: "528b31682becbd1cc464d9b0be5c24f3a51c147c21a3fa169c5509692a963980",
    NARROW: "f222e4c03dd49de863249f920a476dad03f694c0b4eb88357b8b592597cfbf56",
}
"""Of the thresholds as they must come out on any machine, in hex."""


def width_for(member_count: int) -> NoiseWidth:
    """Return the width of noise of a group of so many members."""
    return WIDE if member_count <= WIDE_MEMBERS_MAX else NARROW


def draw_noise(stream: PrivateStream, width: NoiseWidth, count: int) -> Noise:
    """Draw noise.

    Format: for each `BLOCK_DRAWS` entries, in order, all a, then all b. A draw takes one word of 64
    bits, the upper half of a number that is compared with the thresholds; the lower half is taken
    from the stream, after the block's words, by those draws only whose upper half equals a
    threshold's: one in 10^15.

    Args:
        stream: private to the member, for this noise only.
        width: `WIDE` or `NARROW`; any other is for tests.
        count: d.

    Returns:
        int32[d]; |x| is at most `width.largest`.
    """
    table = _table(width.base)
    noise = np.empty(count, np.int32)
    for start in range(0, count, BLOCK_DRAWS):
        block = noise[start : start + BLOCK_DRAWS]
        block[:] = table.invert(stream, len(block))
        if width.factor:
            block += width.factor * table.invert(stream, len(block))
    return noise


@dataclass(frozen=True, slots=True)
class _Table:
    """The distribution function of D(sigma_0), cut at `tail`: thresholds of -tail .. tail - 1.

    Attributes:
        tail: the largest |x|.
        high: uint64[2 tail], upper halves of floor(P(X <= x) 2^128), rising.
        low: uint64[2 tail], lower halves.
        guide: int32[2^16]: by a word's upper 16 bits, how many thresholds are below it; -1 where
            these bits do not decide.
    """

    tail: int
    high: npt.NDArray[np.uint64]
    low: npt.NDArray[np.uint64]
    guide: npt.NDArray[np.int32]

    def invert(self, stream: PrivateStream, count: int) -> Noise:
        """Return draws: int32[count]."""
        words = stream.words64(count)
        below: Noise = self.guide[words.view("<u2")[3::4]]
        open_ones = np.flatnonzero(below < 0)
        if len(open_ones):
            wanted = words[open_ones]
            found = np.searchsorted(self.high, wanted, "left")
            ties = np.flatnonzero(self.high[np.minimum(found, 2 * self.tail - 1)] == wanted)
            for tie in ties:
                first = int(found[tie])
                last = int(np.searchsorted(self.high, wanted[tie], "right"))
                lower = stream.words64(1)[0]
                found[tie] += np.searchsorted(self.low[first:last], lower, "right")
            below[open_ones] = found
        below -= self.tail
        return below


def _tail_of(base: int) -> int:
    """13.3 sigma_0, beyond which less than 2^-131 of D(sigma_0) lies."""
    return 133 * base // 10


@cache
def _table(base: int) -> _Table:
    """Make a table in integers alone, so that it is the same on any machine."""
    tail = _tail_of(base)
    one = 1 << _FRACTION_BITS
    # w(x) = exp(-x^2 / (2 sigma_0^2)): w(x + 1) = w(x) r^(2 x + 1).
    root = _exponential(1, 2 * base**2)
    square = root * root >> _FRACTION_BITS
    weights, step = [one], root
    for _ in range(tail):
        weights.append(weights[-1] * step >> _FRACTION_BITS)
        step = step * square >> _FRACTION_BITS
    total = 2 * sum(weights) - one
    sum_to, thresholds = 0, []
    for x in range(-tail, tail):
        sum_to += weights[abs(x)]
        thresholds.append((sum_to << _THRESHOLD_BITS) // total)
    high = np.array([threshold >> 64 for threshold in thresholds], np.uint64)
    low = np.array([threshold & (2**64 - 1) for threshold in thresholds], np.uint64)
    first = np.arange(2**_GUIDE_BITS, dtype=np.uint64) << np.uint64(64 - _GUIDE_BITS)
    last = first + np.uint64(2 ** (64 - _GUIDE_BITS) - 1)
    least = np.searchsorted(high, first, "left")
    guide = np.where(least == np.searchsorted(high, last, "right"), least, -1).astype(np.int32)
    return _Table(tail, high, low, guide)


def _exponential(numerator: int, denominator: int) -> int:
    """exp(-numerator / denominator) by its series, as a multiple of 2^-320."""
    power = 1 << _FRACTION_BITS
    total, sign, order = power, -1, 1
    while power:
        power = power * numerator // (denominator * order)
        total += sign * power
        sign, order = -sign, order + 1
    return total
