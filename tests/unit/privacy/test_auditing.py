"""An audit of this machine's noise: each planted fault is found by the test that names it."""

import math
from functools import cache
from itertools import pairwise

import numpy as np
import pytest

from p2pfl.privacy import auditing
from p2pfl.privacy.accounting import account
from p2pfl.privacy.auditing import CELLS_MAX, Finding, PlantedFault, audit
from p2pfl.privacy.audits import detect, one_run_epsilon
from p2pfl.privacy.errors import PrivacyError
from p2pfl.privacy.mechanisms import Mechanism, Trust, Unit

DELTA, CLAIM = 1e-5, 1.0
LIKELIHOOD, PAIRS = "likelihood ratio", "sums of neighbouring rounds"
FOUND = "rows found, 1 in 100 accused falsely"
SPREAD, CORRELATION = "spread of the noise", "correlation over rounds"
OFTEN = 2**30, 4.4903, 20, 4000
"""p = 1/4, z, T, runs of each kind."""
SELDOM = 2**27, 1.6255, 128, 4000
"""p = 1/32: what lots hide counts for most of the claim."""


def mechanism_of(rate_units: int, noise: float, trust: Trust = Trust.COALITION) -> Mechanism:
    return Mechanism(Unit.RECORD, trust, 5, 1, 4, rate_units, round(noise * 2**20))


@cache
def found(setting: tuple[int, float, int, int], fault: PlantedFault) -> dict[str, Finding]:
    rate_units, noise, rounds, runs = setting
    findings = audit(
        mechanism_of(rate_units, noise),
        rounds,
        claim=CLAIM,
        delta=DELTA,
        runs=runs,
        entropy=bytes(32),
        fault=fault,
    )
    return {it.test: it for it in findings}


@pytest.mark.parametrize("setting", [OFTEN, SELDOM])
def test_the_claims_are_the_accountants(setting: tuple[int, float, int, int]) -> None:
    rate_units, noise, rounds, _ = setting
    paid = account([mechanism_of(rate_units, noise).releases(rounds)], DELTA)
    assert 0.99 * CLAIM < paid.epsilon <= CLAIM


@pytest.mark.parametrize(
    ("setting", "fault", "by"),
    [
        (OFTEN, PlantedFault.NONE, set()),
        (SELDOM, PlantedFault.NONE, set()),
        (OFTEN, PlantedFault.UNCLIPPED, {LIKELIHOOD, FOUND}),
        (SELDOM, PlantedFault.PUBLIC, {LIKELIHOOD, FOUND}),
        (OFTEN, PlantedFault.HALF, {SPREAD}),
        (OFTEN, PlantedFault.MISSING, {SPREAD}),
        (OFTEN, PlantedFault.REUSED, {PAIRS, CORRELATION}),
    ],
)
def test_each_fault_is_found_by_its_test(
    setting: tuple[int, float, int, int], fault: PlantedFault, by: set[str]
) -> None:
    findings = found(setting, fault)
    refuted = {name for name, it in findings.items() if it.is_refuted}
    assert by <= refuted
    if fault is PlantedFault.NONE:
        assert not refuted
        assert findings[LIKELIHOOD].figure < CLAIM / 2


def test_noise_that_is_planted_as_used_twice_is_used_no_more_often() -> None:
    """Else correlation alone would find it, and sums of neighbouring rounds prove nothing."""
    made = list(auditing._noises(mechanism_of(2**30, 4.0), 4, 100, bytes(32), PlantedFault.REUSED))
    same = [bool((one == other).all()) for one, other in pairwise(made)]
    assert same == [True, False, True]


def test_rows_are_found_nearly_as_often_as_epsilon_allows() -> None:
    """The bound of 95 % confidence, and what is allowed where as many are accused as may be."""
    seen = found(OFTEN, PlantedFault.NONE)[FOUND]
    assert 0.01 < seen.figure < seen.allowed[1] < 0.035


def test_shares_of_the_found_have_the_bounds_of_clopper_and_pearson() -> None:
    """Of 100 each: the cut is the 99th of half of those without, and above it are 1 and 30."""
    without = np.concatenate([np.arange(100.0), np.arange(99.0), [1000.0]])
    having = np.concatenate([np.zeros(70), np.full(30, 500.0)])
    seen = detect(without, having, 0.01)
    assert (seen.alarms, seen.found) == (0.01, 0.3)
    # Source: the tables of Clopper & Pearson, Biometrika 1934, for 1 and 30 of 100.
    assert seen.alarms_most == pytest.approx(0.0545, abs=1e-4)
    assert seen.found_least == pytest.approx(0.2124, abs=1e-4)
    assert seen.found_most == pytest.approx(0.3998, abs=1e-4)
    with pytest.raises(PrivacyError, match="an audit takes 100 runs"):
        detect(without, having[1:], 0.01)


def test_lots_that_are_known_hide_nothing_where_they_are_seldom() -> None:
    """Drawn from a public seed, a claim of 1 is refuted by far."""
    assert found(SELDOM, PlantedFault.PUBLIC)[LIKELIHOOD].figure > 1.5 * CLAIM


@pytest.mark.parametrize(
    ("runs", "why"),
    [
        (99, "an audit takes 100 runs"),
        (CELLS_MAX, "more than 20,000,000 together"),
    ],
)
def test_what_proves_nothing_is_refused(runs: int, why: str) -> None:
    mechanism = mechanism_of(2**30, 4.0)
    with pytest.raises(PrivacyError, match=why):
        audit(mechanism, 2, claim=1.0, delta=DELTA, runs=runs, entropy=bytes(32))


def test_other_mechanisms_are_refused() -> None:
    with pytest.raises(PrivacyError, match="audits are of records with shared noise"):
        audit(
            mechanism_of(2**30, 4.0, Trust.NOBODY),
            2,
            claim=1.0,
            delta=DELTA,
            runs=100,
            entropy=bytes(32),
        )


def test_one_run_proves_what_its_guesses_do() -> None:
    """Of 100 guesses, half right prove nothing; of all right, without delta, the binomial says."""
    is_in = np.arange(1000) % 2 == 0
    perfect = np.where(is_in, 1.0, -1.0)
    blind = np.arange(1000.0) // 2
    assert one_run_epsilon(blind, is_in, guesses=100, delta=1e-5) == 0
    found = one_run_epsilon(perfect, is_in, guesses=100, delta=0.0)
    # share^100 = 0.05, so share = 0.05^0.01.
    share = 0.05**0.01
    assert found == pytest.approx(math.log(share / (1 - share)), abs=1e-6)
    assert 0 < one_run_epsilon(perfect, is_in, guesses=100, delta=1e-5) < found
    with pytest.raises(PrivacyError, match="1001 guesses about 1000 canaries"):
        one_run_epsilon(perfect, is_in, guesses=1001, delta=0.0)
