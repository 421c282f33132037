"""Audits of private sums, through real masked sums with a member that is away.

Each entry of the vectors is a run of its own: a unit whose gradient has the whole clip there and
nothing elsewhere, or no unit. Each part of the vectors has its own planted fault, and each fault is
found by the row that names it. An audit below the claim only fails to refute it.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from group_driver import GroupDriver, make_epoch

from p2pfl.privacy.accounting import account
from p2pfl.privacy.audits import (
    RUNS_MIN,
    epsilon_above,
    likelihood_ratios,
    repeated_sums,
)
from p2pfl.privacy.errors import PrivacyError
from p2pfl.privacy.releases import Releases
from p2pfl_crypto.discrete_gaussian import draw_noise, width_for
from p2pfl_crypto.private_encoding import add_noise, sensitivity_for
from p2pfl_crypto.private_streams import NOISE, private_stream
from p2pfl_gossip.masked_sum.group_sum import Sums

MEMBERS, LEAST, AWAY, COLLUDER = 5, 4, 4, 0
SHARES = LEAST - 1
RUNS, ROUNDS, RATE = 4000, 20, 0.25
CLAIM, DELTA, NOISE_UNITS = 1.0, 1e-5, round(4.4903 * 2**20)
WIDTH = width_for(MEMBERS)
SENSITIVITY = sensitivity_for(WIDTH, SHARES, NOISE_UNITS)
DEVIATION = (SHARES * WIDTH.variance) ** 0.5
FAULTS = ("honest", "half the noise", "a share is missing", "a row is not clipped", "noise reused")

Words = npt.NDArray[np.int32]


class Seen(NamedTuple):
    """What a colluder is left with: float64[rounds, runs], of runs without the unit and with it."""

    without: npt.NDArray[np.float64]
    having: npt.NDArray[np.float64]


def planted(noise: Words, last: Words | None, member: int) -> None:
    """Plant the faults, each in its part."""
    for place, fault in enumerate(FAULTS):
        part = slice(2 * place * RUNS, 2 * (place + 1) * RUNS)
        if fault == "half the noise":
            noise[part] //= 2
        elif fault == "a share is missing" and member == 1:
            noise[part] = 0
        elif fault == "noise reused" and last is not None:
            noise[part] = last[part]


@cache
def seen() -> dict[str, Seen]:
    """Run all rounds once; all rows of the table look at them."""
    size = 2 * RUNS * len(FAULTS)
    generator = np.random.default_rng(11)
    last: dict[int, Words] = {}
    left = np.empty((ROUNDS, size))
    for round_ in range(ROUNDS):
        unit = np.zeros(size, np.int32)
        drawn = generator.random((len(FAULTS), RUNS)) < RATE
        for place, fault in enumerate(FAULTS):
            start = (2 * place + 1) * RUNS
            longer = 4 if fault == "a row is not clipped" else 1
            unit[start : start + RUNS] = drawn[place] * SENSITIVITY * longer
        vectors, own = [], np.zeros(size, np.int32)
        for member in range(MEMBERS):
            entropy = bytes([round_, member]) + bytes(30)
            noise = draw_noise(private_stream(entropy, NOISE), WIDTH, size)
            planted(noise, last.get(member) if round_ % 2 else None, member)
            last[member] = noise
            if member == COLLUDER:
                own = noise
            quanta = unit if member == 1 else np.zeros(size, np.int32)
            vectors.append(add_noise(quanta, noise))
        cohort, people = make_epoch(
            MEMBERS, size, round=round_, takes_words=True, least=LEAST, weights=(1.0,) * MEMBERS
        )
        driver = GroupDriver(cohort, people, round_, vectors=vectors).run(absent=(AWAY,))
        outcome = next(iter(driver.summed().values()))
        assert isinstance(outcome, Sums)
        assert outcome.members == (0, 1, 2, 3)
        total = np.concatenate([chunk.body for chunk in outcome.chunks if chunk is not None])
        left[round_] = total.view(np.int32).astype(np.float64) - own
    parts = left.reshape(ROUNDS, len(FAULTS), 2, RUNS)
    return {
        fault: Seen(parts[:, place, 0], parts[:, place, 1]) for place, fault in enumerate(FAULTS)
    }


def proven(fault: str, *, longer: float = 1) -> float:
    """The epsilon that the likelihood ratio proves, by who knows of the fault."""
    without, having = (
        likelihood_ratios(sums, sensitivity=longer * SENSITIVITY, deviation=DEVIATION, rate=RATE)
        for sums in seen()[fault]
    )
    return epsilon_above(without, having, DELTA)


def repeated(fault: str) -> float:
    """The epsilon that is proven by sums of neighbouring rounds."""
    found = seen()[fault]
    return epsilon_above(repeated_sums(found.without), repeated_sums(found.having), DELTA)


def test_the_claim_is_the_planners() -> None:
    """By both accountants, for the noise that three honest shares have."""
    paid = account([Releases(2**30, NOISE_UNITS / 2**20, ROUNDS)], DELTA)
    assert 0.99 * CLAIM < paid.epsilon <= 1.001 * CLAIM < paid.renyi_epsilon * 1.001


def test_honest_sums_do_not_refute_it() -> None:
    assert proven("honest") < CLAIM
    assert repeated("honest") < CLAIM


def test_a_row_that_is_not_clipped_is_found() -> None:
    assert proven("a row is not clipped", longer=4) > 2 * CLAIM


def test_noise_that_is_used_twice_is_found() -> None:
    """By what two rounds have in common: the unit was drawn in one of them."""
    assert repeated("noise reused") > 3 * CLAIM


def relative_deviation(fault: str) -> float:
    return float(seen()[fault].without.std() / DEVIATION)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("honest", 1.0),
        ("half the noise", 0.5),
        ("a share is missing", (2 / 3) ** 0.5),
        ("a row is not clipped", 1.0),
    ],
)
def test_variance_of_sums_tells_missing_noise(fault: str, expected: float) -> None:
    """With 80,000 entries it is known to a part in 400; a share of three is a fifth of it."""
    assert abs(relative_deviation(fault) - expected) < 0.01


def test_covariance_over_rounds_tells_reused_noise() -> None:
    for fault in FAULTS:
        sums = seen()[fault].without
        correlation = np.asarray(np.corrcoef(sums))[0::2, 1::2].diagonal()
        if fault == "noise reused":
            assert correlation.min() > 0.99
        else:
            assert np.abs(correlation).max() < 5 / RUNS**0.5


def test_too_few_runs_prove_nothing() -> None:
    few = np.zeros(RUNS_MIN - 1)
    with pytest.raises(PrivacyError, match=f"takes {RUNS_MIN} runs"):
        epsilon_above(few, few, DELTA)
    same = np.zeros(RUNS_MIN)
    assert epsilon_above(same, same, DELTA) == 0
