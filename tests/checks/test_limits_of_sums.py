"""Each named limit of a masked sum: what reaches it passes, one more is refused."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from session_driver import SessionDriver, make_cohort
from session_forgeries import Case, cases, pristine, vary, what_comes_of
from session_stage import SessionStage

from p2pfl_gossip.actions import Action, Send, SendBulk, Work
from p2pfl_gossip.masked_sum import advertising, agreement, cohort, masking, session, voting
from p2pfl_gossip.masked_sum.exchange import SERVES_MAX
from p2pfl_gossip.masked_sum.jobs import MaskChunk
from p2pfl_gossip.masked_sum.journal import _RECORD_BYTES_MAX, read_record
from p2pfl_gossip.masked_sum.mean_summing import REPAIRS_MAX
from p2pfl_gossip.masked_sum.messages import (
    Advert,
    Ballot,
    ChunkHeader,
    Fetch,
    Proposal,
    SessionMessage,
    SumDigest,
    SumHeader,
    Vote,
    Wanted,
)
from p2pfl_gossip.masked_sum.phases import Phase
from p2pfl_gossip.records import MalformedFrame


@pytest.mark.parametrize("size", [cohort.COHORT_SIZE_MIN, cohort.COHORT_SIZE_MAX])
def test_members_of_a_cohort(size: int) -> None:
    assert make_cohort(size, 1)[0].size == size


@pytest.mark.parametrize("size", [cohort.COHORT_SIZE_MIN - 1, cohort.COHORT_SIZE_MAX + 1])
def test_members_of_no_cohort(size: int) -> None:
    with pytest.raises(cohort.RefusedCohort, match=f"a cohort of {size}"):
        make_cohort(size, 1)


def test_owners_of_a_chunk() -> None:
    assert make_cohort(8, 1, owner_count=cohort.OWNERS_MAX)[0].owner_count == cohort.OWNERS_MAX
    with pytest.raises(cohort.RefusedCohort, match="2 to 4 owners a chunk, not 5"):
        make_cohort(8, 1, owner_count=cohort.OWNERS_MAX + 1)


@pytest.mark.parametrize("entries", [0, 2**40])
def test_entries_of_no_vector(entries: int) -> None:
    assert make_cohort(5, 2**40 - 1)[0].vector_entries == 2**40 - 1
    with pytest.raises(cohort.RefusedCohort, match=f"a vector of {entries} entries"):
        make_cohort(5, entries)


def test_chunks_of_a_vector() -> None:
    """However long a vector is, its manifest fits in a frame."""
    longest = 2**40 - 1
    assert make_cohort(6, longest)[0].chunk_count == cohort.CHUNK_COUNT_MAX
    assert make_cohort(7, longest)[0].chunk_count <= cohort.CHUNK_COUNT_MAX


@pytest.mark.parametrize(
    ("kind", "limit"),
    [
        (Advert, advertising.VERSIONS_MAX),
        (Proposal, agreement.PROPOSALS_MAX),
        (Ballot, voting.BALLOTS_MAX),
    ],
)
def test_versions_of_what_a_member_may_say_once(kind: type[SessionMessage], limit: int) -> None:
    stage = pristine(kind)
    author = stage.cohort.members[stage.sender]

    def said(count: int) -> Case:
        versions = [vary(stage, kind, stage.message, number) for number in range(count)]
        return Case([(author, version, None) for version in versions])

    assert what_comes_of(kind, said(limit)) != "ignored"
    assert what_comes_of(kind, said(limit + 1)) == "ignored"


def test_messages_that_come_too_early() -> None:
    stage = pristine(Vote)
    author = stage.cohort.members[stage.sender]
    limit = session.EARLY_MESSAGES_MAX + stage.cohort.chunk_count
    votes = [
        (author, vary(stage, Vote, stage.message, number), None) for number in range(limit + 1)
    ]
    assert what_comes_of(Vote, Case(votes[:limit], is_before=True)) == "taken"
    assert what_comes_of(Vote, Case(votes[: limit + 1], is_before=True)) == "ignored"


def test_fetches_of_one_member() -> None:
    stage = pristine(Fetch)
    author = stage.cohort.members[stage.sender]
    limit = 32 * (stage.cohort.size + stage.cohort.chunk_count)
    fetches = [(author, stage.message, None)] * (limit + 1)
    assert what_comes_of(Fetch, Case(fetches[:limit])).startswith("taken")
    assert what_comes_of(Fetch, Case(fetches)) == "refused: too_many_fetches"


@pytest.mark.parametrize(("what", "kind"), [(Wanted.CHUNK, ChunkHeader), (Wanted.SUM, SumHeader)])
def test_bodies_given_on_one_members_asking(what: Wanted, kind: type[SessionMessage]) -> None:
    stage = SessionStage(Advert, Phase.ADVERTISE).stop_at()
    stage.is_stopped = True
    stage.go_on(lambda: all(it.phase == Phase.DONE for it in stage.machines.values()))
    asker = stage.cohort.members[1]
    mine = next(chunk for chunk in range(stage.cohort.chunk_count) if is_summed(stage, chunk))
    fetch = Fetch(stage.cohort.session, what, mine, stage.receiver if what == Wanted.CHUNK else 0)
    given = 0
    for _ in range(SERVES_MAX + 2):
        for action in stage.machine.on_message(stage.now_s, asker, fetch):
            if isinstance(action, Work):  # An own chunk is masked again.
                stage.perform(stage.receiver, action)
            given += isinstance(action, SendBulk) and isinstance(action.header, kind)
    sent = len([1 for rank, message in stage.said if rank == 0 and isinstance(message, kind)])
    stage.run_rest(until_s=stage.now_s + 1)
    again = [1 for rank, message in stage.said if rank == 0 and isinstance(message, kind)]
    assert given + len(again) - sent == SERVES_MAX


def is_summed(stage: SessionStage, chunk: int) -> bool:
    members = tuple(range(stage.cohort.size))
    return stage.receiver in stage.cohort.owners_of(chunk, members)


def test_bytes_of_a_journals_record() -> None:
    with pytest.raises(MalformedFrame) as looked_at:
        read_record(bytes(_RECORD_BYTES_MAX))
    assert "more than" not in str(looked_at.value)
    with pytest.raises(MalformedFrame, match="257 bytes, more than 256"):
        read_record(bytes(_RECORD_BYTES_MAX + 1))


class CountingSession(SessionDriver):
    """Counts, for each member, chunks that are masked at once and bytes that have not left."""

    SENDING_S = 0.3

    def __init__(self, entries: int) -> None:
        built, people = make_cohort(5, entries)
        super().__init__(built, people, 1)
        self.masking: Counter[int] = Counter()
        self.masking_most = 0
        self.unsent: Counter[int] = Counter()
        self.unsent_at_start: list[int] = []

    def perform(self, rank: int, action: Action) -> None:
        if isinstance(action, Work) and isinstance(action.job, MaskChunk):
            self.unsent_at_start.append(self.unsent[rank])
            self.masking[rank] += 1
            self.masking_most = max(self.masking_most, self.masking[rank])
        super().perform(rank, action)

    def feed(self, rank: int, give: Callable[[Any], list[Action]], of: int = -1) -> None:
        def counted(each: Any) -> list[Action]:
            before = len(each._masking.headers)
            actions = give(each)
            self.masking[rank] -= len(each._masking.headers) - before
            return actions

        super().feed(rank, counted, of)

    def deliver_body(self, sender: int, action: SendBulk, later: Callable[..., None]) -> None:
        if isinstance(action.header, ChunkHeader):
            self.unsent[sender] += action.size_bytes

        def slowly(_delay_s: float, give: Callable[[Any], list[Action]]) -> None:
            def left(each: Any) -> list[Action]:
                if isinstance(action.header, ChunkHeader):
                    self.unsent[sender] -= action.size_bytes
                return give(each)

            later(self.SENDING_S, left)

        super().deliver_body(sender, action, slowly)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cohort, "CHUNK_ENTRIES", 4)
    monkeypatch.setattr(masking, "SECOND_JOB_ENTRIES", 100)


@pytest.mark.usefixtures("small_chunks")
def test_chunks_masked_at_once() -> None:
    session = CountingSession(100)
    assert session.cohort.chunk_count > 2 * masking.MASK_JOBS_MAX
    session.run()
    assert session.masking_most == masking.MASK_JOBS_MAX
    assert len(session.summed()) == 5


@pytest.mark.usefixtures("small_chunks")
def test_chunks_of_a_short_vector_are_masked_one_by_one() -> None:
    session = CountingSession(99)
    session.run()
    assert session.masking_most == 1
    assert len(session.summed()) == 5


@pytest.mark.usefixtures("small_chunks")
def test_masked_bytes_that_wait_for_a_link(monkeypatch: pytest.MonkeyPatch) -> None:
    """No chunk is masked while as many wait; the least that may wait is one chunk's copies."""
    monkeypatch.setattr(masking, "UNSENT_BYTES_MAX", 100)
    session = CountingSession(100)
    session.run()
    assert 0 < max(session.unsent_at_start) < masking.UNSENT_BYTES_MAX
    assert len(session.summed()) == 5
    monkeypatch.setattr(masking, "UNSENT_BYTES_MAX", 64 * 2**20)
    unbound = CountingSession(100)
    unbound.run()
    assert max(unbound.unsent_at_start) >= 100


def test_waits_for_a_sum_that_nobody_can_work_out() -> None:
    """Two owners keep to themselves what they put into their chunk, and its sum."""
    built, people = make_cohort(8, 40)

    def keep(driver: SessionDriver, rank: int, action: Action) -> list[Action]:
        if driver.machines[rank].phase < Phase.REVEAL:
            return [action]
        said = action.message if isinstance(action, Send) else getattr(action, "header", None)
        is_of_it = isinstance(said, (SumDigest, SumHeader, ChunkHeader)) and said.chunk == 4
        return [] if is_of_it else [action]

    waits_s = built.patience.sums_s * (REPAIRS_MAX + 1)
    session = SessionDriver(built, people, 1, rewrite={4: keep, 5: keep}).run(until_s=waits_s)
    assert set(session.summed()) <= {4, 5}
    session.run_rest(waits_s + 3)
    assert [session.summed()[rank].kept for rank in (0, 1, 2, 3, 6, 7)] == 6 * [{4: "no_sum"}]


def test_every_case_of_a_message_is_made_anew() -> None:
    """What limits are tested with is not used up by the first."""
    assert cases(Vote).keys() == cases(Vote).keys()
