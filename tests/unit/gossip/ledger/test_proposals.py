"""Charters on their way: what is taken, from whom, how much of it, and what is kept and named."""

from typing import Any

import pytest
from ledger_group import (
    RELAY_S,
    Bench,
    LedgerGroup,
    approval_by,
    approvals_by,
    bounds_of,
    governance_of,
    governor_of,
    identity_of,
)

from p2pfl_gossip.actions import RemoteProtocolError
from p2pfl_gossip.ledger import proposals
from p2pfl_gossip.ledger.approvals import APPROVALS_MAX, Approval, RefusedApproval, Says, in_order
from p2pfl_gossip.ledger.charter import (
    CHARTER_BYTES_MAX,
    NONE,
    Charter,
    RefusedCharter,
    charter_digest,
    encode_charter,
    running_digest,
    terms_digest,
)
from p2pfl_gossip.ledger.consent import consents
from p2pfl_gossip.ledger.early_objections import EARLY_OF_ONE_MAX
from p2pfl_gossip.ledger.entries import EntryStep
from p2pfl_gossip.ledger.history import History
from p2pfl_gossip.ledger.messages import (
    PARCELS_MAX,
    TEXT_BYTES_MAX,
    HeldParcel,
    Parcel,
    ParcelRequest,
    ParcelsHeld,
    Rest,
)
from p2pfl_gossip.ledger.parcel_exchange import ASKED_MAX, PARCELS_GIVEN_MAX, TOLD_EVERY_RELAYS
from p2pfl_gossip.ledger.parcels import _PARCEL_BYTES_MAX, PARCEL_PREFIX, parcel_key
from p2pfl_gossip.ledger.proposals import (
    PAST_MAX,
    PROPOSALS_OF_ONE_MAX,
    VOID_MAX,
    HostWord,
    Proposals,
)
from p2pfl_gossip.records import MalformedFrame, replaced
from p2pfl_gossip.wire import FRAME_BYTES_MAX, decode_untrusted, encode

TERMS, RUNNING = b"what all agree on", b"what peers may change"
GROUP = LedgerGroup(7, bounds=bounds_of())
OTHER = 3


class Place:
    """Member 0 with its proposals."""

    def __init__(self, group: LedgerGroup = GROUP, history: History | None = None) -> None:
        self.bench = Bench(group)
        self.history = history or History(group.epoch)
        self.proposals = Proposals(self.bench.seat, self.history)

    def propose(self, parcel: Parcel) -> None:
        self.bench.do(lambda: self.proposals.propose(parcel))

    def receive(self, parcel: Parcel, rank: int = OTHER) -> None:
        """Hear of a parcel, and be given it."""
        held = HeldParcel(charter_digest(parcel.charter), bytes(32))
        self.bench.do(lambda: self.proposals.exchange.on_held(rank, ParcelsHeld(0, (held,))))
        self.bench.do(lambda: self.proposals.exchange.on_parcel(rank, parcel))

    def hear(self, **fields: Any) -> None:
        self.bench.do(lambda: self.proposals.hear(HostWord(**fields)))

    @property
    def rest(self) -> Rest:
        return self.proposals.rest

    @property
    def digests(self) -> list[bytes]:
        return [proposal.digest for proposal in self.proposals.open]


def parcel_of(charter: Charter, *approvals: Approval, **fields: Any) -> Parcel:
    return Parcel(encode_charter(charter), b"", b"", in_order(approvals), **fields)


def proposal(number: int = 0, **fields: Any) -> Charter:
    """A change of the founding class; each number is another."""
    return GROUP.next_charter(retries=50 + number, **fields)


FIRST = proposal()
SOME = parcel_of(FIRST, *approvals_by(FIRST, (2, 3)))
ALL = parcel_of(FIRST, *approvals_by(FIRST, range(1, 8)))


# --- what is taken ------------------------------------------------------------------------------


def test_what_one_was_handed_all_have_soon() -> None:
    """It tells what it holds; who lacks it asks, and is given it."""
    one, other = Place(), Place()
    one.propose(SOME)
    one.bench.pass_until(one.bench.now_s + RELAY_S)
    told = one.bench.take_sent(ParcelsHeld)
    assert [rank for rank, _ in told] == [1, 2, 3, 4, 5, 6]
    other.bench.do(lambda: other.proposals.exchange.on_held(OTHER, told[0][1]))
    ((rank, request),) = other.bench.take_sent(ParcelRequest)
    assert (rank, request) == (OTHER, ParcelRequest(FIRST.digest()))
    one.bench.do(lambda: one.proposals.exchange.on_request(1, request))
    ((rank, parcel),) = one.bench.take_sent(Parcel)
    assert (rank, parcel) == (1, SOME)
    other.bench.do(lambda: other.proposals.exchange.on_parcel(OTHER, parcel))
    assert other.proposals.open == one.proposals.open
    # Who holds the same asks no more.
    other.bench.do(lambda: other.proposals.exchange.on_held(OTHER, told[0][1]))
    assert other.bench.take_sent(ParcelRequest) == []


def test_approvals_of_several_come_together() -> None:
    place = Place()
    for number in range(1, 6):
        assert place.proposals.approved(FIRST.digest()) is None
        place.receive(parcel_of(FIRST, *approvals_by(FIRST, [number])), rank=number)
    approved = place.proposals.approved(FIRST.digest())
    assert approved is not None
    assert len(approved.approvals) == 5


def test_what_was_lost_is_told_again() -> None:
    place = Place()
    place.propose(SOME)
    period_s = TOLD_EVERY_RELAYS * RELAY_S
    place.bench.pass_until(place.bench.now_s + 3.5 * period_s)
    assert len(place.bench.take_sent(ParcelsHeld)) == 4 * 6
    place.hear(void=(FIRST.digest(),))
    place.bench.pass_until(place.bench.now_s + 3.5 * period_s)
    assert len(place.bench.take_sent(ParcelsHeld)) == 6  # Once more; then there is nothing open.


def test_what_was_not_asked_for_is_passed_over() -> None:
    """Nobody has us check signatures as it likes."""
    place = Place()
    place.bench.do(lambda: place.proposals.exchange.on_parcel(OTHER, ALL))
    assert place.digests == []
    place.receive(ALL)
    assert place.digests == [FIRST.digest()]


def test_texts_are_those_of_their_digests() -> None:
    charter = proposal(terms=terms_digest(TERMS), running=running_digest(RUNNING))
    said = approvals_by(charter, [2])
    whole = replaced(parcel_of(charter, *said), terms=TERMS, running=RUNNING)
    place = Place()
    for false in (replaced(whole, terms=RUNNING), replaced(whole, running=TERMS)):
        with pytest.raises(RefusedCharter, match="not the one that the charter names"):
            place.propose(false)
        with pytest.raises(RemoteProtocolError, match="bad_charter"):
            place.receive(false)
    place.receive(parcel_of(charter, *said))
    assert place.proposals.open[0].terms == b""
    place.receive(whole)
    assert (place.proposals.open[0].terms, place.proposals.open[0].running) == (TERMS, RUNNING)
    place.receive(parcel_of(charter, *approvals_by(charter, [3])))  # Without texts: they stay.
    assert place.proposals.open[0].terms == TERMS
    assert len(place.proposals.open[0].approvals) == 2


STALE = replaced(FIRST, present=b"o" * 32)
FALSE: dict[str, tuple[Parcel, str]] = {
    "no charter": (Parcel(b"\xc0", b"", b"", ()), "bad_charter"),
    "a charter with a byte more": (replaced(SOME, charter=SOME.charter + b"\0"), "bad_charter"),
    "members that cannot be": (
        parcel_of(proposal(members=GROUP.epoch.charter.members[:4])),
        "bad_charter",
    ),
    "an approval of another charter": (
        parcel_of(FIRST, approval_by(governor_of(2), proposal(1))),
        "bad_approval",
    ),
    "an approval by a stranger": (
        parcel_of(FIRST, approval_by(governor_of(99), FIRST)),
        "bad_approval",
    ),
    "a false signature": (
        parcel_of(FIRST, replaced(approval_by(governor_of(2), FIRST), signature=bytes(64))),
        "bad_approval",
    ),
}


@pytest.mark.parametrize("name", FALSE)
def test_what_cannot_follow_is_refused(name: str) -> None:
    parcel, reason = FALSE[name]
    place = Place()
    with pytest.raises(RemoteProtocolError) as told:
        place.receive(parcel)
    assert told.value.reason == reason
    assert place.digests == []
    with pytest.raises((MalformedFrame, RefusedCharter, RefusedApproval)):
        place.propose(parcel)


def test_what_follows_an_older_charter_is_void() -> None:
    """Who brings it may only be behind; our own operator is told."""
    place = Place()
    place.receive(parcel_of(STALE, *approvals_by(STALE, (2, 3))))
    assert place.digests == []
    with pytest.raises(RefusedCharter, match="replaces another one"):
        place.propose(parcel_of(STALE, *approvals_by(STALE, (2, 3))))


def test_parcels_of_another_epoch_are_not_asked_for() -> None:
    place = Place()
    held = HeldParcel(FIRST.digest(), bytes(32))
    place.bench.do(lambda: place.proposals.exchange.on_held(OTHER, ParcelsHeld(1, (held,))))
    assert place.bench.sent == []


# --- how much -----------------------------------------------------------------------------------


def test_a_proposal_is_some_members() -> None:
    """One that no member has approved is nobody's, and passed over."""
    place = Place()
    place.receive(parcel_of(FIRST))
    assert place.digests == []
    newcomer = proposal(members=LedgerGroup(8).epoch.charter.members)
    place.receive(parcel_of(newcomer, *approvals_by(newcomer, [8])))
    assert place.digests == []
    place.receive(parcel_of(newcomer, *approvals_by(newcomer, [7, 8])))
    assert place.digests == [newcomer.digest()]


def test_each_member_has_a_few_proposals_open() -> None:
    """Who makes ever new ones fills its own places; others' are free."""
    place = Place()
    for number in range(5):
        charter = proposal(number)
        place.receive(parcel_of(charter, *approvals_by(charter, [6])))
    assert len(place.digests) == PROPOSALS_OF_ONE_MAX
    charter = proposal(9)
    place.receive(parcel_of(charter, *approvals_by(charter, [5])))
    assert charter.digest() in place.digests
    # With another one's word it is that one's.
    charter = proposal(4)
    place.receive(parcel_of(charter, *approvals_by(charter, [6, 4])))
    assert charter.digest() in place.digests


def test_so_many_are_asked_for_and_given_at_a_time() -> None:
    place = Place()
    place.propose(SOME)
    held = tuple(HeldParcel(n.to_bytes(32, "big"), bytes(32)) for n in range(PARCELS_MAX))
    place.bench.do(lambda: place.proposals.exchange.on_held(OTHER, ParcelsHeld(0, held)))
    assert len(place.bench.take_sent(ParcelRequest)) == ASKED_MAX
    for _ in range(PARCELS_GIVEN_MAX + 5):
        place.bench.do(
            lambda: place.proposals.exchange.on_request(OTHER, ParcelRequest(FIRST.digest()))
        )
    assert len(place.bench.take_sent(Parcel)) == PARCELS_GIVEN_MAX
    place.bench.do(lambda: place.proposals.exchange.on_request(4, ParcelRequest(FIRST.digest())))
    assert len(place.bench.take_sent(Parcel)) == 1
    place.bench.do(lambda: place.proposals.exchange.on_request(5, ParcelRequest(NONE)))
    assert place.bench.take_sent(Parcel) == []


def test_messages_have_a_largest_size() -> None:
    held = tuple(HeldParcel(NONE, NONE) for _ in range(PARCELS_MAX))
    assert decode_untrusted(encode(ParcelsHeld(0, held))) == ParcelsHeld(0, held)
    approval = approval_by(governor_of(2), FIRST)
    for message in (
        ParcelsHeld(0, (*held, held[0])),
        replaced(SOME, terms=bytes(TEXT_BYTES_MAX + 1)),
        replaced(SOME, running=bytes(TEXT_BYTES_MAX + 1)),
        replaced(SOME, approvals=(approval,) * (APPROVALS_MAX + 1)),
        replaced(SOME, charter=bytes(CHARTER_BYTES_MAX + 1)),
    ):
        with pytest.raises(MalformedFrame):
            decode_untrusted(encode(message))
    # As many keys as there may be, and texts of the largest size.
    largest = replaced(
        SOME,
        charter=bytes(90 * 1024),
        terms=bytes(TEXT_BYTES_MAX),
        running=bytes(TEXT_BYTES_MAX),
        approvals=(replaced(approval, key=bytes(34)),) * APPROVALS_MAX,
    )
    assert decode_untrusted(encode(largest)) == largest
    assert _PARCEL_BYTES_MAX == FRAME_BYTES_MAX


def test_more_approvals_than_there_are_keys_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proposals, "APPROVALS_MAX", 2)
    place = Place()
    place.propose(SOME)
    with pytest.raises(RefusedApproval, match="more than 2"):
        place.propose(parcel_of(FIRST, *approvals_by(FIRST, [4])))
    assert len(place.proposals.open[0].approvals) == 2


# --- what our host says -------------------------------------------------------------------------


def test_only_what_is_approved_and_let_come_is_named() -> None:
    place = Place()
    place.propose(SOME)
    place.hear(due=(FIRST.digest(), proposal(1).digest()))
    assert place.proposals.named == {}
    place.propose(ALL)
    assert place.proposals.named == {FIRST.digest(): FIRST}
    place.hear()
    assert place.proposals.named == {}


def test_an_objection_stops_what_was_named() -> None:
    charter, place = rekeyed(), Place()
    approve_rekeyed(place, charter)
    assert charter.digest() in place.proposals.named
    place.receive(parcel_of(charter, objection(charter)))
    assert place.proposals.named == {}


def rekeyed(number: int = 0) -> Charter:
    """Another key for member 7, against its will; each number is another proposal."""
    members = list(GROUP.epoch.charter.members)
    members[6] = replaced(members[6], governance=governance_of(70))
    return proposal(number, members=tuple(members))


def objection(charter: Charter, number: int = 7) -> Approval:
    return approval_by(governor_of(number), charter, says=Says.OBJECT)


def approve_rekeyed(place: Place, charter: Charter) -> None:
    said = [*approvals_by(charter, range(1, 7)), approval_by(governor_of(70), charter)]
    place.receive(parcel_of(charter, *said), rank=2)
    place.hear(due=(charter.digest(),))


@pytest.mark.parametrize("is_handed", [False, True])
def test_an_objection_that_comes_before_the_proposal_counts(is_handed: bool) -> None:
    charter, place = rekeyed(), Place()
    parcel = parcel_of(charter, objection(charter))
    place.propose(parcel) if is_handed else place.receive(parcel)
    assert place.digests == []  # Nobody has approved it.
    approve_rekeyed(place, charter)
    assert place.proposals.named == {}
    (held,) = place.proposals.open
    assert held.standing is not None
    assert held.standing.objected == ("m7",)
    assert objection(charter) in held.parcel.approvals  # Others get it, too.


def test_so_many_early_objections_of_one_key_are_kept() -> None:
    """Its latest; what one key says drops nothing of another's."""
    place = Place()
    first = [rekeyed(number) for number in range(EARLY_OF_ONE_MAX + 1)]
    place.receive(parcel_of(first[1], objection(first[1], 6)))
    for charter in first:
        place.receive(parcel_of(charter, objection(charter)))
    approve_rekeyed(place, first[0])
    assert place.proposals.named.keys() == {first[0].digest()}
    approve_rekeyed(place, first[1])
    assert place.proposals.named == {}
    held = next(it for it in place.proposals.open if it.digest == first[1].digest())
    said = {it.key for it in held.approvals if it.says == Says.OBJECT}
    assert said == {objection(first[1], number).key for number in (6, 7)}


def test_who_is_no_member_objects_to_nothing_early() -> None:
    """A key that only the proposal itself names."""
    charter, place = rekeyed(), Place()
    place.receive(parcel_of(charter, objection(charter, 70)))
    approve_rekeyed(place, charter)
    (held,) = place.proposals.open
    assert all(it.says == Says.APPROVE for it in held.approvals)


def test_a_lapsed_proposal_goes_and_does_not_come_back_by_itself() -> None:
    place = Place()
    place.propose(SOME)
    place.hear(void=(FIRST.digest(),))
    assert place.digests == []
    assert place.bench.persisted[-1].records == {parcel_key(FIRST.digest()): None}
    place.receive(ALL)
    assert place.digests == []
    place.propose(ALL)  # Our own operator may hand it in anew.
    assert place.digests == [FIRST.digest()]


def test_so_many_lapsed_ones_are_remembered() -> None:
    place = Place()
    place.hear(void=tuple(n.to_bytes(32, "big") for n in range(VOID_MAX)))
    place.hear(void=(FIRST.digest(),))
    assert len(place.proposals._void) == VOID_MAX
    place.receive(SOME)
    assert place.digests == []


# --- what is kept -------------------------------------------------------------------------------


def test_what_is_held_is_kept_and_a_restarted_member_has_it() -> None:
    place = Place()
    place.propose(SOME)
    kept = {key: value for it in place.bench.persisted for key, value in it.records.items()}
    again = Place()
    again.bench.do(lambda: again.proposals.restore(kept))  # type: ignore[arg-type]
    assert again.proposals.open == place.proposals.open


@pytest.mark.parametrize("stored", [b"\xc0", b"", encode(ParcelRequest(NONE))])
def test_a_record_that_is_no_parcel_is_told(stored: bytes) -> None:
    place = Place()
    with pytest.raises(MalformedFrame):
        place.proposals.restore({f"{PARCEL_PREFIX}00": stored})


def test_a_kept_parcel_is_checked_again() -> None:
    false = parcel_of(FIRST, replaced(approval_by(governor_of(2), FIRST), signature=bytes(64)))
    with pytest.raises(MalformedFrame, match="a kept parcel is not in order"):
        Place().proposals.restore({f"{PARCEL_PREFIX}00": encode(false)})


def second_epoch(*numbers: int, charter: Charter = FIRST) -> tuple[LedgerGroup, Place]:
    """The epoch that begins with a charter that these members' keys have approved."""
    place = Place()
    place.propose(parcel_of(charter, *approvals_by(charter, numbers)))
    place.propose(replaced(parcel_of(proposal(1), *approvals_by(proposal(1), (2, 3)))))
    entry = GROUP.empty_entry(GROUP.first, 1, charter.digest())
    closing = replaced(
        GROUP.closing(entry, charter), approvals=in_order(approvals_by(charter, numbers))
    )
    place.history.close_epoch(closing)
    place.bench.seat.enter(place.history.epoch)
    place.bench.do(place.proposals.begin_epoch)
    return GROUP.following(charter), place


def test_of_all_proposals_the_one_that_came_stays() -> None:
    """The others name a charter that is no longer present."""
    _, place = second_epoch(1, 2, 3, 4, 5)
    assert place.proposals.open == []
    assert place.proposals.present.digest == FIRST.digest()
    kept = {key: value for it in place.bench.persisted for key, value in it.records.items()}
    assert kept[parcel_key(proposal(1).digest())] is None
    assert isinstance(kept[parcel_key(FIRST.digest())], bytes)


def test_who_has_not_signed_rests_until_it_does() -> None:
    """Silence is never consent; a late signature is."""
    _, place = second_epoch(2, 3, 4, 5, 6)
    found = [place.rest]
    place.hear(rest=Rest.LAPSED)
    found.append(place.rest)
    place.propose(parcel_of(FIRST, approval_by(governor_of(1), FIRST)))
    found.append(place.rest)
    place.hear()
    assert [*found, place.rest] == [Rest.UNSIGNED, Rest.UNSIGNED, Rest.LAPSED, Rest.NONE]


def test_a_late_signature_that_others_were_handed_comes() -> None:
    """Its own process was down then. It tells what it holds, again and again; who has more does."""
    group, place = second_epoch(2, 3, 4, 5, 6)
    _, other = second_epoch(2, 3, 4, 5, 6)
    other.propose(parcel_of(FIRST, approval_by(governor_of(1), FIRST)))
    other.bench.pass_until(other.bench.now_s + RELAY_S)
    other.bench.take_sent(ParcelsHeld)  # It is told to nobody who is away.
    again = Place(group, place.history)
    again.bench.do(lambda: again.proposals.restore({}))
    period_s = TOLD_EVERY_RELAYS * RELAY_S
    again.bench.pass_until(again.bench.now_s + 1.5 * period_s)
    told = again.bench.take_sent(ParcelsHeld)
    assert len(told) == 2 * 6

    def show() -> list[tuple[int, ParcelsHeld]]:
        """Have the other one be told, and given what it asks for; return what it tells."""
        parcel = again.proposals.present.parcel
        other.bench.do(lambda: other.proposals.exchange.on_held(OTHER, told[0][1]))
        other.bench.do(lambda: other.proposals.exchange.on_parcel(OTHER, parcel))
        return other.bench.take_sent(ParcelsHeld)

    ((rank, held),) = show()
    assert rank == OTHER
    found = [again.rest]
    again.bench.do(lambda: again.proposals.exchange.on_held(OTHER, held))
    whole = other.proposals.present.parcel
    again.bench.do(lambda: again.proposals.exchange.on_parcel(OTHER, whole))
    assert [*found, again.rest] == [Rest.UNSIGNED, Rest.NONE]
    # Of what is the same nothing is said; and who has its word tells it once more, to all.
    assert show() == []
    again.bench.pass_until(again.bench.now_s + 3.5 * period_s)
    assert len(again.bench.take_sent(ParcelsHeld)) == 6


def test_who_has_signed_goes_on() -> None:
    _, place = second_epoch(1, 2, 3, 4, 5)
    assert place.rest == Rest.NONE


def test_an_objection_or_a_peers_key_is_no_consent() -> None:
    _, place = second_epoch(2, 3, 4, 5, 6)
    place.propose(parcel_of(FIRST, approval_by(governor_of(1), FIRST, says=Says.OBJECT)))
    place.propose(parcel_of(FIRST, approval_by(identity_of(1), FIRST)))
    assert place.rest == Rest.UNSIGNED


def test_a_running_change_asks_no_governance_key_anew() -> None:
    """Neither of who had signed before, nor does it free who had not."""
    for numbers, is_free in (((1, 2, 3, 4, 5), True), ((2, 3, 4, 5, 6), False)):
        group, place = second_epoch(*numbers)
        charter = group.next_charter(rounds=25)
        epochs = [*place.history.epochs, group.epoch.followed_by(charter)]
        said = [[], list(approvals_by(FIRST, numbers)), []]
        peer = GROUP.epoch.members[0]
        assert consents(epochs, peer, lambda number, said=said: said[number]) == is_free  # type: ignore[misc]


def test_the_founding_was_signed_before_anything_ran() -> None:
    assert Place().rest == Rest.NONE


def test_a_stranger_consents_to_nothing() -> None:
    _, place = second_epoch(1, 2, 3, 4, 5)
    assert not consents(place.history.epochs, identity_of(99).peer_id, lambda _number: [])


# --- charters that held once --------------------------------------------------------------------


def later(count: int) -> tuple[LedgerGroup, History, list[Charter]]:
    """A group so many epochs later, its history, and its charters, each with texts."""
    group = GROUP
    history, charters = History(group.epoch), [group.epoch.charter]
    for number in range(count):
        changes = {"terms": terms_digest(TERMS), "running": running_digest(RUNNING)}
        charter = group.next_charter(retries=50 + number, **changes)
        entry = group.empty_entry(history.head, 3 * number + 1, charter.digest())
        history.close_epoch(group.closing(entry, charter))
        step = history.step(EntryStep(entry).head)
        assert step is not None
        history.head = step
        group = group.following(charter)
        charters.append(charter)
    return group, history, charters


def test_who_was_away_gets_the_texts_of_earlier_charters() -> None:
    group, history, charters = later(3)
    place = Place(group, history)
    first, second, _ = (charter.digest() for charter in charters[1:])
    place.bench.do(lambda: place.proposals.ask([first, second, bytes(32)]))
    sent = place.bench.take_sent(ParcelRequest)
    assert {it.charter for _, it in sent} == {first, second}
    whole = replaced(parcel_of(charters[1]), terms=TERMS, running=RUNNING)
    false = replaced(parcel_of(charters[2]), terms=TERMS, running=b"others")
    with pytest.raises(RemoteProtocolError, match="bad_charter"):
        place.bench.do(lambda: place.proposals.exchange.on_parcel(OTHER, false))
    place.bench.do(lambda: place.proposals.exchange.on_parcel(OTHER, whole))
    assert list(place.proposals.past) == [first]
    assert place.proposals.past[first].terms == TERMS
    # It gives them on, also in its next life.
    kept = {key: value for it in place.bench.persisted for key, value in it.records.items()}
    again = Place(group, history)
    again.proposals.restore(kept)  # type: ignore[arg-type]
    assert list(again.proposals.past) == [first]
    again.bench.do(lambda: again.proposals.exchange.on_request(OTHER, ParcelRequest(first)))
    ((_, given),) = again.bench.take_sent(Parcel)
    assert (given.terms, given.running) == (TERMS, RUNNING)


def test_so_many_earlier_charters_are_at_hand_and_no_more() -> None:
    group, history, charters = later(PAST_MAX + 2)
    place = Place(group, history)
    wanted = [charter.digest() for charter in charters]
    place.bench.do(lambda: place.proposals.ask(wanted[:3]))
    # The founding is too long ago, and so is the first that followed.
    assert {it.charter for _, it in place.bench.take_sent(ParcelRequest)} == {wanted[2]}
