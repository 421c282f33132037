# mypy: disable-error-code="arg-type, attr-defined, index, union-attr"
"""A second round of attacks on naming: to have an honest member named, a liar not, or nobody."""

import numpy as np
import pytest
from group_driver import GroupDriver, make_epoch
from other_signature import signed_otherwise
from session_driver import PATIENCE, SessionDriver, honestly, make_cohort
from test_audits import HONEST, LIAR, OTHER, SEED, N, effect, false_sum
from test_disputes import WRONG_BLINDING, both, saying, session, shifting, without

from p2pfl_crypto.statements import statement_digest
from p2pfl_crypto.transcripts import tau1_of
from p2pfl_gossip.actions import Action, Job, Send, SendBulk, Work
from p2pfl_gossip.masked_sum.blame import verify_blame
from p2pfl_gossip.masked_sum.core import turn_bytes
from p2pfl_gossip.masked_sum.dispute_jobs import CheckPair, MakeStatement
from p2pfl_gossip.masked_sum.disputing import OWN_WAITS, WAITS
from p2pfl_gossip.masked_sum.jobs import Rebuild, Rebuilt
from p2pfl_gossip.masked_sum.messages import (
    Accusation,
    AdvertList,
    Ballot,
    ChunkHeader,
    DisputeStatement,
    Fetch,
    PairShown,
    SumDigest,
    Wanted,
)
from p2pfl_gossip.masked_sum.phases import Phase
from p2pfl_gossip.records import Record, replaced
from p2pfl_simulations.liars.own_statements import with_parts, with_point


def test_a_sum_that_is_signed_twice_is_one_sum() -> None:
    """Two signatures of one digest would be a proof that everybody else refuses."""

    def twice(driver: GroupDriver, _rank: int, action: Action) -> list[Action]:
        said = action.message if isinstance(action, Send) else None
        if not isinstance(said, SumDigest):
            return [action]
        number = said.chunk.to_bytes(8, "little")
        body = (said.session, said.ballot, number, said.digest)
        statement = statement_digest(b"sum", LIAR, *body)
        other = replaced(said, signature=signed_otherwise(driver.people[LIAR], statement))
        said_twice.append(said.chunk)
        return [action, Send(action.receiver, other)]

    said_twice: list[int] = []
    driver = session(rewrite={LIAR: twice}).run()
    assert said_twice
    for rank in HONEST:
        assert driver.machines[rank].blames == ()
    assert set(driver.summed()) >= set(HONEST)


def test_a_list_that_is_signed_twice_is_one_list() -> None:
    """In drawn cohorts, whose leaders list the keys."""
    cohort, people = make_cohort(7, 40)
    leader = cohort.leader(0)

    def twice(driver: SessionDriver, _rank: int, action: Action) -> list[Action]:
        said = action.message if isinstance(action, Send) else None
        if not isinstance(said, AdvertList):
            return [action]
        digests = [said.digests[at : at + 32] for at in range(0, len(said.digests), 32)]
        body = (turn_bytes(said.turn), tau1_of(said.session, said.members, digests))
        statement = statement_digest(b"adverts", leader, said.session, *body)
        other = replaced(said, signature=signed_otherwise(driver.people[leader], statement))
        return [action, Send(action.receiver, other)]

    driver = SessionDriver(cohort, people, SEED, rewrite={leader: twice}).run()
    assert driver.blamed() == {}
    assert len(driver.check_exact()) == 7


def askers_of(driver: GroupDriver, chunk: int) -> set[int]:
    """Who asked for words of a chunk, which nobody does before a recount here."""
    return {
        rank
        for rank, said in driver.said
        if isinstance(said, Fetch) and said.what == Wanted.CHUNK and said.first == chunk
    }


def withholding_in_audit(driver: GroupDriver, rank: int, action: Action) -> list[Action]:
    """Give owners its words, and nobody who asks for them in a dispute."""
    is_word = isinstance(action, SendBulk) and isinstance(action.header, ChunkHeader)
    is_late = driver.machines[rank].phase == Phase.AUDIT
    return [] if is_word and is_late else [action]


def test_owners_that_falsify_a_sum_and_withhold_their_words_are_missed() -> None:
    """Nobody can work the sum out again without them."""
    owners = session().cohort.owners_of(0, tuple(range(N)))
    rewrite = dict.fromkeys(owners, withholding_in_audit)
    driver = session(lies=dict.fromkeys(owners, false_sum), rewrite=rewrite).run()
    for rank in range(N):
        if rank not in owners:
            outcome = driver.machines[rank].outcome
            assert (outcome.reason, outcome.blames) == ("false_total", ())
            assert outcome.absent == tuple(sorted(owners))
            summing = driver.machines[rank]._summing
            summing._asked_for_words = {0: 1}  # Who was asked just now may still answer.
            assert summing.withholding == ()
    assert askers_of(driver, 0) >= set(range(N)) - set(owners)


def named_as(driver: GroupDriver, fault: str) -> set[frozenset[int]]:
    """Whom honest members have proofs of such a fault against."""
    found = set()
    for rank in [rank for rank in driver.machines if rank not in driver.rewrite]:
        blames = [blame for blame in driver.machines[rank].blames if blame.fault == fault]
        for blame in blames:
            verify_blame(driver.cohort, blame)
        found.add(frozenset(driver.cohort.members.index(blame.member) for blame in blames))
    return found


def test_all_look_at_one_chunk_that_lacks_words_and_few_at_others() -> None:
    """Three of ten own two chunks alone, and withhold their words of both."""
    cohort, people = make_epoch(10, 40, audit=True, names=True, weights=(1.0,) * 10)
    liars = cohort.ring_of(0, tuple(range(10)))[:3]
    rewrite = dict.fromkeys(liars, withholding_in_audit)
    lies = dict.fromkeys(liars, false_sum)
    driver = GroupDriver(cohort, people, SEED, lies=lies, rewrite=rewrite).run()
    honest = set(range(10)) - set(liars)
    assert {driver.machines[rank].outcome.absent for rank in honest} == {tuple(sorted(liars))}
    assert askers_of(driver, 0) >= honest
    assert len(askers_of(driver, 1)) <= 4


def test_who_gives_its_words_to_one_alone_gives_them_to_all() -> None:
    """Whoever has all words of a chunk signs its sum, and so the others know whom to ask."""
    owners = session().cohort.owners_of(0, tuple(range(N)))
    ring = session().cohort.ring_of(0, tuple(range(N)))
    first = next(rank for rank in ring if rank not in owners)

    def to_one(driver: GroupDriver, rank: int, action: Action) -> list[Action]:
        receiver = getattr(action, "receiver", None)
        if receiver == driver.cohort.members[first]:
            return [action]
        return withholding_in_audit(driver, rank, action)

    rewrite = dict.fromkeys(owners, to_one)
    driver = session(lies=dict.fromkeys(owners, false_sum), rewrite=rewrite).run()
    assert named_as(driver, "outvoted") == {frozenset(owners)}


def test_m_plus_one_work_a_sum_out_where_they_come_to_one() -> None:
    owners = session().cohort.owners_of(0, tuple(range(N)))
    driver = session(lies=dict.fromkeys(owners, false_sum)).run()
    assert named_as(driver, "outvoted") == {frozenset(owners)}
    assert len(askers_of(driver, 0)) == 3


def test_words_that_come_in_time_are_asked_for_once() -> None:
    """Though a wait may end just when a recount begins: statements take nearly as long here."""

    class Slow(GroupDriver):
        def perform(self, rank: int, action: Action) -> None:
            if isinstance(action, Work) and isinstance(action.job, MakeStatement):
                delay_s = 0.98 * PATIENCE.sums_s
                self.at(delay_s, lambda: GroupDriver.perform(self, rank, action))
            else:
                super().perform(rank, action)

    cohort, people = make_epoch(N, 40, audit=True, names=True, weights=(1.0,) * N)
    owners = cohort.owners_of(0, tuple(range(N)))
    driver = Slow(cohort, people, SEED, lies=dict.fromkeys(owners, false_sum)).run()
    assert named_as(driver, "outvoted") == {frozenset(owners)}
    asked = [
        (rank, said.first, said.second)
        for rank, said in driver.said
        if isinstance(said, Fetch) and said.what == Wanted.CHUNK
    ]
    assert asked
    assert len(set(asked)) == len(asked)


def test_all_work_a_sum_out_where_a_deputy_lies_with_the_owners() -> None:
    """Three of ten: the other three of m + 1 deputies are too few to outvote them."""
    cohort, people = make_epoch(10, 40, audit=True, names=True, weights=(1.0,) * 10)
    liars = cohort.ring_of(0, tuple(range(10)))[:3]
    driver = GroupDriver(cohort, people, SEED, lies=dict.fromkeys(liars, false_sum)).run()
    assert named_as(driver, "outvoted") == {frozenset(liars)}
    assert askers_of(driver, 0) >= set(range(10)) - set(liars)
    assert len(askers_of(driver, 1)) <= 4


def test_nobody_is_missed_by_members_that_all_take_too_long() -> None:
    """Who has not spoken itself cannot tell who was late."""

    class Slow(GroupDriver):
        def perform(self, rank: int, action: Action) -> None:
            if isinstance(action, Work) and isinstance(action.job, MakeStatement):
                delay_s = (WAITS + OWN_WAITS + 1) * PATIENCE.sums_s
                self.at(delay_s, lambda: GroupDriver.perform(self, rank, action))
            else:
                super().perform(rank, action)

    cohort, people = make_epoch(N, 40, audit=True, names=True, weights=(1.0,) * N)
    driver = Slow(cohort, people, SEED, lies={LIAR: WRONG_BLINDING}).run()
    for rank in HONEST:
        outcome = driver.machines[rank].outcome
        assert (outcome.reason, outcome.absent, outcome.blames) == ("false_total", (), ())


def test_silence_in_place_of_a_recount_is_missed_by_all() -> None:
    """Owners falsify a sum, and a third says nothing, so that no sums are worked out again."""
    cohort, people = make_epoch(10, 40, audit=True, names=True, weights=(1.0,) * 10)
    first, second, decoy = cohort.ring_of(0, tuple(range(10)))[:3]
    driver = GroupDriver(
        cohort,
        people,
        SEED,
        lies=dict.fromkeys((first, second), false_sum),
        rewrite={decoy: without(DisputeStatement)},
    ).run()
    for rank in set(range(10)) - {first, second, decoy}:
        assert driver.machines[rank].outcome.absent == (decoy,)


def test_no_lie_in_a_dispute_has_honest_members_show_what_they_share() -> None:
    """Colluders contradict all, accuse honest members, and show false points."""

    def noisy(driver: GroupDriver, rank: int, action: Action) -> list[Action]:
        if not (isinstance(action, Send) and isinstance(action.message, DisputeStatement)):
            return [action]
        said: list[Action] = [action]
        for one, other in ((0, 1), (1, 3), (3, 0)):
            word = one.to_bytes(4, "little")
            signature = driver.speaking.sign(b"accuse", word)
            of = Accusation(driver.cohort.session, rank, one, 0, signature)
            shown = PairShown(driver.cohort.session, rank, other, bytes(96))
            said += [Send(action.receiver, of), Send(action.receiver, shown)]
        return said

    def contradicting(job: MakeStatement, said: DisputeStatement) -> DisputeStatement:
        for other, by in ((0, 1), (1, -1), (3, 5), (4, -5)):
            said = with_point(job, said, other, by if other > said.member else -by)
        return with_parts(job, said, 0)

    lies = {LIAR: both(shifting(1000), saying(contradicting)), OTHER: saying(contradicting)}
    driver = session(lies=lies, rewrite={LIAR: noisy, OTHER: noisy}).run()
    shown = [
        (rank, said.other)
        for rank, said in driver.said
        if isinstance(said, PairShown) and rank not in (LIAR, OTHER)
    ]
    assert shown
    assert {other for _, other in shown} <= {LIAR, OTHER}
    statements = {
        (said.member, said.digest())
        for rank, said in driver.said
        if isinstance(said, DisputeStatement) and said.member not in (LIAR, OTHER)
    }
    assert len(statements) == len(HONEST)  # One each, whatever was said to it.
    blamed = {blame.member for rank in HONEST for blame in driver.machines[rank].blames}
    assert blamed <= {driver.cohort.members[rank] for rank in (LIAR, OTHER)}
    assert blamed


@pytest.mark.parametrize("out", [(0, 1), (3, 6)])
def test_a_ballot_without_honest_members_gains_its_leader_nothing(out: tuple[int, ...]) -> None:
    """It leads first. What counts is divided by all members' weight, not by those in the sum."""

    def choose(driver: GroupDriver, rank: int, _action: Action) -> bool:
        if rank == LIAR:
            voting = driver.machines[LIAR]._voting
            own = type(voting)._choose
            voting._choose = lambda: (own(voting)[0], members)
        return False

    members = tuple(rank for rank in range(N) if rank not in out)
    driver = session(before=choose, rewrite={LIAR: honestly}).run()
    outcomes = driver.check_exact()
    assert outcomes
    for sums in outcomes.values():
        assert sums.members == members
        assert effect(driver, sums, (LIAR, OTHER)) <= 2 * 1.8 * 2.0
        moved = np.linalg.norm(driver.model_of(sums) - driver.base)
        assert moved <= len(members) / N * 2.0 * 1.01


def test_of_two_ballots_of_one_leader_one_counts_at_most() -> None:
    """One half is told of a sum without member 0, the other of one without member 1: none has t."""

    def two(driver: GroupDriver, rank: int, action: Action) -> list[Action]:
        said = action.message if isinstance(action, Send) else None
        if not isinstance(said, Ballot) or driver.cohort.leader(said.turn) != rank:
            return [action]
        out = (driver.cohort.rank_of(action.receiver) or 0) % 2
        ranks = list(driver.cohort.unpack(said.members) or ())
        place = ranks.index(out)
        fewer = driver.cohort.pack(it for it in ranks if it != out)
        left = said.manifest_digests[: 32 * place] + said.manifest_digests[32 * place + 32 :]
        other = replaced(said, members=fewer, manifest_digests=left)
        turn = said.turn.to_bytes(4, "little")
        signature = driver.speaking.sign(b"ballot", turn, other.digest())
        return [Send(action.receiver, replaced(other, signature=signature))]

    driver = session(rewrite={LIAR: two}).run()
    outcomes = {rank: it for rank, it in driver.check_exact().items() if rank != LIAR}
    assert len({(it.members, it.ballot) for it in outcomes.values()}) <= 1
    assert {driver.machines[rank].outcome.reason for rank in HONEST} == {"no_certificate"}
    assert set(driver.blamed()) <= {LIAR}


def test_a_statement_that_is_kept_from_one_member_it_gets_from_others() -> None:
    """Its author answers no question either."""

    def not_to(driver: GroupDriver, _rank: int, action: Action) -> list[Action]:
        said = action.message if isinstance(action, Send) else None
        is_for_it = getattr(action, "receiver", None) == driver.cohort.members[6]
        return [] if isinstance(said, DisputeStatement) and is_for_it else [action]

    driver = session(lies={LIAR: WRONG_BLINDING}, rewrite={LIAR: not_to}).run()
    assert LIAR in driver.machines[6]._auditing._disputing._statements
    assert named_as(driver, "false_statement") == {frozenset((LIAR,))}


def test_of_a_liars_pairs_one_is_looked_at() -> None:
    """Whoever contradicts all others costs each of them one sketch of a pair, not n."""
    checked: dict[int, int] = {}

    class Counting(GroupDriver):
        def do(self, rank: int, job: Job) -> Record:
            if isinstance(job, CheckPair):
                checked[rank] = checked.get(rank, 0) + 1
            return super().do(rank, job)

    def contradicting(job: MakeStatement, said: DisputeStatement) -> DisputeStatement:
        for other, by in ((0, 1), (1, -1), (3, 5), (4, -5)):
            said = with_point(job, said, other, by if other > LIAR else -by)
        return with_parts(job, said, 0)

    cohort, people = make_epoch(N, 40, audit=True, names=True, weights=(1.0,) * N)
    lies = {LIAR: both(shifting(1000), saying(contradicting))}
    driver = Counting(cohort, people, SEED, lies=lies).run()
    assert named_as(driver, "false_statement") == {frozenset((LIAR,))}
    assert {rank: count for rank, count in checked.items() if rank != LIAR and count > 1} == {}


def test_who_can_unmask_no_words_goes_on_with_its_dispute() -> None:
    """A dealer may have dealt false shares to some, who ask for them only then."""

    class Unlucky(GroupDriver):
        def do(self, rank: int, job: Job) -> Record:
            if isinstance(job, Rebuild) and rank == unlucky:
                return Rebuilt((), (OTHER,), contradictions=((OTHER, ()),))
            return super().do(rank, job)

    cohort, people = make_epoch(N, 1, audit=True, names=True, weights=(1.0,) * N)
    everybody = tuple(range(N))
    unlucky = next(rank for rank in HONEST if not cohort.owned_by(rank, everybody))
    driver = Unlucky(cohort, people, SEED, lies={LIAR: WRONG_BLINDING}).run()
    assert driver.machines[unlucky].outcome.reason == "false_total"
    assert named_as(driver, "false_statement") == {frozenset((LIAR,))}
