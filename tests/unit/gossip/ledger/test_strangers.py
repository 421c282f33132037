"""Who is of no epoch that has begun here may be of a later one: not refused, and told nothing."""

import pytest
from ledger_group import LedgerGroup, identity_of
from one_member import GROUP, OneMember

from p2pfl_gossip.actions import Send
from p2pfl_gossip.ledger.messages import (
    CertificateRequest,
    GroupAdvert,
    HeldRequest,
    ParcelsHeld,
    Progress,
)
from p2pfl_gossip.ledger.state_messages import StateChunks
from p2pfl_gossip.masked_sum.messages import ChunkHeader, Fetch
from p2pfl_gossip.records import Message

STRANGER = identity_of(50).peer_id
HEAD = GROUP.first.head


def advert(epoch: int) -> GroupAdvert:
    """An advert as somebody else's group may have it."""
    return LedgerGroup(6).advert(5, 1, epoch=epoch)


@pytest.mark.parametrize(
    "message",
    [
        advert(0),
        Progress(0, 1),
        CertificateRequest(HEAD),
        HeldRequest(0, HEAD),
        ParcelsHeld(0, ()),
        Fetch(bytes(32), 0),
    ],
    ids=lambda it: type(it).__name__,
)
def test_a_stranger_is_told_nothing_and_not_refused(message: Message) -> None:
    member = OneMember().begun()
    assert member.machine.on_message(1.0, STRANGER, message) == []


def test_its_bodies_are_not_wanted() -> None:
    member = OneMember().begun()
    for header in (
        ChunkHeader(bytes(32), bytes(32), 0, 0, bytes(32), bytes(64)),
        StateChunks(bytes(32), 0, 6),
    ):
        assert member.machine.on_bulk_begin(1.0, STRANGER, 1, header) == (False, [])


def test_a_stranger_of_a_later_epoch_is_asked_the_way() -> None:
    member = OneMember().begun()
    (asked,) = member.machine.on_message(1.0, STRANGER, advert(3))
    assert isinstance(asked, Send)
    assert (asked.receiver, asked.message) == (STRANGER, CertificateRequest(HEAD))
