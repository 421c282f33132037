"""Evidence that proves nothing is refused: nobody can frame a member that kept to the protocol.

All messages are of one real session, whose members all did; each test bends one thing about them.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec
import pytest
from group_driver import GroupDriver, make_epoch
from session_driver import SessionDriver, make_cohort
from session_forgeries import STRANGER
from session_stage import STATEMENTS

from p2pfl_crypto.statements import sign_statement
from p2pfl_gossip.masked_sum.blame import FAULTS, Unproven, verify_bad_dealing, verify_blame
from p2pfl_gossip.masked_sum.core import Blame
from p2pfl_gossip.masked_sum.messages import (
    Ack,
    Advert,
    Ballot,
    ChunkHeader,
    Header,
    Held,
    Manifest,
    Receipt,
    Reveal,
    Share,
    Vote,
)
from p2pfl_gossip.records import Message

MEMBER, OTHER = 1, 2
replace: Callable[..., Any] = msgspec.structs.replace


@cache
def session() -> SessionDriver:
    cohort, people = make_cohort(5, 12)
    return SessionDriver(cohort, people, 1).run(until_s=20.0)


def said(kind: type[Message], rank: int = MEMBER, **fields: Any) -> Any:
    """What a member said first of a kind."""
    return next(
        message
        for sender, message in session().said
        if sender == rank
        and type(message) is kind
        and all(getattr(message, name) == value for name, value in fields.items())
    )


def signed(message: Any, rank: int = MEMBER) -> Any:
    kind, body = STATEMENTS[type(message)](message)
    driver = session()
    signature = sign_statement(driver.people[rank], kind, rank, driver.cohort.session, *body)
    return replace(message, signature=signature)


def other(message: Any, **changes: Any) -> Any:
    """Another version of what a member said, signed by it."""
    return signed(replace(message, **changes))


def blame(*evidence: Any, fault: str | None = None, member: Any = None) -> None:
    """Verify a blame; of the fault that two statements of the first one's kind prove."""
    cohort = session().cohort
    if fault is None:
        fault = FAULTS[STATEMENTS[type(evidence[0])](evidence[0])[0]]
    verify_blame(cohort, Blame(member or cohort.members[MEMBER], fault, evidence))


def test_two_acks_prove_a_lie() -> None:
    ack = said(Ack)
    blame(ack, other(ack, tau2=bytes(32)))


@pytest.mark.parametrize(
    "fault",
    [*(fault for fault in FAULTS.values() if fault != "two_acks"), "false_sum", "corrupt_reveal"],
)
def test_two_acks_prove_no_other_fault(fault: str) -> None:
    ack = said(Ack)
    with pytest.raises(Unproven, match=f"this proves 'two_acks', not '{fault}'"):
        blame(ack, other(ack, tau2=bytes(32)), fault=fault)


@pytest.mark.parametrize("fault", ["two_manifests", "two_acks"])
def test_a_chunk_against_its_manifest_proves_a_second_version_only(fault: str) -> None:
    manifest = other(said(Manifest), chunk_digests=bytes(32 * 5))
    with pytest.raises(Unproven, match=f"this proves 'two_versions', not '{fault}'"):
        blame(said(ChunkHeader), manifest, fault=fault)


def test_keys_of_low_order_prove_no_contradiction() -> None:
    bad = other(said(Advert), mask_key=bytes(32))
    with pytest.raises(Unproven, match="this proves 'two_adverts', not 'two_lists'"):
        blame(said(Advert), bad, fault="two_lists")
    blame(said(Advert), bad, fault="two_adverts")
    blame(said(Advert), bad, fault="bad_keys")  # Both are so, and each is named by its own.


def test_a_turn_that_no_leader_has_proves_nothing() -> None:
    """In a cohort, whose leaders go round, and in an epoch, where they end."""
    driver = GroupDriver(*make_epoch(5, 12), 1).run(until_s=20.0)
    ballot = next(it for _, it in driver.said if isinstance(it, Ballot))
    leader = driver.cohort.members[driver.cohort.leader(0)]
    for turn in (5, 2**32 - 1):
        far = replace(ballot, turn=turn)
        with pytest.raises(Unproven, match=f"turn {turn} is no leader's"):
            verify_blame(driver.cohort, Blame(leader, "two_ballots", (far, ballot)))
    ballot = next(it for _, it in session().said if isinstance(it, Ballot))
    with pytest.raises(Unproven, match="turn 2 is no leader's"):
        blame(other_leader := replace(ballot, turn=2), other_leader, fault="two_ballots")


def test_evidence_against_a_stranger_proves_nothing() -> None:
    ack = said(Ack)
    with pytest.raises(Unproven, match="none of the cohort's"):
        blame(ack, other(ack, tau2=bytes(32)), member=STRANGER)


def test_a_single_statement_proves_nothing() -> None:
    with pytest.raises(Unproven, match="with 1 messages proves nothing"):
        blame(said(Ack))


def test_one_statement_twice_proves_nothing() -> None:
    with pytest.raises(Unproven, match="the two statements are one"):
        blame(said(Ack), said(Ack))


def test_a_statement_of_another_proves_nothing() -> None:
    theirs = replace(said(Ack, OTHER), tau2=bytes(32))
    with pytest.raises(Unproven, match="a statement is another member's"):
        blame(said(Ack), signed(theirs, OTHER))


@pytest.mark.parametrize("place", [0, 1])
def test_a_forged_signature_proves_nothing(place: int) -> None:
    evidence = [said(Ack), other(said(Ack), tau2=bytes(32))]
    evidence[place] = replace(evidence[place], signature=evidence[1 - place].signature)
    with pytest.raises(Unproven, match="a signature is not the member's"):
        blame(*evidence)


def test_a_statement_of_another_session_proves_nothing() -> None:
    ack = said(Ack)
    with pytest.raises(Unproven, match="a message is of another session"):
        blame(ack, other(ack, tau2=bytes(32), session=bytes(32)))


def test_chunks_of_two_places_prove_nothing() -> None:
    first = said(ChunkHeader)
    second = next(
        message
        for sender, message in session().said
        if sender == MEMBER and isinstance(message, ChunkHeader) and message.chunk != first.chunk
    )
    with pytest.raises(Unproven, match="the two statements are of two slots"):
        blame(first, second)


@pytest.mark.parametrize(
    "kinds",
    [(Ack, Vote), (Advert, Ack), (Advert, Vote), (Manifest, Receipt)],
    ids=lambda kinds: " and ".join(kind.__name__ for kind in kinds),
)
def test_statements_of_two_kinds_prove_nothing(kinds: tuple[type[Message], ...]) -> None:
    """Every honest member says one of each: they contradict nothing."""
    with pytest.raises(Unproven, match="the two statements are of two slots"):
        blame(*(said(kind) for kind in kinds))


def test_a_chunk_and_its_manifest_prove_nothing() -> None:
    with pytest.raises(Unproven, match="the chunk is that of the manifest"):
        blame(said(ChunkHeader), said(Manifest))
    chunk = said(ChunkHeader)
    elsewhere = other(said(Manifest), tau2=bytes(32), chunk_digests=bytes(32 * 5))
    with pytest.raises(Unproven, match="the chunk is that of the manifest"):
        blame(chunk, elsewhere)
    blame(chunk, other(said(Manifest), chunk_digests=bytes(32 * 5)))  # This one does.


def test_what_is_not_signed_proves_nothing() -> None:
    held = said(Held, session().cohort.leader(0) - 1)
    with pytest.raises(Unproven, match="Held is not signed"):
        blame(held, held, fault="two_acks")


def test_good_keys_prove_nothing() -> None:
    with pytest.raises(Unproven, match="no advert of the member has a key of low order"):
        blame(said(Advert), fault="bad_keys")
    blame(other(said(Advert), mask_key=bytes(32)), fault="bad_keys")  # This one does.


# --- shares --------------------------------------------------------------------------------------


def header_of(rank: int) -> Header:
    header = said(Share, rank).header
    assert isinstance(header, Header)
    return header


def shares_of_seed() -> dict[int, tuple[bytes, bytes]]:
    """What the others revealed of the member's seed, by holder."""
    driver, place = session(), 32 * MEMBER
    return {
        holder: (said(Reveal, holder).shares[place : place + 32], b"")
        for holder in range(driver.cohort.size)
        if holder != MEMBER
    }


def bad_dealing(header: Header, advert: Advert, shares: dict[int, tuple[bytes, bytes]]) -> None:
    cohort = session().cohort
    verify_bad_dealing(cohort, tuple(range(cohort.size)), header, advert, shares)


def test_a_good_dealing_proves_nothing() -> None:
    with pytest.raises(Unproven, match="the shares give the dealer's secret"):
        bad_dealing(header_of(MEMBER), said(Advert), shares_of_seed())


def shares_of_scalar() -> dict[int, tuple[bytes, bytes]]:
    """What the others hold of the member's scalar, by holder."""
    return {
        holder: (b"", machine._sharing.shares[MEMBER][32:])
        for holder, machine in session().machines.items()
        if holder != MEMBER
    }


def test_shares_of_a_scalar_prove_something_only_where_it_is_not_that_of_the_key() -> None:
    with pytest.raises(Unproven, match="the shares give the dealer's secret"):
        bad_dealing(header_of(MEMBER), said(Advert), shares_of_scalar())
    another = other(said(Advert), mask_key=said(Advert, OTHER).mask_key)
    bad_dealing(header_of(MEMBER), another, shares_of_scalar())


def test_shares_that_the_header_does_not_have_prove_nothing() -> None:
    shares = shares_of_seed() | {OTHER: (bytes(32), b"")}
    with pytest.raises(Unproven, match=f"the share of member {OTHER} is none of the header's"):
        bad_dealing(header_of(MEMBER), said(Advert), shares)


def test_too_few_shares_prove_nothing() -> None:
    few = dict(list(shares_of_seed().items())[:2])
    with pytest.raises(Unproven, match="shares"):
        bad_dealing(header_of(MEMBER), said(Advert), few)


def test_a_header_that_was_forged_proves_nothing() -> None:
    forged = replace(header_of(MEMBER), commitments=bytes(32))
    with pytest.raises(Unproven, match="a signature is not the member's"):
        bad_dealing(forged, said(Advert), shares_of_seed())


def test_an_advert_of_another_proves_nothing() -> None:
    theirs = other(said(Advert, OTHER))  # Signed by the dealer, in another's name.
    with pytest.raises(Unproven, match="the advert is another member's"):
        bad_dealing(header_of(MEMBER), theirs, shares_of_seed())
