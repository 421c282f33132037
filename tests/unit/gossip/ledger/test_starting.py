"""The start: what a journal may lack, who must have answered, and changes of epoch meanwhile."""

from typing import Any

import pytest
from ledger_group import PATIENCE_S, RELAY_S, Bench, LedgerDisk, LedgerGroup, model_of

from p2pfl_gossip.actions import RemoteProtocolError
from p2pfl_gossip.ledger.entries import EntryStep, Head
from p2pfl_gossip.ledger.messages import EntrySignature, GroupAdvert, HeldOfAsker, HeldRequest
from p2pfl_gossip.ledger.standing import Standing
from p2pfl_gossip.ledger.starting import Starting
from p2pfl_gossip.records import replaced

GROUP = LedgerGroup(7)  # t = 5: four others must answer.


class StartingMember(Bench):
    """Member 0 at its start, with a journal."""

    def __init__(self, standing: Standing | None = None, *, waits_for_all: bool = False) -> None:
        super().__init__(GROUP)
        self.lacked: list[int] = []
        self.starting = Starting(
            self.seat,
            standing or Standing({}),
            lambda: GROUP.first.head,
            self.lacked.append,
            waits_for_all=waits_for_all,
        )
        self.do(self.starting.start)

    def hear(
        self,
        member: int,
        advert: GroupAdvert | None = None,
        entry: EntrySignature | None = None,
        epoch: int = 0,
    ) -> None:
        """Have a member answer."""
        self.do(lambda: self.starting.on_held(member, HeldOfAsker(epoch, advert, entry)))


def journal() -> Standing:
    """Member 0 advertised for rounds up to 6, and signed entries of rounds 4 and 5."""
    disk = LedgerDisk(GROUP)
    for round_ in (4, 5, 6):
        disk.write(disk.standing.advertise(GROUP.advert(0, round_)))
    for round_ in (4, 5):
        step = EntryStep(GROUP.sum_entry(GROUP.first, round_))
        disk.write(disk.standing.sign(GROUP.signed_entry(0, step.entry), model_of(1.0)))
    return disk.standing


def entry_said(round_: int, value: float | None = None, rank: int = 0) -> EntrySignature:
    """A signature of a round's entry."""
    return GROUP.entry_signature(rank, GROUP.sum_entry(GROUP.first, round_, value=value))


def test_all_are_asked_until_enough_have_answered() -> None:
    """Again after a relay's time, but those that have answered."""
    member = StartingMember()
    asked = member.take_sent(HeldRequest)
    assert asked == [(rank, HeldRequest(0, GROUP.first.head)) for rank in range(1, 7)]
    for rank in (1, 2, 3):
        member.hear(rank)
    assert member.lacked == []
    member.pass_until(member.now_s + RELAY_S)
    assert [rank for rank, _ in member.take_sent(HeldRequest)] == [4, 5, 6]
    member.hear(3)  # Twice counts once.
    assert member.lacked == []
    member.hear(6)
    assert member.lacked == [0]
    assert member.starting.is_over
    assert not member.timers
    member.hear(5, advert=GROUP.advert(0, 99))  # Too late to matter: no quorum needs it.
    assert member.lacked == [0]


LACKS: list[tuple[str, dict[str, Any], int]] = [
    ("nothing is held", {}, 0),
    ("the advert that it has", {"advert": GROUP.advert(0, 6)}, 0),
    ("an earlier advert, forgotten since", {"advert": GROUP.advert(0, 5, key=b"k" * 32)}, 0),
    ("a later advert", {"advert": GROUP.advert(0, 8)}, 8),
    ("another advert of the last round", {"advert": GROUP.advert(0, 6, key=b"k" * 32)}, 6),
    ("the entry that it signed last", {"entry": entry_said(5)}, 0),
    ("an entry that it signed before", {"entry": entry_said(4)}, 0),
    ("a later entry", {"entry": entry_said(7)}, 7),
    ("an entry of the last advert's round", {"entry": entry_said(6)}, 6),
    ("an entry of an earlier round", {"entry": entry_said(3)}, 3),
    ("another entry of a round that it signed", {"entry": entry_said(5, value=9.0)}, 5),
    ("both", {"advert": GROUP.advert(0, 8), "entry": entry_said(9)}, 9),
]


@pytest.mark.parametrize(
    ("held", "lacked"), [case[1:] for case in LACKS], ids=[case[0] for case in LACKS]
)
def test_whatever_the_journal_lacks_is_told(held: dict[str, Any], lacked: int) -> None:
    """By the highest round of anything that one member shows, be all others without it."""
    member = StartingMember(journal())
    member.hear(1, **held)
    for rank in (2, 3, 4):
        member.hear(rank)
    assert member.lacked == [lacked]


def test_an_empty_journal_lacks_anything_that_is_shown() -> None:
    """A lost disk."""
    for held, lacked in (({"advert": GROUP.advert(0, 1)}, 1), ({"entry": entry_said(2)}, 2)):
        member = StartingMember()
        for rank in (1, 2, 3):
            member.hear(rank)
        member.hear(4, **held)
        assert member.lacked == [lacked]


def test_what_was_forgotten_in_order_is_not_lacked() -> None:
    """Signatures of rounds up to the floor: nothing of them is signed again."""
    disk = LedgerDisk(GROUP)
    for round_ in range(1, 12):
        disk.sign(EntryStep(GROUP.sum_entry(GROUP.first, round_)))
    member = StartingMember(disk.standing)
    for rank in (1, 2, 3, 4):
        member.hear(rank, entry=entry_said(rank % 3 + 1))
    assert member.lacked == [0]


FORGED: list[tuple[str, dict[str, Any], str]] = [
    ("another member's advert", {"advert": GROUP.advert(1, 8)}, "not_of_the_asker"),
    ("another member's entry", {"entry": entry_said(8, rank=1)}, "not_of_the_asker"),
    ("an advert of another epoch", {"advert": GROUP.advert(0, 8, epoch=1)}, "wrong_epoch"),
    ("an entry of another epoch", {"entry": replaced(entry_said(8), epoch=1)}, "wrong_epoch"),
    (
        "an advert that is not ours",
        {"advert": replaced(GROUP.advert(0, 8), round=9)},
        "bad_signature",
    ),
    (
        "an entry of a round that is not its own",
        {"entry": replaced(entry_said(3), round=2**62)},
        "bad_signature",
    ),
    (
        "an entry that is not ours",
        {"entry": replaced(entry_said(8), round=8, entry=bytes(32))},
        "bad_signature",
    ),
]


@pytest.mark.parametrize(
    ("held", "reason"), [case[1:] for case in FORGED], ids=[case[0] for case in FORGED]
)
def test_nobody_makes_a_member_sit_out_by_a_forgery(held: dict[str, Any], reason: str) -> None:
    """What is shown must be signed by us; and such an answer does not count."""
    member = StartingMember()
    with pytest.raises(RemoteProtocolError) as told:
        member.starting.on_held(1, HeldOfAsker(0, held.get("advert"), held.get("entry")))
    assert told.value.reason == reason
    for rank in (2, 3, 4):
        member.hear(rank)
    assert member.lacked == []
    member.hear(5)
    assert member.lacked == [0]


def test_a_fresh_group_waits_a_while_for_all() -> None:
    """So that nobody is left out of the first round by a second."""
    member = StartingMember(waits_for_all=True)
    for rank in (1, 2, 3, 4, 5):
        member.hear(rank)
    assert member.lacked == []
    began_s = member.now_s
    member.pass_until(began_s + RELAY_S + PATIENCE_S - 0.01)
    assert member.lacked == []
    member.pass_until(began_s + RELAY_S + PATIENCE_S)
    assert member.lacked == [0]
    assert not member.timers


def test_once_all_are_there_nobody_is_waited_for() -> None:
    """At once."""
    member = StartingMember(waits_for_all=True)
    for rank in range(1, 7):
        member.hear(rank)
    assert member.lacked == [0]
    assert not member.timers


def test_answers_of_another_epoch_do_not_count() -> None:
    """Who is in a later one has forgotten what we said in ours, and cannot be asked about it."""
    member = StartingMember()
    for rank in (1, 2, 3, 4, 5, 6):
        member.hear(rank, epoch=1)
    assert member.lacked == []


def test_in_a_new_epoch_all_are_asked_anew() -> None:
    """Ranks are others there, and nobody was asked what we said in it."""
    member = StartingMember()
    for rank in (1, 2, 3):
        member.hear(rank)
    following = GROUP.following(GROUP.next_charter((1, 4, 5, 6, 7, 8, 9)))
    member.group = following
    member.do(lambda: member.seat.enter(following.epoch))
    member.take_sent(HeldRequest)
    member.pass_until(member.now_s + RELAY_S)
    asked = member.take_sent(HeldRequest)
    assert [(rank, message.epoch) for rank, message in asked] == [(rank, 1) for rank in range(1, 7)]
    member.hear(1, epoch=0)
    for rank in (2, 3, 4):
        member.hear(rank, epoch=1)
    assert member.lacked == []
    said = following.advert(0, 12, Head(0, 3, bytes(32)))
    member.hear(1, advert=said, epoch=1)
    assert member.lacked == [12]
