"""The table `[privacy]`."""

from fractions import Fraction

import pytest
from pydantic import ValidationError

from p2pfl.group.privacy_settings import SPARES_MIN, SPARES_SHARE, PrivacySettings, plan_for
from p2pfl.privacy.errors import PrivacyError


def test_spares_are_paid_for() -> None:
    """A tenth of the rounds, and a few at least; as many as are named."""
    assert PrivacySettings(epsilon=1).spends(10) == 10 + SPARES_MIN
    assert PrivacySettings(epsilon=1).spends(1000) == round(1000 * (1 + SPARES_SHARE))
    assert PrivacySettings(epsilon=1, spares=0).spends(10) == 10


def test_a_rate_is_a_number_or_a_fraction() -> None:
    assert PrivacySettings(epsilon=1, rate="1/16").lot_rate == Fraction(1, 16)
    assert PrivacySettings(epsilon=1, rate=0.25).lot_rate == Fraction(1, 4)
    assert PrivacySettings(epsilon=1, rate="1/16", unit="member").lot_rate == 1
    for rate in ("a", "1/0", "0", 1.5, -1):
        with pytest.raises(ValidationError, match="rate is"):
            PrivacySettings(epsilon=1, rate=rate)


def test_momentum_is_of_gradients() -> None:
    """Of updates there is none, nor of steps that each member makes by itself."""
    for fields in ({"unit": "member"}, {"trust": "nobody"}):
        settings = PrivacySettings(epsilon=1, momentum=0.5, **fields)  # type: ignore[arg-type]
        with pytest.raises(PrivacyError, match="momentum is of sums of gradients"):
            plan_for(settings, members=8, rows=1000, rounds=9, entries=100, drops=0.0)
