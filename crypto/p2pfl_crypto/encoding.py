"""Real vectors as fixed-point numbers modulo 2^32, so that masks are uniform and sums exact.

With n members, a clip C, a largest weight W and Q = floor((2^31 - 1) / n), a member of weight w
turns its value x into q = floor((w/W)(x/C)Q + u), where u is uniform in [0, 1): stochastic
rounding, whose error has mean zero. n values of at most Q never leave the range of int32. The
weight travels in the same sum as q_w = round((w/W)Q), so the mean is C * sum(q) / sum(q_w) and no
single weight is seen.

Bit for bit: all arithmetic is IEEE 754 binary64; s = ((w / W) * Q) / C; x is converted to
binary64, multiplied by s, clamped to [-(w / W) * Q, (w / W) * Q], u = r / 2^32 is added, where r
is the next LE32 of the rounding key's stream for this chunk, and the floor clamped to [-Q, Q]: at
the upper edge floor(Q + u) could reach Q + 1.
"""

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from p2pfl_crypto.masks import KeyStream, Masked

Vector: TypeAlias = npt.NDArray[np.float32]

MEMBERS_MAX = 4096  # Leaves Q at least 2^19: below that the rounding would be felt in training.
# One block's float64 values are 256 KiB, so that they and the rounding bits stay in a 1 MiB cache.
_BLOCK_ENTRIES = 32 * 1024
_SUM_MAX = 2**31 - 1


class NotFinite(ValueError):
    """A vector holds a NaN or an infinity.

    Attributes:
        index: the first such entry.
    """

    def __init__(self, index: int, value: float) -> None:
        super().__init__(f"the entry at index {index} is {value}")
        self.index = index


class SumOutOfRange(ValueError):
    """A sum cannot be one of inputs that kept to the encoding."""


def require_finite(values: Vector) -> None:
    """Refuse a vector with a NaN or an infinity.

    Raises:
        NotFinite: names the first such entry.
        ValueError: not a one-dimensional array of float32.
    """
    if values.dtype != np.float32 or values.ndim != 1:
        raise ValueError("a vector is a one-dimensional array of float32")
    for start in range(0, len(values), _BLOCK_ENTRIES):
        block = values[start : start + _BLOCK_ENTRIES]
        finite = np.isfinite(block)
        if not finite.all():
            index = int(np.argmin(finite))
            raise NotFinite(start + index, float(block[index]))


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a cohort writes its members' vectors modulo 2^32.

    Attributes:
        member_count: n, the size of the cohort as drawn, 1 to 4096; not how many answered.
        clip: C > 0; a value beyond it counts as C.
        weight_max: W > 0, the largest weight a member may have.
    """

    member_count: int
    clip: float
    weight_max: float

    def __post_init__(self) -> None:
        if not 1 <= self.member_count <= MEMBERS_MAX:
            raise ValueError(f"1 to {MEMBERS_MAX} members, not {self.member_count}")
        for name, value in (("clip", self.clip), ("weight_max", self.weight_max)):
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} is positive and finite, not {value}")

    @property
    def quantum_max(self) -> int:
        """Q, the largest encoded value: floor((2^31 - 1) / n)."""
        return _SUM_MAX // self.member_count

    def encode_weight(self, weight: float) -> int:
        """Encode a weight as q_w = floor((w/W)Q + 1/2), 1 <= q_w <= Q.

        Raises:
            ValueError: the weight is not in 0 < w <= W, or so small that q_w would be 0.
        """
        if not (math.isfinite(weight) and 0 < weight <= self.weight_max):
            raise ValueError(f"a weight is in 0 < w <= {self.weight_max}, not {weight}")
        encoded = math.floor((weight / self.weight_max) * self.quantum_max + 0.5)
        if encoded < 1:
            raise ValueError(f"the weight {weight} vanishes beside {self.weight_max}")
        return min(encoded, self.quantum_max)

    def encode(
        self, out: Masked, values: Vector, weight: float, rounding_key: bytes, chunk: int
    ) -> int:
        """Encode one chunk of a vector.

        Args:
            out: uint32[d], overwritten.
            values: float32[d], finite.
            weight: the member's weight, 0 < w <= W.
            rounding_key: 32 secret bytes of the member, for this vector only.
            chunk: number of the chunk, which selects the rounding stream.

        Returns:
            How many values lay beyond the clip.

        Raises:
            NotFinite: an entry is a NaN or an infinity; its index is one of this chunk.
            ValueError: the arrays do not fit, or the weight is out of range.
        """
        if out.dtype != np.uint32 or out.shape != values.shape:
            raise ValueError("the encoded chunk is uint32 of the chunk's length")
        if not out.flags.c_contiguous:
            raise ValueError("the encoded chunk is contiguous")
        if values.dtype != np.float32 or values.ndim != 1:
            raise ValueError("a vector is a one-dimensional array of float32")
        self.encode_weight(weight)
        bound = (weight / self.weight_max) * float(self.quantum_max)
        scale = bound / self.clip
        stream = KeyStream(rounding_key, chunk)
        room = memoryview(bytearray(4 * min(_BLOCK_ENTRIES, len(values))))
        scaled_room = np.empty(min(_BLOCK_ENTRIES, len(values)), np.float64)
        uniform_room = np.empty_like(scaled_room)
        clipped = 0
        for start in range(0, len(values), _BLOCK_ENTRIES):
            block = values[start : start + _BLOCK_ENTRIES]
            size = len(block)
            scaled, uniform, drawn = scaled_room[:size], uniform_room[:size], room[: 4 * size]
            stream.fill(drawn)
            highest, lowest = float(block.max()), float(block.min())  # NaN if any entry is.
            if not (math.isfinite(highest) and math.isfinite(lowest)):
                require_finite(values)
            # Casting first and computing in place is a fifth faster than one mixed operation.
            uniform[:] = np.frombuffer(drawn, "<u4")
            np.multiply(uniform, 2.0**-32, out=uniform)
            scaled[:] = block
            np.multiply(scaled, scale, out=scaled)
            if max(highest, -lowest) * scale > bound:
                clipped += int(np.count_nonzero(np.abs(scaled) > bound))
                np.clip(scaled, -bound, bound, out=scaled)
            np.add(scaled, uniform, out=scaled)
            np.floor(scaled, out=scaled)
            if min(highest * scale, bound) > self.quantum_max - 1:
                # Only so close to Q can u lift an entry beyond it; none falls below -Q.
                np.minimum(scaled, self.quantum_max, out=scaled)
            out[start : start + size].view(np.int32)[:] = scaled
        return clipped

    def require_in_range(self, total: Masked, weight_total: int, member_count: int) -> None:
        """Check that a sum can be one of `member_count` inputs that kept to the encoding.

        Args:
            total: uint32[d], sum of the encoded vectors.
            weight_total: sum of the encoded weights, read as int32.
            member_count: |U3|, how many inputs were summed.

        Raises:
            SumOutOfRange: not 0 < sum(q_w) <= |U3| Q, or |sum(q)| > sum(q_w) + 1.5 |U3| somewhere.
        """
        if not 0 < weight_total <= member_count * self.quantum_max:
            raise SumOutOfRange(f"the sum of weights {weight_total} is out of range")
        # Each |q| is at most (w/W)Q + 1, and q_w is (w/W)Q up to 1/2.
        bound = weight_total + 3 * member_count // 2
        signed = total.view(np.int32)
        for start in range(0, len(signed), _BLOCK_ENTRIES):
            block = signed[start : start + _BLOCK_ENTRIES]
            if int(block.max()) > bound or int(block.min()) < -bound:
                raise SumOutOfRange(f"an entry at or after index {start} exceeds {bound}")

    def decode(self, total: Masked, weight_total: int) -> Vector:
        """Decode a sum into the weighted mean: C * sum(q) / sum(q_w).

        Args:
            total: uint32[d], sum of the encoded vectors; checked by `require_in_range`.
            weight_total: sum of the encoded weights, positive.

        Returns:
            float32[d], computed as sum(q) * (C / sum(q_w)) in binary64 and rounded once.
        """
        if weight_total <= 0:
            raise SumOutOfRange(f"the sum of weights {weight_total} is not positive")
        factor = self.clip / weight_total
        mean = np.empty(len(total), np.float32)
        signed = total.view(np.int32)
        room = np.empty(min(_BLOCK_ENTRIES, len(signed)), np.float64)
        for start in range(0, len(signed), _BLOCK_ENTRIES):
            block = signed[start : start + _BLOCK_ENTRIES]
            exact = room[: len(block)]
            exact[:] = block
            mean[start : start + len(block)] = np.multiply(exact, factor, out=exact)
        return mean
