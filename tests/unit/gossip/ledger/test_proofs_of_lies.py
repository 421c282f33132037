"""Evidence: what proves a lie and what does not, how it is named and fetched, and who is out."""

from collections.abc import Iterable
from functools import partial
from itertools import count
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_group import Bench, LedgerGroup

from p2pfl_crypto.statements import sign_statement
from p2pfl_gossip.actions import RemoteProtocolError
from p2pfl_gossip.ledger.entries import EntryStep, Head, Strike
from p2pfl_gossip.ledger.evidence import (
    EVIDENCE_BYTES_MAX,
    evidence_digest,
    evidence_of_adverts,
    evidence_of_entries,
    evidence_of_heads,
    evidence_of_sums,
    require_evidence,
)
from p2pfl_gossip.ledger.evidence_book import EvidenceBook, evidence_key
from p2pfl_gossip.ledger.exclusion import named_by, out_after, strikes_after
from p2pfl_gossip.ledger.messages import (
    EVIDENCE_NAMED_MAX,
    AdvertAndHead,
    Evidence,
    EvidenceRequest,
    GroupAdvert,
    Named,
    TwoAdverts,
    TwoEntries,
    TwoSums,
)
from p2pfl_gossip.masked_sum.messages import SumDigest
from p2pfl_gossip.records import Codec, MalformedFrame, replaced

GROUP = LedgerGroup(16)  # t = 11, m = 5.
EPOCH, FIRST = GROUP.epoch, GROUP.first
ROUND, LIAR = 4, 3
ENTRY = GROUP.sum_entry(FIRST, ROUND)
OTHER = GROUP.sum_entry(FIRST, ROUND, value=9.0)
CODEC = Codec(Evidence | None, frame_bytes_max=EVIDENCE_BYTES_MAX)


def session_of(round_: int) -> bytes:
    """The name of a round's masked sum."""
    return round_.to_bytes(32, "little")


def sum_digest(digest: bytes, *, rank: int = LIAR, round_: int = ROUND, **fields: Any) -> SumDigest:
    """A member's word about the sum of chunk 2."""
    said = SumDigest(session_of(round_), b"b" * 32, rank, 2, digest, bytes(64))
    said = replaced(said, **fields)
    signature = sign_statement(
        GROUP.identities[rank],
        b"sum",
        rank,
        said.session,
        said.ballot,
        said.chunk.to_bytes(8, "little"),
        said.digest,
    )
    return replaced(said, signature=signature)


ADVERT = GROUP.advert(LIAR, ROUND)
SECOND_ADVERT = GROUP.advert(LIAR, ROUND, key=b"k" * 32)
OTHER_HEAD = Head(0, ROUND - 1, b"h" * 32)
OTHER_ADVERT = GROUP.advert(LIAR, ROUND, OTHER_HEAD)

PROOFS = {
    "two adverts": evidence_of_adverts(EPOCH, ADVERT, SECOND_ADVERT),
    "a head": Evidence(
        0, ROUND, LIAR, AdvertAndHead(ADVERT, OTHER_HEAD, OTHER_ADVERT.head_signature)
    ),
    "two entries": evidence_of_entries(
        GROUP.entry_signature(LIAR, ENTRY), GROUP.entry_signature(LIAR, OTHER)
    ),
    "two sums": evidence_of_sums(EPOCH, ROUND, sum_digest(b"1" * 32), sum_digest(b"2" * 32)),
}


def proof_against(rank: int, number: int = 0) -> Evidence:
    """A proof against a member; each number gives another."""
    one = GROUP.advert(rank, ROUND, key=number.to_bytes(32, "big"))
    return evidence_of_adverts(EPOCH, one, GROUP.advert(rank, ROUND, key=b"k" * 32))


# --- what is a proof ----------------------------------------------------------------------------


@pytest.mark.parametrize("proof", PROOFS.values(), ids=PROOFS)
def test_each_proof_is_checked_by_anybody(proof: Evidence) -> None:
    """And is the same bytes for whoever makes it, in whatever order the two came."""
    require_evidence(EPOCH, proof, session_of)
    read = CODEC.decode_untrusted(CODEC.encode(proof))
    assert read == proof
    assert isinstance(read, Evidence)
    assert evidence_digest(EPOCH, read) == evidence_digest(EPOCH, proof)
    assert len({evidence_digest(EPOCH, other) for other in PROOFS.values()}) == 4
    other_group = LedgerGroup(16, nonce=bytes(32)).epoch
    assert evidence_digest(other_group, proof) != evidence_digest(EPOCH, proof)


def test_the_order_in_which_the_two_came_plays_no_part() -> None:
    """One pair, one proof."""
    assert evidence_of_adverts(EPOCH, SECOND_ADVERT, ADVERT) == PROOFS["two adverts"]
    one, other = GROUP.entry_signature(LIAR, ENTRY), GROUP.entry_signature(LIAR, OTHER)
    assert evidence_of_entries(other, one) == PROOFS["two entries"]
    sums = sum_digest(b"2" * 32), sum_digest(b"1" * 32)
    assert evidence_of_sums(EPOCH, ROUND, *sums) == PROOFS["two sums"]


def sorted_adverts(*adverts: GroupAdvert) -> TwoAdverts:
    """Two adverts in the order of a proof."""
    return TwoAdverts(*sorted(adverts, key=lambda advert: advert.digest(EPOCH)))


def swapped(proof: Evidence) -> Evidence:
    """The same two statements in the other order."""
    two: Any = proof.proof
    return replaced(proof, proof=replaced(two, one=two.other, other=two.one))


SIGNED = GROUP.entry_signature(LIAR, ENTRY)
LATER = GROUP.entry_signature(LIAR, GROUP.sum_entry(FIRST, ROUND + 1))
NONE_OF: list[tuple[str, Evidence, str]] = [
    ("ended epoch", replaced(PROOFS["two adverts"], epoch=1), "wrong_epoch"),
    ("one advert", Evidence(0, ROUND, LIAR, TwoAdverts(ADVERT, ADVERT)), "no_contradiction"),
    ("adverts in the other order", swapped(PROOFS["two adverts"]), "no_contradiction"),
    (
        "adverts of two rounds",
        Evidence(0, ROUND, LIAR, sorted_adverts(ADVERT, GROUP.advert(LIAR, ROUND + 1))),
        "other_place",
    ),
    (
        "adverts of two members",
        Evidence(0, ROUND, LIAR, sorted_adverts(ADVERT, GROUP.advert(LIAR + 1, ROUND))),
        "other_place",
    ),
    ("another is accused", replaced(PROOFS["two adverts"], member=LIAR + 1), "other_place"),
    ("another round is named", replaced(PROOFS["two adverts"], round=ROUND + 1), "other_place"),
    (
        "an advert that is not signed",
        Evidence(0, ROUND, LIAR, sorted_adverts(ADVERT, replaced(SECOND_ADVERT, spends=1))),
        "bad_signature",
    ),
    (
        "the advert's own head",
        Evidence(0, ROUND, LIAR, AdvertAndHead(ADVERT, FIRST.head, ADVERT.head_signature)),
        "no_contradiction",
    ),
    (
        "a head of another round",
        Evidence(
            0,
            ROUND,
            LIAR,
            AdvertAndHead(
                ADVERT, OTHER_HEAD, GROUP.advert(LIAR, ROUND + 1, OTHER_HEAD).head_signature
            ),
        ),
        "bad_signature",
    ),
    (
        "a head beside an advert that is not signed",
        Evidence(
            0,
            ROUND,
            LIAR,
            AdvertAndHead(replaced(ADVERT, rest=1), OTHER_HEAD, OTHER_ADVERT.head_signature),
        ),
        "bad_signature",
    ),
    (
        "a head beside another's advert",
        Evidence(
            0,
            ROUND,
            LIAR,
            AdvertAndHead(GROUP.advert(1, ROUND), OTHER_HEAD, OTHER_ADVERT.head_signature),
        ),
        "other_place",
    ),
    ("one entry", Evidence(0, ROUND, LIAR, TwoEntries(SIGNED, SIGNED)), "no_contradiction"),
    ("entries in the other order", swapped(PROOFS["two entries"]), "no_contradiction"),
    (
        "entries of two rounds",
        Evidence(0, ROUND, LIAR, evidence_of_entries(SIGNED, LATER).proof),
        "other_place",
    ),
    (
        "an entry's signature that was given another round",
        Evidence(0, ROUND, LIAR, evidence_of_entries(SIGNED, replaced(LATER, round=ROUND)).proof),
        "bad_signature",
    ),
    (
        "entries of two members",
        Evidence(
            0,
            ROUND,
            LIAR,
            evidence_of_entries(SIGNED, GROUP.entry_signature(LIAR + 1, OTHER)).proof,
        ),
        "other_place",
    ),
    (
        "one sum",
        Evidence(0, ROUND, LIAR, TwoSums(sum_digest(b"1" * 32), sum_digest(b"1" * 32))),
        "no_contradiction",
    ),
    ("sums in the other order", swapped(PROOFS["two sums"]), "no_contradiction"),
    (
        "sums of two chunks",
        Evidence(0, ROUND, LIAR, TwoSums(sum_digest(b"1" * 32), sum_digest(b"2" * 32, chunk=3))),
        "other_place",
    ),
    (
        "sums of two ballots",
        Evidence(
            0,
            ROUND,
            LIAR,
            TwoSums(sum_digest(b"1" * 32), sum_digest(b"2" * 32, ballot=bytes(32))),
        ),
        "other_place",
    ),
    (
        "sums of two sessions",
        Evidence(0, ROUND, LIAR, TwoSums(sum_digest(b"1" * 32), sum_digest(b"2" * 32, round_=5))),
        "other_place",
    ),
    (
        "sums of two members",
        Evidence(0, ROUND, LIAR, TwoSums(sum_digest(b"1" * 32), sum_digest(b"2" * 32, rank=1))),
        "other_place",
    ),
    (
        "a sum that is not signed",
        Evidence(
            0,
            ROUND,
            LIAR,
            TwoSums(sum_digest(b"1" * 32), replaced(sum_digest(b"2" * 32), digest=b"3" * 32)),
        ),
        "bad_signature",
    ),
]


@pytest.mark.parametrize(
    ("evidence", "reason"), [case[1:] for case in NONE_OF], ids=[case[0] for case in NONE_OF]
)
def test_what_proves_nothing_is_refused(evidence: Evidence, reason: str) -> None:
    """No honest member is out for it."""
    with pytest.raises(RemoteProtocolError) as told:
        require_evidence(EPOCH, evidence, session_of)
    assert told.value.reason == reason


def test_evidence_against_a_stranger_proves_nothing() -> None:
    """There is no such rank."""
    adverts = [replaced(advert, member=16) for advert in (ADVERT, SECOND_ADVERT)]
    evidence = Evidence(0, ROUND, 16, sorted_adverts(*adverts))
    with pytest.raises(RemoteProtocolError, match="no_such_member"):
        require_evidence(EPOCH, evidence, session_of)


@given(st.data())
@settings(max_examples=120, deadline=None)
def test_no_changed_proof_holds(data: st.DataObject) -> None:
    """Whatever byte is changed: it is no message, proves nothing, or says no more than before."""
    proof = data.draw(st.sampled_from(sorted(PROOFS.values(), key=CODEC.encode)))
    encoded = bytearray(CODEC.encode(proof))
    encoded[data.draw(st.integers(0, len(encoded) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        changed = CODEC.decode_untrusted(bytes(encoded))
        assert isinstance(changed, Evidence)
        require_evidence(EPOCH, changed, session_of)
    except (MalformedFrame, RemoteProtocolError):
        return
    # What no check looks at: in a proof of two adverts, their heads' own signatures.
    assert (changed.member, changed.round) == (LIAR, ROUND)


def test_a_proof_of_finality_is_held_against_adverts() -> None:
    """Whose head it holds that named another one in its advert has lied."""
    head = EntryStep(GROUP.sum_entry(FIRST, ROUND - 1)).head
    adverts = {rank: GROUP.advert(rank, ROUND, head) for rank in range(16) if rank not in (2, 5)}
    adverts[2] = GROUP.advert(2, ROUND)
    adverts[14] = GROUP.advert(14, ROUND)  # It is not among the signers.
    found = evidence_of_heads(EPOCH, GROUP.finality(head), adverts)
    assert [evidence.member for evidence in found] == [2]
    require_evidence(EPOCH, found[0], session_of)


def test_the_largest_proof_fits() -> None:
    """Two adverts that name as many proofs as they may."""
    named = tuple(Named(rank, b"d" * 32) for rank in range(EVIDENCE_NAMED_MAX))
    one = GROUP.advert(LIAR, 2**63 - 1, named=named)
    other = GROUP.advert(LIAR, 2**63 - 1, named=named, key=b"k" * 32)
    assert len(CODEC.encode(evidence_of_adverts(EPOCH, one, other))) < EVIDENCE_BYTES_MAX / 4


# --- who is out ---------------------------------------------------------------------------------


def adverts_naming(*members_named: Iterable[int]) -> dict[int, GroupAdvert]:
    """Listed adverts, each of which names proofs against these members, all different ones."""
    fresh = count()
    return {
        rank: GROUP.advert(
            rank,
            ROUND,
            named=tuple(Named(member, next(fresh).to_bytes(32, "big")) for member in members),
        )
        for rank, members in enumerate(members_named)
    }


def test_m_plus_1_that_name_a_member_put_it_out() -> None:
    """Counted by member, whatever proof each of them names; m do not."""
    base = FIRST.entry
    adverts = adverts_naming(*[(3, 7)] * 5, (7,), *[()] * 5)
    assert named_by(EPOCH, base, adverts) == [7]
    assert out_after(EPOCH, base, adverts, {3, 7}) == frozenset({7})


def test_who_is_named_is_out_once_a_proof_is_here() -> None:
    """Until then nothing is signed; whom too few name is not waited for."""
    base = FIRST.entry
    adverts = adverts_naming(*[(3, 7)] * 6, *[(9,)] * 5)
    assert out_after(EPOCH, base, adverts, {3}) is None
    assert out_after(EPOCH, base, adverts, {3, 7}) == frozenset({3, 7})
    assert out_after(EPOCH, base, adverts_naming(*[()] * 11), set()) == frozenset()


def test_who_is_out_stays_out_in_its_epoch() -> None:
    """It need not be named again; in the next epoch it begins anew."""
    entry = replaced(FIRST.entry, out=EPOCH.pack([3]), strikes=(Strike(2, 1),))
    adverts = adverts_naming(*[(3, 7)] * 6)
    assert named_by(EPOCH, entry, adverts) == [7]
    assert out_after(EPOCH, entry, adverts, {7}) == frozenset({3, 7})
    assert strikes_after(EPOCH, entry) == (Strike(2, 1),)
    following = GROUP.following(GROUP.next_charter(rounds=9)).epoch
    assert out_after(following, entry, adverts_naming(*[()] * 11), set()) == frozenset()
    assert strikes_after(following, entry) == ()


@given(st.lists(st.sets(st.integers(0, 15), max_size=8), min_size=11, max_size=16), st.randoms())
@settings(max_examples=20, deadline=None)
def test_who_is_out_is_a_function_of_the_list(names: list[set[int]], random: Any) -> None:
    """Of who is named how often; not of what else a signer holds, nor of any order."""
    adverts = adverts_naming(*(sorted(members) for members in names))
    counts = [sum(rank in members for members in names) for rank in range(16)]
    expected = {rank for rank in range(16) if counts[rank] >= 6}
    assert out_after(EPOCH, FIRST.entry, adverts, range(16)) == frozenset(expected)
    shuffled = list(adverts.items())
    random.shuffle(shuffled)
    assert out_after(EPOCH, FIRST.entry, dict(shuffled), expected) == frozenset(expected)


# --- the book -----------------------------------------------------------------------------------


class Holder(Bench):
    """A member with its book of proofs."""

    def __init__(self, rank: int = 0) -> None:
        super().__init__(GROUP, rank)
        self.book = EvidenceBook(self.seat, session_of)

    def note(self, *proofs: Evidence) -> None:
        """Find proofs ourselves."""
        for proof in proofs:
            self.do(partial(self.book.note, proof))

    def advert(self, named: tuple[Named, ...] | None = None) -> GroupAdvert:
        """Our advert, which names what we hold."""
        named = self.book.named(()) if named is None else named
        return GROUP.advert(self.rank, ROUND, named=named)

    @property
    def records(self) -> dict[str, Any]:
        """All that was persisted."""
        kept: dict[str, Any] = {}
        for action in self.persisted:
            kept |= action.records
        return kept


def test_the_first_proof_against_a_member_is_kept() -> None:
    """A liar that makes ever new ones against itself moves nothing."""
    holder = Holder()
    assert holder.book.note(proof_against(3, 0))
    for number in range(1, 9):
        assert not holder.book.note(proof_against(3, number))
        assert not holder.book.on_evidence(proof_against(3, number))
    assert holder.book.named(()) == (Named(3, evidence_digest(EPOCH, proof_against(3, 0))),)
    holder.do(lambda: None)
    assert list(holder.records) == [evidence_key(0, 3)]


@pytest.mark.parametrize(
    "evidence", [case[1] for case in NONE_OF], ids=[case[0] for case in NONE_OF]
)
def test_what_others_would_refuse_is_not_kept(evidence: Evidence) -> None:
    """Though we found it: they would hold us for false accusers, and never sign what names it."""
    holder = Holder()
    assert not holder.book.note(evidence)
    if not evidence.epoch:
        holder.book.restore({evidence_key(0, evidence.member): CODEC.encode(evidence)})
    assert holder.book.named(()) == ()


def test_all_members_not_yet_out_are_named() -> None:
    """In the order that an advert must have."""
    holder = Holder()
    holder.note(*(proof_against(rank) for rank in reversed(range(4, 15))))
    assert [named.member for named in holder.book.named(())] == list(range(4, 15))
    out = frozenset({4, 6})
    assert [named.member for named in holder.book.named(out)] == [5, *range(7, 15)]


def test_what_another_names_is_fetched_and_then_named_by_us() -> None:
    """So that one that saw the lie is enough for all to know it."""
    witness, other = Holder(0), Holder(1)
    witness.note(proof_against(3))
    other.do(lambda: other.book.on_advert(witness.advert(), ()))
    ((asked, request),) = other.take_sent(EvidenceRequest)
    assert asked == 0
    witness.do(lambda: witness.book.on_request(1, request))
    ((asker, evidence),) = witness.take_sent(Evidence)
    assert asker == 1
    assert other.book.on_evidence(evidence)
    assert not other.book.on_evidence(evidence)
    assert other.book.named(()) == witness.book.named(())
    assert other.book.holds(3)
    other.do(lambda: other.book.on_advert(witness.advert(), ()))
    assert other.take_sent(EvidenceRequest) == []
    assert list(other.records) == [evidence_key(0, 3)]


def test_what_is_of_no_use_is_not_asked_for() -> None:
    """About whom is out already, and what we named ourselves."""
    holder = Holder(1)
    named = (Named(3, b"d" * 32), Named(4, b"e" * 32))
    holder.do(lambda: holder.book.on_advert(Holder(0).advert(named), {3}))
    assert holder.take_sent(EvidenceRequest) == [(0, EvidenceRequest(0, (b"e" * 32,)))]
    holder.do(lambda: holder.book.on_advert(Holder(0).advert(named), {3, 4}))
    holder.do(lambda: holder.book.on_advert(holder.advert(named), ()))
    assert holder.take_sent(EvidenceRequest) == []


def test_for_a_list_all_that_name_a_proof_are_asked() -> None:
    """One of m + 1 is honest and gives it; whom too few name is nobody's business."""
    holder = Holder(15)
    adverts = adverts_naming(*[(3,)] * 6, *[(9,)] * 5)
    assert holder.book.out(FIRST.entry, adverts) is None
    holder.do(lambda: holder.book.ask(FIRST.entry, adverts))
    sent = holder.take_sent(EvidenceRequest)
    assert [(rank, request.digests) for rank, request in sent] == [
        (rank, (adverts[rank].named[0].digest,)) for rank in range(6)
    ]
    assert holder.book.on_evidence(proof_against(3))
    assert holder.book.out(FIRST.entry, adverts) == frozenset({3})
    holder.do(lambda: holder.book.ask(FIRST.entry, adverts))
    assert holder.take_sent(EvidenceRequest) == []


def test_a_proof_that_is_none_is_refused() -> None:
    """And not kept."""
    holder = Holder()
    forged = Evidence(0, ROUND, LIAR, TwoAdverts(ADVERT, ADVERT))
    with pytest.raises(RemoteProtocolError, match="no_contradiction"):
        holder.book.on_evidence(forged)
    assert not holder.book.holds(LIAR)
    holder.do(lambda: None)
    assert holder.records == {}


def test_what_is_not_here_is_not_given() -> None:
    """Nor what was asked for in another epoch."""
    holder = Holder()
    holder.note(proof_against(3))
    digest = evidence_digest(EPOCH, proof_against(3))
    for request in (EvidenceRequest(0, (b"x" * 32,)), EvidenceRequest(1, (digest,))):
        holder.do(partial(holder.book.on_request, 1, request))
    assert holder.take_sent(Evidence) == []


def test_after_a_restart_the_same_is_named_and_given() -> None:
    """What was named must be there to be given."""
    holder = Holder()
    holder.note(proof_against(3), proof_against(5))
    again = Holder()
    again.book.restore(holder.records)
    assert again.book.named(()) == holder.book.named(())
    for stored in (np.zeros(2, np.float32), b"\xc0", b"\xc1"):
        with pytest.raises(MalformedFrame):
            Holder().book.restore({evidence_key(0, 3): stored})


def test_a_new_epoch_begins_without_proofs() -> None:
    """The next charter removes a liar or keeps it; the records stay, and are not taken again."""
    holder = Holder()
    holder.note(proof_against(3))
    following = GROUP.following(GROUP.next_charter(rounds=9))
    holder.seat.enter(following.epoch)
    holder.book.clear()
    assert holder.book.named(()) == ()
    holder.book.restore(holder.records)
    assert holder.book.named(()) == ()
    assert not holder.book.on_evidence(proof_against(3))
    # Nor is one of an epoch to come: its adverts name it again.
    assert not holder.book.on_evidence(replaced(proof_against(3), epoch=2))
    assert holder.book.named(()) == ()
