"""Leaving, and revoking a peer's key: by a member's own governance keys, and nobody else's."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from ledger_group import (
    Bench,
    LedgerGroup,
    approval_by,
    governance_of,
    governor_of,
    identity_of,
)

from p2pfl_gossip.actions import RemoteProtocolError
from p2pfl_gossip.ledger.approvals import (
    DEPARTING,
    Approval,
    RefusedApproval,
    Says,
    in_order,
)
from p2pfl_gossip.ledger.evidence import (
    evidence_of_adverts,
    evidence_of_departure,
    require_evidence,
)
from p2pfl_gossip.ledger.evidence_book import EvidenceBook
from p2pfl_gossip.ledger.messages import Departure, Evidence
from p2pfl_gossip.records import Codec, replaced

TWO_OF_THREE = governance_of(4, keys=3, threshold=2)


def group_of() -> LedgerGroup:
    """Seven, of whom the fourth has three keys, and wants two."""
    members = list(LedgerGroup(7).epoch.charter.members)
    members[3] = replaced(members[3], governance=TWO_OF_THREE)
    return LedgerGroup(7, members=tuple(members))


GROUP = group_of()
EPOCH = GROUP.epoch
RANK = 3


def word(place: int, says: int = Says.LEAVE, number: int = 4) -> Approval:
    return approval_by(governor_of(number, place), EPOCH.charter, says=says)


WORDS = in_order([word(0), word(1)])
GOOD = Evidence(0, 0, RANK, Departure(WORDS))


def session_of(_round: int) -> bytes:
    raise AssertionError("no session is asked for")


@pytest.mark.parametrize("says", DEPARTING)
def test_a_members_own_keys_say_that_it_departs(says: Says) -> None:
    evidence = evidence_of_departure(EPOCH, [word(2, says), word(0, says)])
    assert (evidence.member, evidence.round, evidence.fault) == (RANK, 0, "departure")
    require_evidence(EPOCH, evidence, session_of)


def test_more_words_than_it_takes_are_cut_to_the_threshold() -> None:
    evidence = evidence_of_departure(EPOCH, [word(0), word(1), word(2)])
    assert isinstance(evidence.proof, Departure)
    assert len(evidence.proof.words) == 2


REFUSED: dict[str, tuple[Callable[[], Sequence[Approval]], str]] = {
    "nothing": (list, "not the words of one member"),
    "one of two keys": (lambda: [word(0)], "m4: 1 of 2 keys have signed"),
    "one key twice": (
        lambda: [word(0), approval_by(governor_of(4), EPOCH.charter, says=Says.LEAVE, until=5)],
        "m4: 1 of 2 keys have signed",
    ),
    "another's key beside": (lambda: [word(0), word(0, number=5)], "not the words of one member"),
    "its peer's key": (
        lambda: [approval_by(identity_of(4), EPOCH.charter, says=Says.LEAVE)],
        "not the words of one member",
    ),
    "a stranger's": (lambda: [word(0, number=99)], "not the words of one member"),
    "of another charter": (
        lambda: [
            approval_by(governor_of(4, place), GROUP.next_charter(), says=Says.LEAVE)
            for place in (0, 1)
        ],
        "another charter than that in force",
    ),
    "an approval": (lambda: [word(0, Says.APPROVE), word(1, Says.APPROVE)], "each by itself"),
    "leaving and revoking": (lambda: [word(0), word(1, Says.REVOKE)], "each by itself"),
    "a false signature": (
        lambda: [word(0), replaced(word(1), signature=bytes(64))],
        "not its key's",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_our_operator_hands_in_is_checked(name: str) -> None:
    words, why = REFUSED[name]
    with pytest.raises(RefusedApproval, match=why):
        evidence_of_departure(EPOCH, words())


FALSE: dict[str, tuple[Evidence, str]] = {
    "of another member": (replaced(GOOD, member=2), "not_its_threshold"),
    "of a member that there is not": (replaced(GOOD, member=7), "other_place"),
    "of a round": (replaced(GOOD, round=1), "other_place"),
    "of an ended epoch": (replaced(GOOD, epoch=1), "wrong_epoch"),
    "one of two keys": (replaced(GOOD, proof=Departure(WORDS[:1])), "not_its_threshold"),
    "one key too many": (
        replaced(GOOD, proof=Departure(in_order([*WORDS, word(2)]))),
        "not_its_threshold",
    ),
    "one key twice": (replaced(GOOD, proof=Departure((WORDS[0],) * 2)), "not_its_threshold"),
    "in another order": (replaced(GOOD, proof=Departure(WORDS[::-1])), "not_its_threshold"),
    "another's key": (
        replaced(GOOD, proof=Departure(in_order([word(0), word(0, number=5)]))),
        "not_its_key",
    ),
    "of another charter": (
        replaced(GOOD, proof=Departure(tuple(replaced(it, charter=bytes(32)) for it in WORDS))),
        "other_charter",
    ),
    "an approval": (
        replaced(GOOD, proof=Departure(in_order([word(0, Says.APPROVE), word(1, Says.APPROVE)]))),
        "no_departure",
    ),
    "leaving and revoking": (
        replaced(GOOD, proof=Departure(in_order([word(0), word(1, Says.REVOKE)]))),
        "no_departure",
    ),
    "leaving and withdrawing": (
        replaced(GOOD, proof=Departure(in_order([word(0), word(1, Says.WITHDRAW)]))),
        "no_departure",
    ),
    "leaving, passed off as withdrawing": (
        replaced(GOOD, proof=Departure(tuple(replaced(it, says=Says.WITHDRAW) for it in WORDS))),
        "bad_signature",
    ),
    "a false signature": (
        replaced(GOOD, proof=Departure((WORDS[0], replaced(WORDS[1], signature=bytes(64))))),
        "bad_signature",
    ),
}


@pytest.mark.parametrize("name", FALSE)
def test_nobody_else_sends_a_member_away(name: str) -> None:
    evidence, reason = FALSE[name]
    with pytest.raises(RemoteProtocolError) as told:
        require_evidence(EPOCH, evidence, session_of)
    assert told.value.reason == reason


@pytest.mark.parametrize("says", DEPARTING)
def test_who_departed_once_and_is_a_member_again_is_not_sent_away_by_its_old_word(
    says: Says,
) -> None:
    """A word is of one charter, and no later one has its digest, whatever else it says alike."""
    words = in_order([word(0, says), word(1, says)])
    again = EPOCH.followed_by(GROUP.next_charter())
    assert again.charter.members == EPOCH.charter.members
    with pytest.raises(RefusedApproval, match="another charter than that in force"):
        evidence_of_departure(again, words)
    with pytest.raises(RemoteProtocolError, match="other_charter"):
        require_evidence(again, Evidence(again.number, 0, RANK, Departure(words)), session_of)
    bench = Bench(GROUP)
    book = EvidenceBook(bench.seat, session_of)
    bench.do(lambda: book.on_evidence(Evidence(0, 0, RANK, Departure(words))))
    book.clear()  # As where the next epoch begins.
    assert book.departed == []
    assert book.departures == []
    assert bench.seat.epoch.threshold == EPOCH.threshold  # Nor does it change who is a quorum.


LIE = evidence_of_adverts(EPOCH, GROUP.advert(RANK, 1), GROUP.advert(RANK, 1, key=b"k" * 32))


@pytest.mark.parametrize("first", [GOOD, LIE], ids=["departs", "lies"])
def test_the_first_proof_against_a_member_is_kept_and_named(first: Evidence) -> None:
    """Of a liar that leaves too, either will do."""
    bench = Bench(GROUP)
    book = EvidenceBook(bench.seat, session_of)
    bench.do(lambda: book.on_evidence(first))
    bench.do(lambda: book.on_evidence(LIE if first is GOOD else GOOD))
    assert [named.member for named in book.named(())] == [RANK]
    assert book.departure(RANK) == (GOOD if first is GOOD else None)
    kept: dict[str, Any] = {}
    for persisted in bench.persisted:
        kept |= persisted.records
    again = EvidenceBook(Bench(GROUP).seat, session_of)
    again.restore(kept)
    assert again.departure(RANK) == book.departure(RANK)


def test_a_departure_is_read_as_it_was_written() -> None:
    codec = Codec(Evidence | None, frame_bytes_max=8192)
    assert codec.decode_untrusted(codec.encode(GOOD)) == GOOD
