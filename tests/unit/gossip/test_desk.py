# mypy: disable-error-code="comparison-overlap, no-untyped-call"
"""The desk: what follows an answer, and that a late one does nothing."""

from collections.abc import Callable
from typing import Any

import pytest

from p2pfl_gossip.actions import (
    Action,
    CancelTimer,
    CancelWork,
    Connect,
    Job,
    LocalProtocolError,
    PeerId,
    SendBulk,
    SetTimer,
    Work,
)
from p2pfl_gossip.catch_up import ModelHeader
from p2pfl_gossip.desk import Desk, DeskMachine
from p2pfl_gossip.records import Record


class Dig(Job, frozen=True):
    """A job."""


class Dug(Record, frozen=True):
    """Its end."""

    depth: int


class Follower:
    """Makes continuations that note what they are told, and return an action that tells it too."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def __call__(self, name: str) -> Callable[..., list[Action]]:
        def follow(*answer: Any) -> list[Action]:
            self.told.append((name, *answer))
            return [Connect(PeerId(name))]

        return follow


def send(desk: Desk, sent: Callable[[float, bool], list[Action]]) -> SendBulk:
    return desk.send_bulk(PeerId("b"), ModelHeader(1), (b"body",), 4, sent)


def ask_all(desk: Desk, follow: Follower, name: str = "") -> list[Action]:
    """Ask for one thing of each kind: tickets 1, 2 and 3 of a new desk."""
    return [
        *desk.set_timer("deadline", 5.0, follow(f"{name}due")),
        desk.work(
            Dig(), follow(f"{name}done"), follow(f"{name}failed"), part=follow(f"{name}part")
        ),
        send(desk, follow(f"{name}sent")),
    ]


def test_what_is_asked_for_is_an_action_with_a_ticket_of_its_own() -> None:
    timer, work, bulk = ask_all(Desk(), Follower())
    assert timer == SetTimer(1, 5.0)
    assert work == Work(2, Dig())
    assert bulk == SendBulk(PeerId("b"), ModelHeader(1), (b"body",), 4, ticket=3)


def test_an_answer_calls_what_was_to_follow_and_returns_its_actions() -> None:
    desk, follow = Desk(), Follower()
    ask_all(desk, follow)
    assert desk.on_timer(5.5, 1) == [Connect(PeerId("due"))]
    assert desk.on_work_part(6.0, 2, Dug(1)) == [Connect(PeerId("part"))]
    assert desk.on_work_part(6.5, 2, Dug(2)) == [Connect(PeerId("part"))]
    assert desk.on_work_done(7.0, 2, Dug(3)) == [Connect(PeerId("done"))]
    assert desk.on_sent(8.0, 3, False) == [Connect(PeerId("sent"))]
    failing = desk.work(Dig(), follow("done"), follow("failed"))
    assert desk.on_work_failed(9.0, failing.ticket, "rock") == [Connect(PeerId("failed"))]
    assert follow.told == [
        ("due", 5.5),
        ("part", 6.0, Dug(1)),
        ("part", 6.5, Dug(2)),
        ("done", 7.0, Dug(3)),
        ("sent", 8.0, False),
        ("failed", 9.0, "rock"),
    ]
    assert desk.open == ()


def answers(desk: Desk | DeskMachine) -> list[list[Action]]:
    """Give tickets 1, 2 and 3 all answers that they can have."""
    return [
        desk.on_timer(9.0, 1),
        desk.on_work_part(9.0, 2, Dug(1)),
        desk.on_work_done(9.0, 2, Dug(1)),
        desk.on_work_failed(9.0, 2, "why"),
        desk.on_sent(9.0, 3, True),
    ]


def test_what_was_answered_is_not_answered_again() -> None:
    desk, follow = Desk(), Follower()
    ask_all(desk, follow)
    first = answers(desk)
    assert [bool(actions) for actions in first] == [True, True, True, False, True]
    told = list(follow.told)
    assert answers(desk) == [[], [], [], [], []]
    assert follow.told == told


def test_an_answer_to_what_was_cancelled_does_nothing() -> None:
    desk, follow = Desk(), Follower()
    ask_all(desk, follow)
    assert desk.cancel_timer("deadline") == [CancelTimer(1)]
    assert desk.cancel_work(2) == [CancelWork(2)]
    assert desk.open == (3,)
    assert answers(desk)[:4] == [[], [], [], []]
    assert [name for name, *_ in follow.told] == ["sent"]
    assert desk.cancel_timer("deadline") == []
    assert desk.cancel_work(2) == []


def test_only_a_job_of_this_desk_is_cancelled_as_one() -> None:
    desk, follow = Desk(), Follower()
    ask_all(desk, follow)
    other = desk.sub()
    assert [desk.cancel_work(ticket) for ticket in (1, 3, 99)] == [[], [], []]
    assert other.cancel_work(2) == []
    assert desk.open == (1, 2, 3)


def test_a_timer_set_again_takes_the_place_of_the_earlier_one_of_its_name() -> None:
    desk, follow = Desk(), Follower()
    desk.set_timer("turn", 1.0, follow("first"))
    desk.set_timer("repair", 1.5, follow("other"))
    assert desk.set_timer("turn", 2.0, follow("second")) == [CancelTimer(1), SetTimer(3, 2.0)]
    assert desk.on_timer(2.0, 1) == []
    desk.on_timer(2.0, 3)
    assert follow.told == [("second", 2.0)]
    assert desk.set_timer("turn", 3.0, follow("third")) == [SetTimer(4, 3.0)], "that one has fired"
    # A name is one desk's own.
    assert desk.sub().set_timer("turn", 3.0, follow("inner")) == [SetTimer(5, 3.0)]


def test_all_timers_but_one_can_end_at_once() -> None:
    desk, follow = Desk(), Follower()
    for name in ("session", "turn", "repair"):
        desk.set_timer(name, 1.0, follow(name))
    work = desk.work(Dig(), follow("done"), follow("failed"))
    assert desk.cancel_timers(but="session") == [CancelTimer(2), CancelTimer(3)]
    assert desk.open == (1, work.ticket)
    assert desk.cancel_timers() == [CancelTimer(1)]
    assert desk.open == (work.ticket,)


@pytest.mark.parametrize("ticket", [0, -1, 4, 2**40])
def test_an_answer_to_what_was_never_asked_for_is_a_bug_of_ours(ticket: int) -> None:
    desk = Desk()
    ask_all(desk, Follower())
    for answer in (
        lambda: desk.on_timer(0.0, ticket),
        lambda: desk.on_sent(0.0, ticket, True),
        lambda: desk.on_work_done(0.0, ticket, Dug(1)),
        lambda: desk.on_work_part(0.0, ticket, Dug(1)),
        lambda: desk.on_work_failed(0.0, ticket, "why"),
    ):
        with pytest.raises(LocalProtocolError, match=f"ticket {ticket} was never given"):
            answer()


def test_an_answer_of_another_kind_is_a_bug_of_ours_and_changes_nothing() -> None:
    desk, follow = Desk(), Follower()
    ask_all(desk, follow)
    for answer in (
        lambda: desk.on_timer(0.0, 2),
        lambda: desk.on_timer(0.0, 3),
        lambda: desk.on_sent(0.0, 1, True),
        lambda: desk.on_sent(0.0, 2, True),
        lambda: desk.on_work_done(0.0, 1, Dug(1)),
        lambda: desk.on_work_failed(0.0, 3, "why"),
        lambda: desk.on_work_part(0.0, 1, Dug(1)),
    ):
        with pytest.raises(LocalProtocolError, match=r"ticket \d is of a .*, not of a "):
            answer()
    partless = desk.work(Dig(), follow("done"), follow("failed"))
    with pytest.raises(LocalProtocolError, match="job 4 has no parts"):
        desk.on_work_part(0.0, partless.ticket, Dug(1))
    assert follow.told == []
    assert desk.open == (1, 2, 3, 4)


# --- desks within desks ---------------------------------------------------------------------------


def test_composers_see_what_an_answer_leads_to_the_innermost_first() -> None:
    outer = Desk()
    follow = Follower()

    def seen_by(name: str) -> Callable[[float, list[Action]], list[Action]]:
        return lambda now_s, actions: [*actions, *follow(name)(now_s)]

    peer = outer.sub(seen_by("peer"))
    plain = peer.sub()
    session = plain.sub(seen_by("session"))
    timer = session.set_timer("turn", 1.0, follow("due"))
    assert timer == [SetTimer(1, 1.0)]
    found = outer.on_timer(1.0, 1)
    assert found == [Connect(PeerId(name)) for name in ("due", "session", "peer")]
    # What is asked for and answered further out is nothing to those within.
    assert outer.set_timer("turn", 2.0, follow("outer")) == [SetTimer(2, 2.0)]
    assert outer.on_timer(2.0, 2) == [Connect(PeerId("outer"))]


@pytest.mark.parametrize("kind", ["timer", "sent", "done", "part", "failed"])
def test_every_kind_of_answer_is_seen_by_composers(kind: str) -> None:
    outer, follow = Desk(), Follower()
    desk = outer.sub(lambda _now_s, actions: [*actions, *actions])
    ask_all(desk, follow)
    told = {
        "timer": lambda: outer.on_timer(0.0, 1),
        "sent": lambda: outer.on_sent(0.0, 3, True),
        "done": lambda: outer.on_work_done(0.0, 2, Dug(1)),
        "part": lambda: outer.on_work_part(0.0, 2, Dug(1)),
        "failed": lambda: outer.on_work_failed(0.0, 2, "why"),
    }[kind]()
    assert len(told) == 2


def test_closing_cancels_and_forgets_all_that_was_asked_for_there() -> None:
    outer, follow = Desk(), Follower()
    desk = outer.sub()
    ask_all(desk, follow)
    inner = desk.sub()
    inner.set_timer("turn", 1.0, follow("inner"))
    other = outer.sub()
    other.set_timer("turn", 1.0, follow("other"))
    assert outer.open == (1, 2, 3, 4, 5)
    assert desk.close() == [CancelTimer(4), CancelTimer(1), CancelWork(2)]
    assert outer.open == (5,)
    assert answers(outer) == [[], [], [], [], []]
    assert outer.on_timer(1.0, 4) == []
    assert follow.told == []
    assert desk.close() == inner.close() == []
    assert outer.on_timer(1.0, 5) == [Connect(PeerId("other"))]


def test_a_closed_desk_gives_nothing_more() -> None:
    outer, follow = Desk(), Follower()
    desk = outer.sub()
    within = desk.sub()
    desk.close()
    for closed in (desk, within):
        for ask in (
            lambda closed=closed: closed.set_timer("turn", 1.0, follow("due")),
            lambda closed=closed: closed.work(Dig(), follow("done"), follow("failed")),
            lambda closed=closed: send(closed, follow("sent")),
        ):
            with pytest.raises(LocalProtocolError, match="at a desk that is closed"):
                ask()
    with pytest.raises(LocalProtocolError, match="at a desk that is closed"):
        desk.sub()
    assert outer.open == ()


def test_a_continuation_that_closes_its_desk_is_still_seen_by_composers() -> None:
    outer = Desk()
    seen: list[float] = []

    def see(now_s: float, actions: list[Action]) -> list[Action]:
        seen.append(now_s)
        return actions

    desk = outer.sub(see)
    desk.work(Dig(), lambda _now_s, _result: [], lambda _now_s, _reason: [])
    desk.set_timer("session", 1.0, lambda _now_s: desk.close())
    assert outer.on_timer(1.0, 2) == [CancelWork(1)]
    assert seen == [1.0]


def test_nothing_is_kept_of_what_has_ended() -> None:
    """A desk lives as long as its process: a million rounds must not grow it."""
    outer, follow = Desk(), Follower()
    for _ in range(50):
        desk = outer.sub(lambda _now_s, actions: actions)
        ask_all(desk, follow)
        (timer, *_) = desk.set_timer("other", 1.0, follow("due"))
        outer.on_timer(0.0, desk.open[0])
        desk.close()
    assert outer._book.open == {}
    assert outer._subs == {}
    assert outer._tickets == {}
    assert outer._timers == {}
    assert outer._book.given == 200
    assert isinstance(timer, SetTimer)


def test_an_outermost_machine_passes_every_answer_to_its_desk() -> None:
    class Outermost(DeskMachine):
        def __init__(self) -> None:
            self._desk = Desk()

    machine, desk = Outermost(), Desk()
    ask_all(machine._desk, Follower())
    ask_all(desk, Follower())
    assert answers(machine) == answers(desk)
