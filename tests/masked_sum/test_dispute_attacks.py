# mypy: disable-error-code="arg-type, assignment, attr-defined, index, method-assign"
# mypy: disable-error-code="operator, type-var, union-attr"
"""Attacks on a dispute: to learn of honest members by it, to have one named, or nobody."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from group_driver import GroupDriver, make_epoch
from session_driver import PATIENCE
from test_audits import EQUAL, HONEST, LIAR, SEED, N, false_sum
from test_disputes import (
    WRONG_BLINDING,
    both,
    check_named,
    hiding,
    moving,
    saying,
    session,
    shifting,
    without,
)

from p2pfl_crypto.audit.curve import add, multiply
from p2pfl_crypto.audit.shared_points import _FIELD, _lift
from p2pfl_crypto.shamir import GROUP_ORDER
from p2pfl_crypto.transcripts import chunk_digest, pair_key
from p2pfl_gossip.actions import Action, Send, Work
from p2pfl_gossip.masked_sum.auditing import ENDS_AFTER
from p2pfl_gossip.masked_sum.blame import Unproven, verify_blame
from p2pfl_gossip.masked_sum.core import Blame
from p2pfl_gossip.masked_sum.dispute_jobs import MakeStatement
from p2pfl_gossip.masked_sum.disputing import WAITS
from p2pfl_gossip.masked_sum.gathered import Gathered
from p2pfl_gossip.masked_sum.messages import (
    Accusation,
    AuditProof,
    ChunkHeader,
    DisputeStatement,
    Fetch,
    Manifest,
    PairShown,
    SumDigest,
    Wanted,
)
from p2pfl_gossip.records import replaced
from p2pfl_simulations.liars.own_statements import hiding_in_words, with_parts, with_point

VICTIM = 4


def u_of(point: bytes) -> bytes:
    """The u of an Edwards point, as an X25519 key has it."""
    y = int.from_bytes(point, "little") & (2**255 - 1)
    return ((1 + y) * pow(1 - y, -1, _FIELD) % _FIELD).to_bytes(32, "little")


def with_key(key: bytes) -> GroupDriver:
    """The liar advertises that key, and all follow a list that names it."""

    def gathered(rank: int) -> Gathered:
        keys = own(rank)
        if rank == LIAR:  # Its machine would not go by a key that it has no secret of.
            return keys
        return msgspec.structs.replace(keys, mask_keys={**keys.mask_keys, LIAR: key})

    def saying_it(job: MakeStatement, said: DisputeStatement) -> DisputeStatement:
        keys = {**driver.mask_keys, LIAR: key}
        joined = b"".join(keys[rank] for rank in job.members)
        return with_parts(job, replaced(said, keys=joined), 0)

    driver = session(lies={LIAR: saying(saying_it)})
    own, driver.gathered = driver.gathered, gathered
    return driver


def test_who_advertises_a_multiple_of_a_victims_key_learns_none_of_its_secrets() -> None:
    """Honest ends would show what they share with it, which is a multiple of what they share
    with the victim: all pair masks of the victim.
    """
    key = _lift(session().mask_keys[VICTIM])
    driver = with_key(u_of(add(key, key)))
    pairs: dict[int, bytes] = {}  # Of the victim, with each other one.

    def note(it: GroupDriver, rank: int, _action: Any) -> bool:
        dealt = it.machines[rank]._sharing.dealt
        if rank == VICTIM and dealt is not None and not pairs:
            pairs.update(dealt.pair_keys)
        return False

    driver.after = note
    driver.run()
    learnt = set()
    for rank, said in driver.said:
        if isinstance(said, PairShown) and rank != LIAR:
            half = multiply(pow(2, -1, GROUP_ORDER), said.opened[:32])
            if pair_key(u_of(half), driver.tau1, rank, VICTIM) == pairs.get(rank):
                learnt.add(rank)
    assert pairs
    assert not learnt
    check_named(driver, LIAR)


# To keep honest members from seeing a lie, or from agreeing on it


def test_a_lie_that_nobody_sees_as_each_is_told_another_one() -> None:
    """To those that do not hold one chunk it lies of that one, to the others of another."""
    made: dict[str, DisputeStatement] = {}
    ring = session().cohort.ring(tuple(range(N)))
    of_others = [rank for rank in ring if rank != LIAR]
    place = next(at for at in range(N - 1) if {ring[at], ring[at + 1]} <= set(of_others))
    holders = (ring[place], ring[place + 1])

    def two(job: MakeStatement, said: DisputeStatement) -> DisputeStatement:
        cohort = session().cohort
        (other,) = [
            chunk
            for chunk in range(cohort.chunk_count)
            if not set(cohort.owners_of(chunk, tuple(range(N)))) & set(holders)
        ][:1]
        made["others"] = hiding_in_words(job, said, 1000, place)  # Only its holders could see it.
        made["holders"] = hiding_in_words(job, said, 1000, other)
        return made["others"]

    def to_each(driver: GroupDriver, _rank: int, action: Action) -> list[Action]:
        said = action.message if isinstance(action, Send) else None
        if not isinstance(said, DisputeStatement) or said.member != LIAR:
            return [action]
        is_holder = driver.cohort.rank_of(action.receiver) in holders
        said = made["holders" if is_holder else "others"]
        signature = driver.speaking.sign(b"statement", said.digest())
        return [Send(action.receiver, said.signed(signature))]

    driver = session(lies={LIAR: both(shifting(1000), saying(two))}, rewrite={LIAR: to_each})
    check_named(driver.run(), LIAR)


def delayed(kind: type, delay_s: float, *, receivers: Collection[int] = range(N)) -> Any:
    """Send what is of a kind later."""

    def rewrite(driver: GroupDriver, rank: int, action: Action) -> list[Action]:
        if not isinstance(action, Send) or not isinstance(action.message, kind):
            return [action]
        receiver, message = driver.cohort.rank_of(action.receiver), action.message
        if receiver not in receivers:
            return [action]
        driver.at(delay_s, lambda: driver.deliver(rank, receiver, message))
        return []

    return rewrite


WAIT_S = PATIENCE.sums_s


def test_who_brings_a_dispute_about_late_shortens_none() -> None:
    """Its proof comes when nearly all of the session's time is over."""
    times: list[float] = []

    def note(driver: GroupDriver, rank: int, action: Action) -> bool:
        if rank == LIAR and isinstance(action, Send) and isinstance(action.message, AuditProof):
            times.append(driver.now_s)
        return False

    session(after=note).run()
    delay_s = (ENDS_AFTER - 0.5) * WAIT_S
    short = replace(PATIENCE, session_s=times[0] + delay_s + 0.07)
    cohort, people = make_epoch(N, 40, audit=True, names=True, weights=EQUAL, patience=short)
    rewrite, lies = {LIAR: delayed(AuditProof, delay_s)}, {LIAR: WRONG_BLINDING}
    check_named(GroupDriver(cohort, people, SEED, lies=lies, rewrite=rewrite).run(), LIAR)


def test_who_brings_its_proof_later_still_is_missed_alone() -> None:
    rewrite = {LIAR: delayed(AuditProof, (ENDS_AFTER + 1) * WAIT_S)}
    driver = session(lies={LIAR: WRONG_BLINDING}, rewrite=rewrite).run()
    for rank in HONEST:
        outcome = driver.machines[rank].outcome
        assert (outcome.reason, outcome.absent) == ("proofs_missing", (LIAR,))


def test_who_contradicts_all_others_late_is_missed_alone() -> None:
    """The honest ends could show nothing in time. What it says fits its commitment."""

    def contradicting(job: MakeStatement, said: DisputeStatement) -> DisputeStatement:
        for other, by in ((0, 1), (1, -1), (3, 5), (4, -5)):
            said = with_point(job, said, other, by if other > LIAR else -by)
        return with_parts(job, said, 0)

    lie = both(shifting(1000), moving(6, 1000), saying(contradicting))
    rewrite = {LIAR: delayed(DisputeStatement, (WAITS - 0.02) * WAIT_S)}
    driver = session(lies={LIAR: lie}, rewrite=rewrite).run()
    disputes = [driver.machines[rank]._auditing._disputing for rank in HONEST]
    assert any(len(dispute._pairs._differing) > 1 for dispute in disputes)
    for rank in HONEST:
        outcome = driver.machines[rank].outcome
        assert (outcome.absent, outcome.blames) == ((LIAR,), ())


def test_accusations_count_for_whoever_sees_the_false_total_later() -> None:
    """To those that hold one chunk it gives its proof at once, to the others when they ask."""
    cohort = session().cohort
    holders = cohort.owners_of(0, tuple(range(N)))
    later = range(N) if LIAR in holders else tuple(set(range(N)) - set(holders))
    rewrite = {LIAR: delayed(AuditProof, 2.5 * WAIT_S, receivers=later)}
    lies = {LIAR: both(shifting(1000), hiding(1000))}
    check_named(session(lies=lies, rewrite=rewrite).run(), LIAR)


def one_chunk(**options: Any) -> GroupDriver:
    """One chunk, so that two members hold any: fewer than it takes to name somebody."""
    cohort, people = make_epoch(N, 1, audit=True, names=True, weights=EQUAL)
    return GroupDriver(cohort, people, SEED, **options)


def test_who_holds_no_chunk_looks_at_those_of_others() -> None:
    """The words of the two that hold it are too few; the others ask for all that it takes."""
    cohort = one_chunk().cohort
    liar = next(rank for rank in range(N) if not cohort.owned_by(rank, tuple(range(N))))
    lies = {liar: both(shifting(1000), hiding(1000))}
    driver = one_chunk(lies=lies).run()
    for rank in range(N):
        if rank != liar:
            named = {blame.member for blame in driver.machines[rank].blames}
            assert named == {cohort.members[liar]}


def test_false_accusations_have_one_chunk_looked_at() -> None:
    """Else each of m liars would have everybody fetch m chunks; one is accused later."""

    def accuse(driver: GroupDriver, rank: int, action: Action) -> list[Action]:
        if not (isinstance(action, Send) and isinstance(action.message, DisputeStatement)):
            return [action]
        words = []
        for member in (rank ^ 1, rank ^ 2, rank ^ 4):
            signature = driver.speaking.sign(b"accuse", member.to_bytes(4, "little"))
            words.append(Accusation(driver.cohort.session, rank, member, 0, signature))
        receiver, late = driver.cohort.rank_of(action.receiver), words.pop()
        driver.at(2 * WAIT_S, lambda: driver.deliver(rank, receiver, late))
        return [action, *(Send(action.receiver, word) for word in words)]

    cohort = one_chunk().cohort
    accuser = next(rank for rank in cohort.owners_of(0, tuple(range(N))) if rank != LIAR)
    driver = one_chunk(lies={LIAR: WRONG_BLINDING}, rewrite={accuser: accuse}).run()
    asked: dict[int, set[int]] = {}
    for rank, said in driver.said:
        if isinstance(said, Fetch) and said.what == Wanted.CHUNK:
            asked.setdefault(rank, set()).add(said.second)
    assert asked
    assert all(len(members) == 1 for members in asked.values())


def test_who_is_lost_after_it_has_shown_a_pair_has_shown_it() -> None:
    shown: list[int] = []

    def after_it(_driver: GroupDriver, rank: int, action: Action) -> bool:
        if rank == 6 and isinstance(action, Send) and isinstance(action.message, PairShown):
            shown.append(rank)
        return rank == 6 and len(shown) == N - 1

    driver = session(lies={LIAR: both(shifting(1000), moving(6, 1000))}, after=after_it).run()
    assert 6 in driver.dead
    for rank in (0, 1, 3, 4):
        blamed = {blame.member for blame in driver.machines[rank].blames}
        assert blamed == {driver.cohort.members[LIAR]}


class SlowDriver(GroupDriver):
    """Statements take longer than a dispute does: of long models, and many members."""

    def perform(self, rank: int, action: Action) -> None:
        if isinstance(action, Work) and isinstance(action.job, MakeStatement):
            delay_s = (WAITS + 1) * WAIT_S
            self.at(delay_s, lambda: GroupDriver.perform(self, rank, action))
        else:
            super().perform(rank, action)


def test_a_dispute_takes_as_long_as_its_statements_do() -> None:
    cohort, people = make_epoch(N, 40, audit=True, names=True, weights=EQUAL)
    check_named(SlowDriver(cohort, people, SEED, lies={LIAR: WRONG_BLINDING}).run(), LIAR)


# Where all owners of a chunk lie


def all_owners(**options: Any) -> tuple[GroupDriver, tuple[int, ...]]:
    owners = session().cohort.owners_of(0, tuple(range(N)))
    lies = options.pop("lies")
    return session(lies=dict.fromkeys(owners, lies), **options), owners


def check_these_named(driver: GroupDriver, fault: str, liars: tuple[int, ...]) -> None:
    names = {driver.cohort.members[rank] for rank in liars}
    for rank in range(N):
        if rank not in driver.rewrite:
            blames = [it for it in driver.machines[rank].blames if it.fault == fault]
            assert {blame.member for blame in blames} == names
            for blame in blames:
                verify_blame(driver.cohort, blame)
            assert {it.member for it in driver.machines[rank].blames} == names


def test_all_owners_that_falsify_a_sum_are_named() -> None:
    """All statements are in order: so others work the sums out again."""
    driver, owners = all_owners(lies=false_sum)
    check_these_named(driver.run(), "outvoted", owners)


def outvoted(driver: GroupDriver) -> Blame:
    found: list[Blame] = [
        blame
        for rank in driver.machines
        if rank not in driver.rewrite
        for blame in driver.machines[rank].blames
        if blame.fault == "outvoted"
    ]
    return found[0]


def test_m_signers_outvote_nobody() -> None:
    """Though their signatures are good; and nobody is outvoted by others that found the same."""
    driver, _ = all_owners(lies=false_sum)
    blame, cohort = outvoted(driver.run()), driver.cohort
    (said,) = blame.evidence
    verify_blame(cohort, blame)
    signers = cohort.unpack(said.signers)
    few = replaced(said, signers=cohort.pack(signers[:2]), signatures=said.signatures[:128])
    with pytest.raises(Unproven):
        verify_blame(cohort, Blame(blame.member, "outvoted", (few,)))
    one, own = replaced(said.said, member=signers[0], digest=said.digest), said.signatures[:64]
    honest = replaced(said, said=replaced(one, signature=own))
    with pytest.raises(Unproven):
        verify_blame(cohort, Blame(cohort.members[signers[0]], "outvoted", (honest,)))


def test_sums_are_worked_out_again_however_long_statements_take() -> None:
    """The time for that begins once they are there."""
    cohort, people = make_epoch(N, 40, audit=True, names=True, weights=EQUAL)
    owners = cohort.owners_of(0, tuple(range(N)))
    driver = SlowDriver(cohort, people, SEED, lies=dict.fromkeys(owners, false_sum)).run()
    check_these_named(driver, "outvoted", owners)


def test_owners_that_cover_a_lie_about_their_chunk_name_who_told_it() -> None:
    """One of them lies of its own words of it, and the other says nothing of that."""
    driver = session()
    owners = driver.cohort.owners_of(0, tuple(range(N)))
    silent = without(Accusation)
    lies = {owners[0]: both(shifting(1000), hiding(1000)), owners[1]: lambda _job, result: result}
    driver = session(lies=lies, rewrite=dict.fromkeys(owners, silent)).run()
    check_these_named(driver, "false_statement", owners[:1])


def test_who_was_given_another_manifest_than_those_that_voted_says_no_false_sum() -> None:
    """Else an honest owner would sum other words than the others, and be outvoted."""
    owners = session().cohort.owners_of(0, tuple(range(N)))
    fooled = next(rank for rank in owners if rank != LIAR)

    def two(driver: GroupDriver, rank: int, action: Action) -> list[Action]:
        """To one owner: other words, which fit another manifest."""
        said = action.message if isinstance(action, Send) else getattr(action, "header", None)
        if getattr(action, "receiver", None) != driver.cohort.members[fooled]:
            return [action]
        if isinstance(said, ChunkHeader):
            body = action.parts[0] ^ np.uint32(1)
            digest = chunk_digest(said.tau2, rank, said.chunk, body.tobytes())
            number = said.chunk.to_bytes(8, "little")
            signature = driver.speaking.sign(b"chunk", said.tau2, number, digest)
            header = replaced(said, digest=digest, signature=signature)
            digests[said.chunk] = digest
            return [replaced(action, header=header, parts=(body,))]
        if isinstance(said, Manifest):
            split = [said.chunk_digests[at : at + 32] for at in range(0, 32 * N, 32)]
            changed = b"".join(digests.get(chunk, it) for chunk, it in enumerate(split))
            other = replaced(said, chunk_digests=changed)
            signature = driver.speaking.sign(b"manifest", other.digest())
            false.append(replaced(other, signature=signature))
            return [Send(action.receiver, false[-1])]
        return [action]

    digests: dict[int, bytes] = {}
    false: list[Manifest] = []
    driver = session(rewrite={LIAR: two}).run()
    assert digests
    for rank in range(N):
        assert set(driver.machines[rank].blames) <= {
            blame
            for blame in driver.machines[rank].blames
            if blame.member == driver.cohort.members[LIAR]
        }
    assert not any(
        isinstance(said, SumDigest) and rank == fooled and said.chunk == 0
        for rank, said in driver.said
    )
    exchange = driver.machines[fooled]._exchange
    voters = [driver.machines[rank]._exchange for rank in range(N) if rank not in (fooled, LIAR)]
    voted = voters[0].manifest_digests[LIAR]
    assert exchange.manifest_digests[LIAR] == voted != false[0].digest()
    # And it takes that alone, whichever comes first.
    del exchange.manifests[LIAR]
    exchange.on_manifest(LIAR, false[0])
    assert LIAR not in exchange.manifests
