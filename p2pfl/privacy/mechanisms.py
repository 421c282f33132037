"""What is protected, from whom, and by whose noise: the mechanisms.

| unit | trust | a release | whose noise |
|---|---|---|---|
| record | coalition | one sum of a lot's clipped gradients a round | shared: each a part |
| record | nobody | each of a member's own steps | each member's own is enough |
| member | coalition | one sum of clipped updates a round | shared |
"""

import math
from dataclasses import dataclass
from enum import Enum

from p2pfl.privacy.errors import PrivacyError
from p2pfl.privacy.presence import liars_max, quorum
from p2pfl.privacy.releases import RATE_UNITS, Releases
from p2pfl_crypto.discrete_gaussian import NoiseWidth, width_for
from p2pfl_crypto.private_encoding import LotEncoding, MemberEncoding, sensitivity_for

UNITS_PER_NOISE = 2**20


class Unit(Enum):
    """What neighbours differ by: it is there, or not."""

    RECORD = "record"
    MEMBER = "member"


class Trust(Enum):
    """Whose noise a member counts on beside its own."""

    COALITION = "coalition"
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class Mechanism:
    """How a group's sums are made private. Every figure is public, none of it from private rows.

    Attributes:
        unit: what is protected.
        trust: whose noise counts.
        members: n.
        colluding: c, members that pool what they know.
        least: members that must be in a sum.
        rate_units: p as a multiple of 2^-32.
        noise_units: z as a multiple of 2^-20.
        steps: local steps a round; 1 unless nobody is trusted.

    Raises:
        PrivacyError: a figure is out of range; the message names it and the remedy.
    """

    unit: Unit
    trust: Trust
    members: int
    colluding: int
    least: int
    rate_units: int
    noise_units: int
    steps: int = 1

    def __post_init__(self) -> None:
        if not quorum(self.members) <= self.least <= self.members:
            raise PrivacyError(
                f"members in a sum: {quorum(self.members)} to {self.members} of {self.members},"
                f" not {self.least}"
            )
        if not 0 <= self.colluding <= liars_max(self.members):
            raise PrivacyError(
                f"members that collude: 0 to {liars_max(self.members)} of {self.members}, not"
                f" {self.colluding}; more could forge certificates"
            )
        Releases(self.rate_units, self.noise, 1)  # The same bounds.
        if self.unit is Unit.MEMBER and self.rate_units != RATE_UNITS:
            raise PrivacyError(
                "whole members cannot be drawn by a secret lot: who is in a sum is public; take"
                " rate 1"
            )
        if self.unit is Unit.MEMBER and self.trust is Trust.NOBODY:
            raise PrivacyError("a whole member's update cannot be hidden without others' noise")
        if self.steps < 1 or (self.steps > 1 and self.trust is not Trust.NOBODY):
            raise PrivacyError(
                f"{self.steps} local steps a round: shared noise allows one step only, since the"
                " others' noise comes after it; take 1, or trust nobody"
            )

    @property
    def noise(self) -> float:
        """z: deviation of the noise that is counted on, in clips."""
        return self.noise_units / UNITS_PER_NOISE

    @property
    def width(self) -> NoiseWidth:
        """Of one member's integers."""
        return width_for(1 if self.trust is Trust.NOBODY else self.members)

    @property
    def shares(self) -> int:
        """h: members whose noise the claim counts on."""
        return 1 if self.trust is Trust.NOBODY else self.least - self.colluding

    @property
    def share(self) -> float:
        """Deviation of what each member adds, in clips: z / sqrt(h)."""
        return self.noise / math.sqrt(self.shares)

    @property
    def sensitivity(self) -> int:
        """Delta: what a unit at the full clip is in integers."""
        return sensitivity_for(self.width, self.shares, self.noise_units)

    def encoding(self, entries: int, clip: float) -> LotEncoding | MemberEncoding:
        """Return how members write their sums.

        Raises:
            PrivacyError: the model is too large for the noise, or the noise for the members.
        """
        kind = MemberEncoding if self.unit is Unit.MEMBER else LotEncoding
        count = 1 if self.trust is Trust.NOBODY else self.members
        try:
            return kind(count, entries, clip, self.sensitivity)
        except ValueError as error:
            raise PrivacyError(str(error)) from error

    def releases(self, rounds: int, *, shares: int | None = None) -> Releases:
        """Return what so many rounds release to whoever cannot subtract so many shares.

        Args:
            rounds: T, spares and lost ones included.
            shares: members whose noise stays; None for those of the claim. Trusting nobody, each
                member's own noise is enough, whoever looks.
        """
        noise = self.noise
        if self.trust is not Trust.NOBODY and shares is not None:
            noise *= math.sqrt(shares / self.shares)
        return Releases(self.rate_units, noise, rounds * self.steps)
