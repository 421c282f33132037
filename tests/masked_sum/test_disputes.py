# mypy: disable-error-code="arg-type, attr-defined, union-attr, method-assign"
"""After a false total: each way to make one names who did, and nobody else is ever named."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from group_driver import GroupDriver, make_epoch
from test_audits import EQUAL, HONEST, LIAR, OTHER, SEED, N, inputs, proving, told

from p2pfl_gossip.actions import Action, Disconnect, Job, RemoteProtocolError, Send
from p2pfl_gossip.masked_sum.audit_jobs import Sketched, SketchRound
from p2pfl_gossip.masked_sum.blame import Unproven, verify_blame
from p2pfl_gossip.masked_sum.core import Blame
from p2pfl_gossip.masked_sum.dispute_jobs import MakeStatement, StatementMade
from p2pfl_gossip.masked_sum.gathered import Gathered
from p2pfl_gossip.masked_sum.messages import (
    Accusation,
    Accused,
    AuditProof,
    DisputeStatement,
    PairShown,
)
from p2pfl_gossip.records import Record, replaced
from p2pfl_simulations.liars.own_statements import (
    hiding_in_pair,
    hiding_in_words,
    with_parts,
    with_point,
)

ENTRIES = 40
NO_POINT = (2).to_bytes(32, "little")
Lie = Callable[[Job, Record], Record]


def session(**options: Any) -> GroupDriver:
    """As in test_audits.py, where a false total leads to a dispute."""
    cohort, people = make_epoch(N, ENTRIES, audit=True, names=True, weights=EQUAL)
    return GroupDriver(cohort, people, SEED, vectors=inputs(), **options)


def check_named(driver: GroupDriver, *liars: int) -> None:
    """All honest members have evidence against just these."""
    assert not driver.summed()
    for rank in HONEST:
        blames = {blame.member: blame for blame in driver.machines[rank].blames}
        assert set(blames) == {driver.cohort.members[liar] for liar in liars}
        for blame in blames.values():
            assert blame.fault == "false_statement"
            verify_blame(driver.cohort, blame)
        assert driver.machines[rank].outcome.reason == "false_total"


def shifting(by: int) -> Lie:
    """Commit to a sketch whose first entry is another."""
    lie: Lie = proving(lambda job, own, it: told(job, own, [it[0] + by, *it[1:]]))
    return lie


def both(*lies: Lie) -> Lie:
    def lie(job: Job, result: Record) -> Record:
        for each in lies:
            result = each(job, result)
        return result

    return lie


def saying(change: Callable[[MakeStatement, DisputeStatement], DisputeStatement]) -> Lie:
    """Say something else in the dispute."""

    def lie(job: Job, result: Record) -> Record:
        if isinstance(job, MakeStatement) and isinstance(result, StatementMade):
            return StatementMade(change(job, result.statement))
        return result

    return lie


def hiding(by: int) -> Lie:
    """Say that one's masked words have the sketch that fits the commitment."""
    return saying(lambda job, said: hiding_in_words(job, said, by))


def moving(other: int, by: int) -> Lie:
    """Say that what one shares with another member accounts for the difference."""
    return saying(lambda job, said: hiding_in_pair(job, said, by, other))


WRONG_BLINDING = proving(lambda job, own, sketch: told(job, own, sketch, blinding=7))
FALSE_SKETCH = proving(lambda job, own, sketch: told(job, own, [entry // 3 for entry in sketch]))


@pytest.mark.parametrize(
    "lie",
    [
        WRONG_BLINDING,
        FALSE_SKETCH,
        shifting(1),
        both(shifting(1000), hiding(1000)),
        both(shifting(1000), moving(6, 1000)),
        both(shifting(1000), moving(0, 1000)),
    ],
    ids=["blinding", "sketch", "one entry", "false words", "false pair", "another false pair"],
)
def test_who_makes_a_total_false_is_named(lie: Lie) -> None:
    check_named(session(lies={LIAR: lie}).run(), LIAR)


def test_two_that_do_not_cancel_are_both_named() -> None:
    lies = {LIAR: shifting(1000), OTHER: both(shifting(1000), hiding(1000))}
    check_named(session(lies=lies).run(), LIAR, OTHER)


def test_colluders_that_agree_on_a_false_pair_move_the_lie_to_one_of_them() -> None:
    """What one takes out of the pair, the other has too much: it is then the one that is named."""
    lies = {LIAR: both(shifting(1000), moving(OTHER, 1000)), OTHER: moving_as(LIAR, 1000)}
    check_named(session(lies=lies).run(), OTHER)


def moving_as(other: int, by: int) -> Lie:
    """Say of a pair what its lower end says when it moves `by` into it."""
    return saying(lambda job, said: with_parts(job, with_point(job, said, other, -by), 0))


# Silence, two versions, and false words in the dispute itself


def without(*kinds: type) -> Any:
    def rewrite(_driver: GroupDriver, _rank: int, action: Action) -> list[Action]:
        return [] if isinstance(action, Send) and isinstance(action.message, kinds) else [action]

    return rewrite


def test_who_says_nothing_is_not_named_but_missed() -> None:
    rewrite = {LIAR: without(DisputeStatement)}
    driver = session(lies={LIAR: WRONG_BLINDING}, rewrite=rewrite).run()
    check_named(driver)
    assert {driver.machines[rank].outcome.absent for rank in HONEST} == {(LIAR,)}


def test_an_honest_member_that_is_lost_in_a_dispute_is_not_named() -> None:
    def strikes(_driver: GroupDriver, rank: int, action: Action) -> bool:
        return rank == 3 and isinstance(action, Send) and isinstance(action.message, AuditProof)

    lost: list[int] = []

    def after_its_proofs(driver: GroupDriver, rank: int, action: Action) -> bool:
        if strikes(driver, rank, action):
            lost.append(rank)
        return len(lost) == N - 1 and rank == 3

    driver = session(lies={LIAR: WRONG_BLINDING}, after=after_its_proofs).run()
    for rank in HONEST:
        if rank != 3:
            blamed = {blame.member for blame in driver.machines[rank].blames}
            assert blamed == {driver.cohort.members[LIAR]}
            # Nor is it missed: it may have seen no false total.
            assert driver.machines[rank].outcome.absent == ()


def test_two_statements_name_who_makes_them() -> None:
    """To half of the members it says what fits a false pair with the others."""

    def two(driver: GroupDriver, _rank: int, action: Action) -> list[Action]:
        said = action.message if isinstance(action, Send) else None
        if not isinstance(said, DisputeStatement) or said.member != LIAR:
            return [action]
        if action.receiver in driver.cohort.members[:4]:
            return [action]
        other = replaced(said, parts=bytes(len(said.parts)))
        signature = driver.speaking.sign(b"statement", other.digest())
        return [Send(action.receiver, other.signed(signature))]

    driver = session(lies={LIAR: both(shifting(9), hiding(9))}, rewrite={LIAR: two}).run()
    check_named(driver, LIAR)


def test_two_proofs_name_who_signs_them() -> None:
    """Each of them true: to three members of its sketch, to the others of another one."""
    false: dict[str, Any] = {}

    def make_both(job: Job, result: Record) -> Record:
        if isinstance(job, SketchRound) and job.own is not None:
            made = shifting(1000)(job, result)
            assert isinstance(made, Sketched)
            false["proof"] = made
        return result

    def two(driver: GroupDriver, _rank: int, action: Action) -> list[Action]:
        said = action.message if isinstance(action, Send) else None
        if not isinstance(said, AuditProof) or said.member != LIAR:
            return [action]
        if action.receiver in driver.cohort.members[:4]:
            return [action]
        made = false["proof"]
        other = replaced(said, commitment=made.commitment, proof=made.proof)
        signature = driver.speaking.sign(b"proof", other.digest())
        return [Send(action.receiver, replaced(other, signature=signature))]

    driver = session(lies={LIAR: make_both}, rewrite={LIAR: two}).run()
    for rank in HONEST:
        blamed = {blame.member: blame.fault for blame in driver.machines[rank].blames}
        assert blamed == {driver.cohort.members[LIAR]: "false_statement"}


def test_m_accusers_name_nobody() -> None:
    """Nor do false shares of a pair, nor an accusation of a chunk that is in order."""

    def accuse(driver: GroupDriver, rank: int, action: Action) -> list[Action]:
        if not (isinstance(action, Send) and isinstance(action.message, DisputeStatement)):
            return [action]
        sign, session_ = driver.speaking.sign, driver.cohort.session
        word = Accusation(session_, rank, 3, 0, sign(b"accuse", (3).to_bytes(4, "little")))
        shown = PairShown(session_, rank, 3, bytes(96))
        mine = replaced(word, accuser=4)  # In the name of another one.
        return [action, *(Send(action.receiver, it) for it in (word, shown, mine))]

    lies = {LIAR: WRONG_BLINDING}
    driver = session(lies=lies, rewrite={LIAR: accuse, OTHER: accuse}).run()
    check_named(driver, LIAR)


def test_what_belongs_to_no_dispute_ends_its_senders_link() -> None:
    """Said before others have seen that the total is false, it is looked at then."""
    ended: list[Action] = []

    def early(driver: GroupDriver, rank: int, action: Action) -> list[Action]:
        if not (isinstance(action, Send) and isinstance(action.message, AuditProof)):
            return [action]
        said = driver.machines[rank]._auditing._disputing._draft()
        filled = {"possession": bytes(64), "sketch": bytes(2048), "lifts": bytes(4096)}
        filled["points"] = bytes(32 * N)
        filled |= {name: getattr(action.message, name) for name in ("ballot", "sums", "seed")}
        other = replaced(said, keys=bytes(32 * N), **filled)
        return [Send(action.receiver, other), action]

    def watch(_driver: GroupDriver, _rank: int, action: Action) -> bool:
        if isinstance(action, Disconnect):
            ended.append(action)
        return False

    lies = {LIAR: WRONG_BLINDING}
    driver = session(lies=lies, rewrite={OTHER: early}, after=watch).run()
    check_named(driver, LIAR)
    assert set(ended) == {Disconnect(driver.cohort.members[OTHER], "other_dispute")}


def test_who_is_not_in_the_sum_has_nothing_to_say_of_it() -> None:
    driver = session().run((6,))
    disputing = driver.machines[0]._auditing._disputing
    disputing.is_open = True
    with pytest.raises(RemoteProtocolError, match="not_in_sum"):
        disputing.on_statement(1, replaced(disputing._draft(), member=6))


def test_honest_members_come_to_no_dispute() -> None:
    driver = session().run()
    assert len(driver.check_exact()) == N
    assert not any(isinstance(said, DisputeStatement) for _, said in driver.said)
    assert not driver.blamed()


def test_a_key_that_nobody_could_open_is_refused() -> None:
    """X25519 takes it all the same: half of all numbers are the u of no point."""
    cohort, people = make_epoch(N, ENTRIES, audit=True, names=True, weights=EQUAL)
    driver = GroupDriver(cohort, people, SEED, vectors=inputs())
    own = driver.gathered

    def gathered(rank: int) -> Gathered:
        keys = own(rank)
        if rank == LIAR:
            return keys
        return msgspec.structs.replace(keys, mask_keys={**keys.mask_keys, LIAR: NO_POINT})

    driver.gathered = gathered
    driver.run()
    assert set(driver.summed()) >= set(HONEST)
    assert all(LIAR not in outcome.members for outcome in driver.summed().values())


# Evidence


def accused(driver: GroupDriver) -> Accused:
    blame = driver.machines[0].blames[0]
    (said,) = blame.evidence
    assert isinstance(said, Accused)
    return said


@pytest.fixture(scope="module")
def disputed() -> GroupDriver:
    return session(lies={LIAR: WRONG_BLINDING}).run()


@pytest.mark.parametrize(
    ("changes", "member"),
    [
        ({}, 3),
        ({"accusers": b"\x03"}, LIAR),
        ({"session": bytes(32)}, LIAR),
        ({"signatures": bytes(192)}, LIAR),
    ],
)
def test_words_of_others_or_of_too_few_prove_nothing(
    disputed: GroupDriver, changes: dict[str, Any], member: int
) -> None:
    evidence = replaced(accused(disputed), **changes)
    blame = Blame(disputed.cohort.members[member], "false_statement", (evidence,))
    with pytest.raises(Unproven):
        verify_blame(disputed.cohort, blame)
