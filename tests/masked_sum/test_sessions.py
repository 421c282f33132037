# mypy: disable-error-code="comparison-overlap"
"""Whole sessions: exact sums without faults, with drops in each phase, and refusal beyond."""

import numpy as np
import pytest
from sampled import sampled
from session_driver import SessionDriver, make_cohort
from session_faults import draw_drops

from p2pfl_crypto.statements import sign_statement
from p2pfl_gossip.actions import Action, Send
from p2pfl_gossip.masked_sum.cohort import SMALL_CHUNK_ENTRIES, SPREAD_CHUNKS
from p2pfl_gossip.masked_sum.machine import Summed
from p2pfl_gossip.masked_sum.messages import Manifest, Receipt, Reveal


@pytest.mark.parametrize("n", [5, 6, 7, 8, 12, 16])
def test_without_faults_all_members_get_the_exact_mean_of_all(n: int) -> None:
    cohort, people = make_cohort(n, 403)
    driver = SessionDriver(cohort, people, n).run()
    outcomes = driver.check_exact()
    assert len(outcomes) == n
    first = outcomes[0]
    for outcome in outcomes.values():
        assert outcome.members == cohort.members
        assert outcome.kept == {}
        assert outcome.blames == ()
        assert (outcome.mean == first.mean).all()
    assert driver.refusals == driver.disconnects == []
    plain = sum(
        np.float64(weight) * vector
        for weight, vector in zip(driver.weights, driver.vectors, strict=True)
    ) / sum(driver.weights)
    clipped = max(abs(vector).max() for vector in driver.vectors) > cohort.clip
    bound = 1.5 * n * cohort.clip / first.weight_total + 1e-6
    assert clipped or np.abs(first.mean - plain).max() < bound


@pytest.mark.parametrize("seed", sampled(range(30), every=5))
def test_random_cohorts_with_random_drops_get_the_exact_fixed_point_sum(seed: int) -> None:
    # benchmarks/masked_sum_exactness.py runs a thousand of them, with up to 64 members.
    driver = draw_drops(seed, members_max=12).run()
    driver.check_safety()
    outcomes = driver.check_exact()
    alive = [rank for rank in range(driver.cohort.size) if rank not in driver.dead]
    assert sorted(outcomes) == alive, driver.reasons()


def test_a_member_sends_about_three_vectors() -> None:
    cohort, people = make_cohort(8, 40_000)
    driver = SessionDriver(cohort, people, 1).run()
    vector_bytes = 4 * 40_000
    # (r + 1)(n - 1)/n vectors, and small messages.
    assert max(driver.sent_bytes.values()) < 3 * vector_bytes * 7 / 8 + 60_000
    assert isinstance(driver.outcome(0), Summed)


@pytest.mark.parametrize("n", [5, 9, 16])
@pytest.mark.parametrize("owner_count", [2, 3, 4])
def test_owners_are_the_head_of_a_chunks_ring(n: int, owner_count: int) -> None:
    cohort, _ = make_cohort(n, 3 * n, owner_count=owner_count)
    for members in (tuple(range(n)), tuple(range(1, n)), (0, 2, 4)):
        for chunk in range(cohort.chunk_count):
            owners = cohort.owners_of(chunk, members)
            assert owners == cohort.ring_of(chunk, members)[:owner_count]
            for rank in range(n):
                assert (chunk in cohort.owned_by(rank, members)) == (rank in owners)


@pytest.mark.parametrize(
    ("n", "entries", "chunks"),
    [
        (5, 3, 3),
        (5, 100, 5),
        (8, 100, 8),
        (64, 5, 5),
        (64, 100, SPREAD_CHUNKS),
        (64, 10 * SMALL_CHUNK_ENTRIES, 10),
        (64, 64 * SMALL_CHUNK_ENTRIES - 1, 63),
        (64, 64 * SMALL_CHUNK_ENTRIES, 64),
        (16, 1_000_000, 16),
        (16, 17 * 2**20, 32),
    ],
)
def test_a_short_vector_has_few_chunks(n: int, entries: int, chunks: int) -> None:
    assert make_cohort(n, entries)[0].chunk_count == chunks


def test_other_members_own_the_chunks_of_a_short_vector_in_the_next_round() -> None:
    members, owned = tuple(range(32)), dict.fromkeys(range(32), 0)
    for round_ in range(32):
        cohort, _ = make_cohort(32, 100, round=round_)
        for rank in members:
            owned[rank] += len(cohort.owned_by(rank, members))
    assert set(owned.values()) == {2 * SPREAD_CHUNKS}


def test_only_owners_give_receipts_and_see_shares() -> None:
    cohort, people = make_cohort(12, 40)
    owners = [rank for rank in range(12) if cohort.owned_by(rank, tuple(range(12)))]
    assert len(owners) == SPREAD_CHUNKS + 1
    seen: dict[int, None] = {}

    def watch(driver: SessionDriver, _rank: int, action: Action) -> bool:
        if isinstance(action, Send) and isinstance(action.message, Reveal):
            receiver = driver.cohort.rank_of(action.receiver)
            assert receiver is not None
            seen[receiver] = None
        return False

    driver = SessionDriver(cohort, people, 1, before=watch).run()
    assert len(driver.check_exact()) == 12
    receipts = dict.fromkeys(rank for rank, it in driver.said if isinstance(it, Receipt))
    assert sorted(receipts) == sorted(seen) == owners


def test_a_receipt_of_who_owns_nothing_is_refused() -> None:
    cohort, people = make_cohort(12, 40)
    liar = next(rank for rank in range(12) if not cohort.owned_by(rank, tuple(range(12))))

    def lie(_driver: SessionDriver, rank: int, action: Action) -> list[Action]:
        if not isinstance(action, Send) or not isinstance(action.message, Manifest):
            return [action]
        tau2 = action.message.tau2
        signature = sign_statement(people[rank], b"receipt", rank, cohort.session, tau2, b"")
        receipt = Receipt(cohort.session, tau2, rank, b"", signature)
        return [action, Send(action.receiver, receipt)]

    driver = SessionDriver(cohort, people, 1, rewrite={liar: lie}).run()
    assert {(of, reason) for _, of, reason in driver.refusals} == {(liar, "not_an_owner")}
    assert len(driver.check_exact()) == 12
