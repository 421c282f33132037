"""The certificate of a mean: t signatures of one whole mean, or there is none."""

from collections import Counter
from typing import Any

import msgspec
import numpy as np
import pytest
from session_driver import SessionDriver, make_cohort

from p2pfl_crypto.identity import Identity
from p2pfl_crypto.statements import sign_statement
from p2pfl_crypto.transcripts import chunk_digest
from p2pfl_gossip.actions import Action, Job, Persist, RemoteProtocolError, Send
from p2pfl_gossip.masked_sum.certificate import (
    Certificate,
    digest_of,
    from_record,
    require_certified,
    to_record,
)
from p2pfl_gossip.masked_sum.certifying import ASKED_MAX, Signed
from p2pfl_gossip.masked_sum.core import Core
from p2pfl_gossip.masked_sum.jobs import MaskChunk, MaskedChunk
from p2pfl_gossip.masked_sum.journal import _CODEC as JOURNAL
from p2pfl_gossip.masked_sum.journal import JournalRecord, Step
from p2pfl_gossip.masked_sum.messages import Fetch, MeanSignature, MeanSignatures, Wanted
from p2pfl_gossip.masked_sum.phases import Phase
from p2pfl_gossip.records import MalformedFrame, Record

SIZE, ENTRIES = 8, 40


def driver(**options: Any) -> SessionDriver:
    cohort, people = make_cohort(SIZE, ENTRIES)
    return SessionDriver(cohort, people, 5, **options)


def certificate_of(session: SessionDriver, signed: Signed) -> Certificate:
    return Certificate(
        round=3,
        cohort=0,
        members=signed.members,
        digest=signed.digest,
        signers=session.cohort.pack(signed.signatures),
        signatures=b"".join(signed.signatures.values()),
    )


@pytest.fixture(scope="module")
def ended() -> SessionDriver:
    return driver().run()


@pytest.fixture
def certificate(ended: SessionDriver) -> Certificate:
    signed = ended.machines[0].signed
    assert signed is not None
    return certificate_of(ended, signed)


def refusal(session: SessionDriver, certificate: Certificate) -> str:
    with pytest.raises(RemoteProtocolError) as caught:
        require_certified(session.cohort, certificate, Core.verify_of)
    return caught.value.reason


def test_every_member_comes_to_a_certificate_of_its_mean(ended: SessionDriver) -> None:
    for rank, machine in ended.machines.items():
        assert machine.signed is not None
        made = certificate_of(ended, machine.signed)
        require_certified(ended.cohort, made, Core.verify_of)
        assert len(machine.signed.signatures) == ended.cohort.threshold
        assert made.digest == digest_of(ended.cohort, ended.summed()[rank].mean)
        assert ended.cohort.unpack(made.members) == tuple(range(SIZE))


def test_a_certificate_is_kept_as_it_is(certificate: Certificate) -> None:
    assert from_record(to_record(certificate)) == certificate
    for record in (b"", b"\xc0", to_record(certificate)[:-1]):
        with pytest.raises(MalformedFrame):
            from_record(record)


def test_a_mean_that_differs_by_a_bit_has_another_digest(ended: SessionDriver) -> None:
    mean = ended.summed()[0].mean.copy()
    for entry in range(ENTRIES):
        other = mean.copy()
        other.view(np.uint32)[entry] ^= 1
        assert digest_of(ended.cohort, other) != digest_of(ended.cohort, mean)


# --- what is refused --------------------------------------------------------------------------


def test_fewer_than_t_signatures_are_none(ended: SessionDriver, certificate: Certificate) -> None:
    signers = ended.cohort.unpack(certificate.signers)
    assert signers is not None
    fewer = msgspec.structs.replace(
        certificate,
        signers=ended.cohort.pack(signers[:-1]),
        signatures=certificate.signatures[:-64],
    )
    assert refusal(ended, fewer) == "wrong_signer_count"
    # One signature twice is one: a set of signers names nobody twice.
    twice = msgspec.structs.replace(fewer, signatures=certificate.signatures)
    assert refusal(ended, twice) == "wrong_signer_count"
    short = msgspec.structs.replace(certificate, signatures=certificate.signatures[:-64])
    assert refusal(ended, short) == "bad_certificate"


def test_nobody_has_us_check_more_than_t(ended: SessionDriver, certificate: Certificate) -> None:
    more = msgspec.structs.replace(
        certificate,
        signers=ended.cohort.pack(range(SIZE)),
        signatures=(certificate.signatures * 2)[: 64 * SIZE],
    )
    assert refusal(ended, more) == "wrong_signer_count"


@pytest.mark.parametrize("field", ["members", "digest", "signatures", "signers"])
def test_every_field_is_signed(ended: SessionDriver, certificate: Certificate, field: str) -> None:
    value = getattr(certificate, field)
    if field == "members":
        changed = ended.cohort.pack(range(SIZE - 1))
    elif field == "signers":
        signers = ended.cohort.unpack(value)
        assert signers is not None
        absent = next(rank for rank in range(SIZE) if rank not in signers)
        changed = ended.cohort.pack([*signers[:-1], absent])
    else:
        changed = bytes([value[0] ^ 1]) + value[1:]
    forged = msgspec.structs.replace(certificate, **{field: changed})
    assert refusal(ended, forged) == "bad_signature"


def test_a_set_of_too_few_is_no_u3(ended: SessionDriver, certificate: Certificate) -> None:
    few = ended.cohort.pack(range(ended.cohort.threshold - 1))
    assert refusal(ended, msgspec.structs.replace(certificate, members=few)) == "too_few_members"
    for wrong in (b"\xff\x01", b""):
        for field in ("members", "signers"):
            forged = msgspec.structs.replace(certificate, **{field: wrong})
            assert refusal(ended, forged) == "bad_bitmap"


def test_a_certificate_of_another_cohort_or_round_is_none(certificate: Certificate) -> None:
    for changes in ({"round": 4}, {"group": b"another group"}):
        cohort, _ = make_cohort(SIZE, ENTRIES, **changes)
        with pytest.raises(RemoteProtocolError, match=r"^bad_signature$"):
            require_certified(cohort, certificate, Core.verify_of)


# --- liars, losses, crashes -------------------------------------------------------------------


def test_m_liars_cannot_certify_and_are_refused() -> None:
    """Their signatures are forged, or another's, or of another mean: none of them counts."""

    def lie(session: SessionDriver, rank: int, action: Action) -> list[Action]:
        if not isinstance(action, Send) or not isinstance(action.message, MeanSignature):
            return [action]
        said = action.message
        if rank == 0:
            forged = msgspec.structs.replace(said, signature=bytes(64))
        else:
            own, session_id = Identity(bytes([9]) * 32), session.cohort.session
            signature = sign_statement(own, b"mean", rank, session_id, b"\xff", said.digest)
            forged = msgspec.structs.replace(said, signature=signature)
        return [Send(action.receiver, forged)]

    session = driver(rewrite={0: lie, 1: lie}).run()
    reasons = {(of, reason) for _, of, reason in session.refusals}
    assert reasons == {(0, "bad_signature"), (1, "bad_signature")}
    for rank in range(2, SIZE):
        signed = session.machines[rank].signed
        assert signed is not None
        assert list(signed.signatures) == list(range(2, SIZE))


def test_signatures_in_anothers_name_are_refused() -> None:
    def lie(_session: SessionDriver, _rank: int, action: Action) -> list[Action]:
        if isinstance(action, Send) and isinstance(action.message, MeanSignature):
            return [Send(action.receiver, msgspec.structs.replace(action.message, member=2))]
        return [action]

    session = driver(rewrite={0: lie}).run()
    assert {(of, reason) for _, of, reason in session.refusals} == {(0, "not_your_signature")}


# --- the member that gathers ------------------------------------------------------------------

GATHERER = 3
"""Leads the first turn of round 3."""


def certified_by_all(session: SessionDriver, but: tuple[int, ...] = ()) -> bool:
    machines = [machine for rank, machine in session.machines.items() if rank not in but]
    for machine in machines:
        if machine.signed is None:
            return False
        require_certified(session.cohort, certificate_of(session, machine.signed), Core.verify_of)
    return True


def test_one_member_gathers_and_all_have_one_message_of_it(ended: SessionDriver) -> None:
    said = Counter((rank, type(message)) for rank, message in ended.said)
    others = [rank for rank in range(SIZE) if rank != GATHERER]
    assert all(said[rank, MeanSignature] == 1 for rank in others)
    assert said[GATHERER, MeanSignatures] == SIZE - 1
    assert sum(said[rank, MeanSignatures] for rank in others) == 0
    assert said[GATHERER, MeanSignature] == 0


def test_a_gatherer_that_says_nothing_is_done_without() -> None:
    def mute(_session: SessionDriver, _rank: int, action: Action) -> list[Action]:
        is_it = isinstance(action, Send) and isinstance(action.message, MeanSignatures)
        return [] if is_it else [action]

    session = driver(rewrite={GATHERER: mute}).run()
    assert certified_by_all(session)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"signatures": bytes(64 * 6)}, "bad_signature"),
        ({"signatures": bytes(64 * 5)}, "bad_certificate"),
        ({"signers": b"\x1f"}, "wrong_signer_count"),
        ({"signers": b"\x3f\0"}, "bad_bitmap"),
        ({"digest": bytes(32)}, None),
    ],
    ids=["signatures", "too few", "signers", "bitmap", "another mean"],
)
def test_a_gatherer_that_lies_moves_nobody(changes: dict[str, Any], reason: str | None) -> None:
    """Each finds out by itself, and asks all the others."""

    def lie(_session: SessionDriver, _rank: int, action: Action) -> list[Action]:
        if isinstance(action, Send) and isinstance(action.message, MeanSignatures):
            return [Send(action.receiver, msgspec.structs.replace(action.message, **changes))]
        return [action]

    session = driver(rewrite={GATHERER: lie}).run()
    refused = {(by, why) for by, of, why in session.refusals if of == GATHERER}
    others = [rank for rank in range(SIZE) if rank != GATHERER]
    assert refused == ({(rank, reason) for rank in others} if reason else set())
    assert certified_by_all(session, but=(GATHERER,))


def test_signatures_that_somebody_else_gathered_are_as_good(ended: SessionDriver) -> None:
    """Who sends them counts for nothing: each is checked."""
    bundle = next(message for _, message in ended.said if isinstance(message, MeanSignatures))

    def mute(_session: SessionDriver, _rank: int, action: Action) -> list[Action]:
        is_it = isinstance(action, Send) and isinstance(action.message, MeanSignatures)
        return [] if is_it else [action]

    session = driver(rewrite={GATHERER: mute})
    session.run(until_s=2.5)
    machine = session.machines[0]
    assert machine.phase == Phase.DONE
    assert machine.signed is None
    machine.on_message(session.now_s, session.cohort.members[5], bundle)
    assert machine.signed is not None


@pytest.mark.parametrize("tells_down", [True, False])
def test_a_gatherer_that_dies_is_done_without(tells_down: bool) -> None:
    """At once where its links break, else after a while."""

    def crash(_session: SessionDriver, rank: int, action: Action) -> bool:
        is_it = isinstance(action, Send) and isinstance(action.message, MeanSignatures)
        return rank == GATHERER and is_it

    session = driver(before=crash, tells_down=tells_down)
    session.run(until_s=2.5)
    assert GATHERER in session.dead
    assert certified_by_all(session, but=(GATHERER,)) == tells_down
    session.run_rest()
    assert certified_by_all(session, but=(GATHERER,))


def test_a_member_that_gathers_notes_what_it_signs_before_it_passes_any_on() -> None:
    noted: list[int] = []

    def watch(_session: SessionDriver, rank: int, action: Action) -> bool:
        if isinstance(action, Persist):
            (value,) = action.records.values()
            assert isinstance(value, bytes)
            record = JOURNAL.decode_untrusted(value)
            assert isinstance(record, JournalRecord)
            if record.step == Step.SIGNED:
                noted.append(rank)
        if isinstance(action, Send) and isinstance(action.message, MeanSignatures):
            assert rank in noted
        return False

    driver(before=watch).run()


def test_lost_signatures_are_asked_for_again() -> None:
    lost: list[int] = []

    def lose(_session: SessionDriver, rank: int, action: Action) -> list[Action]:
        is_first = isinstance(action, Send) and isinstance(action.message, MeanSignature)
        if is_first and len(lost) < SIZE * SIZE - 1:  # All to the gatherer, and all that it asked.
            lost.append(rank)
            return []
        return [action]

    session = driver(rewrite=dict.fromkeys(range(SIZE), lose)).run()
    assert len(lost) == SIZE * SIZE - 1
    assert all(machine.signed is not None for machine in session.machines.values())


def test_once_a_gatherer_is_gone_all_are_asked_once() -> None:
    """And nobody, by who has the signatures."""

    def mute(session: SessionDriver, _rank: int, action: Action) -> list[Action]:
        is_it = isinstance(action, Send) and isinstance(action.message, MeanSignatures)
        return [] if is_it and session.cohort.rank_of(action.receiver) == 0 else [action]  # type: ignore[union-attr]

    session = driver(rewrite={GATHERER: mute}).run(until_s=2.5)

    def asked(rank: int, gone: int) -> list[int | None]:
        peer = session.cohort.members[gone]
        actions = session.machines[rank].on_peer_down(session.now_s, peer)
        return [
            session.cohort.rank_of(it.receiver)
            for it in actions
            if isinstance(it, Send) and isinstance(it.message, Fetch)
        ]

    assert session.machines[0].signed is None
    assert session.machines[1].signed is not None
    assert asked(0, 7) == []
    assert asked(0, GATHERER) == list(range(1, SIZE))
    assert asked(0, 6) == []
    assert asked(1, GATHERER) == asked(1, 6) == []


def test_signatures_that_never_come_are_asked_for_so_often() -> None:
    asked: Counter[int] = Counter()

    def lose(_session: SessionDriver, rank: int, action: Action) -> list[Action]:
        message = action.message if isinstance(action, Send) else None
        asked[rank] += isinstance(message, Fetch) and message.what == Wanted.SIGNATURE
        return [] if isinstance(message, MeanSignature) else [action]

    session = driver(rewrite=dict.fromkeys(range(SIZE), lose)).run()
    assert set(asked.values()) == {ASKED_MAX * (SIZE - 1)}
    assert all(machine.signed is None for machine in session.machines.values())


def test_a_member_notes_what_it_signs_before_it_says_so() -> None:
    """So it signs once, whatever crashes: a restarted member is silent in that session."""
    noted: dict[int, bytes] = {}

    def watch(_session: SessionDriver, rank: int, action: Action) -> bool:
        if isinstance(action, Persist):
            (value,) = action.records.values()
            assert isinstance(value, bytes)
            record = JOURNAL.decode_untrusted(value)
            assert isinstance(record, JournalRecord)
            if record.step == Step.SIGNED:
                assert rank not in noted, "it signs twice"
                noted[rank] = record.said
        if isinstance(action, Send) and isinstance(action.message, MeanSignature):
            assert noted.get(rank) == action.message.digest
        return False

    driver(before=watch).run()
    assert sorted(noted) == list(range(SIZE))


# --- what is not whole ------------------------------------------------------------------------


def flip(chunks: range, bits: int = 0x80000000) -> Any:
    """Have a member change the weight that it puts into some chunks."""

    def lie(job: Job, result: Record) -> Record:
        if not isinstance(job, MaskChunk) or job.chunk not in chunks:
            return result
        assert isinstance(result, MaskedChunk)
        body = result.body.copy()
        body[-1:] += np.uint32(bits)  # Masks are added: the sum changes by as much.
        digest = chunk_digest(job.tau2, job.rank, job.chunk, body.data.cast("B"))
        return MaskedChunk(result.chunk, body, digest, result.clipped)

    return lie


@pytest.mark.parametrize("chunks", [range(1, SIZE), range(1), range(3, 5)])
@pytest.mark.parametrize("bits", [0x80000000, 1, 0x100])
def test_a_false_weight_voids_the_same_chunks_for_all(chunks: range, bits: int) -> None:
    """And nobody signs what is left: it has values in it that are their members' own."""
    session = driver(lies={2: flip(chunks, bits)}).run()
    outcomes = session.summed()
    assert len(outcomes) == SIZE
    kept = {tuple(outcome.kept.items()) for outcome in outcomes.values()}
    assert len(kept) == 1, "members differ in what is void"
    (void,) = kept
    wrong = set(chunks)
    assert {chunk for chunk, _ in void} in (wrong, set(range(SIZE)) - wrong)
    assert {why for _, why in void} <= {"out_of_range", "other_weight"}
    for machine in session.machines.values():
        assert machine.signed is None
    assert not [message for _, message in session.said if isinstance(message, MeanSignature)]


@pytest.mark.parametrize(
    ("chunks", "bits", "void"),
    [
        (range(1), 1, dict.fromkeys(range(1), "other_weight")),
        (range(1, SIZE), 1, dict.fromkeys(range(1), "other_weight")),
        (range(SIZE // 2), 1, dict.fromkeys(range(SIZE // 2), "other_weight")),
        (range(SIZE // 2), -1 % 2**32, dict.fromkeys(range(SIZE // 2, SIZE), "other_weight")),
        (range(2), 0x80000000, dict.fromkeys(range(2), "out_of_range")),
    ],
)
def test_the_weight_of_most_chunks_counts_and_of_as_many_the_lesser(
    chunks: range, bits: int, void: dict[int, str]
) -> None:
    session = driver(lies={2: flip(chunks, bits)}).run()
    assert [it.kept for it in session.summed().values()] == [void] * SIZE
