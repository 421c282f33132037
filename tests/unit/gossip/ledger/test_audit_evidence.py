"""Evidence from audits: what names a member to all, and that none names one that kept to it."""

from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_group import Bench, LedgerGroup

from p2pfl_crypto.audit.curve import multiply_base
from p2pfl_crypto.audit.shortness import prove
from p2pfl_crypto.encoding import DeltaEncoding
from p2pfl_crypto.key_agreement import agreement_secret_of, public_key_of
from p2pfl_crypto.shamir import entropy_bytes_for, share_secrets
from p2pfl_crypto.statements import sign_statement
from p2pfl_crypto.transcripts import proof_context, seed_commitment, share_digest
from p2pfl_gossip.actions import RemoteProtocolError
from p2pfl_gossip.ledger.charter import AUDIT_NAME, AUDIT_OFF, AUDIT_VOID, Epoch
from p2pfl_gossip.ledger.evidence import (
    EVIDENCE_BYTES_MAX,
    evidence_of_accusations,
    evidence_of_adverts,
    evidence_of_false_sum,
    evidence_of_proof,
    evidence_of_seen,
    evidence_of_shares,
    require_evidence,
)
from p2pfl_gossip.ledger.evidence_book import EvidenceBook
from p2pfl_gossip.ledger.exclusion import without_named
from p2pfl_gossip.ledger.messages import (
    EVIDENCE_NAMED_MAX,
    Evidence,
    FalseProof,
    FalseScalar,
    GroupAdvert,
    Named,
    TwoSeen,
)
from p2pfl_gossip.masked_sum.audit_jobs import bound_of
from p2pfl_gossip.masked_sum.messages import (
    SHARE_LABELS,
    Accused,
    AuditProof,
    FalseShares,
    Header,
    OutvotedSum,
    ShareKind,
    SumDigest,
    SumsSeen,
)
from p2pfl_gossip.records import Codec, MalformedFrame, replaced

GROUP = LedgerGroup(7, audit=AUDIT_VOID)
EPOCH = GROUP.epoch
LIAR, ROUND = 3, 4
TAU1, SECRET = b"t" * 32, (7).to_bytes(32, "little")
CODEC = Codec(Evidence | None, frame_bytes_max=EVIDENCE_BYTES_MAX)
SAID = (b"b" * 32, b"d" * 32, b"s" * 32)
"""Ballot, sums and seed."""


def session_of(round_: int) -> bytes:
    return round_.to_bytes(32, "big")


def signed(message: Any, kind: bytes, *body: bytes, rank: int = LIAR) -> Any:
    identity = GROUP.identities[rank]
    signature = sign_statement(identity, kind, rank, message.session, *body)
    return replaced(message, signature=signature)


@cache
def true_proof() -> AuditProof:
    """What an honest member says."""
    encoding = DeltaEncoding(EPOCH.size, EPOCH.charter.clip, max(EPOCH.weights))
    bound = bound_of(encoding, EPOCH.weights[LIAR], EPOCH.entries)
    context = proof_context(session_of(ROUND), *SAID, LIAR)
    commitment, proof = prove(context, bound, [3] * 256, 5, b"e" * 32)
    said = AuditProof(session_of(ROUND), LIAR, *SAID, commitment, proof, bytes(64))
    return signed(said, b"proof", said.digest())  # type: ignore[no-any-return]


def false_proof(**changes: Any) -> AuditProof:
    """The same of another sum, signed."""
    said = replaced(true_proof(), **({"sums": b"D" * 32} | changes))
    return signed(said, b"proof", said.digest())  # type: ignore[no-any-return]


def seen(sums: bytes, **changes: Any) -> SumsSeen:
    said = SumsSeen(session_of(ROUND), LIAR, b"b" * 32, sums, bytes(64))
    said = replaced(said, **changes)
    return signed(said, b"seen", said.ballot, said.sums)  # type: ignore[no-any-return]


def test_a_false_proof_proves_itself_to_anybody() -> None:
    evidence = evidence_of_proof(EPOCH, ROUND, false_proof())
    require_evidence(EPOCH, evidence, session_of)
    assert CODEC.decode_untrusted(CODEC.encode(evidence)) == evidence
    assert evidence.fault == "false_proof"


def test_two_digests_prove_a_lie_in_either_order() -> None:
    one, other = seen(b"1" * 32), seen(b"2" * 32)
    evidence = evidence_of_seen(EPOCH, ROUND, other, one)
    assert evidence == evidence_of_seen(EPOCH, ROUND, one, other)
    require_evidence(EPOCH, evidence, session_of)
    assert evidence.fault == "two_seen"


def coin(*, false: bool = True, **changes: Any) -> FalseShares:
    """Five of seven shares of a coin, and the header of who dealt them, of another if false."""
    return dealt(ShareKind.COIN, bytes(32) + multiply_base(7 + false), **changes)


def dealt(kind: ShareKind, commitments: bytes, *, kinds: int = 3, **changes: Any) -> FalseShares:
    """Five of seven shares of the secret 7, as its dealer's header has them."""
    (shares,) = share_secrets([SECRET], 5, range(1, 8), b"e" * entropy_bytes_for(5))
    label = SHARE_LABELS[kind]
    digests = [share_digest(TAU1, label, LIAR, rank, share) for rank, share in enumerate(shares)]
    named = [bytes(7 * 32)] * 3
    named[kind] = b"".join(digests)
    session, signature = session_of(ROUND), bytes(64)
    header = Header(session, TAU1, LIAR, commitments, b"".join(named[:kinds]), b"", signature)
    header = replaced(header, **changes)
    header = signed(header, b"header", header.digest())
    held = b"".join(shares[rank] for rank in (0, 2, 3, 5, 6))
    return FalseShares(header, kind, b"\x7f", b"\x6d", held)


def seed(*, false: bool = True) -> FalseShares:
    return dealt(ShareKind.SEED, seed_commitment(TAU1, LIAR + false, SECRET) + bytes(32))


def scalar() -> FalseShares:
    return dealt(ShareKind.SCALAR, bytes(64))


def advert(*, true: bool = False, **where: Any) -> GroupAdvert:
    """Of a key that is not of that scalar, if it is not true."""
    key = public_key_of(agreement_secret_of(SECRET)) if true else b"k" * 32
    return GROUP.advert(where.get("rank", LIAR), where.get("round_", ROUND), key=key)


@pytest.mark.parametrize("said", [coin(), seed(), scalar()], ids=["coin", "seed", "scalar"])
def test_shares_that_do_not_give_a_secret_name_their_dealer(said: FalseShares) -> None:
    evidence = evidence_of_shares(EPOCH, ROUND, said, {LIAR: advert()})
    require_evidence(EPOCH, evidence, session_of)
    assert CODEC.decode_untrusted(CODEC.encode(evidence)) == evidence
    assert evidence.fault == "bad_dealing"


def test_false_shares_of_the_largest_group_fit() -> None:
    header = replaced(coin().header, share_digests=bytes(3 * 128 * 32))
    said = FalseShares(header, ShareKind.SCALAR, b"\xff" * 16, b"\xff" * 16, bytes(86 * 32))
    named = tuple(Named(member, bytes(32)) for member in range(EVIDENCE_NAMED_MAX))
    whole = FalseScalar(replaced(advert(), named=named), said)
    assert len(CODEC.encode(Evidence(2**31, 2**62, 127, whole))) < EVIDENCE_BYTES_MAX


REFUSED: dict[str, tuple[Any, str]] = {
    "a coin that its shares give": (lambda: coin(false=False), "no_contradiction"),
    "a seed that its shares give": (lambda: seed(false=False), "no_contradiction"),
    "a scalar without its key": (scalar, "no_contradiction"),
    "a scalar of its key": (lambda: FalseScalar(advert(true=True), scalar()), "no_contradiction"),
    "a key of another round": (
        lambda: FalseScalar(advert(round_=ROUND + 1), scalar()),
        "other_place",
    ),
    "another's key": (lambda: FalseScalar(advert(rank=1), scalar()), "other_place"),
    "a header not signed": (
        lambda: replaced(coin(), header=replaced(coin().header, tau1=bytes(32))),
        "bad_signature",
    ),
    "a coin of another round": (lambda: coin(session=bytes(32)), "other_place"),
    "a coin of another dealer": (lambda: coin(dealer=1), "other_place"),
    "other shares": (lambda: replaced(coin(), shares=bytes(160)), "no_contradiction"),
    "other holders": (lambda: replaced(coin(), holders=b"\x1f"), "no_contradiction"),
    "too few shares": (
        lambda: replaced(coin(), holders=b"\x2d", shares=coin().shares[:128]),
        "no_contradiction",
    ),
    "another list of dealers": (lambda: replaced(coin(), dealers=b"\x7e"), "no_contradiction"),
    "a list of nobody": (lambda: replaced(coin(), dealers=b"\xff"), "no_contradiction"),
    "a header that nobody takes": (lambda: coin(pair_digests=bytes(32)), "no_contradiction"),
    "no coin in the header": (lambda: dealt(ShareKind.COIN, bytes(32)), "no_contradiction"),
    "a proof that holds": (lambda: FalseProof(true_proof()), "no_contradiction"),
    "not signed": (lambda: FalseProof(replaced(true_proof(), sums=b"D" * 32)), "bad_signature"),
    "of another round": (
        lambda: FalseProof(false_proof(session=session_of(ROUND + 1))),
        "other_place",
    ),
    "of another member": (lambda: FalseProof(replaced(false_proof(), member=1)), "other_place"),
    "one digest twice": (lambda: TwoSeen(seen(b"1" * 32), seen(b"1" * 32)), "no_contradiction"),
    "the wrong way round": (lambda: TwoSeen(seen(b"2" * 32), seen(b"1" * 32)), "no_contradiction"),
    "of two ballots": (
        lambda: TwoSeen(seen(b"1" * 32), seen(b"2" * 32, ballot=bytes(32))),
        "other_place",
    ),
    "seen in another round": (
        lambda: TwoSeen(seen(b"1" * 32), seen(b"2" * 32, session=bytes(32))),
        "other_place",
    ),
    "seen by another": (
        lambda: TwoSeen(seen(b"1" * 32), replaced(seen(b"2" * 32), member=1)),
        "other_place",
    ),
    "seen, not signed": (
        lambda: TwoSeen(seen(b"1" * 32), replaced(seen(b"2" * 32), sums=b"3" * 32)),
        "bad_signature",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_an_honest_member_says_is_no_evidence(name: str) -> None:
    make, reason = REFUSED[name]
    with pytest.raises(RemoteProtocolError, match=reason):
        require_evidence(EPOCH, Evidence(0, ROUND, LIAR, make()), session_of)


def test_without_an_audit_there_are_no_false_proofs() -> None:
    with pytest.raises(RemoteProtocolError, match="not_audited"):
        require_evidence(UNAUDITED, Evidence(0, ROUND, LIAR, FalseProof(false_proof())), session_of)


@pytest.mark.parametrize(("false", "is_audited"), [(True, False), (False, False), (True, True)])
def test_shares_that_do_not_give_a_seed_name_their_dealer_without_an_audit_too(
    *, false: bool, is_audited: bool
) -> None:
    """There headers promise no coins, and have no shares of them."""
    commitment = seed_commitment(TAU1, LIAR + false, SECRET) + bytes(32 * is_audited)
    said = dealt(ShareKind.SEED, commitment, kinds=2 + is_audited)
    evidence = evidence_of_shares(UNAUDITED, ROUND, said, {})
    if false and not is_audited:
        require_evidence(UNAUDITED, evidence, session_of)
        return
    with pytest.raises(RemoteProtocolError, match="no_contradiction"):
        require_evidence(UNAUDITED, evidence, session_of)


def test_without_an_audit_there_are_no_false_coins() -> None:
    """Nor in a header of two kinds of shares: the third are those of nobody."""
    for said in (coin(), dealt(ShareKind.COIN, bytes(32), kinds=2)):
        with pytest.raises(RemoteProtocolError, match="no_contradiction"):
            require_evidence(UNAUDITED, Evidence(0, ROUND, LIAR, said), session_of)


UNAUDITED = Epoch.founded(replaced(EPOCH.charter, audit=AUDIT_OFF))
NAMING = Epoch.founded(replaced(EPOCH.charter, audit=AUDIT_NAME))


def accused(
    accusers: tuple[int, ...] = (0, 2, 5), member: int = LIAR, round_: int = ROUND
) -> Accused:
    """What members found of one in a dispute of a round; m is two of seven."""
    session, body = session_of(round_), member.to_bytes(4, "little")
    words = [
        sign_statement(GROUP.identities[rank], b"accuse", rank, session, body) for rank in accusers
    ]
    return Accused(session, NAMING.pack(accusers), b"".join(words))


def sum_of(rank: int, digest: bytes, round_: int = ROUND) -> SumDigest:
    said = SumDigest(session_of(round_), b"b" * 32, rank, 2, digest, bytes(64))
    body = (said.ballot, (2).to_bytes(8, "little"), digest)
    return signed(said, b"sum", *body, rank=rank)  # type: ignore[no-any-return]


def outvoted(of: tuple[int, ...] = (0, 2, 5), **changes: Any) -> OutvotedSum:
    """Three of seven, of whom two may lie, found another sum than the liar."""
    words = [sum_of(rank, b"t" * 32).signature for rank in of]
    said = OutvotedSum(sum_of(LIAR, b"f" * 32), b"t" * 32, NAMING.pack(of), b"".join(words))
    return replaced(said, **changes)


def test_a_sum_of_which_m_plus_one_members_found_another_proves_a_lie() -> None:
    evidence = evidence_of_false_sum(NAMING, ROUND, outvoted())
    require_evidence(NAMING, evidence, session_of)
    assert CODEC.decode_untrusted(CODEC.encode(evidence)) == evidence
    assert evidence.fault == "false_sum"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (outvoted((0, 2)), "too_few_signers"),
        (outvoted((0, 2, 5, 6)), "too_few_signers"),
        (outvoted(signatures=bytes(128)), "too_few_signers"),
        (outvoted(signers=b"\x13"), "bad_signature"),
        (outvoted(digest=b"f" * 32), "no_contradiction"),
        (outvoted(digest=b"o" * 32), "bad_signature"),
        (outvoted(said=replaced(sum_of(LIAR, b"f" * 32), digest=b"g" * 32)), "bad_signature"),
        (outvoted(said=replaced(sum_of(LIAR, b"f" * 32), chunk=3)), "bad_signature"),
        (outvoted(said=sum_of(1, b"f" * 32)), "other_place"),
        (outvoted(said=sum_of(LIAR, b"f" * 32, ROUND + 1)), "other_place"),
    ],
)
def test_another_sum_of_m_members_or_of_another_place_proves_nothing(
    said: OutvotedSum, reason: str
) -> None:
    with pytest.raises(RemoteProtocolError, match=reason):
        require_evidence(NAMING, Evidence(0, ROUND, LIAR, said), session_of)


def test_without_an_audit_nobody_is_outvoted() -> None:
    epoch = Epoch.founded(replaced(EPOCH.charter, audit=AUDIT_OFF))
    with pytest.raises(RemoteProtocolError, match="not_audited"):
        require_evidence(epoch, Evidence(0, ROUND, LIAR, outvoted()), session_of)


def test_what_m_plus_one_members_found_proves_a_lie() -> None:
    evidence = evidence_of_accusations(NAMING, ROUND, LIAR, accused())
    require_evidence(NAMING, evidence, session_of)
    assert CODEC.decode_untrusted(CODEC.encode(evidence)) == evidence
    assert evidence.fault == "false_statement"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (accused((0, 2)), "too_few_accusers"),
        (accused((0, 2, 5, 6)), "too_few_accusers"),
        (replaced(accused(), signatures=bytes(128)), "too_few_accusers"),
        (replaced(accused(), accusers=b"\x13"), "bad_signature"),
        (accused(member=1), "bad_signature"),
        (accused(round_=ROUND + 1), "other_place"),
    ],
)
def test_words_of_m_members_or_of_another_one_prove_nothing(said: Accused, reason: str) -> None:
    with pytest.raises(RemoteProtocolError, match=reason):
        require_evidence(NAMING, Evidence(0, ROUND, LIAR, said), session_of)


def test_where_the_charter_has_no_disputes_nobody_finds_anything() -> None:
    with pytest.raises(RemoteProtocolError, match="not_audited"):
        require_evidence(EPOCH, Evidence(0, ROUND, LIAR, accused()), session_of)


@pytest.mark.parametrize(("namers", "is_listed"), [(2, True), (3, False)])
@pytest.mark.parametrize("audit", [AUDIT_OFF, AUDIT_VOID])
def test_whoever_m_plus_one_name_is_in_no_list(namers: int, is_listed: bool, audit: int) -> None:
    """M is two of seven: what three name, an honest member holds a proof of."""
    base = GROUP.first.entry
    adverts = {rank: GROUP.advert(rank, ROUND) for rank in range(7)}
    for rank in (0, 1, 5)[:namers]:
        adverts[rank] = replaced(adverts[rank], named=(Named(LIAR, b"x" * 32),))
    epoch = Epoch.founded(replaced(EPOCH.charter, audit=audit))
    kept = without_named(epoch, base, adverts)
    assert (LIAR in kept) == is_listed
    assert len(kept) == 7 - (not is_listed)


def two_adverts_of(group: LedgerGroup, rank: int) -> Evidence:
    one, other = group.advert(rank, ROUND), group.advert(rank, ROUND, key=b"k" * 32)
    return evidence_of_adverts(group.epoch, one, other)


def test_more_known_liars_than_a_few_do_not_hold_a_large_group_up() -> None:
    """All of m are named in one advert: one that is not stays listed, and voids each round."""
    group = LedgerGroup(34, audit=AUDIT_VOID)
    epoch, liars = group.epoch, range(group.epoch.liars_max)
    book = EvidenceBook(Bench(group).seat, session_of)
    for liar in liars:
        assert book.note(two_adverts_of(group, liar))
    named = book.named(())
    adverts = {rank: replaced(GROUP.advert(0, ROUND), named=named) for rank in range(34)}
    kept = without_named(epoch, group.first.entry, adverts)
    assert list(kept) == list(range(11, 34))
    assert len(kept) == epoch.threshold


def test_the_largest_group_names_all_liars_that_it_bears_and_no_more() -> None:
    assert (2 * 128) // 3 + 1 + EVIDENCE_NAMED_MAX == 128
    group = LedgerGroup(48)
    book = EvidenceBook(Bench(group).seat, session_of)
    for rank in range(44):
        book.note(two_adverts_of(group, rank))
    assert [named.member for named in book.named(())] == list(range(EVIDENCE_NAMED_MAX))


def audit_proofs() -> list[Evidence]:
    """One of each kind that an audit gives, all against one member."""
    said = [coin(), seed(), scalar()]
    adverts = {LIAR: LedgerGroup(7, audit=AUDIT_NAME).advert(LIAR, ROUND, key=b"k" * 32)}
    of_shares = [evidence_of_shares(NAMING, ROUND, it, adverts) for it in said]
    return [
        *of_shares,
        evidence_of_seen(NAMING, ROUND, seen(b"1" * 32), seen(b"2" * 32)),
        evidence_of_accusations(NAMING, ROUND, LIAR, accused()),
        evidence_of_false_sum(NAMING, ROUND, outvoted()),
    ]


KINDS = ["coin", "seed", "scalar", "seen", "accused", "outvoted"]
AUDIT_PROOFS = [CODEC.encode(evidence) for evidence in audit_proofs()]


@given(st.sampled_from(AUDIT_PROOFS), st.integers(0, 2**31), st.integers(1, 255))
@settings(max_examples=200, deadline=None)
def test_no_changed_proof_names_another_member(encoded: bytes, place: int, by: int) -> None:
    """Whatever byte is changed: it is no message, proves nothing, or says what it said."""
    changed = bytearray(encoded)
    changed[place % len(changed)] ^= by
    try:
        read = CODEC.decode_untrusted(bytes(changed))
        assert isinstance(read, Evidence)
        require_evidence(NAMING, read, session_of)
    except (MalformedFrame, RemoteProtocolError):
        return
    assert (read.member, read.round) == (LIAR, ROUND)


@pytest.mark.parametrize("encoded", AUDIT_PROOFS, ids=KINDS)
@pytest.mark.parametrize("other", [rank for rank in range(7) if rank != LIAR])
def test_a_proof_against_one_member_is_none_against_another(encoded: bytes, other: int) -> None:
    read = CODEC.decode_untrusted(encoded)
    assert isinstance(read, Evidence)
    require_evidence(NAMING, read, session_of)
    for changed in (replaced(read, member=other), replaced(read, round=ROUND + 1)):
        with pytest.raises(RemoteProtocolError):
            require_evidence(NAMING, changed, session_of)
