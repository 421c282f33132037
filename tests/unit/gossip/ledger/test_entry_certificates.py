"""Who vouches for what: every way in which a statement, list, certificate or proof is refused."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_group import LedgerGroup, identity_of, two_epochs

from p2pfl_gossip.actions import RemoteProtocolError
from p2pfl_gossip.ledger.certificates import (
    gather,
    require_advert,
    require_certificate,
    require_closing,
    require_entry_signature,
    require_final,
    require_list,
    verify_of,
)
from p2pfl_gossip.ledger.charter import NONE, encode_charter
from p2pfl_gossip.ledger.entries import EntryStep, Feature, Head
from p2pfl_gossip.ledger.messages import (
    Closing,
    EntryCertificate,
    Finality,
    GroupAdvert,
    GroupList,
    Named,
    entry_statement,
)
from p2pfl_gossip.records import replaced

GROUP = LedgerGroup(7)  # t = 5, m = 2.
EPOCH, FIRST = GROUP.epoch, GROUP.first
ENTRY = GROUP.sum_entry(FIRST, 3)
STEP = EntryStep(ENTRY)


def refused(reason: str, act: Callable[..., object], *arguments: Any) -> None:
    """See that something is refused, for this reason."""
    with pytest.raises(RemoteProtocolError) as told:
        act(*arguments)
    assert told.value.reason == reason


# --- adverts ------------------------------------------------------------------------------------


def advert(**fields: Any) -> GroupAdvert:
    """Member 2's advert of round 9, on the entry of round 3."""
    return GROUP.advert(2, 9, STEP.head, **fields)


def test_an_advert_in_order_is_taken() -> None:
    """Whoever brings it."""
    require_advert(EPOCH, advert())
    require_advert(EPOCH, advert(named=(Named(0, bytes(32)), Named(6, bytes(32)))))


def test_an_advert_of_another_epoch_is_refused() -> None:
    """Of an earlier or a later one."""
    refused("wrong_epoch", require_advert, EPOCH, advert(epoch=1))


@pytest.mark.parametrize("head", [Head(1, 1, bytes(32)), Head(0, 9, bytes(32))])
def test_a_head_is_below_the_round(head: Head) -> None:
    """One cannot have what is not made yet."""
    refused("head_ahead_of_round", require_advert, EPOCH, GROUP.advert(2, 9, head))


@pytest.mark.parametrize("members", [(1, 1), (2, 1), (7,)])
def test_evidence_is_named_once_a_member_in_order(members: tuple[int, ...]) -> None:
    """So that a liar fills one place, and one advert has one form."""
    named = tuple(Named(member, bytes(32)) for member in members)
    refused("bad_evidence", require_advert, EPOCH, advert(named=named))


def test_an_advert_is_signed_by_its_member() -> None:
    """All of it, and the head by itself too."""
    refused("bad_signature", require_advert, EPOCH, replaced(advert(), spends=1))
    refused("bad_signature", require_advert, EPOCH, replaced(advert(), member=3))
    other = GROUP.sign(2, b"head", bytes(32))
    refused("bad_signature", require_advert, EPOCH, advert(head_signature=other))
    head = GROUP.advert(2, 8, STEP.head).head_signature  # Of another round.
    refused("bad_signature", require_advert, EPOCH, advert(head_signature=head))
    stranger = replaced(advert(), member=7)
    refused("no_such_member", require_advert, EPOCH, stranger)


CHANGED: dict[str, Any] = {
    "epoch": 1,
    "round": 10,
    "member": 3,
    "head": FIRST.head,
    "charter": b"c" * 32,
    "rest": 1,
    "spends": 1,
    "named": (Named(0, bytes(32)),),
    "share_key": b"k" * 32,
    "mask_key": b"k" * 32,
}


def test_an_adverts_digest_covers_every_field() -> None:
    """All but the two signatures."""
    fields = [field for field in GroupAdvert.__struct_fields__ if "signature" not in field]
    assert fields == list(CHANGED)
    digests = {replaced(advert(), **{name: CHANGED[name]}).digest(EPOCH) for name in fields}
    other_group = LedgerGroup(7, nonce=bytes(32)).epoch
    assert len(digests | {advert().digest(EPOCH), advert().digest(other_group)}) == 12


# --- lists --------------------------------------------------------------------------------------

ADVERTS = [GROUP.advert(rank, 9, STEP.head) for rank in range(6)]


def a_list(**fields: Any) -> GroupList:
    """Member 1's list of six adverts."""
    return GROUP.listed(1, ADVERTS, **fields)


def test_a_list_in_order_is_taken() -> None:
    """It names its members."""
    assert require_list(EPOCH, 1, a_list()) == (0, 1, 2, 3, 4, 5)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"epoch": 1}, "wrong_epoch"),
        ({"members": b"\xff"}, "bad_bitmap"),
        ({"members": b"\x3f\x00"}, "bad_bitmap"),
        ({"kind": 2}, "bad_list"),
        ({"digests": bytes(32 * 5)}, "bad_list"),
        ({"members": b"\x0f", "digests": bytes(32 * 4)}, "too_few_adverts"),
    ],
)
def test_a_list_out_of_order_is_refused(fields: dict[str, Any], reason: str) -> None:
    """By its form."""
    refused(reason, require_list, EPOCH, 1, a_list(**fields))


def test_a_list_is_signed_by_the_leader() -> None:
    """Every field of it."""
    refused("bad_signature", require_list, EPOCH, 0, a_list())
    changed: dict[str, Any] = {"round": 10, "turn": 1, "kind": 1}
    changed |= {"members": b"\x5f", "digests": bytes(32 * 6)}
    for name, value in changed.items():
        refused("bad_signature", require_list, EPOCH, 1, replaced(a_list(), **{name: value}))
    assert {"epoch", "signature", *changed} == set(GroupList.__struct_fields__)


# --- entries ------------------------------------------------------------------------------------


def test_an_entry_signature_is_its_members() -> None:
    """Of this epoch."""
    said = GROUP.entry_signature(2, ENTRY)
    require_entry_signature(EPOCH, said)
    refused("wrong_epoch", require_entry_signature, EPOCH, replaced(said, epoch=1))
    refused("bad_signature", require_entry_signature, EPOCH, replaced(said, member=3))
    refused("bad_signature", require_entry_signature, EPOCH, replaced(said, entry=bytes(32)))
    refused("no_such_member", require_entry_signature, EPOCH, replaced(said, member=7))


def test_nobody_gives_a_signature_another_round() -> None:
    """It would pass for a second one of that round, and blame its member."""
    said = GROUP.entry_signature(2, ENTRY)
    refused("bad_signature", require_entry_signature, EPOCH, replaced(said, round=4))


def test_statements_of_one_kind_pass_for_no_other() -> None:
    """A head's signature is none of an entry, though both are of 32 bytes."""
    digest = ENTRY.digest()
    signature = GROUP.sign(2, b"head", digest)
    refused("bad_signature", verify_of, EPOCH, 2, b"entry", signature, digest)
    verify_of(EPOCH, 2, b"head", signature, digest)


def test_any_t_members_certify() -> None:
    """And nobody fewer, nor more: a certificate has one size."""
    require_certificate(EPOCH, GROUP.certificate(ENTRY))
    require_certificate(EPOCH, GROUP.certificate(ENTRY, (0, 2, 4, 5, 6)))
    for count in (0, 4, 6):
        certificate = GROUP.certificate(ENTRY, range(count))
        refused("not_a_quorum", require_certificate, EPOCH, certificate)


def test_a_certificates_signatures_are_its_signers() -> None:
    """Each, in their order, of this entry."""
    good = GROUP.certificate(ENTRY)
    cut = good.signatures
    for signatures in (b"", cut[:-1], cut + bytes(64)):
        refused("bad_signatures", require_certificate, EPOCH, replaced(good, signatures=signatures))
    swapped = cut[64:128] + cut[:64] + cut[128:]
    refused("bad_signature", require_certificate, EPOCH, replaced(good, signatures=swapped))
    others = EPOCH.pack((0, 1, 2, 3, 6))
    refused("bad_signature", require_certificate, EPOCH, replaced(good, signers=others))
    refused("bad_bitmap", require_certificate, EPOCH, replaced(good, signers=b"\xff"))
    other = replaced(ENTRY, height=2)
    refused("bad_signature", require_certificate, EPOCH, replaced(good, entry=other))
    last = cut[:-1] + bytes([cut[-1] ^ 1])
    refused("bad_signature", require_certificate, EPOCH, replaced(good, signatures=last))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"group": bytes(32)}, "wrong_epoch"),
        ({"epoch": 1}, "wrong_epoch"),
        ({"charter": bytes(32)}, "wrong_epoch"),
        ({"version": 2}, "unknown_entry"),
        ({"kind": 2}, "unknown_entry"),
        ({"features": (Feature("audit", b""),)}, "unknown_entry"),
        ({"members": b"\xff"}, "bad_bitmap"),
        ({"out": b"\x00\x00"}, "bad_bitmap"),
        ({"base": Head(0, 3, bytes(32))}, "base_ahead_of_round"),
        ({"base": Head(1, 1, bytes(32))}, "base_ahead_of_round"),
    ],
)
def test_a_certified_entry_has_its_form(fields: dict[str, Any], reason: str) -> None:
    """Even if t members signed it."""
    certificate = GROUP.certificate(replaced(ENTRY, **fields))
    refused(reason, require_certificate, EPOCH, certificate)


@given(st.sets(st.integers(0, 6), min_size=5))
@settings(max_examples=30, deadline=None)
def test_exactly_t_signatures_are_gathered(ranks: set[int]) -> None:
    """Of however many, in whatever order they came."""
    statement = entry_statement(EPOCH, ENTRY.round, ENTRY.digest())
    signatures = {
        rank: GROUP.sign(rank, b"entry", statement) for rank in sorted(ranks, reverse=True)
    }
    signers, joined = gather(EPOCH, signatures)
    chosen = EPOCH.unpack(signers)
    assert chosen == tuple(sorted(ranks))[:5]
    assert joined == b"".join(signatures[rank] for rank in chosen)
    require_certificate(EPOCH, EntryCertificate(ENTRY, signers, joined))


# --- finality and the ends of epochs ------------------------------------------------------------


def test_t_heads_of_the_next_round_are_the_proof() -> None:
    """Adverts give them as they are; of a round later they prove nothing."""
    require_final(EPOCH, GROUP.finality(STEP.head))
    for round_, is_proof in ((4, True), (5, False)):
        adverts = [GROUP.advert(rank, round_, STEP.head) for rank in range(5)]
        joined = b"".join(advert.head_signature for advert in adverts)
        proof = Finality(STEP.head, EPOCH.pack(range(5)), joined)
        if is_proof:
            require_final(EPOCH, proof)
        else:
            refused("bad_signature", require_final, EPOCH, proof)


def test_a_proof_takes_t_members_of_the_epoch() -> None:
    """Not fewer, not others, not of another entry."""
    proof = GROUP.finality(STEP.head)
    refused("not_a_quorum", require_final, EPOCH, GROUP.finality(STEP.head, range(4)))
    refused("bad_bitmap", require_final, EPOCH, replaced(proof, signers=b"\x80"))
    refused("bad_signatures", require_final, EPOCH, replaced(proof, signatures=b""))
    refused("bad_signature", require_final, EPOCH, replaced(proof, head=FIRST.head))
    later = replaced(proof, head=Head(1, 3, STEP.head.entry))
    refused("wrong_epoch", require_final, EPOCH, later)


CHARTER = GROUP.next_charter((*range(1, 7), 8))
LAST = GROUP.empty_entry(STEP, 4, CHARTER.digest())
CLOSING = GROUP.closing(LAST, CHARTER)


def test_the_end_of_an_epoch_gives_the_next() -> None:
    """With the charter that the entry carries."""
    following = require_closing(EPOCH, CLOSING)
    assert (following.number, following.charter) == (1, CHARTER)


def test_an_epoch_ends_with_a_charter_that_its_entry_carries() -> None:
    """None other, and not without one."""
    other = GROUP.next_charter(rounds=99)
    changed = replaced(CLOSING, charter=encode_charter(other))
    refused("other_charter", require_closing, EPOCH, changed)
    plain = GROUP.empty_entry(STEP, 4, NONE)
    refused("other_charter", require_closing, EPOCH, GROUP.closing(plain, CHARTER))


@pytest.mark.parametrize(
    "charter",
    [
        b"",
        encode_charter(CHARTER)[:-1],
        encode_charter(CHARTER) + b"\0",
        encode_charter(EPOCH.charter),  # It replaces none.
        encode_charter(GROUP.next_charter(clip=0.0)),
    ],
)
def test_an_epoch_does_not_end_with_what_is_no_charter(charter: bytes) -> None:
    """Bytes that are none, or one that cannot follow."""
    refused("bad_charter", require_closing, EPOCH, replaced(CLOSING, charter=charter))


def test_an_epoch_ends_by_proof_alone() -> None:
    """The certificate is one, the proof is of its entry, and the round is the one after it."""
    few = replaced(CLOSING, certificate=GROUP.certificate(LAST, range(4)))
    refused("not_a_quorum", require_closing, EPOCH, few)
    refused("bad_signature", require_closing, EPOCH, replaced(CLOSING, signatures=bytes(64 * 5)))
    refused("not_a_quorum", require_closing, EPOCH, replaced(CLOSING, signers=b"\x0f"))
    for round_ in (4, 6, 2**63 - 1):
        refused("wrong_round", require_closing, EPOCH, replaced(CLOSING, round=round_))


def test_an_epoch_ends_by_its_charters_approvals_too() -> None:
    """t peers' keys, which may leak once a group is over, give it no other charter."""
    said = CLOSING.approvals
    by_peers = [it for it in said if it.key in {b"\x01" + key for key in EPOCH.keys}]
    assert len(by_peers) == EPOCH.size
    for few in ((), tuple(by_peers), said[1:]):
        closing = replaced(CLOSING, approvals=few)
        if few == said[1:]:
            require_closing(EPOCH, closing)  # One may be silent.
        else:
            refused("not_approved", require_closing, EPOCH, closing)
    false = replaced(said[0], signature=bytes(64))
    refused("bad_approval", require_closing, EPOCH, replaced(CLOSING, approvals=(false, *said)))
    stranger = replaced(said[0], key=b"\x01" + identity_of(99).public_key)
    refused("bad_approval", require_closing, EPOCH, replaced(CLOSING, approvals=(*said, stranger)))


def test_members_of_another_epoch_close_nothing() -> None:
    """Their signatures count in their own."""
    _, new, history = two_epochs(5)
    entry = new.empty_entry(history.head, 9, new.next_charter().digest())
    closing: Closing = new.closing(entry, new.next_charter())
    require_closing(new.epoch, closing)
    refused("wrong_epoch", require_closing, history.epochs[0], closing)
