"""Audits: attacks that know all but one unit, and what they prove against a claim.

An attack gives each run a score, in runs with the unit and in runs without it. From how well scores
tell the two apart follows a lower bound on epsilon, at 95 % confidence, by Clopper and Pearson's
bounds on the shares of false alarms and of misses. Above the claim, it refutes the claim; below, it
only fails to.

The attack here is the likelihood ratio's, which is the best that there is against sums of one
coordinate: what the unit would add is known, and in which rounds it was drawn is not.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from p2pfl.privacy.errors import PrivacyError

Floats = npt.NDArray[np.float64]

CONFIDENCE = 0.95
RUNS_MIN = 100
"""Of each kind: with fewer, no bound says anything."""

_CUTS = 250  # Scores that are tried as what tells the two apart.


def likelihood_ratios(sums: Floats, *, sensitivity: float, deviation: float, rate: float) -> Floats:
    """Score runs by how much more likely their sums are with the unit than without.

    Args:
        sums: float64[T, runs], what is left of each round's sum once all that is known is taken
            away: noise, and the unit's part where it was drawn.
        sensitivity: Delta, that part.
        deviation: of the noise that is left.
        rate: p.

    Returns:
        float64[runs].
    """
    gain = (2 * sums * sensitivity - sensitivity**2) / (2 * deviation**2)
    if rate >= 1:
        total: Floats = gain.sum(0)
    else:
        total = np.logaddexp(math.log1p(-rate), math.log(rate) + gain).sum(0)
    return total


def known_draws(
    sums: Floats, drawn: npt.NDArray[np.bool_], *, sensitivity: float, deviation: float
) -> Floats:
    """Score runs as `likelihood_ratios` does, by who knows when the unit was drawn.

    Args:
        sums: float64[T, runs].
        drawn: bool[T, runs]: where it was, or would have been.
        sensitivity: Delta.
        deviation: of the noise that is left.
    """
    gain = (2 * sums * sensitivity - sensitivity**2) / (2 * deviation**2)
    total: Floats = np.where(drawn, gain, 0.0).sum(0)
    return total


def repeated_sums(sums: Floats) -> Floats:
    """Score runs by how far sums of neighbouring rounds are apart: of noise that is used twice.

    Args:
        sums: float64[T, runs].
    """
    even, odd = sums[0::2], sums[1::2]
    count = min(len(even), len(odd))
    found: Floats = np.abs(even[:count] - odd[:count]).max(0)
    return found


def epsilon_above(without: Floats, having: Floats, delta: float) -> float:
    """Return the epsilon that scores prove at least, at 95 % confidence; 0 if they prove nothing.

    One half of the runs chooses where to cut, the other is judged by it.

    Args:
        without: scores of runs without the unit.
        having: of runs with it.
        delta: of epsilon.

    Raises:
        PrivacyError: there are too few runs.
    """
    if min(len(without), len(having)) < RUNS_MIN:
        raise PrivacyError(f"an audit takes {RUNS_MIN} runs of each kind at least")
    half0, half1 = len(without) // 2, len(having) // 2
    cuts = np.quantile(
        np.concatenate([without[:half0], having[:half1]]), np.linspace(0.002, 0.998, _CUTS)
    )

    def guessed(cut: float) -> float:
        alarms, misses = np.mean(without[:half0] > cut), np.mean(having[:half1] <= cut)
        floor = 4 / half0
        return _bound(max(float(alarms), floor), max(float(misses), floor), delta)

    cut = max(cuts, key=guessed)
    judged0, judged1 = without[half0:], having[half1:]
    alarms = _upper(int(np.sum(judged0 > cut)), len(judged0))
    misses = _upper(int(np.sum(judged1 <= cut)), len(judged1))
    return max(0.0, _bound(alarms, misses, delta))


@dataclass(frozen=True)
class Detected:
    """How many units an attack finds, with bounds of 95 % confidence for both shares together.

    Attributes:
        alarms: share of those that are not there and are accused.
        alarms_most: its upper bound.
        found: share of those that are there and are accused.
        found_least: its lower bound.
        found_most: its upper bound.
    """

    alarms: float
    alarms_most: float
    found: float
    found_least: float
    found_most: float


def detect(without: Floats, having: Floats, false_alarms: float) -> Detected:
    """Accuse by scores, so that about that share of those that are not there is accused.

    One half of the scores without the unit chooses where to cut, the other is judged by it.

    Args:
        without: scores of runs without the unit.
        having: of runs with it.
        false_alarms: in (0, 1).

    Raises:
        PrivacyError: there are too few runs.
    """
    if min(len(without), len(having)) < RUNS_MIN:
        raise PrivacyError(f"an audit takes {RUNS_MIN} runs of each kind at least")
    half = len(without) // 2
    cut = np.quantile(without[:half], 1 - false_alarms)
    alarms, judged = int(np.sum(without[half:] > cut)), len(without) - half
    found, there = int(np.sum(having > cut)), len(having)
    return Detected(
        alarms / judged,
        _upper(alarms, judged),
        found / there,
        1 - _upper(there - found, there),
        _upper(found, there),
    )


def one_run_epsilon(
    scores: Floats, is_in: npt.NDArray[np.bool_], *, guesses: int, delta: float
) -> float:
    """Return the epsilon that one run with many canaries proves, at 95 % confidence.

    Each canary was put in by a fair coin of its own. The attacker calls those of the highest scores
    in and those of the lowest out, and passes over the rest (Steinke, Nasr & Jagielski, "Privacy
    auditing with one (1) training run", NeurIPS 2023).

    Args:
        scores: float64[m], higher for those that are likelier in.
        is_in: bool[m], the coins.
        guesses: how many are called, half of them in.
        delta: of epsilon.

    Raises:
        PrivacyError: there are not so many canaries.
    """
    count = len(scores)
    if not 2 <= guesses <= count:
        raise PrivacyError(f"{guesses} guesses about {count} canaries")
    order = np.argsort(scores, kind="stable")
    half = guesses // 2
    right = int(np.sum(is_in[order[-half:]]) + np.sum(~is_in[order[:half]]))
    low, high = 0.0, 30.0
    for _ in range(40):
        middle = (low + high) / 2
        if _chance_of_right(count, 2 * half, right, middle, delta) < 1 - CONFIDENCE:
            low = middle
        else:
            high = middle
    return low


def _chance_of_right(count: int, guesses: int, right: int, epsilon: float, delta: float) -> float:
    """Return the most that so many right guesses may be likely, if epsilon holds."""
    share = 1 / (1 + math.exp(-epsilon))
    chances = _binomial(guesses, share)
    alpha = below = 0.0
    for number in range(1, right + 1):
        below += chances[right - number]
        alpha = max(alpha, below / number)
    return min(1.0, math.fsum(chances[right:]) + 2 * alpha * delta * count)


def _binomial(runs: int, share: float) -> list[float]:
    """Return the chance of each count, 0 to `runs`; `share` is above 0 and below 1."""
    log_share, log_rest, log_all = math.log(share), math.log1p(-share), math.lgamma(runs + 1)
    return [
        math.exp(
            log_all
            - math.lgamma(k + 1)
            - math.lgamma(runs - k + 1)
            + k * log_share
            + (runs - k) * log_rest
        )
        for k in range(runs + 1)
    ]


def _bound(alarms: float, misses: float, delta: float) -> float:
    """Whatever epsilon is, 1 - misses <= e^epsilon alarms + delta, and the other way round."""
    least = 1e-9
    return max(
        math.log(max(1 - misses - delta, least) / alarms),
        math.log(max(1 - alarms - delta, least) / misses),
    )


def _upper(count: int, runs: int) -> float:
    """Return Clopper and Pearson's upper bound on a share: by bisection of the binomial's tail."""
    if count >= runs:
        return 1.0
    doubt = (1 - CONFIDENCE) / 2
    low, high = count / runs, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if _at_most(count, runs, middle) > doubt:
            low = middle
        else:
            high = middle
    return high


def _at_most(count: int, runs: int, share: float) -> float:
    """Return the chance of so many or fewer."""
    if share <= 0:
        return 1.0
    log_share, log_rest = math.log(share), math.log1p(-share) if share < 1 else -math.inf
    terms = [
        math.lgamma(runs + 1)
        - math.lgamma(k + 1)
        - math.lgamma(runs - k + 1)
        + k * log_share
        + (runs - k) * log_rest
        for k in range(count + 1)
    ]
    most = max(terms)
    return min(1.0, math.exp(most) * math.fsum(math.exp(term - most) for term in terms))
