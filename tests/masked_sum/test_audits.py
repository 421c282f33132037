# mypy: disable-error-code="arg-type, attr-defined"
"""Sessions whose sum is audited: what passes, what each lie comes to, and who is named for it."""

from collections.abc import Callable
from itertools import count
from typing import Any

import msgspec
import numpy as np
import pytest
from group_driver import GroupDriver, make_epoch
from session_driver import make_cohort

from p2pfl_crypto.audit.curve import add, multiply_base
from p2pfl_crypto.audit.shortness import prove, prove_opening
from p2pfl_crypto.audit.sketch import sketch_of
from p2pfl_crypto.shamir import GROUP_ORDER, share_secrets
from p2pfl_crypto.transcripts import sum_digest
from p2pfl_gossip.actions import (
    Action,
    Disconnect,
    Job,
    Persist,
    RemoteProtocolError,
    Send,
    SendBulk,
)
from p2pfl_gossip.masked_sum import audit_jobs, auditing
from p2pfl_gossip.masked_sum.audit_jobs import OwnInput, Sketched, SketchRound
from p2pfl_gossip.masked_sum.blame import Unproven, verify_blame
from p2pfl_gossip.masked_sum.core import Blame
from p2pfl_gossip.masked_sum.false_proofs import are_false_shares
from p2pfl_gossip.masked_sum.jobs import ChunkSum, Deal, Dealt, Unmask, perform
from p2pfl_gossip.masked_sum.journal import Step, read_record
from p2pfl_gossip.masked_sum.messages import (
    AuditProof,
    ChunkHeader,
    Coin,
    CoinShares,
    CoinSum,
    FalseShares,
    Manifest,
    ShareKind,
    SumDigest,
    SumHeader,
    SumsSeen,
    Vote,
)
from p2pfl_gossip.masked_sum.phases import Phase
from p2pfl_gossip.records import Record

N, ENTRIES, SEED = 7, 40, 3
LIAR, OTHER = 2, 5
"""At most two of seven may lie."""
HONEST = [rank for rank in range(N) if rank not in (LIAR, OTHER)]
EQUAL = (1.0,) * N


def session(**options: Any) -> GroupDriver:
    """A session of seven with equal weights, each of whom gives as much as it may."""
    cohort, people = make_epoch(N, ENTRIES, audit=True, weights=EQUAL)
    vectors = options.pop("vectors", None) or inputs()
    return GroupDriver(cohort, people, SEED, vectors=vectors, **options)


def inputs(**scaled: float) -> list[Any]:
    """Vectors of norm S each; those of `m2` and so on are that many times as long."""
    made = []
    for rank in range(N):
        vector = np.random.default_rng(rank).normal(size=ENTRIES)
        vector *= 2.0 * scaled.get(f"m{rank}", 1.0) / np.linalg.norm(vector)
        made.append(vector.astype(np.float32))
    return made


def effect(driver: GroupDriver, sums: Any, liars: tuple[int, ...]) -> float:
    """The norm of what liars added to a sum, in clips; and no other error is in it."""
    total = 0.0
    honest = tuple(rank for rank in sums.members if rank not in liars)
    for chunk, summed in enumerate(sums.chunks):
        error = summed.body.view(np.int32) - driver.plain_sum(honest, chunk)
        total += float((error.astype(np.float64) ** 2).sum())
    return float(total**0.5) / driver.epoch_cohort.deltas.quantum_max


def proving(change: Callable[[SketchRound, OwnInput, list[int]], tuple[bytes, bytes]]) -> Any:
    """A liar that says another thing of its input than is so."""

    def lie(job: Job, result: Record) -> Record:
        if not isinstance(job, SketchRound) or job.own is None:
            return result
        own = job.own
        parts = ((chunk, own.encode(chunk, part).view(np.int32)) for chunk, part in own.parts)
        sketch = sketch_of(job.seed, parts).tolist()
        assert isinstance(result, Sketched)
        commitment, proof = change(job, own, sketch)
        return Sketched(result.sum_sketch, result.sum_norm, commitment, proof)

    return lie


def told(job: SketchRound, own: OwnInput, sketch: list[int], blinding: int | None = None) -> Any:
    """A proof in order, of whatever sketch."""
    blinding = int.from_bytes(own.blinding, "little") if blinding is None else blinding
    context = job.audited.context(job.seed, own.rank)
    return prove(context, own.bound, sketch, blinding, own.entropy)


# Without lies


@pytest.mark.parametrize("absent", [(), (1, 6)])
def test_an_audited_session_has_the_sums_of_one_that_is_not(absent: tuple[int, ...]) -> None:
    cohort, people = make_epoch(N, ENTRIES, weights=EQUAL)
    plain = GroupDriver(cohort, people, SEED, vectors=inputs()).run(absent)
    audited = session().run(absent)
    audited.check_safety()
    sums, others = plain.check_exact(), audited.check_exact()
    assert len(sums) == len(others) == N - len(absent)
    for rank, outcome in sums.items():
        assert outcome.members == others[rank].members
        for one, two in zip(outcome.chunks, others[rank].chunks, strict=True):
            assert one.body.tobytes() == two.body.tobytes()


COINS_OF_3: dict[int, bytes] = {}
"""Of the faultless session: each holder's share of member 3's coin."""


@pytest.fixture(scope="module")
def faultless() -> GroupDriver:
    def note(driver: GroupDriver, rank: int, action: Action) -> bool:
        if isinstance(action, Send) and isinstance(action.message, SumsSeen):
            COINS_OF_3[rank] = driver.machines[rank]._sharing.shares[3][64:]
        return False

    return session(after=note).run()


def test_members_at_their_bounds_pass(faultless: GroupDriver) -> None:
    faultless.check_safety()
    outcomes = faultless.check_exact()
    assert len(outcomes) == N
    assert not faultless.refusals
    assert not faultless.blamed()


def test_nobody_shows_its_coin_before_t_have_the_sums(faultless: GroupDriver) -> None:
    check_order(faultless)


def check_order(driver: GroupDriver) -> None:
    """No honest COIN before t SEEN of one digest; no second SEEN (`check_safety`)."""
    seen: dict[bytes, set[int]] = {}
    for rank, message in driver.said:
        if isinstance(message, SumsSeen):
            seen.setdefault(message.sums, set()).add(rank)
        if isinstance(message, Coin | CoinShares) and rank not in driver.rewrite:
            assert len(seen.get(message.sums, ())) >= driver.cohort.threshold


def test_what_is_seen_is_kept_before_it_is_said() -> None:
    order: dict[int, list[str]] = {}

    def watch(driver: GroupDriver, rank: int, action: Action) -> bool:
        match action:
            case Persist():
                for key, value in action.records.items():
                    if key.endswith("/seen"):
                        record = read_record(value)
                        assert (record.step, record.round) == (Step.SEEN, driver.cohort.round)
                        order.setdefault(rank, []).append(record.said.hex())
            case Send(message=SumsSeen() as seen):
                assert order[rank] == [seen.sums.hex()]
        return False

    session(after=watch).run()
    assert len(order) == N


@pytest.mark.parametrize("phase", [Phase.AUDIT, Phase.REVEAL])
def test_losses_are_made_up_for(phase: Phase) -> None:
    driver = session(loss=0.2, loss_from=phase).run()
    driver.check_safety()
    check_order(driver)
    assert len(driver.check_exact()) == N


def crash_at(kind: type, rank: int) -> Any:
    def strikes(_driver: GroupDriver, who: int, action: Action) -> bool:
        return who == rank and isinstance(action, Send) and isinstance(action.message, kind)

    return strikes


@pytest.mark.parametrize("kind", [SumsSeen, Coin])
def test_one_that_is_lost_before_its_proof_makes_the_round_void(kind: type) -> None:
    driver = session(before=crash_at(kind, LIAR)).run()
    driver.check_safety()
    assert set(driver.reasons().values()) == {"proofs_missing"}
    assert not driver.blamed()


def test_one_that_is_lost_after_its_proof_changes_nothing() -> None:
    sent = count()

    def strikes(_driver: GroupDriver, rank: int, action: Action) -> bool:
        is_proof = isinstance(action, Send) and isinstance(action.message, AuditProof)
        return rank == LIAR and is_proof and next(sent) == N - 2

    driver = session(after=strikes).run()
    assert len(driver.check_exact()) == N - 1


def test_a_restarted_member_says_nothing_more() -> None:
    def strikes(driver: GroupDriver, rank: int, action: Action) -> bool:
        is_seen = isinstance(action, Send) and isinstance(action.message, SumsSeen)
        if rank == LIAR and is_seen and not driver.incarnation[rank]:
            driver.at(1.0, lambda: driver.restart(LIAR))
            return True
        return False

    driver = session(after=strikes).run()
    said = [message for rank, message in driver.said if rank == LIAR]
    assert isinstance(said[-1], SumsSeen)
    assert driver.machines[LIAR].outcome.reason == "replayed"


# Lies of members of the sum


def test_who_makes_the_mean_too_long_has_no_proof() -> None:
    """So it is known whose word is missing."""
    vectors = inputs()
    for liar in (LIAR, OTHER):
        vectors[liar] = np.full(ENTRIES, 2.0, np.float32)  # S in each of forty entries.
    driver = session(vectors=vectors).run()
    assert set(driver.reasons().values()) == {"proofs_missing"}
    assert {driver.machines[rank].outcome.absent for rank in HONEST} == {(LIAR, OTHER)}
    norms = {machine._auditing._sketched.sum_norm for machine in driver.machines.values()}
    (norm,) = norms
    assert norm / N > audit_jobs.MEAN_NORM_MAX * driver.epoch_cohort.deltas.quantum_max


def test_a_mean_that_is_too_long_is_not_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever proofs say: here of members in order, with a smaller limit."""
    monkeypatch.setattr(auditing, "MEAN_NORM_MAX", 0.1)
    driver = session().run()
    assert set(driver.reasons().values()) == {"mean_too_long"}


def test_twice_the_clip_has_no_proof() -> None:
    """The mean is not too long for it; but nothing true can be said of the sketch."""
    driver = session(vectors=inputs(m2=2.0)).run()
    assert set(driver.reasons().values()) == {"proofs_missing"}
    assert not driver.summed()


def test_a_false_sketch_does_not_add_up() -> None:
    lie = proving(lambda job, own, sketch: told(job, own, [entry // 3 for entry in sketch]))
    driver = session(vectors=inputs(m2=3.0), lies={LIAR: lie}).run()
    assert {driver.reasons()[rank] for rank in HONEST} == {"false_total"}
    assert not driver.blamed()


def test_a_wrong_blinding_does_not_add_up() -> None:
    lie = proving(lambda job, own, sketch: told(job, own, sketch, blinding=7))
    driver = session(lies={LIAR: lie}).run()
    assert {driver.reasons()[rank] for rank in HONEST} == {"false_total"}


def squares_modulo_order(rest: int) -> tuple[int, int, int, int]:
    """Two numbers whose squares add up to `rest` modulo L, though not over the integers."""
    one = 1
    while pow(rest - one * one, (GROUP_ORDER - 1) // 2, GROUP_ORDER) != 1:
        one += 1
    square = (rest - one * one) % GROUP_ORDER
    root = pow(square, (GROUP_ORDER + 3) // 8, GROUP_ORDER)
    if root * root % GROUP_ORDER != square:
        root = root * pow(2, (GROUP_ORDER - 1) // 4, GROUP_ORDER) % GROUP_ORDER
    return root, one, 0, 0


def named(driver: GroupDriver, fault: str, reason: str | None) -> None:
    """The liar and nobody else is named, by what anybody can check; honest members agree."""
    assert list(driver.blamed()) == [LIAR]
    assert list(driver.blamed()[LIAR]) == [fault]
    for rank in HONEST:
        for blame in driver.machines[rank].blames:
            verify_blame(driver.cohort, blame)
    if reason is None:
        assert len(driver.check_exact()) == N
    else:
        assert {driver.reasons()[rank] for rank in HONEST} == {reason}


def squares_mod_order(job: SketchRound, own: OwnInput, sketch: list[int]) -> tuple[bytes, bytes]:
    long = [100 * entry for entry in sketch]
    squares = squares_modulo_order(own.bound - sum(entry * entry for entry in long))
    context, blinding = job.audited.context(job.seed, own.rank), int.from_bytes(own.blinding)
    commitment, proof = prove_opening(context, own.bound, long, squares, blinding, own.entropy)
    return commitment, proof.encode()


def of_another_round(_job: SketchRound, own: OwnInput, sketch: list[int]) -> tuple[bytes, bytes]:
    return prove(b"earlier".ljust(32), own.bound, sketch, 1, own.entropy)


@pytest.mark.parametrize("change", [squares_mod_order, of_another_round])
def test_a_false_proof_names_who_signed_it(change: Any) -> None:
    named(session(lies={LIAR: proving(change)}).run(), "false_proof", "false_proof")


def test_a_copied_commitment_names_who_signed_it() -> None:
    copied: dict[str, bytes] = {}

    def copy(driver: GroupDriver, rank: int, action: Action) -> list[Action]:
        if isinstance(action, Send) and isinstance(action.message, AuditProof):
            known = driver.machines[0]._auditing._proofs.get(0)
            assert known is not None
            said = (known.ballot, known.sums, known.seed, known.commitment)
            copied["commitment"] = known.commitment
            proof = AuditProof(known.session, rank, *said, known.proof, bytes(64))
            signature = driver.speaking.sign(b"proof", proof.digest())
            proof = msgspec.structs.replace(proof, signature=signature)
            return [Send(action.receiver, proof)]
        return [action]

    driver = session(rewrite={LIAR: copy}).run()
    assert copied
    named(driver, "false_proof", "false_proof")


def test_a_proof_that_holds_is_no_evidence(faultless: GroupDriver) -> None:
    proof = faultless.machines[0]._auditing._proofs[LIAR]
    accused = Blame(faultless.cohort.members[LIAR], "false_proof", (proof,))
    with pytest.raises(Unproven, match="no proof of the member's is false"):
        verify_blame(faultless.cohort, accused)
    forged = msgspec.structs.replace(proof, proof=bytes(len(proof.proof)))
    with pytest.raises(Unproven, match="signature"):
        verify_blame(faultless.cohort, Blame(accused.member, "false_proof", (forged,)))


def without(kind: type) -> Any:
    def rewrite(_driver: GroupDriver, _rank: int, action: Action) -> list[Action]:
        is_one = isinstance(action, Send) and isinstance(action.message, kind)
        return [] if is_one else [action]

    return rewrite


@pytest.mark.parametrize(
    ("kind", "reason", "listed"),
    [
        (AuditProof, "proofs_missing", range(N)),
        # Of six two are silent: the other four are too few.
        ((Coin, CoinSum), "coins_missing", range(1, N)),
        (SumsSeen, "seen_missing", range(1, N)),
    ],
)
def test_silence_makes_the_round_void_and_names_nobody(
    kind: Any, reason: str, listed: range
) -> None:
    rewrite = {LIAR: without(kind), OTHER: without(kind)}
    driver = session(rewrite=rewrite, listed=tuple(listed)).run()
    honest = [rank for rank in HONEST if rank in listed]
    assert {driver.reasons()[rank] for rank in honest} == {reason}
    assert {driver.machines[rank].outcome.absent for rank in honest} == {(LIAR, OTHER)}
    assert not driver.blamed()


@pytest.mark.parametrize("kind", [Vote, SumsSeen, Coin])
def test_what_liars_keep_from_one_member_it_gets_from_others(kind: type) -> None:
    """One honest member is down: so the last one lacks a word of a liar, and would seem silent."""

    def rewrite(driver: GroupDriver, _rank: int, action: Action) -> list[Action]:
        is_kept = (
            isinstance(action, Send)
            and isinstance(action.message, kind)
            and action.receiver == driver.cohort.members[6]
        )
        return [] if is_kept else [action]

    driver = session(rewrite={LIAR: rewrite, OTHER: rewrite}).run((0,))
    assert set(driver.summed()) == set(range(1, N))
    assert not driver.blamed()


def test_a_proof_that_one_member_has_all_have() -> None:
    def to_one(driver: GroupDriver, _rank: int, action: Action) -> list[Action]:
        is_kept = (
            isinstance(action, Send)
            and isinstance(action.message, AuditProof)
            and action.receiver != driver.cohort.members[4]
        )
        return [] if is_kept else [action]

    driver = session(rewrite={LIAR: to_one}).run()
    assert set(driver.summed()) == set(range(N))


def prove_late(driver: GroupDriver, rank: int, action: Action) -> list[Action]:
    is_proof = isinstance(action, Send) and isinstance(action.message, AuditProof)
    if is_proof and driver.now_s < 30.0:
        driver.at(30.0, lambda: driver.perform(rank, action))
        return []
    return [action]


def test_who_is_late_is_noted() -> None:
    """All have sums here; whether that is a certified round is for others to say."""
    driver = session(rewrite={LIAR: prove_late}).run()
    assert {driver.summed()[rank].late for rank in HONEST} == {(LIAR,)}


def test_a_sum_of_coins_that_no_headers_promise_ends_its_senders_link() -> None:
    def lie(_driver: GroupDriver, _rank: int, action: Action) -> list[Action]:
        if not (isinstance(action, Send) and isinstance(action.message, Coin)):
            return [action]
        message = action.message
        false = CoinSum(message.session, message.sums, bytes(32))
        return [Send(action.receiver, false), action]

    ended: list[Any] = []

    def watch(_driver: GroupDriver, _rank: int, action: Action) -> bool:
        if isinstance(action, Disconnect):
            ended.append(action)
        return False

    driver = session(rewrite={LIAR: lie}, after=watch).run()
    assert len(driver.check_exact()) == N
    assert set(ended) == {Disconnect(driver.cohort.members[LIAR], "bad_coin")}


def test_a_late_proof_counts() -> None:
    driver = session(rewrite={LIAR: prove_late}).run()
    assert len(driver.check_exact()) == N


def test_two_digests_of_all_sums_name_who_signed_them() -> None:
    def twice(driver: GroupDriver, _rank: int, action: Action) -> list[Action]:
        if isinstance(action, Send) and isinstance(action.message, SumsSeen):
            seen, other = action.message, bytes(32)
            signature = driver.speaking.sign(b"seen", seen.ballot, other)
            false = msgspec.structs.replace(seen, sums=other, signature=signature)
            return [action, Send(action.receiver, false)]
        return [action]

    named(session(rewrite={LIAR: twice}).run(), "two_seen", None)


# Lies about coins


def coins_off_by_one(_driver: GroupDriver, _rank: int, action: Action) -> list[Action]:
    if isinstance(action, Send) and isinstance(action.message, Coin):
        number = int.from_bytes(action.message.share, "little") + 1
        share = (number % GROUP_ORDER).to_bytes(32, "little")
        return [Send(action.receiver, msgspec.structs.replace(action.message, share=share))]
    return [action]


def test_a_false_coin_is_made_up_for_by_single_shares() -> None:
    driver = session(rewrite={LIAR: coins_off_by_one, OTHER: coins_off_by_one}).run()
    check_order(driver)
    assert any(isinstance(message, CoinShares) for _, message in driver.said)
    assert len(driver.check_exact()) == N
    assert not driver.blamed()


def test_false_single_shares_are_seen_by_their_headers() -> None:
    def false(driver: GroupDriver, rank: int, action: Action) -> list[Action]:
        if isinstance(action, Send) and isinstance(action.message, CoinShares):
            shares = bytes(32) + action.message.shares[32:]
            return [Send(action.receiver, msgspec.structs.replace(action.message, shares=shares))]
        return coins_off_by_one(driver, rank, action)

    driver = session(rewrite={LIAR: false, OTHER: coins_off_by_one}).run()
    outcomes = driver.check_exact()
    assert set(HONEST) <= set(outcomes)
    assert driver.blamed() in ({}, {LIAR: {"corrupt_coin": None}})


def test_a_coin_that_is_not_the_one_promised_names_its_dealer() -> None:
    def lie(job: Job, result: Record) -> Record:
        if isinstance(job, Deal):
            assert isinstance(result, Dealt)
            point = add(result.commitment[32:], multiply_base(1))
            changed = result.commitment[:32] + point
            return msgspec.structs.replace(result, commitment=changed)
        return result

    driver = session(lies={LIAR: lie}).run()
    named(driver, "bad_dealing", "bad_dealing")


def test_shares_of_another_seed_than_the_one_promised_name_their_dealer() -> None:
    """In a group that is not audited nobody is named for it to all."""

    def lie(job: Job, result: Record) -> Record:
        if isinstance(job, Deal):
            assert isinstance(result, Dealt)
            return msgspec.structs.replace(result, commitment=bytes(32) + result.commitment[32:])
        return result

    driver = session(lies={LIAR: lie}).run()
    named(driver, "bad_dealing", "bad_dealing")


def test_shares_of_another_scalar_are_shown_too() -> None:
    """Whose key it is not is in the ledger's advert: the evidence is whole with that."""

    def lie(job: Job, result: Record) -> Record:
        if not isinstance(job, Deal):
            return result
        secrets = msgspec.structs.replace(job.secrets, mask_scalar=(5).to_bytes(32, "little"))
        other = perform(msgspec.structs.replace(job, secrets=secrets))
        assert isinstance(result, Dealt)
        assert isinstance(other, Dealt)
        dealt = {"share_digests": other.share_digests, "own_shares": other.own_shares}
        return msgspec.structs.replace(result, sealed=other.sealed, **dealt)

    def without_words(_driver: GroupDriver, _rank: int, action: Action) -> list[Action]:
        is_word = isinstance(action, SendBulk) and isinstance(action.header, ChunkHeader)
        is_manifest = isinstance(action, Send) and isinstance(action.message, Manifest)
        return [] if is_word or is_manifest else [action]

    driver = session(lies={LIAR: lie}, rewrite={LIAR: without_words}).run()
    blames = [blame for rank in HONEST for blame in driver.machines[rank].blames]
    assert blames
    for blame in blames:
        assert (blame.member, blame.fault) == (driver.cohort.members[LIAR], "bad_dealing")
        (said,) = blame.evidence
        assert isinstance(said, FalseShares)
        dealers, holders = driver.cohort.unpack(said.dealers), driver.cohort.unpack(said.holders)
        key = driver.mask_keys[LIAR]
        assert are_false_shares(said, dealers or (), holders or (), 5, key, is_audited=True)
        # Of whatever key.
        assert not are_false_shares(said, dealers or (), holders or (), 5, is_audited=True)


def test_a_share_off_the_line_of_the_others_names_its_dealer() -> None:
    """One share of six is of another line, and five of the others do give the coin."""
    dealt: list[Any] = []

    def lie(job: Job, result: Record) -> Record:
        if not isinstance(job, Deal):
            return result
        other = perform(msgspec.structs.replace(job, coin=(5).to_bytes(32, "little")))
        place = 2 * N + 6
        assert isinstance(result, Dealt)
        digests = bytearray(result.share_digests)
        digests[32 * place : 32 * place + 32] = other.share_digests[32 * place : 32 * place + 32]
        dealt.append(other)
        sealed = result.sealed | {6: other.sealed[6]}
        return msgspec.structs.replace(result, share_digests=bytes(digests), sealed=sealed)

    driver = session(lies={LIAR: lie}).run()
    assert dealt
    assert set(driver.blamed()) <= {LIAR}
    for rank in HONEST:
        for blame in driver.machines[rank].blames:
            verify_blame(driver.cohort, blame)


def test_of_more_shares_than_it_takes_those_are_shown_that_contradict() -> None:
    """The first five give the coin; one that is off the line does not, in place of the fifth."""
    (shares,) = share_secrets([(7).to_bytes(32, "little")], 5, range(1, 8), b"e" * 256)
    audited, point = audit_jobs.AuditedSum(bytes(32), bytes(32), bytes(32)), multiply_base(7)

    def toss(changed: dict[int, bytes]) -> Any:
        known = dict(enumerate(shares, 1)) | changed
        return perform(audit_jobs.TossSingly(audited, 5, {3: known}, {3: point}))

    assert toss({}).seed
    assert not toss({}).liars
    assert toss({7: bytes(32)}).liars == ((3, (1, 2, 3, 4, 7)),)
    assert toss({2: b"\xff" * 32}).liars == ((3, (1, 2, 3, 4, 5)),)


COIN_LIES: dict[str, tuple[dict[str, Any], str]] = {
    "shares that give the coin": ({}, "give another one"),
    "too few shares": ({"holders": b"\x0f", "shares": 4}, "give another one"),
    "another list": ({"dealers": b"\x3f"}, "give another one"),
    "a holder twice as many": ({"holders": b"\x3f"}, "give another one"),
    "another share": ({"shares": bytes(160)}, "give another one"),
    "another secret": ({"kind": ShareKind.SEED}, "give another one"),
    "a scalar, whose key is not there": ({"kind": ShareKind.SCALAR}, "give another one"),
    "no secret": ({"kind": 3}, "give another one"),
}


@pytest.mark.parametrize("name", COIN_LIES)
def test_an_honest_dealing_is_no_evidence(faultless: GroupDriver, name: str) -> None:
    changes, match = COIN_LIES[name]
    accused = Blame(faultless.cohort.members[3], "bad_dealing", (honest_coin(faultless, changes),))
    with pytest.raises(Unproven, match=match):
        verify_blame(faultless.cohort, accused)


def honest_coin(driver: GroupDriver, changes: dict[str, Any]) -> FalseShares:
    """Five shares of member 3's coin, as they were dealt, or with something changed."""
    shares = [COINS_OF_3[rank] for rank in range(5)]
    known = {
        "header": driver.machines[0]._sharing.headers[3],
        "kind": ShareKind.COIN,
        "dealers": b"\x7f",
        "holders": b"\x1f",
        "shares": b"".join(shares),
    } | changes
    if isinstance(known["shares"], int):
        known["shares"] = b"".join(shares[: known["shares"]])
    return FalseShares(**known)


# Coalitions


@pytest.mark.parametrize(("norm", "is_signed"), [(2.4, True), (4.5, False)])
def test_colluders_are_bounded_together(norm: float, is_signed: bool) -> None:
    """One puts in what both may, and each proves half of it: bounded by twice 1.8 S, not more."""

    def half(job: SketchRound, own: OwnInput, _sketch: list[int]) -> tuple[bytes, bytes]:
        long = sketch_of_liar(job)
        part = [entry // 2 if own.rank == LIAR else entry - entry // 2 for entry in long]
        try:
            made: tuple[bytes, bytes] = told(job, own, part)
            return made
        except ValueError:
            return b"", b""

    def sketch_of_liar(job: SketchRound) -> list[int]:
        bodies = []
        for chunk in range(driver.cohort.chunk_count):
            made = driver.masked[LIAR, chunk]
            body, _ = made.encoding.encode_body(made.entries, 1.0, made.rounding_key, chunk)
            bodies.append((chunk, body.view(np.int32)))
        return [int(entry) for entry in sketch_of(job.seed, bodies)]

    vectors = inputs(m2=norm, m5=0.0)
    driver = session(vectors=vectors, lies=dict.fromkeys((LIAR, OTHER), proving(half)))
    driver.run()
    outcomes = driver.summed()
    assert bool(outcomes) == is_signed, driver.reasons()
    for sums in outcomes.values():
        assert 0.9 * norm < effect(driver, sums, (LIAR, OTHER)) <= 1.8 * 2


def false_sum(job: Job, result: Record) -> Record:
    """Say that the sum of the first chunk is another one."""
    if isinstance(job, Unmask) and job.chunk == 0:
        assert isinstance(result, ChunkSum)
        body = result.body.copy()
        body[0] += 1
        digest = sum_digest(job.ballot, job.chunk, body.tobytes())
        return ChunkSum(result.chunk, body, digest)
    return result


def test_owners_that_agree_on_a_false_sum_make_the_round_void() -> None:
    """Their word counts where both sign one digest; but then nothing adds up to it."""
    owners = session().epoch_cohort.owners_of(0, tuple(range(N)))
    driver = session(lies=dict.fromkeys(owners, false_sum)).run()
    assert set(driver.reasons().values()) == {"false_total"}
    assert not driver.summed()


def sum_of_chunk(action: Action, chunk: int) -> Any:
    """The header or message by which a member tells its sum of a chunk, if it does."""
    said = action.message if isinstance(action, Send) else getattr(action, "header", None)
    is_one = isinstance(said, SumDigest | SumHeader) and said.chunk == chunk
    return said if is_one else None


def test_owners_that_tell_two_sums_are_named_by_those_that_compare() -> None:
    """Half of the members take another sum than the rest: so no t have one, or no proof of some."""
    driver = session()
    owners = driver.epoch_cohort.owners_of(0, tuple(range(N)))
    honest = [rank for rank in range(N) if rank not in owners]

    def two_faced(driver: Any, _rank: int, action: Action) -> list[Action]:
        said = sum_of_chunk(action, 0)
        receiver = getattr(action, "receiver", None)
        if said is None or driver.cohort.rank_of(receiver) not in honest[:2]:
            return [action]
        own = (
            driver.machines[owners[0]]._summing._own.get(0)
            or (driver.machines[owners[1]]._summing._own[0])
        )
        body = own.body.copy()
        body[0] += 1
        digest = sum_digest(said.ballot, 0, body.tobytes())
        number = (0).to_bytes(8, "little")
        signature = driver.speaking.sign(b"sum", said.ballot, number, digest)
        false = msgspec.structs.replace(said, digest=digest, signature=signature)
        if isinstance(action, Send):
            return [Send(action.receiver, false)]
        return [msgspec.structs.replace(action, header=false, parts=(body,))]

    driver.rewrite = dict.fromkeys(owners, two_faced)
    driver.run()
    assert not driver.summed()
    for rank in honest:
        blames = {blame.member: blame.fault for blame in driver.machines[rank].blames}
        assert blames == {driver.cohort.members[owner]: "two_sums" for owner in owners}
        for blame in driver.machines[rank].blames:
            verify_blame(driver.cohort, blame)
    ended = {driver.cohort.members[rank]: None for rank in honest}
    assert not [of for _, of, _ in driver.refusals if driver.cohort.members[of] in ended]


def test_a_sum_that_is_bent_once_the_seed_is_known_changes_nothing() -> None:
    """Two owners that know how all is sketched sign another sum of their chunk: they are named."""
    driver = session()
    owners = driver.epoch_cohort.owners_of(0, tuple(range(N)))
    bent: dict[int, None] = {}

    def bend(driver: Any, rank: int, action: Action) -> list[Action]:
        if not (isinstance(action, Send) and isinstance(action.message, AuditProof)):
            return [action]
        bent[rank] = None
        own, ballot = driver.machines[rank]._summing.sums[0], action.message.ballot
        digest = sum_digest(ballot, 0, (own.body + np.uint32(1)).tobytes())
        signature = driver.speaking.sign(b"sum", ballot, (0).to_bytes(8, "little"), digest)
        said = SumDigest(action.message.session, ballot, rank, 0, digest, signature)
        return [Send(action.receiver, said), action]

    driver.rewrite = dict.fromkeys(owners, bend)
    driver.run()
    assert set(bent) == set(owners)
    assert len(driver.check_exact()) == N
    for rank in (rank for rank in range(N) if rank not in owners):
        faults = {blame.fault for blame in driver.machines[rank].blames}
        assert faults <= {"two_sums", "false_sum"}
        assert faults


# What nobody says by the rules, told to a member's audit itself


def proof_of(driver: GroupDriver, rank: int, **changes: Any) -> Any:
    return msgspec.structs.replace(driver.machines[0]._auditing._proofs[rank], **changes)


def test_who_is_not_on_the_list_has_no_coin(faultless: GroupDriver) -> None:
    tossing = faultless.machines[0]._auditing._tossing
    session_, sums = faultless.cohort.session, tossing.audited.sums
    with pytest.raises(RemoteProtocolError, match="not_in_list"):
        tossing.on_coin(99, Coin(session_, sums, bytes(32)))
    with pytest.raises(RemoteProtocolError, match="not_in_list"):
        tossing.on_coin_shares(99, CoinShares(session_, sums, bytes(32 * N)))


def test_a_share_that_no_dealer_dealt_names_its_sender(faultless: GroupDriver) -> None:
    machine = faultless.machines[1]
    tossing = machine._auditing._tossing
    tossing.seed, tossing._is_single = b"", True
    shares = CoinShares(faultless.cohort.session, tossing.audited.sums, bytes(32 * N))
    tossing.on_coin_shares(LIAR, shares)
    assert [blame.fault for blame in machine._core.blames] == ["corrupt_coin"]


def test_who_is_not_in_the_sum_has_no_proof() -> None:
    driver = session().run((6,))
    with pytest.raises(RemoteProtocolError, match="not_in_sum"):
        driver.machines[0]._auditing.on_proof(6, proof_of(driver, 0, member=6))


def test_an_early_proof_of_another_seed_ends_its_senders_link(faultless: GroupDriver) -> None:
    auditing = faultless.machines[0]._auditing
    false = proof_of(faultless, LIAR, seed=bytes(32))
    known = auditing._proofs.pop(LIAR)
    auditing._keep_proof(LIAR, false)
    auditing._proofs[LIAR] = known
    (ended,) = auditing._core.actions
    auditing._core.actions = []
    assert ended == Disconnect(faultless.cohort.members[LIAR], "wrong_seed")


def test_a_drawn_cohort_has_no_false_proofs() -> None:
    cohort, _ = make_cohort(N, ENTRIES)
    with pytest.raises(Unproven, match="only a group's sum is audited"):
        verify_blame(cohort, Blame(cohort.members[LIAR], "false_proof", ()))


def test_a_share_more_than_the_session_has_is_refused() -> None:
    """A coin that is dealt where nobody asks for one."""

    def lie(job: Job, result: Record) -> Record:
        if not isinstance(job, Deal):
            return result
        more = msgspec.structs.replace(job, coin=bytes(32), entropy=job.entropy + bytes(4096))
        coined = perform(more)
        return msgspec.structs.replace(result, sealed=coined.sealed)

    cohort, people = make_epoch(N, ENTRIES, weights=EQUAL)
    driver = GroupDriver(cohort, people, SEED, lies={LIAR: lie}).run()
    assert {(of, why) for _, of, why in driver.refusals} >= {(LIAR, "bad_share")}
