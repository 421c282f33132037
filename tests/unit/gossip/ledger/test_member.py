"""One member and what reaches it early, twice or by mistake; its bounds."""

from functools import partial

import pytest
from ledger_group import LedgerGroup, governance_of, identity_of, item_of, model_of
from ledger_world import LedgerWorld
from one_member import EMPTY, GROUP, LEADER, PEERS, OneMember

from p2pfl_crypto.encoding import DeltaEncoding
from p2pfl_gossip.actions import Command, LocalProtocolError, RemoteProtocolError
from p2pfl_gossip.catch_up import StatusRequest
from p2pfl_gossip.events import MemberBlamed
from p2pfl_gossip.ledger import history, standing
from p2pfl_gossip.ledger.charter import NONE, CharterMember
from p2pfl_gossip.ledger.entries import Strike
from p2pfl_gossip.ledger.gathering import Listed
from p2pfl_gossip.ledger.hearing import LISTS_AHEAD_MAX
from p2pfl_gossip.ledger.history import FOUNDING_RECORD, History, founding_record
from p2pfl_gossip.ledger.jobs import ModelMade
from p2pfl_gossip.ledger.making import StateMade
from p2pfl_gossip.ledger.messages import (
    AdvertRequest,
    EntrySignature,
    GroupList,
    LedgerMessage,
    Progress,
)
from p2pfl_gossip.ledger.sessions import EARLY_MESSAGES_MAX, LINGERING_MAX, SumEnded
from p2pfl_gossip.ledger.standing import SIGNED_MAX, SignedEntry, Standing
from p2pfl_gossip.ledger.states import digest_chunks
from p2pfl_gossip.masked_sum.group_sum import Sums
from p2pfl_gossip.masked_sum.messages import Ack, MeanSignature
from p2pfl_gossip.records import Message, replaced

EVERYBODY = range(1, PEERS)


def refused(reason: str, one: OneMember, sender: int, message: Message) -> None:
    """See that a message is refused, for this reason."""
    with pytest.raises(RemoteProtocolError) as told:
        one.message(sender, message)
    assert told.value.reason == reason


def test_what_is_no_message_of_a_group_is_refused() -> None:
    """One of another kind of peer, one of no kind, and a body that is none of a sum's."""
    one = OneMember().advertised()
    with pytest.raises(RemoteProtocolError, match="unexpected_message"):
        one.message(1, StatusRequest())
    refused("unexpected_message", one, 1, LedgerMessage())
    with pytest.raises(RemoteProtocolError, match="unexpected_message"):
        one.begin(1, Progress(0, 1))


def test_it_is_started_once_and_asked_nothing_before() -> None:
    """Anything else is our own driver's fault."""
    one = OneMember()
    with pytest.raises(LocalProtocolError, match="not been started"):
        one.command(Command.PAUSE)
    one.start()
    with pytest.raises(LocalProtocolError, match="twice"):
        one.start()


def test_its_journal_is_of_one_group_for_good() -> None:
    """The founding charter is kept from the first start on."""
    one = OneMember().begun()
    assert one.records[FOUNDING_RECORD] == founding_record(GROUP.epoch)[FOUNDING_RECORD]


def listed(round_: int, turn: int = 0) -> GroupList:
    """A list of a later round, by whoever leads it."""
    adverts = [GROUP.advert(rank, round_) for rank in EVERYBODY]
    return GROUP.listed(GROUP.epoch.leaders(round_)[turn], adverts, turn=turn)


def test_lists_of_later_rounds_are_kept_within_bounds() -> None:
    """Of each member that sends them; of others there is room still."""
    one = OneMember().advertised()
    for round_ in range(2, 12):
        one.message(1, listed(round_))
    ahead = one.member._hearing._lists_ahead
    assert [round_ for round_ in ahead if 1 in ahead[round_]] == [2, 3]
    assert LISTS_AHEAD_MAX == 2
    one.message(2, listed(9))
    assert 2 in ahead[9]


def test_a_list_that_came_early_is_taken_in_its_round() -> None:
    """And one that is none ends its sender's link then."""
    one = OneMember().advertised()
    leader = GROUP.epoch.leaders(2)[0] or 1
    sender = next(rank for rank in EVERYBODY if rank != leader)
    one.message(sender, replaced(listed(2), turn=9))
    one.message(leader, listed(2))
    assert one.disconnected == []
    one.asked(AdvertRequest)
    one.message(1, GROUP.certificate(GROUP.empty_entry(GROUP.first, 1)))
    assert one.disconnected == [(sender, "no_such_turn")]
    assert leader in one.asked(AdvertRequest)


def session_of(one: OneMember, round_: int) -> bytes:
    """The name of a round's session."""
    return one.member._started.parts.sessions.name_of(round_)


def test_what_comes_before_a_session_begins_is_kept_within_bounds() -> None:
    """Of each member, each once; its link stays, as it asks for what we are too late to give."""
    one = OneMember().advertised(*EVERYBODY)
    early = Ack(session_of(one, 1), 1, bytes(32), bytes(64))
    for number in range(EARLY_MESSAGES_MAX + 1):
        for _ in range(2):
            one.message(1, replaced(early, signature=number.to_bytes(64, "little")))
    one.message(2, replaced(early, member=2))
    one.message(1, replaced(early, session=bytes(32)))  # Of no session that it knows.
    kept = one.member._started.parts.sessions._early[1]
    signed = [message.signature for _, message in kept[1] if isinstance(message, Ack)]
    assert signed == [number.to_bytes(64, "little") for number in range(EARLY_MESSAGES_MAX)]
    assert len(kept[2]) == 1
    assert one.disconnected == []


def test_what_came_early_and_is_none_ends_its_link_once_the_session_begins() -> None:
    """Not before: it could not be checked."""
    one = OneMember().advertised()
    one.message(2, MeanSignature(session_of(one, 1), 2, bytes(32), bytes(64)))
    for rank in EVERYBODY:
        one.message(rank, GROUP.advert(rank, 1))
    assert one.disconnected == []
    own = one.member._started.parts.standing.record.advert
    assert own is not None
    adverts = [own, *(GROUP.advert(rank, 1) for rank in EVERYBODY)]
    one.message(LEADER, GROUP.listed(LEADER, adverts))
    assert one.disconnected == [(2, "unexpected_message")]


def test_a_model_that_is_made_too_late_for_its_epoch_is_signed_in_none() -> None:
    """A long job may end after the epoch whose sum it is of."""
    one = OneMember().advertised(*EVERYBODY)
    own = one.member._started.parts.standing.record.advert
    assert own is not None
    adverts = {0: own} | {rank: GROUP.advert(rank, 1) for rank in EVERYBODY}
    message = GROUP.listed(LEADER, adverts.values())
    listed = Listed(message, GROUP.first, adverts, NONE, b"t" * 32)
    sums = Sums((0, 1, 2, 3), b"b" * 32, (), ())
    ended = SumEnded(listed, (model_of(0.0),), DeltaEncoding(PEERS, 8.0, 6.0), (), sums, ())
    made = ModelMade(model_of(1.0), item_of(1.0), digest_chunks(model_of(1.0)), ())
    course = one.member._started.parts.course
    charter = GROUP.next_charter(rounds=30)
    last = GROUP.empty_entry(GROUP.first, 1, charter.digest())
    one.message(1, GROUP.closing(last, charter))
    assert one.member.epoch.number == 1
    one.asked(EntrySignature)
    course._on_model(ended, StateMade.of(made))
    one.do(one.member._started.parts.seat.take())
    assert one.asked(EntrySignature) == []


def test_who_signs_a_head_and_advertises_another_is_named() -> None:
    """By the proof of finality, and by its advert of that round."""
    one = OneMember().raised()
    head = EMPTY.head
    one.message(1, GROUP.advert(1, 2))  # It names the first entry, and signs the other one.
    one.message(2, GROUP.advert(2, 2, head))
    one.message(2, GROUP.finality(head, (0, 1, 2, 3)))
    assert [event.fault for event in one.reported(MemberBlamed)] == ["two_heads"]
    assert one.member._started.parts.evidence.holds(1)


def test_sessions_of_one_round_before_still_help() -> None:
    """And of no more: those of earlier rounds are over, whatever they have not told."""
    world = LedgerWorld(5, rounds=4)
    world.start()
    counts: list[int] = []

    def look() -> None:
        for index in world.alive:
            life = world.member(index)._life
            if life is not None:
                counts.append(len(life.parts.sessions._sessions))

    world.run(60.0, at=[(0.25 * step, partial(look)) for step in range(1, 230)])
    assert max(counts) == 1 + LINGERING_MAX == 2
    assert world.are_finished()


def test_the_largest_end_of_an_epoch_can_be_kept() -> None:
    """128 members with the longest names, in both charters."""
    keys = [identity_of(number).public_key for number in range(1, 129)]
    members = [
        CharterMember(key, f"{'é' * 61}{n:03}", "é" * 64, 1.0, governance_of(n, keys=4))
        for n, key in enumerate(keys)
    ]
    group = LedgerGroup(128, members=tuple(members))
    book = History(group.epoch)
    charter = group.next_charter(rounds=30)
    strikes = tuple(Strike(rank, 2**32 - 1) for rank in range(128))
    entry = group.sum_entry(book.head, 2**40, next_charter=charter.digest(), strikes=strikes)
    kept = book.close_epoch(group.closing(entry, charter))
    assert max(len(value) for value in kept.values()) < history._RECORD_BYTES_MAX / 2


def test_the_largest_standing_can_be_kept() -> None:
    """An advert, and as many signed entries as are kept, each as large as can be."""
    group = LedgerGroup(128)
    said = Standing({})
    size = 0
    for round_ in range(1, SIGNED_MAX + 2):
        strikes = tuple(Strike(rank, 2**32 - 1) for rank in range(128))
        entry = group.sum_entry(group.first, round_, strikes=strikes)
        said.advertise(group.advert(0, round_))
        action = said.sign(SignedEntry(entry, group.entry_signature(0, entry)), model_of(1.0))
        size = len(action.records[standing.STANDING_RECORD] or b"")
    assert 8 * 1024 < size < standing._RECORD_BYTES_MAX / 4
