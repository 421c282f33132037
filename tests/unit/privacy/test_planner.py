"""Plans: the design's example, the inverse questions, and what is refused."""

import math
from dataclasses import replace
from fractions import Fraction

import pytest

from p2pfl.privacy.accounting import ENGINE_EPSILON_MAX, account
from p2pfl.privacy.claims import in_words
from p2pfl.privacy.errors import PrivacyError
from p2pfl.privacy.mechanisms import UNITS_PER_NOISE, Mechanism, Trust, Unit
from p2pfl.privacy.planner import (
    Question,
    default_delta,
    make_plan,
    points_lost,
    rate_units_of,
)
from p2pfl.privacy.presence import (
    REFUSED_SHARE_MAX,
    least_present,
    liars_max,
    quorum,
    refused_share,
)
from p2pfl.privacy.releases import RELEASES_MAX
from p2pfl_crypto.private_encoding import LotEncoding, MemberEncoding

ASKED = Question(members=16, rows=10_000, rate=Fraction(1, 16), rounds=200, epsilon=2.0, drops=0.02)


def test_the_design_pages_example() -> None:
    """Source: the design's plan and its table of adversaries."""
    plan = make_plan(replace(ASKED, entries=101_770))
    mechanism = plan.mechanism
    assert mechanism.noise == pytest.approx(2.0, abs=0.005)
    assert (mechanism.least, mechanism.colluding, mechanism.shares) == (15, 5, 10)
    assert mechanism.share == pytest.approx(0.63, abs=0.005)
    assert 0.998 * 2 < plan.epsilon <= 2 < plan.renyi_epsilon < 2.3
    lines = [
        (claim.shares, round(claim.epsilon, 1), claim.is_the_claim) for claim in plan.claims[:3]
    ]
    assert lines == [(15, 1.5, False), (14, 1.6, False), (10, 2.0, True)]
    captured, own = plan.claims[3:]
    assert (captured.shares, round(captured.epsilon)) == (1, 17)
    assert (own.shares, own.epsilon, own.found) == (0, math.inf, 1.0)
    assert plan.claims[2].found == pytest.approx(0.033, abs=5e-4)
    assert plan.kin.replaced == pytest.approx(3.8, abs=0.05)
    assert plan.kin.with_two_rows == pytest.approx(4.4, abs=0.05)
    assert plan.refused == pytest.approx(0.04, abs=0.001)
    assert in_words(plan.claims[2], "row") == (
        "If 5 colluding members may accuse 10 in 1,000 rows that are not in the data, they find at"
        " most 33 in 1,000 that are."
    )
    # rho = z sqrt(n / h) sqrt(d) / (p rows).
    expected = plan.mechanism.noise * math.sqrt(1.6 * 101_770) / 625
    assert plan.noise_to_signal == pytest.approx(expected)
    assert len(plan.advice) == 2
    assert points_lost(expected) == "0 to 3"
    rows, entries = (int(it.split()[0].replace(",", "")) for it in plan.advice)
    assert expected * 10_000 / rows == pytest.approx(1, rel=1e-3)
    assert expected * math.sqrt(entries / 101_770) == pytest.approx(1, rel=1e-3)


def test_the_inverse_questions_lead_back() -> None:
    asked = replace(ASKED, epsilon=None, noise=1.5)
    epsilon = make_plan(asked).epsilon
    again = make_plan(replace(asked, epsilon=epsilon, rounds=None))
    assert again.rounds == 200
    more = again.mechanism.releases(201)
    assert account([more], 1e-5).epsilon > epsilon
    noise = make_plan(replace(asked, epsilon=epsilon, noise=None)).mechanism.noise
    assert noise == pytest.approx(1.5, rel=2e-3)


def test_as_many_rounds_as_epsilon_pays_for_and_no_more_than_there_may_be() -> None:
    asked = replace(ASKED, rate=Fraction(1), rounds=None, noise=20.0)
    once = account([make_plan(replace(asked, epsilon=1.0)).mechanism.releases(1)], 1e-5)
    plan = make_plan(replace(asked, epsilon=once.epsilon))
    assert (plan.rounds, plan.epsilon) == (1, once.epsilon)
    most = replace(asked, noise=1000.0, rate=Fraction(1, 2**20), epsilon=20.0)
    assert make_plan(most).rounds == RELEASES_MAX
    steps = make_plan(replace(most, trust=Trust.NOBODY, steps=3))
    assert steps.rounds == RELEASES_MAX // 3


def test_as_large_an_epsilon_as_may_be_asked_for_has_a_plan() -> None:
    """Above 20 by Renyi divergences the tighter figure is not worked out: the plan stays below."""
    plan = make_plan(
        Question(members=5, rows=1000, rate=Fraction(1, 4), rounds=40, epsilon=ENGINE_EPSILON_MAX)
    )
    assert 0.8 * ENGINE_EPSILON_MAX < plan.epsilon <= ENGINE_EPSILON_MAX
    assert plan.renyi_epsilon <= ENGINE_EPSILON_MAX


def test_who_trusts_nobody_counts_steps_and_no_shares() -> None:
    plan = make_plan(replace(ASKED, epsilon=None, noise=3.0, trust=Trust.NOBODY, steps=4))
    assert plan.mechanism.releases(200).count == 800
    assert plan.mechanism.share == plan.mechanism.noise == 3.0
    assert [(claim.shares, claim.is_the_claim) for claim in plan.claims] == [(1, True), (0, False)]
    assert plan.claims[0].epsilon == plan.epsilon


def test_noise_to_signal_is_of_the_sum_that_the_group_takes() -> None:
    """By hand: each member's noise alone, in the mean of 16; and of 96 members, of which some."""
    alone = make_plan(
        replace(ASKED, epsilon=None, noise=3.0, trust=Trust.NOBODY, entries=1000)
    ).noise_to_signal
    lot = 10_000 / 16 / 16  # Of each member: a sixteenth of its rows.
    assert alone == pytest.approx(3.0 * math.sqrt(1000) / math.sqrt(16) / lot)
    members = make_plan(
        Question(members=96, unit=Unit.MEMBER, rounds=50, noise=20.0, entries=650, drops=0.05)
    )
    added = members.mechanism.share * math.sqrt(96)  # All are there: more than is counted on.
    assert members.noise_to_signal == pytest.approx(added * math.sqrt(650) / 96)
    assert members.advice == ()


@pytest.mark.parametrize(
    ("rho", "points"),
    [
        (0.7, "at most 1"),
        (0.71, "0 to 3"),
        (1.5, "0 to 3"),
        (1.51, "1 to 5"),
        (2.5, "1 to 5"),
        (2.51, "1 to 14"),
        (10, "1 to 14"),
        (10.1, "6 to 54"),
    ],
)
def test_points_lost_are_the_design_pages(rho: float, points: str) -> None:
    assert points_lost(rho) == points


def test_whole_members_have_no_lots() -> None:
    asked = Question(members=96, unit=Unit.MEMBER, rounds=50, epsilon=8.0, drops=0.05)
    plan = make_plan(asked)
    assert plan.mechanism.releases(50).takes_all
    assert isinstance(plan.mechanism.encoding(650, 1.0), MemberEncoding)
    assert plan.kin.with_two_rows is None


def test_who_has_fewer_shares_before_it_has_less_noise() -> None:
    """Of ten shares that are counted on, one is left: a tenth of the variance."""
    shared = Mechanism(Unit.RECORD, Trust.COALITION, 16, 5, 15, 2**28, 2 * UNITS_PER_NOISE)
    assert shared.releases(7) == shared.releases(7, shares=10)
    assert shared.releases(7, shares=1).noise == pytest.approx(2 / math.sqrt(10))
    assert shared.releases(7, shares=15).noise == pytest.approx(2 * math.sqrt(1.5))
    alone = replace(shared, trust=Trust.NOBODY, steps=3)
    assert alone.releases(7, shares=15) == alone.releases(7)
    assert alone.releases(7).count == 21


def test_encodings_are_those_of_the_mechanism() -> None:
    mechanism = Mechanism(Unit.RECORD, Trust.COALITION, 16, 5, 15, 2**28, 2 * UNITS_PER_NOISE)
    encoding = mechanism.encoding(101_770, 1.0)
    assert isinstance(encoding, LotEncoding)
    assert encoding.member_count == 16
    # The noise of ten members is at least two sensitivities, and hardly more.
    sigma = math.sqrt(10 * mechanism.width.variance)
    assert 2 <= sigma / encoding.sensitivity < 2.00001
    alone = replace(mechanism, trust=Trust.NOBODY)
    assert alone.encoding(101_770, 1.0).member_count == 1
    with pytest.raises(PrivacyError, match="more than one part in 16"):
        replace(mechanism, noise_units=200 * UNITS_PER_NOISE).encoding(10**8, 1.0)


@pytest.mark.parametrize(
    ("members", "drops", "least"),
    [(16, 0.02, 15), (30, 0.02, 28), (16, 0.0, 16), (16, 0.5, 11), (128, 0.05, 117), (5, 0.02, 4)],
)
def test_least_present(members: int, drops: float, least: int) -> None:
    """The largest that refuses at most 5% of rounds, by adding up all patterns of absence."""
    found = least_present(members, drops)
    if members <= 16:

        def refused(least: int) -> float:
            return sum(
                math.comb(members, k) * drops ** (members - k) * (1 - drops) ** k
                for k in range(least)
            )

        assert found == max(
            (k for k in range(quorum(members), members + 1) if refused(k) <= 0.05),
            default=quorum(members),
        )
    assert found == least


def test_as_many_rounds_are_refused_as_stated_and_no_more() -> None:
    assert REFUSED_SHARE_MAX == 0.05
    within, beyond = 0.0, 0.5
    for _ in range(40):
        middle = (within + beyond) / 2
        if refused_share(16, 15, middle) <= REFUSED_SHARE_MAX:
            within = middle
        else:
            beyond = middle
    assert refused_share(16, 15, within) == pytest.approx(REFUSED_SHARE_MAX)
    assert [least_present(16, drops) for drops in (within, beyond)] == [15, 14]


def test_refused_shares_are_the_design_pages() -> None:
    found = [refused_share(16, 15, drops) for drops in (0.02, 0.05, 0.1)]
    assert [round(share, 2) for share in found] == [0.04, 0.19, 0.49]
    assert [liars_max(n) for n in (5, 16, 30, 128)] == [1, 5, 9, 42]


@pytest.mark.parametrize(
    ("rows", "delta"), [(None, 1e-5), (10_000, 1e-5), (16_000, 6e-6), (10**6, 1e-7)]
)
def test_default_delta(rows: int | None, delta: float) -> None:
    assert default_delta(rows) == pytest.approx(delta)


def test_rates_are_rounded_up() -> None:
    assert rate_units_of(Fraction(1, 16)) == 2**28
    assert rate_units_of(Fraction(1, 3)) * 3 == 2**32 + 2
    assert rate_units_of(Fraction(1)) == 2**32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"noise": 1.0}, "give two of epsilon, noise and rounds"),
        ({"epsilon": None}, "give two of"),
        ({"rows": None}, "how many rows"),
        ({"rows": 15}, "some have none"),
        ({"rows": 16, "epsilon": 21.0}, "at most 20, not 21"),  # One row each is enough.
        ({"delta": 2e-5}, "too large for 10,000 rows: it is at most"),
        ({"delta": 0.0}, "delta is above 0"),
        ({"epsilon": 21.0}, "at most 20, not 21"),
        ({"epsilon": 0.0}, "epsilon is above 0"),
        ({"rounds": 0}, "rounds are 1 to"),
        ({"rounds": RELEASES_MAX + 1}, "rounds are 1 to 1,000,000, not 1,000,001"),
        ({"rounds": None, "noise": 0.1}, "noise is 0.3 to 1000 clips, not 0.1"),
        ({"rounds": None, "noise": 0.3, "epsilon": 0.1}, "a single round costs"),
        ({"epsilon": 1e-6}, "no noise up to 1000 clips"),
        ({"members": 4}, "5 to 128 members, not 4"),
        ({"members": 129}, "5 to 128 members, not 129"),
        ({"drops": 1.0}, "below 1, not 1.0"),
        ({"rate": Fraction(0)}, "a rate is above 0"),
        ({"rate": Fraction(3, 2)}, "a rate is above 0"),
        ({"least": 10}, "11 to 16 of 16, not 10"),
        ({"least": 17}, "11 to 16 of 16, not 17"),
        ({"least": 0}, "11 to 16 of 16, not 0"),
        ({"members": 4, "least": 3}, "5 to 128 members, not 4"),
        ({"drops": 1.5, "least": 15}, "below 1, not 1.5"),
        ({"colluding": 6}, "0 to 5 of 16, not 6"),
        ({"members": 5, "colluding": 1, "least": 4, "steps": 2}, "take 1, or trust nobody"),
        ({"unit": Unit.MEMBER}, "who is in a sum is public"),
        ({"unit": Unit.MEMBER, "rate": Fraction(1), "trust": Trust.NOBODY}, "others' noise"),
        ({"entries": 0}, "a model has parameters"),
        ({"entries": 10**11}, "more than one part in 16"),
    ],
)
def test_refusals(change: dict[str, object], message: str) -> None:
    with pytest.raises(PrivacyError, match=message):
        make_plan(replace(ASKED, **change))  # type: ignore[arg-type]


def test_a_plan_where_the_engine_begins_is_not_refused_for_a_hair() -> None:
    """There epsilon jumps; by Renyi divergences of written noise it was 20.0003."""
    asked = Question(
        members=5,
        rows=305,
        rate=Fraction(1, 4),
        rounds=399,
        epsilon=ENGINE_EPSILON_MAX,
        drops=0.1,
        least=4,
    )
    plan = make_plan(asked)
    assert 0.85 * ENGINE_EPSILON_MAX < plan.epsilon <= ENGINE_EPSILON_MAX
