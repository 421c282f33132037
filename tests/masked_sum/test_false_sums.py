"""Liars that tell false sums: nobody believes one, unless both vouchers of a chunk lie alike."""

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from session_driver import Lie, Rewrite, SessionDriver, make_cohort

from p2pfl_crypto.transcripts import sum_digest
from p2pfl_gossip.actions import Action, Job, Send, SendBulk
from p2pfl_gossip.masked_sum.jobs import ChunkSum, Unmask
from p2pfl_gossip.masked_sum.machine import Summed
from p2pfl_gossip.masked_sum.messages import Fetch, Reveal, SumDigest, SumHeader, Wanted
from p2pfl_gossip.masked_sum.phases import Phase
from p2pfl_gossip.records import Record

replace: Callable[..., Any] = msgspec.structs.replace

BEFORE_REPAIRS_S = 4.0
"""The drivers' sessions reach REVEAL at about 1 s, and ask again for sums 4 s later."""


def false(job: Job, result: Record) -> Record:
    """Find another sum of each chunk than there is; all who do so find the same."""
    if not isinstance(job, Unmask) or not isinstance(result, ChunkSum):
        return result
    body = result.body.copy()
    body[:-1] += np.uint32(1000)
    return ChunkSum(result.chunk, body, sum_digest(job.ballot, job.chunk, body.tobytes()))


def lying(*liars: int) -> dict[int, Lie]:
    return dict.fromkeys(liars, false)


def honest(driver: SessionDriver) -> dict[int, Summed]:
    return {rank: it for rank, it in driver.summed().items() if rank not in driver.rewrite}


def false_chunks(driver: SessionDriver, outcome: Summed) -> list[int]:
    """Which chunks of a mean are not those of its members' vectors."""
    members = tuple(sorted(driver.cohort.members.index(member) for member in outcome.members))
    mean, _ = driver.expected_mean(members)
    parts = [driver.cohort.entries_of(chunk) for chunk in range(driver.cohort.chunk_count)]
    return [
        chunk
        for chunk, part in enumerate(parts)
        if not np.array_equal(mean[part], outcome.mean[part])
    ]


def step_ins(driver: SessionDriver, chunk: int) -> set[int]:
    """Who asked for the masked chunks of others, which only deputies of this session do."""
    return {
        rank
        for rank, message in driver.said
        if isinstance(message, Fetch) and message.what == Wanted.CHUNK and message.first == chunk
    }


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    ("n", "liars"), [(5, (3,)), (8, (4, 6)), (8, (4, 7)), (10, (4, 6, 8)), (10, (4, 7, 9))]
)
def test_owners_and_deputies_that_lie_alike_are_believed_by_nobody(
    n: int, liars: tuple[int, ...], seed: int
) -> None:
    """An owner and a deputy, or two, say the same; so the rest takes more, and takes no longer."""
    cohort, people = make_cohort(n, 40)
    driver = SessionDriver(cohort, people, seed, lies=lying(*liars)).run(until_s=BEFORE_REPAIRS_S)
    outcomes = honest(driver)
    assert len(outcomes) == n - len(liars)
    for outcome in outcomes.values():
        assert outcome.kept == {}
        assert false_chunks(driver, outcome) == []
    driver.run_rest()
    assert len({driver.machines[rank].signed.digest for rank in outcomes}) == 1
    assert set(driver.blamed()) <= set(liars)


@pytest.mark.parametrize("liar", [4, 6])
def test_an_owner_that_is_left_alone_and_its_deputy_must_agree(liar: int) -> None:
    """Of chunk 4, one owner is gone: the other and the first deputy are its vouchers."""

    def dies(driver: SessionDriver, rank: int, _action: Action) -> bool:
        return rank == 5 and driver.machines[rank].phase == Phase.CHUNK

    cohort, people = make_cohort(8, 40)
    driver = SessionDriver(cohort, people, 1, before=dies, lies=lying(liar)).run()
    outcomes = honest(driver)
    assert len(outcomes) == 6
    assert all(it.kept == {} and false_chunks(driver, it) == [] for it in outcomes.values())
    assert set(driver.blamed()) == {liar}


@pytest.mark.parametrize(
    ("liars", "asking"), [((4,), {6, 7, 8}), ((4, 6), {6, 7, 8, 9}), ((4, 6, 7), {6, 7, 8, 9, 0})]
)
def test_as_many_deputies_step_in_as_it_takes(liars: tuple[int, ...], asking: set[int]) -> None:
    """Owners 4 and 5 of chunk 4 disagree; m is 3, so four must say the same."""
    cohort, people = make_cohort(10, 40, round=0)
    driver = SessionDriver(cohort, people, 1, lies=lying(*liars)).run()
    assert step_ins(driver, 4) == asking
    assert step_ins(driver, 1) == set()


def of_sum(action: Action, chunk: int) -> bool:
    """Whether a member tells its sum of a chunk."""
    said = action.message if isinstance(action, Send) else getattr(action, "header", None)
    return isinstance(said, (SumDigest, SumHeader)) and said.chunk == chunk


def test_where_nobody_tells_a_sum_more_and_more_step_in() -> None:
    """First m + 1 deputies, then all."""
    cohort, people = make_cohort(10, 40, round=0)

    def mute(_driver: SessionDriver, _rank: int, action: Action) -> list[Action]:
        return [] if of_sum(action, 4) else [action]

    muted: dict[int, Rewrite] = dict.fromkeys(range(10), mute)
    driver = SessionDriver(cohort, people, 1, rewrite=muted).run(until_s=6.0)
    assert step_ins(driver, 4) == {6, 7, 8, 9}
    driver.run_rest()
    assert step_ins(driver, 4) == {6, 7, 8, 9, 0, 1, 2, 3}
    assert all(outcome.kept == {} for outcome in driver.check_exact().values())


def test_a_lying_deputy_that_nobody_asked_makes_no_others_step_in() -> None:
    cohort, people = make_cohort(10, 40, round=0)
    has_told: list[bool] = []

    def unasked(driver: SessionDriver, rank: int, action: Action) -> list[Action]:
        """With the first shares that it reveals, tell everybody a sum of every chunk."""
        if any(of_sum(action, chunk) for chunk in range(cohort.chunk_count)):
            return []
        if not (isinstance(action, Send) and isinstance(action.message, Reveal)) or has_told:
            return [action]
        has_told.append(True)
        reveal, told = action.message, list[Action]([action])
        for chunk in range(cohort.chunk_count):
            number, digest = chunk.to_bytes(8, "little"), bytes(32)
            signature = driver.machines[rank]._core.sign(b"sum", reveal.ballot, number, digest)
            said = SumDigest(reveal.session, reveal.ballot, rank, chunk, digest, signature)
            others = (member for other, member in enumerate(cohort.members) if other != rank)
            told += [replace(action, receiver=member, message=said) for member in others]
        return told

    driver = SessionDriver(cohort, people, 1, rewrite={6: unasked}).run(until_s=BEFORE_REPAIRS_S)
    outcomes = honest(driver)
    assert len(outcomes) == 9
    assert all(it.kept == {} and false_chunks(driver, it) == [] for it in outcomes.values())
    # It is a voucher of chunks 5 and 6.
    assert [chunk for chunk in range(8) if step_ins(driver, chunk)] == [5, 6]


@pytest.mark.parametrize("seed", range(3))
def test_two_lying_vouchers_falsify_their_chunk_and_no_other(seed: int) -> None:
    """What is not claimed (docs/threats.md): 4 and 5 own chunk 4."""
    cohort, people = make_cohort(8, 40)
    driver = SessionDriver(cohort, people, seed, lies=lying(4, 5)).run()
    outcomes = honest(driver)
    assert len(outcomes) == 6
    assert all(false_chunks(driver, outcome) == [4] for outcome in outcomes.values())


@pytest.mark.parametrize("seed", range(3))
def test_of_two_means_by_lying_vouchers_none_is_certified(seed: int) -> None:
    """They tell half of the others another sum: each honest member signs the one that it has."""
    cohort, people = make_cohort(8, 40)

    def two_faced(driver: SessionDriver, rank: int, action: Action) -> list[Action]:
        if not of_sum(action, 4):
            return [action]
        said: Any = action.message if isinstance(action, Send) else getattr(action, "header", None)
        receiver = cohort.rank_of(action.receiver)  # type: ignore[union-attr]
        assert receiver is not None
        own = driver.machines[rank]._summing._own[4]
        body = own.body.copy()
        # Far apart: steps of one vanish where a mean is rounded to float32.
        body[:-1] += np.uint32(1000 * (1 + receiver % 2))
        digest = sum_digest(said.ballot, 4, body.tobytes())
        number = (4).to_bytes(8, "little")
        signature = driver.machines[rank]._core.sign(b"sum", said.ballot, number, digest)
        changed = replace(said, digest=digest, signature=signature)
        if isinstance(action, SendBulk):
            return [replace(action, header=changed, parts=(body,))]
        return [replace(action, message=changed)]

    driver = SessionDriver(cohort, people, seed, rewrite=dict.fromkeys((4, 5), two_faced)).run()
    outcomes = honest(driver)
    assert len({outcome.mean.tobytes() for outcome in outcomes.values()}) == 2
    assert all(false_chunks(driver, outcome) == [4] for outcome in outcomes.values())
    assert all(driver.machines[rank].signed is None for rank in outcomes)
