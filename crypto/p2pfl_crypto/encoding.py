"""Real vectors as fixed-point numbers modulo 2^32, so that masks are uniform and sums exact.

With n members, a clip C, a largest weight W and Q = floor((2^31 - 1) / n), a member of weight w
turns its value x into q = floor((w/W)(x/C)Q + u), where u is uniform in [0, 1): stochastic
rounding, whose error has mean zero. n values of at most Q never leave the range of int32. The
weight travels in the same sum as q_w = round((w/W)Q), so the mean is C * sum(q) / sum(q_w) and no
single weight is seen.

What a group sums are *deltas*, what a round's training has changed, of at most a norm S, with
weights that all know: `DeltaEncoding`. No weight travels there.

Bit for bit: all arithmetic is IEEE 754 binary64; s = ((w / W) * Q) / C; x is converted to
binary64, multiplied by s, clamped to [-(w / W) * Q, (w / W) * Q], u = r / 2^32 is added, where r
is the next LE32 of the rounding key's stream for this chunk, and the floor clamped to [-Q, Q]: at
the upper edge floor(Q + u) could reach Q + 1. For deltas C is S.
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


def _quantum_of(member_count: int) -> int:
    return _SUM_MAX // member_count


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
        return _quantum_of(self.member_count)

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
        self.encode_weight(weight)
        return _encode(self, out, values, weight, rounding_key, chunk)

    def encode_body(
        self, values: Vector, weight: float, rounding_key: bytes, chunk: int
    ) -> tuple[Masked, int]:
        """Encode one chunk of a vector, and the weight behind it, as they are summed.

        Returns:
            uint32[d + 1], and how many values lay beyond the clip. Raises as `encode` does.
        """
        body = np.empty(self.body_entries(len(values)), np.uint32)
        clipped = self.encode(body[:-1], values, weight, rounding_key, chunk)
        body[-1] = self.encode_weight(weight)
        return body, clipped

    @staticmethod
    def body_entries(count: int) -> int:
        """Count the words that a chunk of `count` entries takes."""
        return count + 1

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


@dataclass(frozen=True, slots=True)
class DeltaEncoding:
    """How a group writes its members' deltas modulo 2^32, with weights that all know.

    A member of weight w turns its delta's entry x into floor((w/W)(x/S)Q + u). The model moves by
    k * sum(q), with k = (S W) / (Q w): w is the weight of all members that may take part, not only
    of those that did, so that whoever leaves members out does not scale the rest up.

    Attributes:
        member_count: n, the members of the epoch, 1 to 4096; not how many answered.
        clip: S > 0, the largest L2 norm of a delta; `shrink` sees to it.
        weight_max: W > 0, the largest weight of a member.
    """

    member_count: int
    clip: float
    weight_max: float

    def __post_init__(self) -> None:
        Encoding(self.member_count, self.clip, self.weight_max)  # The same bounds.

    @property
    def quantum_max(self) -> int:
        """Q, the largest encoded value: floor((2^31 - 1) / n)."""
        return _quantum_of(self.member_count)

    def encode(
        self, out: Masked, delta: Vector, weight: float, rounding_key: bytes, chunk: int
    ) -> int:
        """Encode one chunk of a delta.

        Args:
            out: uint32[d], overwritten.
            delta: float32[d], finite, a part of what `shrink` gave.
            weight: the member's weight, 0 < w <= W.
            rounding_key: 32 secret bytes of the member, for this delta only.
            chunk: number of the chunk, which selects the rounding stream.

        Returns:
            How many entries lay beyond S: none, of a delta that was shrunk to it. Such an entry
            counts as S, so that no sum of honest members is out of range.

        Raises:
            NotFinite: an entry is a NaN or an infinity; its index is one of this chunk.
            ValueError: the arrays do not fit, or the weight is out of range.
        """
        self.require_weight(weight)
        return _encode(self, out, delta, weight, rounding_key, chunk)

    def encode_body(
        self, delta: Vector, weight: float, rounding_key: bytes, chunk: int
    ) -> tuple[Masked, int]:
        """Encode one chunk of a delta as it is summed: uint32[d], and what `encode` returns."""
        body = np.empty(self.body_entries(len(delta)), np.uint32)
        return body, self.encode(body, delta, weight, rounding_key, chunk)

    @staticmethod
    def body_entries(count: int) -> int:
        """Count the words that a chunk of `count` entries takes."""
        return count

    def require_weight(self, weight: float) -> None:
        """Refuse, by ValueError, a weight that is not in 0 < w <= W."""
        if not (math.isfinite(weight) and 0 < weight <= self.weight_max):
            raise ValueError(f"a weight is in 0 < w <= {self.weight_max}, not {weight}")

    def is_in_range(self, total: Masked, weight_of_contributors: float, contributors: int) -> bool:
        """Tell whether a sum can be one of inputs that kept to the encoding.

        Args:
            total: uint32[d], sum of the encoded deltas.
            weight_of_contributors: the sum of their weights.
            contributors: |U3|, how many were summed.

        Returns:
            Whether |sum(q)| <= Q (w / W) + 1.5 |U3| everywhere: each |q| is at most (w/W)Q + 1.
        """
        share = weight_of_contributors / self.weight_max
        bound = float(self.quantum_max) * share + 1.5 * contributors
        signed = total.view(np.int32)
        for start in range(0, len(signed), _BLOCK_ENTRIES):
            block = signed[start : start + _BLOCK_ENTRIES]
            if int(block.max()) > bound or -int(block.min()) > bound:
                return False
        return True

    def apply(self, base: Vector, total: Masked, weight_total: float) -> Vector:
        """Move a model by a sum: float32(float64(M) + float64(sum) * k), entry by entry.

        k = (S * W) / (Q * w); each operation is one of binary64, in the order written, and none is
        fused with another: all members get equal bits, on any machine.

        Args:
            base: float32[d], the model from which the deltas were taken.
            total: uint32[d], the sum; `is_in_range` has been asked.
            weight_total: w > 0, the weight of all members that may take part.

        Returns:
            float32[d].

        Raises:
            ValueError: the arrays do not fit, or the weight is not positive and finite.
        """
        if total.dtype != np.uint32 or base.dtype != np.float32 or total.shape != base.shape:
            raise ValueError("a model is float32 and its sum uint32, of one length")
        if not (math.isfinite(weight_total) and weight_total > 0):
            raise ValueError(f"the weight of all is positive and finite, not {weight_total}")
        factor = (self.clip * self.weight_max) / (float(self.quantum_max) * weight_total)
        model = np.empty_like(base)
        signed = total.view(np.int32)
        moved_room = np.empty(min(_BLOCK_ENTRIES, len(signed)), np.float64)
        base_room = np.empty_like(moved_room)
        for start in range(0, len(signed), _BLOCK_ENTRIES):
            block = signed[start : start + _BLOCK_ENTRIES]
            moved, exact = moved_room[: len(block)], base_room[: len(block)]
            moved[:] = block
            np.multiply(moved, factor, out=moved)
            exact[:] = base[start : start + len(block)]
            model[start : start + len(block)] = np.add(exact, moved, out=exact)
        return model


def shrink(delta: Vector, clip: float) -> tuple[Vector, float]:
    """Shrink a delta to an L2 norm of at most S.

    Args:
        delta: float32[d], finite; not changed.
        clip: S > 0.

    Returns:
        float32[d], the delta itself where it is short enough, and the norm that it had. Both are
        the same on any machine: squares are summed in binary64, in a fixed order.

    Raises:
        NotFinite: an entry is a NaN or an infinity.
        ValueError: no one-dimensional array of float32, or S is not positive and finite.
    """
    if not (math.isfinite(clip) and clip > 0):
        raise ValueError(f"clip is positive and finite, not {clip}")
    require_finite(delta)
    norm = _norm_of(delta)
    if norm <= clip:
        return delta, norm
    # Rounding to float32 may lengthen each entry by 2^-24 of itself: aim as much below S.
    factor = (clip / norm) * (1 - 2.0**-22)
    shrunk = np.empty_like(delta)
    for start in range(0, len(delta), _BLOCK_ENTRIES):
        block = delta[start : start + _BLOCK_ENTRIES].astype(np.float64)
        shrunk[start : start + len(block)] = np.multiply(block, factor, out=block)
    return shrunk, norm


def _norm_of(values: Vector) -> float:
    squares = []
    for start in range(0, len(values), _BLOCK_ENTRIES):
        block = values[start : start + _BLOCK_ENTRIES].astype(np.float64)
        squares.append(float(np.add.reduce(np.multiply(block, block, out=block))))
    return math.sqrt(math.fsum(squares))


def _encode(
    encoding: Encoding | DeltaEncoding,
    out: Masked,
    values: Vector,
    weight: float,
    rounding_key: bytes,
    chunk: int,
) -> int:
    """Encode one chunk as both encodings do; return how many values lay beyond the clip."""
    if out.dtype != np.uint32 or out.shape != values.shape:
        raise ValueError("the encoded chunk is uint32 of the chunk's length")
    if not out.flags.c_contiguous:
        raise ValueError("the encoded chunk is contiguous")
    if values.dtype != np.float32 or values.ndim != 1:
        raise ValueError("a vector is a one-dimensional array of float32")
    bound = (weight / encoding.weight_max) * float(encoding.quantum_max)
    scale = bound / encoding.clip
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
        if min(highest * scale, bound) > encoding.quantum_max - 1:
            # Only so close to Q can u lift an entry beyond it; none falls below -Q.
            np.minimum(scaled, encoding.quantum_max, out=scaled)
        out[start : start + size].view(np.int32)[:] = scaled
    return clipped
