"""What is accounted for: noisy sums over random lots, some number of times."""

import math
from dataclasses import dataclass

from p2pfl.privacy.errors import PrivacyError

RATE_UNITS = 2**32
"""A rate is a multiple of 2^-32: each unit is drawn by its own 32 bits."""

RELEASES_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class Releases:
    """Sums of clipped parts plus Gaussian noise, of lots that take each unit by itself.

    Neighbours differ by one unit, which is there or not.

    Attributes:
        rate_units: p as a multiple of 2^-32; 2^32 if all units are in every lot.
        noise: z > 0, the noise's deviation in clips.
        count: how many times, at least 1.
    """

    rate_units: int
    noise: float
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.rate_units <= RATE_UNITS:
            raise PrivacyError(f"a rate is above 0 and at most 1, not {self.rate}")
        if not (math.isfinite(self.noise) and self.noise > 0):
            raise PrivacyError(f"noise is positive and finite, not {self.noise}")
        if not 1 <= self.count <= RELEASES_MAX:
            raise PrivacyError(f"there are 1 to {RELEASES_MAX:,} releases, not {self.count:,}")

    @property
    def rate(self) -> float:
        """Return p."""
        return self.rate_units / RATE_UNITS

    @property
    def takes_all(self) -> bool:
        """Whether every unit is in every lot."""
        return self.rate_units == RATE_UNITS
