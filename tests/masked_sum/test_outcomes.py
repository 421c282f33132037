# mypy: disable-error-code="arg-type, attr-defined"
"""What a member has at the end of a session, what it cost, and what it keeps of its secrets."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from group_driver import GroupDriver, make_epoch
from session_driver import Patience, SessionDriver, make_cohort

from p2pfl_gossip.actions import Action, Job, RemoteProtocolError, Send, SendBulk, Work
from p2pfl_gossip.masked_sum.jobs import DecodeSum, DigestSum, MaskChunk, Rebuild, Unmask, perform
from p2pfl_gossip.masked_sum.messages import (
    Ack,
    Fetch,
    Receipt,
    Reveal,
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
        assert len(masking.vector) == 0
        assert masking.vector.base is None  # Else the whole of it would be kept.
        for kept in (masking.headers, masking._queue, masking._idle_streams, masking._masks):
            assert not kept
        assert masking.rounding_key == b""
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


def before_any_sum(loses: Callable[[int, Any], bool] = lambda _receiver, _said: False) -> Any:
    """A group's session in which all are to work out sums, and nobody hears of one.

    Args:
        loses: what else is lost: whether it is, by receiver and message.
    """
    driver = GroupDriver(*make_epoch(7, 40, patience=LONG), 1)
    perform_action = driver.perform

    def lose(rank: int, action: Action) -> None:
        if isinstance(action, Send | SendBulk):
            said = action.message if isinstance(action, Send) else action.header
            receiver = driver.cohort.rank_of(action.receiver)
            assert receiver is not None
            if isinstance(said, SumDigest | SumHeader) or loses(receiver, said):
                driver.said.append((rank, said))
                return
        perform_action(rank, action)

    driver.perform = lose  # type: ignore[method-assign]
    driver.run(until_s=10)
    assert driver.machines[0].phase == Phase.REVEAL
    return driver


def ring_with_us_at(driver: Any, place: int) -> tuple[int, tuple[int, ...]]:
    """A chunk of which we, member 0, are the owner or deputy of a place; and its ring."""
    everybody = tuple(range(driver.cohort.size))
    rings = ((it, driver.cohort.ring_of(it, everybody)) for it in range(driver.cohort.chunk_count))
    return next((chunk, ring) for chunk, ring in rings if ring[place] == 0)


def asked_for(actions: list[Action]) -> list[tuple[int, int]]:
    """What members are asked for: kind and first number."""
    sent = [it.message for it in actions if isinstance(it, Send)]
    return [(it.what, it.first) for it in sent if isinstance(it, Fetch)]


@pytest.mark.parametrize(("place", "is_called"), [(2, True), (3, True), (4, False)])
def test_deputies_step_in_as_soon_as_an_owner_is_gone(place: int, is_called: bool) -> None:
    """Two of them: with the other owner's word, if it comes, that is m + 1."""
    driver = before_any_sum()
    machine = driver.machines[0]
    assert machine._revealing.masks is not None
    chunk, ring = ring_with_us_at(driver, place)
    asked = asked_for(machine.on_peer_down(driver.now_s, driver.cohort.members[ring[0]]))
    assert ((Wanted.CHUNK, chunk) in asked) == is_called


@pytest.mark.parametrize("is_back", [False, True])
def test_a_deputy_that_was_called_stays_away_once_one_before_it_has_spoken(is_back: bool) -> None:
    """It waits for shares; by the time that it has the masks it may not be needed any more."""
    driver = before_any_sum(lambda receiver, said: receiver == 0 and isinstance(said, Reveal))
    machine, peers = driver.machines[0], driver.cohort.members
    chunk, (owner, _, deputy, *_) = ring_with_us_at(driver, 4)
    for gone in (owner, deputy):
        machine.on_peer_down(driver.now_s, peers[gone])
    if is_back:
        said = next(
            it
            for rank, it in driver.said
            if rank != 0 and isinstance(it, SumDigest) and it.chunk == chunk
        )
        number = chunk.to_bytes(8, "little")
        signature = driver.machines[deputy]._core.sign(b"sum", said.ballot, number, said.digest)
        word = msgspec.structs.replace(said, member=deputy, signature=signature)
        machine.on_message(driver.now_s, peers[deputy], word)
    asked: list[tuple[int, int]] = []
    for rank in (1, 2, 3, 4, 5, 6):
        reveal = next(it for by, it in driver.said if by == rank and isinstance(it, Reveal))
        actions = machine.on_message(driver.now_s, peers[rank], reveal)
        for action in actions:
            if isinstance(action, Work):
                result = perform(action.job)
                actions += driver.desks[0].on_work_done(driver.now_s, action.ticket, result)
        asked += asked_for(actions)
    assert machine._revealing.masks is not None
    assert ((Wanted.CHUNK, chunk) in asked) == (not is_back)
