"""Evidence of two things that a member signed in one place of a round's session."""

from collections.abc import Callable
from typing import Any

import pytest
from ledger_group import LedgerGroup

from p2pfl_crypto.statements import sign_statement
from p2pfl_gossip.actions import RemoteProtocolError
from p2pfl_gossip.ledger.evidence import (
    EVIDENCE_BYTES_MAX,
    evidence_of_statements,
    require_evidence,
)
from p2pfl_gossip.ledger.messages import Evidence, StatementKind, TwoStatements
from p2pfl_gossip.masked_sum.blame import FAULTS
from p2pfl_gossip.masked_sum.messages import (
    Ack,
    Ballot,
    ChunkHeader,
    Header,
    Manifest,
    Proposal,
    Receipt,
    SumDigest,
    Vote,
)
from p2pfl_gossip.masked_sum.stated import stated_in
from p2pfl_gossip.records import Codec, replaced

GROUP = LedgerGroup(7)
EPOCH, LIAR, ROUND = GROUP.epoch, 3, 4
TAU1, TAU2, NONE = b"1" * 32, b"2" * 32, bytes(64)
CODEC = Codec(Evidence | None, frame_bytes_max=EVIDENCE_BYTES_MAX)


def session_of(round_: int) -> bytes:
    return round_.to_bytes(32, "big")


SESSION = session_of(ROUND)


def signed(message: Any, rank: int = LIAR) -> Any:
    """The message, signed by a member in its place."""
    stated = stated_in(message)
    assert stated is not None
    body = (message.session, *stated.place, stated.said)
    signature = sign_statement(GROUP.identities[rank], stated.kind, rank, *body)
    return replaced(message, signature=signature)


def header(number: int) -> Header:
    return Header(SESSION, TAU1, LIAR, bytes([number]) * 32, bytes(448), b"", NONE)


def proposal(number: int, turn: int = 1) -> Proposal:
    return Proposal(SESSION, turn, TAU1, b"\x7f", bytes([number]) * 224, NONE)


def ack(number: int) -> Ack:
    return Ack(SESSION, LIAR, bytes([number]) * 32, NONE)


def chunk(number: int, place: int = 5) -> ChunkHeader:
    return ChunkHeader(SESSION, TAU2, LIAR, place, bytes([number]) * 32, NONE)


def manifest(number: int) -> Manifest:
    return Manifest(SESSION, TAU2, LIAR, bytes([number]) * 256, NONE)


def receipt(number: int) -> Receipt:
    return Receipt(SESSION, TAU2, LIAR, bytes([number]) * 2, NONE)


def ballot(number: int, turn: int = 1) -> Ballot:
    return Ballot(SESSION, turn, TAU2, b"\x7f", b"\x03" * 8, bytes([number]) * 224, NONE)


def vote(number: int) -> Vote:
    return Vote(SESSION, LIAR, bytes([number]) * 32, NONE)


MAKERS: dict[StatementKind, Callable[[int], Any]] = {
    StatementKind.HEADER: header,
    StatementKind.PROPOSAL: proposal,
    StatementKind.ACK: ack,
    StatementKind.CHUNK: chunk,
    StatementKind.MANIFEST: manifest,
    StatementKind.RECEIPT: receipt,
    StatementKind.BALLOT: ballot,
    StatementKind.VOTE: vote,
}


def made(one: Any, other: Any) -> Evidence | None:
    return evidence_of_statements(EPOCH, ROUND, LIAR, one, other)


@pytest.mark.parametrize("kind", MAKERS, ids=lambda kind: kind.name)
def test_two_in_one_place_prove_a_lie_to_anybody(kind: StatementKind) -> None:
    one, other = (signed(MAKERS[kind](number)) for number in (1, 2))
    evidence = made(one, other)
    assert evidence is not None
    assert evidence == made(other, one)
    require_evidence(EPOCH, evidence, session_of)
    assert CODEC.decode_untrusted(CODEC.encode(evidence)) == evidence
    assert evidence.fault == FAULTS[kind.name.lower().encode()]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (chunk(1), manifest(2)),
        (ballot(1), ballot(2, turn=2)),
        (proposal(1), proposal(2, turn=2)),
        (chunk(1), chunk(2, place=6)),
        (ack(1), vote(2)),
        (SumDigest(SESSION, TAU2, LIAR, 1, bytes(32), NONE), vote(2)),
    ],
    ids=["chunk and manifest", "turns of ballots", "turns", "chunks", "kinds", "sums"],
)
def test_of_two_places_nothing_is_made(one: Any, other: Any) -> None:
    assert made(signed(one), signed(other)) is None


def two(of: StatementKind = StatementKind.BALLOT, **changes: Any) -> TwoStatements:
    evidence = made(*(signed(MAKERS[of](number)) for number in (1, 2)))
    assert evidence is not None
    assert isinstance(evidence.proof, TwoStatements)
    return replaced(evidence.proof, **changes)


def of_two_turns() -> TwoStatements:
    """Each signed; the second in another turn."""
    one, other = signed(ballot(1)), signed(ballot(2, turn=2))
    low, high = sorted((it.digest(), it.signature) for it in (one, other))
    return two(one=low[0], other=high[0], signatures=low[1] + high[1])


def by_two() -> TwoStatements:
    """The second is signed by another member, in its own place."""
    other = signed(vote(2), rank=1)
    return two(StatementKind.VOTE, signatures=signed(vote(1)).signature + other.signature)


REFUSED: dict[str, tuple[Callable[[], TwoStatements], str]] = {
    "one twice": (lambda: two(other=two().one), "no_contradiction"),
    "the wrong way round": (
        lambda: two(one=two().other, other=two().one, signatures=swapped(two().signatures)),
        "no_contradiction",
    ),
    "no kind": (lambda: two(kind=8), "other_place"),
    "of another kind": (lambda: two(kind=StatementKind.PROPOSAL), "bad_signature"),
    "no place": (lambda: two(place=b""), "other_place"),
    "too large a place": (lambda: two(place=bytes(40)), "other_place"),
    "a place where there is none": (
        lambda: two(StatementKind.VOTE, place=bytes(4)),
        "other_place",
    ),
    "of another turn": (lambda: two(place=bytes(4)), "bad_signature"),
    "of two turns": (of_two_turns, "bad_signature"),
    "the first is another's": (lambda: two(one=bytes(32)), "bad_signature"),
    "the second is another's": (lambda: two(other=b"\xff" * 32), "bad_signature"),
    "of two members": (by_two, "bad_signature"),
}


def swapped(signatures: bytes) -> bytes:
    return signatures[64:] + signatures[:64]


@pytest.mark.parametrize("name", REFUSED)
def test_what_an_honest_member_says_is_no_evidence(name: str) -> None:
    make, reason = REFUSED[name]
    with pytest.raises(RemoteProtocolError, match=reason):
        require_evidence(EPOCH, Evidence(0, ROUND, LIAR, make()), session_of)


@pytest.mark.parametrize(
    ("round_", "member", "reason"),
    [
        (ROUND + 1, LIAR, "bad_signature"),
        (ROUND, 1, "bad_signature"),
        (ROUND, 7, "no_such_member"),
        (ROUND, 2**32 - 1, "no_such_member"),
    ],
)
def test_it_is_of_one_member_and_one_round(round_: int, member: int, reason: str) -> None:
    with pytest.raises(RemoteProtocolError, match=reason):
        require_evidence(EPOCH, Evidence(0, round_, member, two()), session_of)


def test_receipts_of_as_many_chunks_as_there_are_fit() -> None:
    whole = TwoStatements(StatementKind.RECEIPT, TAU2, bytes(6144), bytes(6144), bytes(128))
    assert len(CODEC.encode(Evidence(2**31, 2**62, 127, whole))) < EVIDENCE_BYTES_MAX
