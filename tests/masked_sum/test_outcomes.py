# mypy: disable-error-code="arg-type, attr-defined"
"""What a member has at the end of a session, what it cost, and what it keeps of its secrets."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from group_driver import GroupDriver, make_epoch
from session_driver import Patience, SessionDriver, make_cohort

from p2pfl_gossip.actions import Job, RemoteProtocolError, Send
from p2pfl_gossip.masked_sum.jobs import DecodeSum, DigestSum, MaskChunk, Rebuild, Unmask
from p2pfl_gossip.masked_sum.messages import (
    Ack,
    Receipt,
    SessionMessage,
    SumDigest,
    SumHeader,
    Vote,
    Wanted,
)
from p2pfl_gossip.masked_sum.phases import Phase
from p2pfl_gossip.records import Record

SIZE, ENTRIES = 5, 12
LONG = Patience(gather_s=1000, takeover_s=1000, chunks_s=1000, sums_s=1000, session_s=10**5)


class CountingJobs(SessionDriver):
    """Counts the jobs of each kind that each member has done."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.jobs: Counter[tuple[int, type[Job]]] = Counter()

    def do(self, rank: int, job: Job) -> Record:
        self.jobs[rank, type(job)] += 1
        return super().do(rank, job)


def test_each_job_of_a_session_is_done_once() -> None:
    driver = CountingJobs(*make_cohort(SIZE, ENTRIES), 1).run()
    assert len(driver.check_exact()) == SIZE
    cohort = driver.cohort
    for rank in range(SIZE):
        owned = cohort.owned_by(rank, tuple(range(SIZE)))
        assert driver.jobs[rank, MaskChunk] == cohort.chunk_count
        assert driver.jobs[rank, Rebuild] == 1
        assert driver.jobs[rank, Unmask] == len(owned)
        assert driver.jobs[rank, DigestSum] <= cohort.chunk_count - 1
        assert driver.jobs[rank, DecodeSum] == cohort.chunk_count


def test_clipped_entries_are_counted_over_all_chunks() -> None:
    cohort, people = make_cohort(SIZE, ENTRIES)
    vectors = [np.zeros(ENTRIES, np.float32) for _ in range(SIZE)]
    for rank, vector in enumerate(vectors):
        vector[: 2 * rank] = 9.0
    driver = SessionDriver(cohort, people, 1, vectors=vectors).run()
    assert cohort.chunk_count > 4
    clipped = {rank: it.clipped for rank, it in driver.check_exact().items()}
    assert clipped == {rank: 2 * rank for rank in range(SIZE)}


@pytest.mark.parametrize("kind", ["cohort", "group"])
def test_t_members_are_enough_and_their_own_word_counts(kind: str) -> None:
    """Of seven, five: each needs all five ACKs and votes, with its own."""
    driver: Any
    if kind == "cohort":
        driver = SessionDriver(*make_cohort(7, 40, patience=LONG), 1, away=(1, 2))
    else:
        epoch = make_epoch(7, 40, patience=LONG)
        driver = GroupDriver(*epoch, 1, listed=(0, 3, 4, 5, 6), tells_down=True)
    driver.run(absent=(1, 2), until_s=20)
    sums = driver.check_exact()
    assert sorted(sums) == [0, 3, 4, 5, 6]
    said = Counter(type(message) for _, message in driver.said)
    assert said[Ack] == said[Vote] == 5 * 6


def test_nothing_of_the_vector_is_kept_once_it_is_over() -> None:
    driver = SessionDriver(*make_cohort(SIZE, ENTRIES), 1).run()
    for machine in driver.machines.values():
        masking = machine._masking
        assert len(masking._vector) == 0
        assert masking._vector.base is None  # Else the whole of it would be kept.
        for kept in (masking.headers, masking._queue, masking._idle_streams, masking._masks):
            assert not kept
        assert masking._rounding_key == b""
        assert not machine._exchange._arrived
        assert len(machine._summing._vector) == len(machine._summing.mean) == 0
        assert machine._summing._own == machine._summing._bodies == {}


# --- chunks of a vector too short for all to own some --------------------------------------------


def test_who_owns_nothing_gives_no_receipt() -> None:
    cohort, people = make_cohort(SIZE, 2)
    everybody = tuple(range(SIZE))
    idle = [rank for rank in everybody if not cohort.owned_by(rank, everybody)]
    assert idle
    driver = SessionDriver(cohort, people, 1)
    driver.is_lost = lambda sender: driver.machines[sender].phase >= Phase.VOTE  # type: ignore[method-assign]
    driver.run(until_s=2.0)
    assert not [rank for rank, it in driver.said if isinstance(it, Receipt) and rank in idle]
    reader = next(rank for rank in everybody if rank not in idle)
    machine, tau2 = driver.machines[reader], driver.machines[reader]._agreement.tau2
    receipt = Receipt(cohort.session, tau2, idle[0], b"", bytes(64))
    with pytest.raises(RemoteProtocolError) as refused:
        machine.on_message(driver.now_s, cohort.members[idle[0]], receipt)
    assert refused.value.reason == "not_an_owner"


# --- what a driver may ask in any order ----------------------------------------------------------


def test_what_two_headers_lead_to_is_done_for_both() -> None:
    """A driver may ask for the sizes of several bodies before anything else happens."""
    driver = GroupDriver(*make_epoch(SIZE, ENTRIES, patience=LONG), 1)
    driver.is_lost = lambda sender: driver.machines[sender].phase >= Phase.REVEAL  # type: ignore[method-assign]
    driver.run(until_s=10)
    machine, session = driver.machines[0], driver.cohort.session
    assert machine.phase == Phase.REVEAL
    ballot, digest = machine._summing.ballot, b"d" * 32

    def said(kind: type[SessionMessage], rank: int, chunk: int) -> Any:
        number = chunk.to_bytes(8, "little")
        signature = driver.machines[rank]._core.sign(b"sum", ballot, number, digest)
        return kind(session, ballot, rank, chunk, digest, signature)  # type: ignore[call-arg]

    # Two signed digests alike count; of neither chunk the first owner has spoken.
    everybody = tuple(range(SIZE))
    owned = machine._core.cohort.owned_by(0, everybody)
    chunks = [chunk for chunk in range(driver.cohort.chunk_count) if chunk not in owned][:2]
    for chunk in chunks:
        _, second = driver.cohort.owners_of(chunk, everybody)
        sender = driver.cohort.members[second]
        machine.on_message(driver.now_s, sender, said(SumDigest, second, chunk))
    for chunk in chunks:
        deputy = next(rank for rank in machine._summing._deputies[chunk] if rank)
        sender = driver.cohort.members[deputy]
        machine.body_bytes(driver.now_s, sender, said(SumHeader, deputy, chunk))
    actions = machine.on_header(driver.now_s)
    asked = [(it.message.what, it.message.first) for it in actions if isinstance(it, Send)]
    assert asked == [(Wanted.SUM, chunk) for chunk in chunks]
    assert len(chunks) == 2
    assert machine.on_header(driver.now_s) == []
