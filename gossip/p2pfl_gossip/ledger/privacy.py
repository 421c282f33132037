"""What a charter says of differential privacy, and what follows from it for sums and models.

Each figure is public, and none is computed from private rows. What one of them means for an
epsilon is not worked out here: `p2pfl.privacy` does that, of these same figures.

| unit, trust | what a member gives to a sum | how the model moves by it |
|---|---|---|
| record, coalition | a lot's clipped gradients, its part of the noise | a step, with momentum |
| member, coalition | its clipped update, its part of the noise | by the sum |
| record, nobody | the update of steps with noise of their own | as without privacy |
"""

import math
from enum import IntEnum
from functools import cached_property, lru_cache

import numpy as np

from p2pfl_crypto.discrete_gaussian import NoiseWidth, width_for
from p2pfl_crypto.private_encoding import (
    Descent,
    LotEncoding,
    MemberEncoding,
    sensitivity_for,
)
from p2pfl_gossip.ledger.states import StateItem, digest_state
from p2pfl_gossip.records import Codec, Digest, Message, UInt32, UInt63

RATE_UNITS = 2**32
"""A rate is a multiple of 2^-32: each unit is drawn by its own 32 bits."""

SHARES_MIN = 3
"""Of noise that colluding members cannot subtract. With fewer, one member more would be nearly all
that is between a coalition and what it looks for."""

ROWS_PER_DELTA = 10
"""delta is at most 1 / (10 rows)."""

ABORTS_MAX = 3
"""Vectors that are spent from one model, before a member rests until its operator looks: honest
rounds seldom fail so often, and liars may fail them to burn a budget."""

FEATURE = "privacy"
MOMENTUM = "momentum"

_FEATURE_BYTES_MAX = 256


class PrivateUnit(IntEnum):
    """What neighbours differ by."""

    RECORD = 0
    """All rows of one unit in one member."""
    MEMBER = 1
    """All rows of one member."""


class PrivateTrust(IntEnum):
    """Whose noise a member counts on, beside its own."""

    COALITION = 0
    """That of the members in the sum, but for those that may collude."""
    NOBODY = 1
    """Nobody's."""


class Privacy(Message, frozen=True, array_like=True, forbid_unknown_fields=True, dict=True):
    """How a group's sums are made private; a part of its charter.

    Attributes:
        unit: a `PrivateUnit`.
        trust: a `PrivateTrust`.
        rate_units: p, of each lot, as a multiple of 2^-32; 2^32 for whole members.
        noise_units: z, deviation of the noise that is counted on, in clips; multiple of 2^-20.
        clip: C, the largest L2 norm of a unit's gradient, or of a whole member's update.
        spends: T, vectors that a member gives at most, those of lost rounds too.
        colluding: c, members that pool what they know.
        least: u_min, members that must be in a sum.
        rows: units of all members together, as agreed; 0 for whole members.
        steps: local steps a round; 1 unless nobody is trusted.
        delta: of the epsilon that is claimed.
        rate_first, rate_last: learning rates of the first height and the last; linear between.
        momentum: mu, of the steps that sums make; 0 unless a sum is of gradients.
        table: digest of the noise's table, `NoiseWidth.digest`.
    """

    unit: UInt32
    trust: UInt32
    rate_units: UInt63
    noise_units: UInt63
    clip: float
    spends: UInt32
    colluding: UInt32
    least: UInt32
    rows: UInt63
    steps: UInt32
    delta: float
    rate_first: float
    rate_last: float
    momentum: float
    table: Digest

    @property
    def is_shared(self) -> bool:
        """Whether members count on each other's noise: then sums are of integers with noise."""
        return self.trust == PrivateTrust.COALITION

    @property
    def takes_lots(self) -> bool:
        """Whether a sum is of a lot's gradients."""
        return self.is_shared and self.unit == PrivateUnit.RECORD

    @property
    def rate(self) -> float:
        """Return p."""
        return self.rate_units / RATE_UNITS

    @property
    def shares(self) -> int:
        """h: members whose noise counts."""
        return self.least - self.colluding if self.is_shared else 1

    @property
    def lot_expected(self) -> float:
        """L: units in the lots of all members, on average."""
        return self.rate * self.rows

    def width(self, members: int) -> NoiseWidth:
        """Of the noise of one member of n."""
        return width_for(members if self.is_shared else 1)

    def sensitivity(self, members: int) -> int:
        """Delta."""
        return sensitivity_for(self.width(members), self.shares, self.noise_units)

    def lot_encoding(self, members: int, entries: int) -> LotEncoding:
        """How a lot's sum is written, or that of a member that trusts nobody.

        Raises:
            ValueError: the noise is too large for the members, or the model for the noise.
        """
        count = members if self.is_shared else 1
        return LotEncoding(count, entries, self.clip, self.sensitivity(members))

    def member_encoding(self, members: int, entries: int) -> MemberEncoding:
        """How a whole member's update is written.

        Raises:
            ValueError: the noise is too large for the members.
        """
        return MemberEncoding(members, entries, self.clip, self.sensitivity(members))

    def descent(self, members: int, entries: int) -> Descent:
        """What sums of gradients do to the model."""
        encoding = self.lot_encoding(members, entries)
        return Descent(encoding.gradient_unit(self.lot_expected), self.momentum)

    def rate_of(self, height: int, heights: int) -> float:
        """Return the learning rate of the step that leads to a height.

        By the height, so that a lost round does not move the schedule. Additions, one product and
        one quotient of binary64: the same bits on any machine.

        Args:
            height: of the new model, 1 to `heights`.
            heights: the charter's rounds.
        """
        share = float(height - 1) / float(max(heights - 1, 1))
        return self.rate_first + (self.rate_last - self.rate_first) * share

    @cached_property
    def _features(self) -> dict[int, bytes]:
        return {}

    def feature(self, members: int) -> bytes:
        """What a certified entry says of its sum: all but who is in it, by which noise."""
        if members not in self._features:
            said = PrivateSum(
                self.unit,
                self.trust,
                self.rate_units,
                self.noise_units,
                self.sensitivity(members),
                self.least,
                self.steps,
            )
            self._features[members] = _CODEC.encode(said)
        return self._features[members]


class PrivateSum(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What an entry says of its sum's privacy; epsilon is worked out of it, never received.

    Attributes:
        unit: a `PrivateUnit`.
        trust: a `PrivateTrust`.
        rate_units: p.
        noise_units: z.
        sensitivity: Delta, in integers.
        least: u_min.
        steps: local ones.
    """

    unit: UInt32
    trust: UInt32
    rate_units: UInt63
    noise_units: UInt63
    sensitivity: UInt63
    least: UInt32
    steps: UInt32


_CODEC = Codec(PrivateSum | None, frame_bytes_max=_FEATURE_BYTES_MAX)


def read_feature(value: bytes) -> PrivateSum:
    """Read what an entry says of its sum's privacy.

    Raises:
        MalformedFrame: it is none.
    """
    said = _CODEC.decode_untrusted(value)
    assert isinstance(said, PrivateSum)
    return said


@lru_cache(maxsize=4)
def still(entries: int) -> StateItem:
    """Name the momentum of a model that has not moved yet: float32[d] of zeros."""
    return digest_state(MOMENTUM, np.zeros(entries, np.float32)).item


def why_not(
    privacy: Privacy,
    *,
    members: int,
    threshold: int,
    liars_max: int,
    rounds: int,
    weights: tuple[float, ...],
    entries: int,
) -> str | None:
    """Say what is wrong with a charter's figures, naming the one; None if nothing is."""
    wrong = [
        _why_not_unit(privacy),
        _why_not_members(privacy, members, threshold, liars_max),
        _why_not_steps(privacy, rounds),
    ]
    is_member = privacy.unit == PrivateUnit.MEMBER
    delta_max = 1 / (ROWS_PER_DELTA * max(privacy.rows, members))
    if not 0 < privacy.delta <= delta_max:
        wrong.append(f"delta is {privacy.delta:g}: above 0, and at most {delta_max:.2g}")
    if not is_member and len(dict.fromkeys(weights)) > 1:
        wrong.append("weights are not alike: who has more rows has more of them in a lot already")
    if any(wrong):
        return next(filter(None, wrong))
    if privacy.table != privacy.width(members).digest:
        return "its noise has another table than this machine's"
    try:
        encode = privacy.member_encoding if is_member else privacy.lot_encoding
        encode(members, entries)
    except ValueError as error:
        return str(error)
    return None


def _why_not_unit(privacy: Privacy) -> str | None:
    if privacy.unit > PrivateUnit.MEMBER or privacy.trust > PrivateTrust.NOBODY:
        return f"unit {privacy.unit} with trust {privacy.trust} is not known to this version"
    is_member = privacy.unit == PrivateUnit.MEMBER
    if is_member and not privacy.is_shared:
        return "a whole member's update cannot be hidden without others' noise"
    if not 1 <= privacy.rate_units <= RATE_UNITS or (is_member and privacy.rate != 1):
        return f"rate is {privacy.rate}: above 0, at most 1, and 1 for whole members"
    if is_member != (privacy.rows == 0):
        return f"{privacy.rows} rows: how many all have is agreed on, and 0 for whole members"
    return None if privacy.noise_units else "noise is 0"


def _why_not_members(privacy: Privacy, members: int, threshold: int, liars_max: int) -> str | None:
    if not 0 <= privacy.colluding <= liars_max:
        return f"{privacy.colluding} members that collude: 0 to {liars_max} may"
    if not threshold <= privacy.least <= members:
        return f"{privacy.least} members in a sum: {threshold} to {members} of {members}"
    if privacy.is_shared and privacy.shares < SHARES_MIN:
        return (
            f"{privacy.least} members in a sum, {privacy.colluding} of which may collude: at least"
            f" {SHARES_MIN} must remain; have more members, or assume that fewer collude"
        )
    return None


def _why_not_steps(privacy: Privacy, rounds: int) -> str | None:
    if privacy.spends < rounds:
        return f"{privacy.spends} spends do not pay for {rounds} rounds"
    if privacy.steps < 1 or (privacy.steps > 1 and privacy.is_shared):
        return f"{privacy.steps} local steps: shared noise allows 1; trust nobody, or take 1"
    if not 0 < privacy.rate_last <= privacy.rate_first < math.inf:
        return (
            f"learning rates {privacy.rate_first:g} to {privacy.rate_last:g}: above 0, and the"
            " last is not above the first"
        )
    if not 0 <= privacy.momentum < 1 or (privacy.momentum and not privacy.takes_lots):
        return f"momentum is {privacy.momentum:g}: 0 to 1, and 0 unless sums are of gradients"
    return None
