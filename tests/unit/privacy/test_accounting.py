"""Two accountants, held against each other, against closed forms and against other code."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from p2pfl.privacy import accounting
from p2pfl.privacy.accounting import (
    ENGINE_EPSILON_MAX,
    RESERVED,
    account,
    integer_distance,
    profile_of,
    require_moment,
    require_reserve,
)
from p2pfl.privacy.errors import AccountantsDisagree, EngineMissing, PrivacyError
from p2pfl.privacy.loss_distributions import LossDistribution, lose, lose_in_several
from p2pfl.privacy.releases import RATE_UNITS, RELEASES_MAX, Releases
from p2pfl.privacy.renyi import ORDERS, best_order, budget_of, divergence, divergences, epsilon_of
from p2pfl_crypto.discrete_gaussian import DRAW_DISTANCE

DELTA = 1e-5
SIXTEENTH = RATE_UNITS // 16


def sampled(noise: float, count: int, rate_units: int = SIXTEENTH) -> Releases:
    return Releases(rate_units, noise, count)


def gaussian_epsilon(mean: float, delta: float) -> float:
    """The exact epsilon of one Gaussian (Balle, Wang, ICML 2018, theorem 8), by bisection."""
    low, high = 0.0, 500.0
    for _ in range(200):
        middle = (low + high) / 2
        first = 0.5 * math.erfc(-(mean / 2 - middle / mean) / math.sqrt(2))
        second = 0.5 * math.erfc((mean / 2 + middle / mean) / math.sqrt(2))
        low, high = (middle, high) if first - math.exp(middle) * second > delta else (low, middle)
    return high


@pytest.mark.parametrize("rate_units", [RATE_UNITS // 256, SIXTEENTH, RATE_UNITS // 4, RATE_UNITS])
@pytest.mark.parametrize("count", [1, 200, 1000])
@pytest.mark.parametrize("noise", [0.8, 2.0, 20.0])
def test_both_agree_over_a_grid(rate_units: int, count: int, noise: float) -> None:
    """`account` refutes too small and too large figures itself; here it must find none."""
    found = account([Releases(rate_units, noise, count)], DELTA)
    assert 0 < found.epsilon <= found.renyi_epsilon * 1.001 + 1e-5


@pytest.mark.parametrize(("noise", "epsilon"), [(3.4804, 1), (1.9961, 2), (1.2532, 4), (0.8705, 8)])
def test_the_design_pages_noise(noise: float, epsilon: float) -> None:
    """Source: the design's table for p = 1/16, T = 200, which prv-accountant encloses."""
    assert account([sampled(noise, 200)], DELTA).epsilon == pytest.approx(epsilon, rel=3e-3)


@pytest.mark.parametrize(("noise", "count"), [(3.0, 50), (20.0, 200), (1.0, 1)])
def test_without_lots_the_closed_form_is_met(noise: float, count: int) -> None:
    exact = gaussian_epsilon(math.sqrt(count) / noise, DELTA)
    found = account([Releases(RATE_UNITS, noise, count)], DELTA).epsilon
    assert exact <= found <= exact * 1.002 + 1e-4


@pytest.mark.parametrize("noise", [0.8, 2.0, 9.0])
@pytest.mark.parametrize("rate_units", [RATE_UNITS // 100, RATE_UNITS // 4, RATE_UNITS])
def test_divergences_are_those_of_other_code(noise: float, rate_units: int) -> None:
    import dp_accounting  # Takes seconds, in each process that only collects tests, too.
    from dp_accounting import rdp

    orders = [2, 3, 8, 32, 128]
    other = rdp.RdpAccountant(orders=orders)
    event: dp_accounting.DpEvent = dp_accounting.GaussianDpEvent(noise)
    if rate_units < RATE_UNITS:
        event = dp_accounting.PoissonSampledDpEvent(rate_units / RATE_UNITS, event)
    other.compose(dp_accounting.SelfComposedDpEvent(event, 7))
    ours = [divergence(Releases(rate_units, noise, 7), order) for order in orders]
    assert ours == pytest.approx(list(other._rdp), rel=1e-6)


def test_integers_have_the_moments_of_real_noise() -> None:
    """What lets the formula stand for the discrete Gaussian: equality, and the other direction."""
    sigma, shift, rate = 3.0, 4, 0.125
    integers = np.arange(-30, 51)
    without = np.exp(-(integers**2) / (2 * sigma**2))
    there = np.exp(-((integers - shift) ** 2) / (2 * sigma**2))
    without, there = without / without.sum(), there / there.sum()
    mixed = (1 - rate) * without + rate * there
    for order in (2, 3, 4, 5, 6):
        expected = divergence(Releases(int(rate * RATE_UNITS), sigma / shift, 1), order)
        forth = math.log(float((mixed**order * without ** (1 - order)).sum()))
        back = math.log(float((without**order * mixed ** (1 - order)).sum()))
        assert forth / (order - 1) == pytest.approx(expected, rel=1e-12)
        assert back < forth


@pytest.mark.parametrize("sigma", [2, 4])
def test_rounded_noise_is_as_near_to_integers_as_stated(sigma: int) -> None:
    """Relative entropy of D(sigma) from a rounded Gaussian of variance sigma^2 - 1/12."""
    reach, real = 14 * sigma, math.sqrt(sigma**2 - 1 / 12)
    integers = np.arange(-reach, reach + 1)
    discrete = np.exp(-(integers.astype(float) ** 2) / (2 * sigma**2))
    discrete /= discrete.sum()

    def below(x: float) -> float:
        return 0.5 * math.erfc(-x / (real * math.sqrt(2)))

    # Of the lower half, where the tails' differences lose no digits.
    rounded = np.array([below(0.5 - abs(x)) - below(-0.5 - abs(x)) for x in integers.tolist()])
    ratio = discrete / rounded
    entropy = float((rounded * (ratio * np.log(ratio) - ratio + 1)).sum())
    assert entropy * sigma**8 == pytest.approx(1 / 691_200, rel=2e-3)
    # By Pinsker: sqrt(entropy / 2) an entry and release, of what `integer_distance` allows.
    allowed = integer_distance(entries=1, releases=1, variance=sigma**2, draws=0)
    assert math.sqrt(entropy / 2) < allowed < 1.02 * math.sqrt(entropy / 2)


def test_a_claim_for_fewer_rounds_is_refuted() -> None:
    """From below: distributions of 190 rounds cannot stand for 200."""
    releases = [sampled(2.0, 190)]
    profile = profile_of(lose(releases, interval=1e-3), releases, 2.0)
    with pytest.raises(AccountantsDisagree, match="second moment"):
        require_moment(profile, [sampled(2.0, 200)])
    require_moment(profile, releases)


def test_an_engine_that_counts_too_much_is_refuted(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(_: Sequence[Releases], *, interval: float) -> LossDistribution:
        return lose([sampled(2.0, 300)], interval=interval)

    monkeypatch.setattr(accounting, "lose", wrong)
    accounting._account.cache_clear()  # What was found with the true one.
    with pytest.raises(AccountantsDisagree, match=r"at most 2\.196 by Renyi"):
        account([sampled(2.0, 200)], DELTA)


def test_releases_of_two_kinds_add_up() -> None:
    both = account([sampled(2.0, 100), sampled(3.0, 100)], DELTA).epsilon
    parts = [account([sampled(noise, 100)], DELTA).epsilon for noise in (2.0, 3.0)]
    assert max(parts) < both < sum(parts)
    halves = account([sampled(2.0, 100), sampled(2.0, 100)], DELTA).epsilon
    assert halves == pytest.approx(account([sampled(2.0, 200)], DELTA).epsilon, rel=1e-3)


def test_what_a_test_finds() -> None:
    """Of one Gaussian the best test is known: its power is Phi(Phi^-1(a) + mean)."""
    found = account([Releases(RATE_UNITS, 1.0, 1)], DELTA)
    assert found.detection(0.01) == pytest.approx(0.0924, abs=0.002)
    # Of many false alarms it is the test's opposite that bounds it.
    assert found.detection(0.5) == pytest.approx(0.8413, abs=0.002)
    assert found.detection(0.9) == pytest.approx(0.9887, abs=0.002)
    assert found.advantage() == pytest.approx(0.3829, abs=0.001)
    assert account([sampled(1.9961, 200)], DELTA).detection(0.01) == pytest.approx(0.033, abs=5e-4)
    assert account([sampled(1.9961, 200)], DELTA).advantage() == pytest.approx(0.18, abs=5e-3)


def test_above_twenty_only_divergences_count() -> None:
    found = account([Releases(RATE_UNITS, 1.0, 100)], DELTA)
    assert (found.by_engine, found.profile) == (False, None)
    assert found.epsilon == found.renyi_epsilon > 60
    assert found.detection(0.01) == 1
    assert found.advantage() == 1


def test_hardly_any_noise_hides_nothing() -> None:
    """An epsilon of thousands: all that are there may be found, and no power overflows."""
    found = account([sampled(0.02, 10, RATE_UNITS)], DELTA)
    assert found.epsilon > 1000
    assert found.detection(0.01) == 1


def test_up_to_twenty_the_engine_counts() -> None:
    def renyi(noise: float) -> float:
        return epsilon_of(divergences([Releases(RATE_UNITS, noise, 1)]), DELTA * (1 - RESERVED))

    less, more = 0.1, 1.0
    for _ in range(40):
        middle = (less + more) / 2
        less, more = (less, middle) if renyi(middle) <= ENGINE_EPSILON_MAX else (middle, more)
    within = account([Releases(RATE_UNITS, more, 1)], DELTA)
    assert within.renyi_epsilon == pytest.approx(ENGINE_EPSILON_MAX)
    assert within.by_engine
    assert not account([Releases(RATE_UNITS, less, 1)], DELTA).by_engine


def test_neighbours_by_replacing_and_with_two_rows() -> None:
    """Source: the design's figures at epsilon 2: 3.8, and 4.4."""
    replaced = lose([sampled(1.9961, 200)], interval=1e-3, replacing=True)
    assert replaced.epsilon(DELTA) == pytest.approx(3.8, abs=0.05)
    twice = lose_in_several(sampled(1.9961, 200), 2, interval=0.02)
    assert twice.epsilon(DELTA) == pytest.approx(4.4, abs=0.05)


def test_an_order_is_best_for_its_budget() -> None:
    order = best_order(4.0, DELTA)
    assert order == 6
    assert epsilon_of(
        np.where(np.array(ORDERS) == order, budget_of(order, 4.0, DELTA), np.inf), DELTA
    ) == (pytest.approx(4.0))


@pytest.mark.parametrize("count", [1, 10, 1000])
def test_divergences_add_up(count: int) -> None:
    assert divergences([sampled(2.0, count)]) == pytest.approx(
        count * divergences([sampled(2.0, 1)])
    )


def test_what_integers_differ_by_must_fit_the_reserve() -> None:
    big = integer_distance(entries=10**7, releases=1000, variance=3 * 7_576_223_744, draws=128)
    require_reserve(big, 8.0, DELTA)  # 10^-18 or so: nothing.
    assert big < 1e-18
    none_left = integer_distance(entries=1, releases=10**6, variance=1e30, draws=0)
    assert none_left == pytest.approx(10**6 * 2.0**-80, abs=0)  # Of lots with too many units.
    of_tables = integer_distance(entries=10**7, releases=3, variance=1e30, draws=128)
    expected = 3 * (128 * 10**7 * DRAW_DISTANCE + 2.0**-80)
    assert of_tables == pytest.approx(expected, rel=1e-9, abs=0)
    with pytest.raises(PrivacyError, match=r"costs 0\.0016 of a delta"):
        require_reserve(RESERVED * DELTA, 12.0, DELTA)


def test_a_distance_counts_for_both_neighbours() -> None:
    """Once as it is, and once e^epsilon times: twice at an epsilon of 0."""
    reserve = RESERVED * DELTA
    require_reserve(0.49 * reserve, 0.0, DELTA)
    with pytest.raises(PrivacyError, match="take a larger delta"):
        require_reserve(0.51 * reserve, 0.0, DELTA)


def test_only_the_engines_figures_need_the_reserve() -> None:
    with pytest.raises(PrivacyError, match="take a larger delta"):
        require_reserve(RESERVED * DELTA, ENGINE_EPSILON_MAX, DELTA)
    require_reserve(RESERVED * DELTA, math.nextafter(ENGINE_EPSILON_MAX, 21), DELTA)


def test_releases_go_as_far_as_stated() -> None:
    assert Releases(1, 1.0, RELEASES_MAX).count == RELEASES_MAX


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "dp_accounting", None)
    with pytest.raises(
        EngineMissing, match=r"install it with  pip install 'p2pfl-peer\[privacy\]'"
    ):
        account([sampled(2.0, 200)], DELTA)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: account([], DELTA), "no releases"),
        (lambda: account([sampled(2.0, 1)], 0.0), "delta is above 0"),
        (lambda: account([sampled(2.0, 1)], 1.0), "delta is above 0"),
        (lambda: account([sampled(2.0, 1)], math.nan), "delta is above 0"),
        (lambda: Releases(0, 1.0, 1), "a rate is above 0"),
        (lambda: Releases(2**33, 1.0, 1), "a rate is above 0"),
        (lambda: Releases(1, math.inf, 1), "noise is positive"),
        (lambda: Releases(1, 1.0, 0), "1 to 1,000,000 releases"),
        (lambda: Releases(1, 1.0, RELEASES_MAX + 1), "1 to 1,000,000 releases, not 1,000,001"),
    ],
)
def test_refusals(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(PrivacyError, match=message):
        make()


def test_an_epsilon_whose_power_no_float_holds_is_reckoned_with() -> None:
    assert math.isfinite(math.exp(accounting._EXPONENT_MAX))
    huge = 2 * accounting._EXPONENT_MAX
    require_reserve(1.0, huge, DELTA)
    with pytest.raises(OverflowError):
        math.exp(huge)
