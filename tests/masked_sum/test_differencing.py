"""Sums of changing members, compared: noise keeps what comes out below what epsilon allows."""

import numpy as np
import pytest
from differencing_attack import (
    CLAIM,
    DELTA,
    SHARES,
    SPENT,
    Attack,
    attack,
    every_other,
    in_turn,
    releases,
)

from p2pfl.privacy.accounting import account
from p2pfl.privacy.audits import detect

FALSE_ALARMS = 0.01
ATTACKS = pytest.mark.parametrize("away", [every_other, in_turn], ids=["every other", "in turn"])


def test_the_claim_is_the_accountants() -> None:
    """For three shares of noise, and as many rounds as the victim gives."""
    paid = account([releases()], DELTA)
    assert 0.97 * CLAIM < paid.epsilon <= CLAIM
    assert (SHARES, releases().count) == (3, SPENT)


@ATTACKS
def test_it_finds_every_row_where_there_is_no_noise(away: Attack) -> None:
    without, having = attack(away, 50, 1, with_noise=False)
    assert np.abs(without).max() < 1e-6
    assert np.abs(having - 1).max() < 1e-6


@ATTACKS
def test_with_noise_it_finds_no_more_than_epsilon_allows(away: Attack) -> None:
    seen = detect(*attack(away, 2000, 2), FALSE_ALARMS)
    assert seen.found_least <= account([releases()], DELTA).detection(seen.alarms_most)
    assert seen.found_most < 0.1
