# mypy: disable-error-code="arg-type, attr-defined"
"""What members ask for again: what was lost is asked for where it is, and given as it was said."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from group_driver import GroupDriver, make_epoch
from session_driver import SessionDriver, make_cohort
from session_stage import SessionStage

from p2pfl_gossip.actions import Action, Send, SendBulk, Work
from p2pfl_gossip.masked_sum.jobs import perform
from p2pfl_gossip.masked_sum.messages import (
    Ack,
    Advert,
    AdvertList,
    Ballot,
    ChunkHeader,
    Fetch,
    Header,
    Manifest,
    MeanSignature,
    Proposal,
    Receipt,
    Reveal,
    SessionMessage,
    Share,
    SumDigest,
    SumHeader,
    Vote,
    Wanted,
)
from p2pfl_gossip.masked_sum.phases import Phase

SIZE, ENTRIES = 5, 12
ASKER, HOLDER, THIRD, LEADER = 0, 1, 2, 3


def whole_session(kind: str) -> Any:
    """A session that all have come to the end of, and not let go of."""
    make: Callable[..., Any] = SessionDriver if kind == "cohort" else GroupDriver
    built = make_cohort(SIZE, ENTRIES) if kind == "cohort" else make_epoch(SIZE, ENTRIES)
    driver = make(*built, 1).run(until_s=8.0)
    assert {machine.phase for machine in driver.machines.values()} == {Phase.DONE}
    return driver


ended = cache(whole_session)


def said_by(driver: Any, rank: int, kind: type) -> list[Any]:
    return [message for sender, message in driver.said if sender == rank and type(message) is kind]


def given(driver: Any, asker: int, holder: int, what: Wanted, *which: int) -> list[Any]:
    """What a member answers; a body's header, where that is what it sends."""
    actions = driver.machines[holder].on_message(
        driver.now_s,
        driver.cohort.members[asker],
        Fetch(driver.cohort.session, what, *which),
    )
    assert {action.receiver for action in actions} <= {driver.cohort.members[asker]}
    return [
        action.message if isinstance(action, Send) else action.header
        for action in actions
        if isinstance(action, Send | SendBulk)
    ]


@pytest.mark.parametrize(
    ("what", "which", "kind", "author"),
    [
        (Wanted.ADVERT, THIRD, Advert, THIRD),
        (Wanted.ADVERT, HOLDER, Advert, HOLDER),
        (Wanted.ADVERT_LIST, 0, AdvertList, LEADER),
        (Wanted.PROPOSAL, 0, Proposal, LEADER),
        (Wanted.ACK, 0, Ack, HOLDER),
        (Wanted.MANIFEST, THIRD, Manifest, THIRD),
        (Wanted.MANIFEST, HOLDER, Manifest, HOLDER),
        (Wanted.RECEIPT, THIRD, Receipt, THIRD),
        (Wanted.BALLOT, 0, Ballot, LEADER),
        (Wanted.REVEAL, 0, Reveal, HOLDER),
        (Wanted.SIGNATURE, 0, MeanSignature, HOLDER),
    ],
)
def test_what_was_said_is_given_as_it_was_said(
    what: Wanted, which: int, kind: type[SessionMessage], author: int
) -> None:
    driver = ended("cohort")
    first = said_by(driver, author, kind)[0]
    assert given(driver, ASKER, HOLDER, what, which) == [first]


def test_all_votes_for_what_was_certified_are_given() -> None:
    driver = ended("cohort")
    votes = [said_by(driver, rank, Vote)[0] for rank in range(SIZE)]
    passed_on = given(driver, ASKER, HOLDER, Wanted.VOTE)
    assert votes[HOLDER] in passed_on
    assert len(passed_on) >= driver.cohort.threshold
    assert all(vote in votes for vote in passed_on)


def test_shares_are_given_to_whom_they_are_for() -> None:
    driver = ended("cohort")
    shares = said_by(driver, HOLDER, Share)
    assert len(shares) == SIZE - 1
    for asker, share in zip((0, 2, 3, 4), shares, strict=True):
        assert given(driver, asker, HOLDER, Wanted.SHARE) == [share]
    assert given(driver, ASKER, HOLDER, Wanted.HEADER, THIRD) == [
        said_by(driver, THIRD, Share)[0].header
    ]
    assert given(driver, ASKER, HOLDER, Wanted.HEADER, HOLDER) == [shares[0].header]


@pytest.mark.parametrize(
    ("what", "which"),
    [
        (Wanted.ADVERT, (SIZE,)),
        (Wanted.HEADER, (SIZE,)),
        (Wanted.MANIFEST, (SIZE,)),
        (Wanted.RECEIPT, (SIZE,)),
        (Wanted.CHUNK, (ENTRIES, 0)),
        (Wanted.CHUNK, (0, SIZE)),
        (Wanted.SUM, (ENTRIES,)),
        (Wanted.SUM_DIGESTS, (0,)),
        (0, ()),
        (max(Wanted) + 1, ()),
    ],
)
def test_nothing_is_given_for_what_there_is_not(what: Any, which: tuple[int, ...]) -> None:
    assert given(ended("cohort"), ASKER, HOLDER, what, *which) == []


def test_a_groups_digests_are_given_twice() -> None:
    driver = whole_session("group")
    known = driver.machines[HOLDER]._summing.digests_of(1)
    assert len(known) >= 2
    for _ in range(2):
        told = given(driver, ASKER, HOLDER, Wanted.SUM_DIGESTS, 1)
        assert sorted(told, key=lambda it: it.member) == list(known)
    assert given(driver, ASKER, HOLDER, Wanted.SUM_DIGESTS, 1) == []
    assert len(given(driver, THIRD, HOLDER, Wanted.SUM_DIGESTS, 1)) == len(known)
    assert len(given(driver, ASKER, HOLDER, Wanted.SUM_DIGESTS, 2)) == len(known)


@pytest.mark.parametrize("kind", ["cohort", "group"])
def test_a_sum_is_given_with_what_speaks_for_it(kind: str) -> None:
    driver = whole_session(kind)
    owned = driver.cohort.owned_by(HOLDER, tuple(range(SIZE)))
    other = next(chunk for chunk in range(driver.cohort.chunk_count) if chunk not in owned)
    for chunk in (owned[0], other):
        for count in (1, 1, 0):
            *digests, header = given(driver, ASKER, HOLDER, Wanted.SUM, chunk) or (None,)
            if not count or (kind == "cohort" and chunk == other):
                assert header is None
                continue
            assert isinstance(header, SumHeader)
            said = [(it.member, it.chunk, it.digest) for it in (*digests, header)]
            if kind == "cohort":
                assert said == [(HOLDER, chunk, header.digest)]
            else:
                known = driver.machines[HOLDER]._summing.digests_of(chunk)
                assert sorted(said) == [(it.member, chunk, header.digest) for it in known]


@pytest.mark.parametrize("is_owned", [True, False])
def test_a_members_own_chunk_is_given_twice_and_is_the_same_as_ever(is_owned: bool) -> None:
    """One that it does not keep is masked again."""
    driver = whole_session("cohort")
    machine, desk = driver.machines[HOLDER], driver.desks[HOLDER]
    owned = driver.cohort.owned_by(HOLDER, tuple(range(SIZE)))
    chunk = next(it for it in range(driver.cohort.chunk_count) if (it in owned) == is_owned)
    fetch = Fetch(driver.cohort.session, Wanted.CHUNK, chunk, HOLDER)
    bodies: list[bytes] = []
    for asker in (ASKER, ASKER, ASKER, THIRD):
        actions = machine.on_message(driver.now_s, driver.cohort.members[asker], fetch)
        assert any(isinstance(action, Work) for action in actions) <= (not is_owned)
        for action in actions:
            if isinstance(action, Work):
                result = perform(action.job)
                actions += desk.on_work_done(driver.now_s, action.ticket, result)
            elif isinstance(action, SendBulk):
                assert action.receiver == driver.cohort.members[asker]
                bodies.append(b"".join(bytes(memoryview(it).cast("B")) for it in action.parts))
    assert bodies == [driver.bodies[HOLDER, chunk][0]] * 3


# --- what a leader's word rests on ---------------------------------------------------------------


def asked_at(stage: SessionStage, sender: int, message: Any) -> list[tuple[int, Wanted, int]]:
    """Whom the member at a stage asks for what, when it hears a message."""
    actions = stage.machine.on_message(stage.now_s, stage.cohort.members[sender], message)
    fetches = [
        action for action in actions if isinstance(action, Send) and type(action.message) is Fetch
    ]
    return [
        (stage.cohort.rank_of(it.receiver), Wanted(it.message.what), it.message.first)  # type: ignore[misc]
        for it in fetches
    ]


@pytest.fixture(scope="module")
def leader_says() -> Callable[[type], Any]:
    """The same session's list, proposal and ballot."""
    return lambda kind: said_by(ended("cohort"), LEADER, kind)[0]


def test_what_a_list_names_is_asked_of_leader_and_author_then_of_who_passes_it_on(
    leader_says: Callable[[type], Any],
) -> None:
    stage = SessionStage(Advert, Phase.ADVERTISE).stop_at()
    stage.is_stopped = True
    lacking = [rank for rank in OTHERS if rank not in stage.machine._advertising._known]
    assert lacking == list(OTHERS)
    first = asked_at(stage, LEADER, leader_says(AdvertList))
    assert first == [
        (holder, Wanted.ADVERT, rank)
        for rank in lacking
        for holder in dict.fromkeys((LEADER, rank))
    ]
    assert asked_at(stage, LEADER, leader_says(AdvertList)) == []
    again = asked_at(stage, THIRD, leader_says(AdvertList))
    assert again == [(THIRD, Wanted.ADVERT, rank) for rank in lacking]


@pytest.mark.parametrize("sender", [LEADER, THIRD])
def test_what_a_proposal_names_is_asked_of_who_brings_it_and_of_the_dealers(
    leader_says: Callable[[type], Any], sender: int
) -> None:
    stage = SessionStage(Share, Phase.AGREE).stop_at()
    stage.is_stopped = True
    lacking = [rank for rank in OTHERS if rank not in stage.machine._sharing.shares]
    assert len(lacking) >= 2
    assert asked_at(stage, sender, leader_says(Proposal)) == [
        fetch
        for rank in lacking
        for fetch in ((sender, Wanted.HEADER, rank), (rank, Wanted.SHARE, 0))
    ]


@pytest.mark.parametrize("sender", [LEADER, THIRD])
def test_what_a_ballot_rests_on_is_asked_of_who_brings_it(
    leader_says: Callable[[type], Any], sender: int
) -> None:
    stage = SessionStage(Manifest, Phase.CHUNK).stop_at()
    stage.is_stopped = True
    lacking = [rank for rank in range(SIZE) if rank not in stage.machine._exchange.manifests]
    assert len(lacking) >= 2
    assert asked_at(stage, sender, leader_says(Ballot)) == [
        *((sender, Wanted.MANIFEST, rank) for rank in lacking),
        *((sender, Wanted.RECEIPT, rank) for rank in range(SIZE)),
    ]


# --- what was lost -------------------------------------------------------------------------------


class LosingOnce(SessionDriver):
    """A session in which the first of each member's messages of some kinds to one member is lost.

    Attributes:
        asked: what that member asked for meanwhile: what, whom and which.
    """

    victim = ASKER

    def __init__(self, *kinds: type[SessionMessage]) -> None:
        super().__init__(*make_cohort(SIZE, ENTRIES), 1)
        self.kinds = kinds
        self.gone: dict[Any, None] = {}
        self.asked: dict[tuple[Wanted, int, int, int], None] = {}

    def perform(self, rank: int, action: Action) -> None:
        if isinstance(action, Send | SendBulk):
            said: Any = action.message if isinstance(action, Send) else action.header
            receiver = self.cohort.rank_of(action.receiver)
            assert receiver is not None
            if isinstance(said, Fetch):
                assert said.second == 0 or said.what == Wanted.CHUNK
                if rank == self.victim:
                    self.asked[Wanted(said.what), receiver, said.first, said.second] = None
            place = (rank, type(said), getattr(said, "chunk", 0))
            if receiver == self.victim and type(said) in self.kinds and place not in self.gone:
                self.gone[place] = None
                return
        super().perform(rank, action)


OTHERS = (1, 2, 3, 4)


@pytest.mark.parametrize(
    ("lost", "asked"),
    [
        ([Advert], [(Wanted.ADVERT, rank, rank, 0) for rank in OTHERS]),
        ([AdvertList], [(Wanted.ADVERT_LIST, rank, 0, 0) for rank in OTHERS]),
        ([Share], [(Wanted.SHARE, rank, 0, 0) for rank in OTHERS]),
        ([Proposal], [(Wanted.PROPOSAL, 4, 0, 0)]),
        ([Ack], [(Wanted.ACK, rank, 0, 0) for rank in OTHERS]),
        ([Manifest], [(Wanted.MANIFEST, rank, rank, 0) for rank in OTHERS]),
        ([ChunkHeader], [(Wanted.CHUNK, rank, 0, rank) for rank in OTHERS]),
        ([Receipt], [(Wanted.RECEIPT, 3, rank, 0) for rank in OTHERS]),
        ([Ballot], [(Wanted.BALLOT, 3, 0, 0)]),
        ([Vote], [(Wanted.VOTE, rank, 0, 0) for rank in OTHERS]),
        ([Reveal], [(Wanted.REVEAL, rank, 0, 0) for rank in OTHERS]),
        ([SumHeader], [(Wanted.SUM, 2, 1, 0)]),
        ([SumHeader, SumDigest], [(Wanted.SUM, 1, 1, 0), (Wanted.SUM, 2, 1, 0)]),
        ([MeanSignature], []),
        ([Header], []),
    ],
)
def test_what_was_lost_is_asked_for_and_comes(
    lost: list[type[SessionMessage]], asked: list[tuple[Wanted, int, int, int]]
) -> None:
    driver = LosingOnce(*lost)
    driver.run()
    sums = driver.check_exact()
    assert sorted(sums) == list(range(SIZE))
    assert {len(it.members) for it in sums.values()} == {SIZE}
    assert {tuple(it.kept) for it in sums.values()} == {()}
    assert set(asked) <= set(driver.asked)
