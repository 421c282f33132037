"""The meeting: who is heard, and who is told apart; the member inside does what the test says."""

from typing import Any

import numpy as np
import pytest
from one_opening import OURS, description_of
from scripted import IDS, Scripted

from p2pfl_gossip import events
from p2pfl_gossip.actions import Action, Command, Persist, RemoteProtocolError, Report, Send
from p2pfl_gossip.catch_up import StatusRequest
from p2pfl_gossip.comparison import DescriptionRequest, Present
from p2pfl_gossip.description import DESCRIPTION_RECORD, Description, decode_page, fingerprint
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.ledger.meeting import ASKINGS_MAX, Meeting
from p2pfl_gossip.peer_state import State
from p2pfl_gossip.records import Message
from p2pfl_gossip.roster import Roster

PERIOD_S = 5.0
ANY = StatusRequest()
OTHERS = description_of(20)
ROUNDED = Description(
    OURS.tensors,
    fingerprint([np.full(176, np.nextafter(np.float32(0.5), np.float32(1)), np.float32)]),
    OURS.frozen,
    OURS.sources,
)


class Inside(Scripted):
    """Opens when it is told to."""

    def __init__(self, desk: Desk, seen: list[tuple[Any, ...]]) -> None:
        super().__init__([], seen)
        self.state = State.NEW
        self.round = 0
        self.desk = desk

    def on_start(self, now_s: float, records: dict[str, Any]) -> list[Action]:
        self.state = State.CATCHING_UP
        return self.note(now_s, "start")

    def on_command(self, now_s: float, command: Any) -> list[Action]:
        self.state = State.LEFT
        return self.note(now_s, "command", command)


class One:
    """Member 0 of four."""

    def __init__(self, records: dict[str, Any] | None = None) -> None:
        self.seen: list[tuple[Any, ...]] = []
        self.timers: list[Action] = []
        self.now_s = 0.0
        self.inside: Inside

        def make(desk: Desk) -> Inside:
            self.inside = Inside(desk, self.seen)
            return self.inside

        self.machine = Meeting(
            index=0,
            roster=Roster(IDS[:4]),
            period_s=PERIOD_S,
            description=OURS,
            make_member=make,
        )
        self.actions = self.machine.on_start(0.0, records or {})
        self.seen.clear()

    def says(self, sender: int, message: Message) -> list[Action]:
        return self.machine.on_message(self.now_s, IDS[sender], message)

    def later(self) -> list[Action]:
        """Let the timer be due."""
        (ticket,) = self.machine._desk.open
        self.now_s += PERIOD_S
        return self.machine.on_timer(self.now_s, ticket)

    def opens(self) -> list[Action]:
        """Have the member inside begin, by a timer of its own."""
        self.inside.desk.set_timer("begin", 0.1, lambda _now_s: [Report(events.Opened())])
        *_, ticket = self.machine._desk.open
        return self.machine.on_timer(0.1, ticket)


def sent(actions: list[Action]) -> list[tuple[int, Message]]:
    return [(IDS.index(it.receiver), it.message) for it in actions if isinstance(it, Send)]


def reported(actions: list[Action]) -> list[Any]:
    return [it.event for it in actions if isinstance(it, Report)]


def test_all_are_told_first_what_it_would_average() -> None:
    assert sent(One().actions) == [(other, Present(OURS.digest)) for other in (1, 2, 3)]


def test_nobody_is_heard_before_it_has_told_the_same() -> None:
    one = One()
    assert sent(one.says(1, ANY)) == [(1, DescriptionRequest(0))]
    assert one.says(1, ANY) == []  # It was asked.
    assert one.machine.on_bulk_begin(0.0, IDS[1], 1, ANY) == (False, [])
    assert one.seen == []
    one.says(1, OURS.page(0))
    one.says(1, ANY)
    one.says(2, Present(OURS.digest))
    one.says(2, ANY)
    assert one.machine.on_bulk_begin(0.0, IDS[2], 2, ANY) == (True, [])
    assert [entry[1:3] for entry in one.seen] == [("message", 1), ("message", 2), ("begin", 2)]


def test_a_question_that_was_lost_is_asked_again() -> None:
    one = One()
    one.says(1, ANY)
    one.later()
    assert sent(one.says(1, ANY)) == [(1, DescriptionRequest(0))]


@pytest.mark.parametrize(
    ("theirs", "what"),
    [(OTHERS, ("layout", "0.weight", "[20, 8]", "[16, 8]")), (ROUNDED, ("rounding", "", "", ""))],
)
def test_who_differs_is_named_and_not_heard(theirs: Description, what: tuple[str, ...]) -> None:
    one = One()
    assert sent(one.says(3, Present(theirs.digest))) == [(3, DescriptionRequest(0))]
    assert reported(one.says(3, theirs.page(0))) == [events.MemberDiffers(IDS[3], *what)]
    assert one.machine.state == "opening: 1 of 4 members differ from this one"
    assert one.says(3, ANY) == []
    assert one.seen == []


def test_who_has_mended_its_task_is_heard() -> None:
    one = One()
    one.machine.on_peer_up(0.0, IDS[3])
    one.says(3, Present(OTHERS.digest))
    one.says(3, OTHERS.page(0))
    assert one.seen == []
    assert reported(one.says(3, Present(OURS.digest))) == [events.MemberAgrees(IDS[3])]
    one.says(3, ANY)
    assert [entry[1:3] for entry in one.seen] == [("up", 3), ("message", 3)]


def test_who_comes_back_with_another_task_is_away() -> None:
    one = One()
    one.says(3, Present(OURS.digest))
    one.says(3, Present(OTHERS.digest))
    one.says(3, ANY)
    assert one.seen == [(0.0, "down", 3)]


def test_who_has_a_link_is_told_again_and_the_member_only_of_those_that_are_alike() -> None:
    one = One()
    one.says(1, Present(OURS.digest))
    for other in (1, 2):
        up = one.machine.on_peer_up(1.0, IDS[other])
        assert sent(up) == [(other, Present(OURS.digest))]
    assert one.seen == [(1.0, "up", 1)]
    one.machine.on_peer_down(2.0, IDS[2])
    one.says(2, Present(OURS.digest))
    assert one.seen[1:] == [(2.0, "down", 2)]


def test_a_page_is_given_so_often_and_no_more() -> None:
    one = One()
    asked = [one.says(1, DescriptionRequest(0)) for _ in range(ASKINGS_MAX + 1)]
    assert [len(actions) for actions in asked] == [1] * ASKINGS_MAX + [0]
    assert sent(asked[0]) == [(1, OURS.page(0))]


def test_until_it_begins_it_names_whom_it_waits_for_once() -> None:
    one = One()
    one.says(1, Present(OURS.digest))
    assert one.machine.state == "opening: waits for 2 of 4 members"
    assert reported(one.later()) == [events.OpeningWaits("ready", 2, (IDS[2], IDS[3]))]
    assert reported(one.later()) == []
    one.says(2, Present(OURS.digest))
    assert reported(one.later()) == [events.OpeningWaits("ready", 1, (IDS[3],))]
    one.says(3, Present(OURS.digest))
    assert one.later() == []
    assert one.machine._desk.open == ()


def test_its_task_is_kept_before_it_says_that_it_begins() -> None:
    one = One()
    persisted, opened = one.opens()
    assert isinstance(persisted, Persist)
    kept = persisted.records[DESCRIPTION_RECORD]
    assert isinstance(kept, bytes)
    assert decode_page(kept) == OURS.page(0)
    assert opened == Report(events.Opened())
    assert one.machine.state is State.CATCHING_UP
    (again,) = One({DESCRIPTION_RECORD: kept}).opens()
    assert again == Report(events.Opened())


def test_one_that_has_left_hears_nothing() -> None:
    one = One()
    one.says(1, Present(OURS.digest))
    one.machine.on_command(0.0, Command.LEAVE)
    assert one.machine._desk.open == ()
    one.seen.clear()
    assert one.says(1, ANY) == one.machine.on_peer_up(0.0, IDS[1]) == []
    assert one.machine.on_bulk_begin(0.0, IDS[1], 1, ANY) == (False, [])
    assert one.seen == []


def test_a_description_is_no_body() -> None:
    with pytest.raises(RemoteProtocolError, match="unexpected_message"):
        One().machine.on_bulk_begin(0.0, IDS[1], 1, Present(OURS.digest))
