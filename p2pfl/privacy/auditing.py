"""An audit of this machine's noise: attacks on sums of its real draws, against what is claimed.

Each entry of a vector is a run of its own: a unit whose gradient is the whole clip there, or no
unit. Lots, noise and integers are those of private rounds; masks are left out, as they cancel to
the last bit. The attacker is the strongest coalition: it knows all rows but one, and subtracts its
own noise. Faults can be planted: an audit that finds none of them is of no use.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from p2pfl.privacy.accounting import account
from p2pfl.privacy.audits import (
    RUNS_MIN,
    Floats,
    detect,
    epsilon_above,
    known_draws,
    likelihood_ratios,
    repeated_sums,
)
from p2pfl.privacy.claims import FALSE_ALARMS
from p2pfl.privacy.errors import PrivacyError
from p2pfl.privacy.mechanisms import Mechanism, Trust, Unit
from p2pfl_crypto.discrete_gaussian import draw_noise
from p2pfl_crypto.hashing import hash_parts
from p2pfl_crypto.private_encoding import LotEncoding, add_noise
from p2pfl_crypto.private_streams import LOT, NOISE, private_stream

CELLS_MAX = 20_000_000
"""Rounds times runs: more take minutes, and prove a little more."""

DEVIATIONS = 5
"""Of spread and correlation: beyond so many, chance is no explanation (1 in 1.7 million)."""

TOO_LONG = 4
"""A planted row that is not clipped is so many clips long."""


class PlantedFault(StrEnum):
    """What is planted."""

    NONE = "none"
    HALF = "half-the-noise"
    MISSING = "missing-share"
    UNCLIPPED = "unclipped-row"
    REUSED = "reused-noise"
    PUBLIC = "public-lots"


@dataclass(frozen=True)
class Finding:
    """What one test found.

    Attributes:
        test: its name.
        figure: an epsilon or a share of rows found, at 95 % confidence at least; a spread over what
            it must be, or a correlation.
        allowed: the least and the most that it may be.
    """

    test: str
    figure: float
    allowed: tuple[float, float]

    @property
    def is_refuted(self) -> bool:
        """Whether this cannot be, if the claim holds."""
        return not self.allowed[0] <= self.figure <= self.allowed[1]


def audit(
    mechanism: Mechanism,
    rounds: int,
    *,
    claim: float,
    delta: float,
    runs: int,
    entropy: bytes,
    fault: PlantedFault = PlantedFault.NONE,
) -> list[Finding]:
    """Attack sums, and say what that proves.

    Args:
        mechanism: of records, with shared noise.
        rounds: T.
        claim: epsilon against the strongest coalition.
        delta: of epsilon.
        runs: with the unit, and as many without.
        entropy: 32 bytes.
        fault: what is planted.

    Raises:
        PrivacyError: there are too few runs or too many, or it is another mechanism.
    """
    if mechanism.unit is not Unit.RECORD or mechanism.trust is not Trust.COALITION:
        raise PrivacyError("audits are of records with shared noise: unit record, trust coalition")
    if runs < RUNS_MIN:
        raise PrivacyError(f"an audit takes {RUNS_MIN} runs of each kind at least, not {runs}")
    if rounds * runs > CELLS_MAX:
        raise PrivacyError(
            f"{rounds:,} rounds of {runs:,} runs are more than {CELLS_MAX:,} together; take fewer"
        )
    sums, drawn, moved = _run(mechanism, rounds, runs, entropy, fault)
    without, having = sums
    deviation = math.sqrt(mechanism.shares * mechanism.width.variance)
    known = {"sensitivity": moved, "deviation": deviation}
    if fault is PlantedFault.PUBLIC:
        absent, present = (known_draws(it, at, **known) for it, at in zip(sums, drawn, strict=True))
    else:
        rate = mechanism.releases(1).rate
        absent, present = (likelihood_ratios(it, rate=rate, **known) for it in sums)
    proved = epsilon_above(absent, present, delta)
    found = [Finding("likelihood ratio", proved, (0.0, claim))]
    seen = detect(absent, present, FALSE_ALARMS)
    allowed = account([mechanism.releases(rounds)], delta).detection(seen.alarms_most)
    found.append(Finding("rows found, 1 in 100 accused falsely", seen.found_least, (0.0, allowed)))
    if rounds > 1:
        pairs = epsilon_above(repeated_sums(without), repeated_sums(having), delta)
        found.append(Finding("sums of neighbouring rounds", pairs, (0.0, claim)))
    apart = DEVIATIONS / math.sqrt(2 * without.size)
    spread = float(without.std() / deviation)
    found.append(Finding("spread of the noise", spread, (1 - apart, 1 + apart)))
    if rounds > 1:
        least = DEVIATIONS / math.sqrt(runs)
        found.append(Finding("correlation over rounds", _correlation(without), (-least, least)))
    return found


def _correlation(sums: Floats) -> float:
    """Return the largest correlation of two rounds that follow each other."""
    standard = (sums - sums.mean(1, keepdims=True)) / sums.std(1, keepdims=True)
    found = (standard[1:] * standard[:-1]).mean(1)
    return float(found[np.argmax(np.abs(found))])


def _run(
    mechanism: Mechanism, rounds: int, runs: int, entropy: bytes, fault: PlantedFault
) -> tuple[tuple[Floats, Floats], tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]], float]:
    """Make what the coalition is left with: float64[rounds, runs] without the unit, and with it."""
    encoding = mechanism.encoding(2 * runs, 1.0)
    assert isinstance(encoding, LotEncoding)
    longer = TOO_LONG if fault is PlantedFault.UNCLIPPED else 1
    row = np.full(2 * runs, longer * encoding.row_clip)
    left, drawn = np.empty((rounds, 2 * runs)), np.empty((rounds, 2 * runs), np.bool_)
    noises = _noises(mechanism, rounds, 2 * runs, entropy, fault)
    for round_, noise in enumerate(noises):
        lots = private_stream(_entropy(entropy, round_, 0), LOT)
        drawn[round_] = lots.words32(2 * runs).astype(np.uint64) < mechanism.rate_units
        is_there = drawn[round_].copy()
        is_there[:runs] = False
        left[round_] = noise + encoding.encode(row * is_there)
    moved = float(encoding.encode(row)[0])
    return (left[:, :runs], left[:, runs:]), (drawn[:, :runs], drawn[:, runs:]), moved


def _noises(
    mechanism: Mechanism, rounds: int, size: int, entropy: bytes, fault: PlantedFault
) -> Iterator[Floats]:
    """Yield the sum of the honest members' noise, round by round."""
    last = np.zeros(size)
    for round_ in range(rounds):
        total = np.zeros(size)
        for member in range(mechanism.shares):
            stream = private_stream(_entropy(entropy, round_, member + 1), NOISE)
            noise = draw_noise(stream, mechanism.width, size)
            if fault is PlantedFault.MISSING and member == 0:
                continue
            if fault is PlantedFault.HALF:
                noise //= 2
            total += add_noise(np.zeros(size, np.int32), noise).view(np.int32)
        is_again = fault is PlantedFault.REUSED and round_ % 2
        last = last if is_again else total
        yield last


def _entropy(entropy: bytes, round_: int, member: int) -> bytes:
    parts = (number.to_bytes(8, "little") for number in (round_, member))
    return hash_parts(b"p2pfl/dp-audit", entropy, *parts)
