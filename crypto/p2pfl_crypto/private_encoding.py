"""Bounded sums as integers, so that noise bounds what a sum tells of one unit.

Two vectors of neighbours, that is with and without one unit, differ by at most `sensitivity` in L2
norm once they are integers. The members' noise is integers too (`discrete_gaussian`), and masks are
added modulo 2^32. Nothing here adds noise: see `add_noise`.

| step | why neighbours stay within Delta |
|---|---|
| a unit's part is clipped to C / (1 + 2^-5) | 3.1% are left to errors of floating point |
| times (Delta - ceil(sqrt(d))) / C, then cut to integers | each entry parts by < 1 more |
| entries limited to [-Q, Q] | a projection on a convex set brings no two points further apart |

Q = floor((2^31 - 1) / n) - b, where b is the largest value that a draw of noise can have: so the
sum of n members' integers and noise is in the range of int32, always.

A member's own vector, if the member is the unit, is clipped to S and cut; then the integers' norm
is computed exactly, and the vector shrunk by 2^-20 until it is at most Delta.

Bit for bit: all arithmetic is IEEE 754 binary64, each operation as written, none fused.
"""

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from p2pfl_crypto.discrete_gaussian import Noise, NoiseWidth, width_for
from p2pfl_crypto.encoding import MEMBERS_MAX, NotFinite, Vector
from p2pfl_crypto.masks import Masked

Sums: TypeAlias = npt.NDArray[np.float64]
Quanta: TypeAlias = npt.NDArray[np.int32]

NOISE_UNIT = 2.0**-20
"""Noise multipliers are multiples of it: so the sensitivity is exact, and the same for all."""

ROW_CLIP = 1 / (1 + 2.0**-5)
"""What a unit's part is clipped to, in clips C: the rest of C is for errors of floating point."""

ROUNDING_SHARE = 16  # Cutting to integers may cost at most this part of the sensitivity.
ROOM_SENSITIVITIES = 8  # A member's integers have room for at least so many units at full length.
_BLOCK_ENTRIES = 32 * 1024  # float64 of one block is 256 KiB.
_SUM_MAX = 2**31 - 1
_SHRINK = 1 - 2.0**-20


def sensitivity_for(width: NoiseWidth, shares: int, noise_units: int) -> int:
    """Return Delta = floor(sigma sqrt(h) / z), exactly.

    The noise of h members then has a deviation of at least z Delta.

    Args:
        width: of one member's noise, sigma.
        shares: h, members whose noise counts.
        noise_units: z as a multiple of `NOISE_UNIT`, positive.

    Raises:
        ValueError: an argument is out of range.
    """
    if shares < 1 or noise_units < 1:
        raise ValueError("shares and noise units are positive")
    per_unit = int(1 / NOISE_UNIT)
    return math.isqrt(width.variance * shares * per_unit**2 // noise_units**2)


@dataclass(frozen=True, slots=True)
class _Bounded:
    """What both encodings share.

    Attributes:
        member_count: n, members of the epoch; 1 for a member that trusts nobody.
        entries: d.
        clip: the largest L2 norm of one unit's part; C, or S of a member.
        sensitivity: Delta.
    """

    member_count: int
    entries: int
    clip: float
    sensitivity: int

    def __post_init__(self) -> None:
        if not 1 <= self.member_count <= MEMBERS_MAX:
            raise ValueError(f"1 to {MEMBERS_MAX} members, not {self.member_count}")
        if self.entries < 1:
            raise ValueError(f"a vector has entries, not {self.entries}")
        if not (math.isfinite(self.clip) and self.clip > 0):
            raise ValueError(f"a clip is positive and finite, not {self.clip}")
        if self.sensitivity < 1:
            raise ValueError("so much noise leaves no sensitivity at all; lower it")
        if self.room < ROOM_SENSITIVITIES * self.sensitivity:
            raise ValueError(
                f"a member's integers go to {self.room}, less than {ROOM_SENSITIVITIES} times the"
                f" sensitivity of {self.sensitivity}; raise the noise, or have fewer members"
            )

    @property
    def width(self) -> NoiseWidth:
        """Of the noise of one member."""
        return width_for(self.member_count)

    @property
    def room(self) -> int:
        """Q: the largest integer before noise."""
        return _SUM_MAX // self.member_count - self.width.largest

    def is_in_range(self, total: Masked, contributors: int) -> bool:
        """Tell whether a sum can be one of so many inputs that kept to the encoding."""
        bound = contributors * (self.room + self.width.largest)
        signed = total.view(np.int32)
        return len(signed) == 0 or (int(signed.max()) <= bound and int(signed.min()) >= -bound)


@dataclass(frozen=True, slots=True)
class LotEncoding(_Bounded):
    """How a member writes the sum of its units' clipped gradients.

    Raises:
        ValueError: a parameter is out of range: the message names it and the remedy.
    """

    def __post_init__(self) -> None:
        _Bounded.__post_init__(self)
        if ROUNDING_SHARE * self._rounding > self.sensitivity:
            raise ValueError(
                f"cutting {self.entries} entries to integers costs {self._rounding} of a"
                f" sensitivity of {self.sensitivity}, more than one part in {ROUNDING_SHARE}; lower"
                " the noise, or take a smaller model"
            )

    @property
    def row_clip(self) -> float:
        """What each unit's gradient is clipped to: C / (1 + 2^-5)."""
        return self.clip * ROW_CLIP

    @property
    def _rounding(self) -> int:
        """ceil(sqrt(d))."""
        return math.isqrt(self.entries - 1) + 1

    @property
    def _reach(self) -> float:
        """What one clip C becomes."""
        return float(self.sensitivity - self._rounding)

    def encode(self, sums: Sums) -> Quanta:
        """Encode a sum of clipped gradients.

        Args:
            sums: float64[d], each unit's part at most `row_clip` long.

        Returns:
            int32[d], each within Q.

        Raises:
            NotFinite: an entry is a NaN or an infinity.
            ValueError: another type or length.
        """
        _require(sums, self.entries)
        scale = self._reach / self.clip
        quanta = np.empty(self.entries, np.int32)
        for start in range(0, self.entries, _BLOCK_ENTRIES):
            scaled = sums[start : start + _BLOCK_ENTRIES] * scale
            np.trunc(scaled, out=scaled)
            np.clip(scaled, -self.room, self.room, out=scaled)
            quanta[start : start + len(scaled)] = scaled
        return quanta

    def gradient_unit(self, lot_expected: float) -> float:
        """K = C / ((Delta - ceil(sqrt(d))) L): what one unit of the sum is of the mean gradient.

        Args:
            lot_expected: L > 0, units in a lot of all members, on average.
        """
        return self.clip / (self._reach * lot_expected)


@dataclass(frozen=True, slots=True)
class MemberEncoding(_Bounded):
    """How a member writes its update, if the member itself is the unit."""

    def encode(self, delta: Vector, weight: float, weight_total: float) -> tuple[Quanta, float]:
        """Encode an update w (x - M) / W, clipped to S.

        Args:
            delta: float32[d], x - M.
            weight: w, 0 < w <= W.
            weight_total: W, of all members.

        Returns:
            int32[d], of a norm of at most Delta, exactly; and the norm before clipping.

        Raises:
            NotFinite: an entry is a NaN or an infinity.
            ValueError: another type or length, or weights out of range.
        """
        if not (math.isfinite(weight_total) and 0 < weight <= weight_total):
            raise ValueError(f"a weight is in 0 < w <= {weight_total}, not {weight}")
        if delta.dtype != np.float32:
            raise ValueError("an update is float32")
        update = delta.astype(np.float64)
        _require(update, self.entries)
        update *= weight / weight_total
        norm = _norm_of(update)
        factor = self.sensitivity / max(self.clip, norm)
        while True:
            quanta = np.trunc(update * factor).astype(np.int64)
            if self._is_short(quanta):
                return quanta.astype(np.int32), norm
            factor *= _SHRINK

    def step_unit(self) -> float:
        """S / Delta: what one unit of the sum moves the model by."""
        return self.clip / self.sensitivity

    def _is_short(self, quanta: npt.NDArray[np.int64]) -> bool:
        """Tell whether sum(q^2) <= Delta^2, in exact integers."""
        if max(int(quanta.max()), -int(quanta.min())) > self.sensitivity:
            return False
        # So many squares of at most Delta^2 fit into int64.
        block = max(1, 2**62 // self.sensitivity**2)
        squares = sum(
            int(np.dot(part, part))
            for part in (quanta[start : start + block] for start in range(0, len(quanta), block))
        )
        return squares <= self.sensitivity**2


class WordsAsTheyAre:
    """What a masked sum does with words that hold noise already: nothing but add masks."""

    @staticmethod
    def encode_body(
        words: Masked, _weight: float, _rounding_key: bytes, _chunk: int
    ) -> tuple[Masked, int]:
        """Copy one chunk of what `add_noise` gave; nothing of it is cut.

        Raises:
            ValueError: the words are not uint32.
        """
        if words.dtype != np.uint32:
            raise ValueError(f"words are uint32, not {words.dtype}")
        return words.copy(), 0

    @staticmethod
    def body_entries(count: int) -> int:
        """Count the words that a chunk of `count` entries takes."""
        return count


def add_noise(quanta: Quanta, noise: Noise) -> Masked:
    """Return q + noise modulo 2^32, uint32[d]: what a member masks and sends.

    Raises:
        ValueError: they differ in length or type.
    """
    if quanta.dtype != np.int32 or noise.dtype != np.int32 or quanta.shape != noise.shape:
        raise ValueError("integers and their noise are int32 of one length")
    return np.add(quanta.view(np.uint32), noise.view(np.uint32))


@dataclass(frozen=True, slots=True)
class Descent:
    """What certified sums of gradients do to a model: momentum v, then a step.

    v' = float32(mu v + sum * K); M' = float32(M - eta v'). v is a part of what is certified.

    Attributes:
        gradient_unit: K, of `LotEncoding.gradient_unit`.
        momentum: mu, 0 <= mu < 1.
    """

    gradient_unit: float
    momentum: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.gradient_unit) and self.gradient_unit > 0):
            raise ValueError(f"a gradient's unit is positive and finite, not {self.gradient_unit}")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum is in 0 <= mu < 1, not {self.momentum}")

    def step(
        self, model: Vector, velocity: Vector, total: Masked, rate: float
    ) -> tuple[Vector, Vector]:
        """Move a model by a sum of gradients; nothing of the arguments is changed.

        Args:
            model: M, float32[d].
            velocity: v, float32[d].
            total: uint32[d], the sum; its range has been checked.
            rate: eta > 0 of the new model's height.

        Returns:
            M' and v'.

        Raises:
            ValueError: the arrays do not fit, or the rate is not positive and finite.
        """
        if not (math.isfinite(rate) and rate > 0):
            raise ValueError(f"a rate is positive and finite, not {rate}")
        if total.dtype != np.uint32 or not total.shape == model.shape == velocity.shape:
            raise ValueError("model, velocity and sum are of one length; the sum is uint32")
        moved, faster = np.empty_like(model), np.empty_like(velocity)
        signed = total.view(np.int32)
        for start in range(0, len(signed), _BLOCK_ENTRIES):
            block = slice(start, start + _BLOCK_ENTRIES)
            pushed = signed[block].astype(np.float64) * self.gradient_unit
            faster[block] = velocity[block].astype(np.float64) * self.momentum + pushed
            moved[block] = model[block].astype(np.float64) - faster[block].astype(np.float64) * rate
        return moved, faster


def _require(sums: Sums, entries: int) -> None:
    if sums.dtype != np.float64 or sums.shape != (entries,):
        raise ValueError(f"a sum is float64 of {entries} entries")
    finite = np.isfinite(sums)
    if not finite.all():
        index = int(np.argmin(finite))
        raise NotFinite(index, float(sums[index]))


def _norm_of(values: Sums) -> float:
    """The L2 norm; blocks in a fixed order, so the same on any machine."""
    largest = float(np.abs(values).max())
    if largest == 0:
        return 0.0
    squares = []
    for start in range(0, len(values), _BLOCK_ENTRIES):
        block = values[start : start + _BLOCK_ENTRIES] / largest  # No square overflows.
        squares.append(float(np.add.reduce(np.multiply(block, block, out=block))))
    return largest * math.sqrt(math.fsum(squares))
