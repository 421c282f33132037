"""Epsilon of releases, by two accountants that must not contradict each other.

The figure is that of privacy loss distributions. It is held against Renyi divergences, which are
computed by other formulas and other code, from both sides:

- **not above**: both are upper bounds, and the engine's is the tighter; so it is at most the other,
  but for what it rounds up. If it is not, it is computed again in finer steps.
- **not below**: any delta(epsilon) that is claimed bounds the second moment of the likelihood
  ratio, E[(P/Q)^2] <= 1 + 2 * integral over epsilon >= 0 of delta (e^epsilon + e^(-2 epsilon)).
  (The second derivative of t^2 is 2: write t^2 as an integral of hockey sticks, and bound those
  below 1 by the other direction's.) The true moment is known exactly, so a claim that is too small
  for it is refuted.

**Integers and real noise.** The engine's noise is real; ours is integers. A real Gaussian of
variance sigma^2 - 1/12, rounded, has the variance sigma^2 and is post-processed real noise. From
the discrete Gaussian it differs by a relative entropy of 1.45e-6 / sigma^8 an entry (computed for
sigma = 2 to 16, where it tends to 1 / 691,200; the leading term is that of the fourth cumulant of
rounding, -1/120). So by Pinsker's inequality d entries in T releases part them by at most
8.6e-4 sqrt(d T) / sigma^4, and delta grows by 1 + e^epsilon times that. (The same without the 1/12
is sqrt(d T / 1152) / sigma^2: some 10^7 times as much, and more than delta itself for large models
and large epsilon.) `RESERVED` of delta is kept for it and for the tables' distance.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from p2pfl.privacy.errors import AccountantsDisagree, PrivacyError
from p2pfl.privacy.loss_distributions import LossDistribution, lose, require_engine
from p2pfl.privacy.releases import Releases
from p2pfl.privacy.renyi import ORDERS, divergences, epsilon_of
from p2pfl_crypto.discrete_gaussian import DRAW_DISTANCE
from p2pfl_crypto.private_streams import LEFT_OUT_CHANCE

Floats = npt.NDArray[np.float64]

RESERVED = 1e-3
"""The part of delta that is kept for the difference of integers and real noise, for tables, and for
lots of which units are left out."""

ENGINE_EPSILON_MAX = 20.0
"""Above, only Renyi divergences count: they hold of integers as they are."""

_ACCOUNTS_KEPT = 16  # A plan and its claims ask for some of the same; each is some megabytes.
_STEPS = 500  # Losses are rounded up to an epsilon's part of so many; never coarser than _COARSE.
_COARSE, _FINE = 1e-3, 1e-5
_FINER = (1.0, 0.1)  # Intervals that are tried, in the first one.
_AGREES = 1.001  # Of epsilons, and of moments: for what is rounded.
_MOMENT_STEPS, _TEST_STEPS = 1000, 400
_EXPONENT_MAX = 700.0  # e^709 is the last float64.


@dataclass(frozen=True, slots=True)
class Profile:
    """Upper bounds of delta for rising epsilons, from 0 on; float64, as many of each."""

    epsilons: Floats
    deltas: Floats


@dataclass(frozen=True)
class Account:
    """What releases cost.

    Attributes:
        delta: as asked for; the figures are for all of it.
        epsilon: an upper bound.
        renyi_epsilon: by Renyi divergences.
        by_engine: whether `epsilon` is the engine's, or by Renyi divergences.
        profile: by the engine's distribution, if it is.
    """

    delta: float
    epsilon: float
    renyi_epsilon: float
    by_engine: bool
    profile: Profile | None

    def detection(self, false_alarms: float) -> float:
        """Return the largest share of units that are there and are found.

        Args:
            false_alarms: share of those that are not there and are accused, in (0, 1).

        Returns:
            By the best test that there is, for any prior knowledge: min over epsilon of
            delta(epsilon) + e^epsilon false_alarms, and of 1 - e^-epsilon (1 - delta -
            false_alarms): by the definition, applied to the test and to its opposite (as in Dong,
            Roth, Su, "Gaussian Differential Privacy", 2022).
        """
        profile = self.profile or Profile(np.array([self.epsilon]), np.array([self.delta]))
        epsilons, deltas = profile.epsilons, profile.deltas
        caught = deltas + np.exp(np.minimum(epsilons, _EXPONENT_MAX)) * false_alarms
        other = 1 - np.exp(-epsilons) * np.maximum(0, 1 - deltas - false_alarms)
        return float(min(1.0, caught.min(), other.min()))

    def advantage(self) -> float:
        """Return the largest difference of those found and those accused wrongly: delta(0)."""
        return 1.0 if self.profile is None else float(self.profile.deltas[0])


def account(releases: Sequence[Releases], delta: float) -> Account:
    """Work out epsilon of releases at the floor of their noise.

    Raises:
        PrivacyError: delta is not in (0, 1), or there are no releases.
        EngineMissing: the extra is not installed.
        AccountantsDisagree: the two contradict each other.
    """
    if not 0 < delta < 1:
        raise PrivacyError(f"delta is above 0 and below 1, not {delta}")
    if not releases:
        raise PrivacyError("there is nothing to account for: no releases")
    require_engine()
    return _account(tuple(releases), delta)


@lru_cache(maxsize=_ACCOUNTS_KEPT)
def _account(releases: tuple[Releases, ...], delta: float) -> Account:
    divergence = divergences(releases)
    for_engine = delta * (1 - RESERVED)
    renyi = epsilon_of(divergence, for_engine)
    if renyi > ENGINE_EPSILON_MAX:
        return Account(delta, renyi, renyi, False, None)
    interval = min(_COARSE, max(_FINE, renyi / _STEPS))
    epsilon = math.inf
    for finer in _FINER:
        losses = lose(releases, interval=interval * finer)
        epsilon = losses.epsilon(for_engine)
        if epsilon <= _AGREES * renyi + interval * finer:
            profile = profile_of(losses, releases, epsilon)
            require_moment(profile, releases)
            return Account(delta, epsilon, renyi, True, profile)
    raise AccountantsDisagree(
        f"epsilon is {epsilon:.4g} by loss distributions and at most {renyi:.4g} by Renyi"
        " divergences: one of the two accountants is wrong; please report these settings"
    )


def profile_of(losses: LossDistribution, releases: Sequence[Releases], epsilon: float) -> Profile:
    """Return the profile of what releases lose, for all that is asked of it, at once.

    Dense up to what tells tests apart, and as far as the second moment has a tail: a loss of three
    times its mean, and eight deviations.
    """
    second = _second_moment(releases)
    reach = 3 * second + 8 * math.sqrt(2 * second) + 1
    epsilons = np.union1d(
        np.linspace(0, reach, _MOMENT_STEPS), np.linspace(0, 2 * epsilon + 1, _TEST_STEPS)
    )
    return Profile(epsilons, losses.deltas(epsilons))


def require_moment(profile: Profile, releases: Sequence[Releases]) -> None:
    """Refute loss distributions that are too small for the releases' exact second moment.

    Raises:
        AccountantsDisagree: they are.
    """
    second = _second_moment(releases)
    epsilons = profile.epsilons
    integrand = profile.deltas * (np.exp(epsilons) + np.exp(-2 * epsilons))
    bound = 1 + 2 * float(np.trapezoid(integrand, epsilons))
    if math.exp(second) > 1 + _AGREES * (bound - 1) + 1e-9:
        raise AccountantsDisagree(
            f"loss distributions allow a second moment of {bound:.6g}, and it is"
            f" {math.exp(second):.6g}: one of the two accountants is wrong; please report these"
            " settings"
        )


def _second_moment(releases: Sequence[Releases]) -> float:
    """Return the logarithm of E[(P/Q)^2]."""
    return float(divergences(releases)[ORDERS.index(2)])


def integer_distance(*, entries: int, releases: int, variance: float, draws: int) -> float:
    """Return how far integers, tables and lots are from what is accounted for.

    In statistical distance. Of a lot with too many units some are left out, and then one unit more
    may put another in its place: in the lots of the one member whose unit it is.

    Args:
        entries: d.
        releases: T.
        variance: of the noise that counts, h sigma_m^2.
        draws: of noise an entry and release: the members that draw.
    """
    rounding = 8.6e-4 * math.sqrt(entries * releases) / variance**2
    tables = DRAW_DISTANCE * entries * releases * draws
    return rounding + tables + LEFT_OUT_CHANCE * releases


def require_reserve(distance: float, epsilon: float, delta: float) -> None:
    """Make sure that what was reserved of delta pays for that distance.

    Raises:
        PrivacyError: it does not.
    """
    needed = (1 + math.exp(min(epsilon, _EXPONENT_MAX))) * distance
    if epsilon <= ENGINE_EPSILON_MAX and needed > RESERVED * delta:
        raise PrivacyError(
            f"the difference of integers and real noise costs {needed:.2g} of a delta of"
            f" {delta:.2g}, more than one part in {1 / RESERVED:.0f}; take a larger delta, fewer"
            " rounds or a smaller model"
        )
