"""The lottery of the draw, against figures worked out elsewhere and by trying."""

from random import Random

import pytest

from p2pfl_gossip.cohorts import cohort_sizes, draw_cohorts
from p2pfl_gossip.draw_risk import draw_risk, more_liars_than


@pytest.mark.parametrize(("size", "chance"), [(8, 0.92), (16, 0.19), (32, 0.009)])
def test_the_odds_of_a_thousand_peers_with_a_tenth_of_liars(size: int, chance: float) -> None:
    # Of docs/threats.md, for a hundred rounds; there 1,000 is taken as a multiple of the size.
    risk = draw_risk(1000, size, 100, 0.1)
    assert risk.liars == 100
    assert risk.peer_exceeded == pytest.approx(chance, rel=0.12)
    assert risk.claim == "against curious members"


def test_a_tail_is_that_of_counting() -> None:
    # 10 peers, 3 liars, 4 drawn: 2 of them lie in 3 * C(7, 2) = 63 of 210 ways, all 3 in 7.
    assert more_liars_than(1, 10, 3, 4) == 70 / 210
    assert more_liars_than(3, 10, 3, 4) == 0


def test_drawn_cohorts_keep_the_odds() -> None:
    peers, size, rounds, liars = 23, 5, 3000, 5
    random = Random(1)
    lying = set(random.sample(range(1, peers), liars))  # Peer 0 is honest.
    exceeded = met = 0
    for round_ in range(rounds):
        cohorts = draw_cohorts(b"seed", round_, peers, size)
        for cohort in range(cohorts.count):
            members = cohorts.members_of(cohort)
            has_too_many = sum(member in lying for member in members) > (len(members) + 2) // 3 - 1
            exceeded += has_too_many
            met += has_too_many and 0 in members
    risk = draw_risk(peers, size, 1, liars / peers)
    assert risk.cohorts_exceeded == pytest.approx(exceeded / rounds, rel=0.05)
    assert risk.peer_exceeded == pytest.approx(met / rounds, rel=0.1)


def test_malice_is_claimed_to_be_borne_only_by_odds_of_one_in_a_million() -> None:
    assert draw_risk(1000, 8, 100, 0.0).claim == "against malicious members"
    assert draw_risk(20, 20, 1000, 0.3).claim == "against malicious members"  # 6 liars, m = 6.
    assert draw_risk(20, 20, 1, 0.35).claim == "against curious members"
    small, large = draw_risk(1000, 100, 10, 0.1), draw_risk(1000, 100, 1_000_000, 0.1)
    assert small.cohorts_exceeded <= 1e-6 < large.cohorts_exceeded
    assert (small.claim, large.claim) == ("against malicious members", "against curious members")


@pytest.mark.parametrize(("peers", "size"), [(23, 5), (32, 10), (8, 8), (1000, 32)])
def test_sizes_are_those_of_the_draw(peers: int, size: int) -> None:
    cohorts = draw_cohorts(b"seed", 0, peers, size)
    drawn = [len(cohorts.members_of(cohort)) for cohort in range(cohorts.count)]
    assert {n: drawn.count(n) for n in sorted(set(drawn))} == cohort_sizes(peers, size)
