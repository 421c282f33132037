# mypy: disable-error-code="arg-type, misc"
"""The action queue against a plain model of what actions.py promises, whatever a driver does."""

from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import IDS

from p2pfl_gossip import action_queue
from p2pfl_gossip.action_queue import ActionQueue
from p2pfl_gossip.actions import (
    Action,
    CancelSend,
    CancelTimer,
    CancelWork,
    Connect,
    Disconnect,
    Job,
    LocalProtocolError,
    Persist,
    Report,
    Send,
    SendBulk,
    SetTimer,
    Work,
)
from p2pfl_gossip.catch_up import ModelHeader, Status
from p2pfl_gossip.events import Opened

CANCELS = {SetTimer: CancelTimer, Work: CancelWork, SendBulk: CancelSend}
KIND_OF = {CancelTimer: SetTimer, CancelWork: Work, CancelSend: SendBulk}


class Hands:
    """Notes in `done` what it is told to do. `are_durable`: of each `Persist`, whether at once."""

    def __init__(self, are_durable: Iterable[bool] = ()) -> None:
        self.queue = ActionQueue(self)
        self.done: list[tuple[Any, ...]] = []
        self.are_durable = iter(are_durable)

    def _begin(self, action: Action) -> None:
        self.done.append(("begin", action))

    send = send_bulk = set_timer = work = connect = disconnect = report = _begin

    def persist(self, action: Persist) -> bool:
        self._begin(action)
        return next(self.are_durable, False)

    def cancel_timer(self, ticket: int) -> None:
        self.done.append(("cancel", SetTimer, ticket))

    def cancel_work(self, ticket: int) -> None:
        self.done.append(("cancel", Work, ticket))

    def cancel_send(self, ticket: int) -> None:
        self.done.append(("cancel", SendBulk, ticket))

    def not_sent(self, ticket: int) -> None:
        self.done.append(("not sent", ticket))


class Model:
    """The promises, one action at a time: no list is ever half done, and nothing calls back."""

    def __init__(self, are_durable: Iterable[bool]) -> None:
        self.done: list[tuple[Any, ...]] = []
        self.waiting: list[Action] = []
        self.open: set[tuple[type, int]] = set()
        self.is_persisting = False
        self.are_durable = iter(are_durable)

    def take(self, actions: list[Action]) -> None:
        for action in actions:
            if type(action) in KIND_OF:
                self._cancel(KIND_OF[type(action)], action.ticket)  # type: ignore[union-attr]
            else:
                self.waiting.append(action)
                self.go_on()

    def go_on(self) -> None:
        while self.waiting and not self.is_persisting:
            action = self.waiting.pop(0)
            self.done.append(("begin", action))
            if isinstance(action, Persist):
                self.is_persisting = not next(self.are_durable, False)
            ticket = getattr(action, "ticket", None)
            if ticket is not None:
                self.open.add((type(action), ticket))

    def _cancel(self, kind: type, ticket: int) -> None:
        for action in self.waiting:
            if type(action) is kind and action.ticket == ticket:  # type: ignore[union-attr]
                self.waiting.remove(action)
                if kind is SendBulk:
                    self.open.add((kind, ticket))
                    self.done.append(("not sent", ticket))
                return
        if (kind, ticket) in self.open:
            self.done.append(("cancel", kind, ticket))
            if kind is not SendBulk:
                self.open.remove((kind, ticket))

    def durable(self) -> None:
        self.is_persisting = False
        self.go_on()

    def may_tell(self, kind: type, ticket: int) -> bool:
        is_open = (kind, ticket) in self.open
        self.open.discard((kind, ticket))
        return is_open


def _persist() -> Persist:
    return Persist({"key": b"value"})


def _send(ticket: int | None = None) -> Send:
    return Send(IDS[1], Status(0), ticket)


def _bulk(ticket: int | None = None) -> SendBulk:
    return SendBulk(IDS[1], ModelHeader(1), (b"",), 0, ticket=ticket)


def _returned(data: st.DataObject, tickets: list[tuple[type, int]]) -> Iterator[Action]:
    """What an input returns: fresh tickets, and cancels of any that was ever used."""
    for kind in data.draw(st.lists(st.integers(0, 12), max_size=6)):
        ticket = len(tickets) + 1
        if kind >= 10 and tickets:
            asked, ticket = data.draw(st.sampled_from(tickets))
            if asked in CANCELS:
                yield CANCELS[asked](ticket)
            continue
        action: Action = (
            _persist(), _persist(), SetTimer(ticket, 1.0), Work(ticket, Job()), _bulk(ticket),
            _send(ticket), _send(), Report(Opened()), Connect(IDS[1]), Disconnect(IDS[1], "why"),
            CancelTimer(ticket), CancelWork(ticket), CancelSend(ticket),
        )[kind]  # fmt: skip
        tickets.append((type(action), ticket))
        yield action


@given(st.data())
def test_the_queue_does_what_the_contract_says(data: st.DataObject) -> None:
    are_durable = data.draw(st.lists(st.booleans(), max_size=8))
    hands, model = Hands(are_durable), Model(are_durable)
    queue = hands.queue
    watched: list[Action] = []
    is_watched = data.draw(st.booleans())
    if is_watched:
        queue.watch(watched.append)
    takes = {SetTimer: queue.take_timer, Work: queue.take_work}
    tickets: list[tuple[type, int]] = []
    for step in data.draw(st.lists(st.sampled_from("ppdaaa"), max_size=25)):
        if step == "p":
            actions = list(_returned(data, tickets))
            queue.push(actions)
            model.take(actions)
        elif step == "d":
            if queue.is_persisting:
                queue.persisted()
                model.durable()
        elif tickets:
            kind, ticket = data.draw(st.sampled_from(tickets))
            if kind in (SetTimer, Work, Send, SendBulk):
                told = model.may_tell(kind, ticket)
                assert takes.get(kind, queue.take_sent)(ticket) == told
        assert hands.done == model.done
        assert queue.is_persisting == model.is_persisting
    while queue.is_persisting:
        queue.persisted()
        model.durable()
    assert hands.done == model.done
    assert model.waiting == []
    begun = [entry[1] for entry in hands.done if entry[0] == "begin"]
    assert [it for it in watched if type(it) not in KIND_OF] == (begun if is_watched else [])


@given(st.data())
def test_nothing_comes_out_of_a_queue_whose_process_dies_at_any_action(
    data: st.DataObject,
) -> None:
    """And all up to there has come out, in order."""
    hands = Hands(data.draw(st.lists(st.booleans(), max_size=8)))
    tickets: list[Any] = []
    queue = hands.queue
    left = data.draw(st.integers(1, 12))

    def count(_action: Action) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            queue.close()
            hands.done.append(("died",))

    queue.watch(count)
    for _ in range(8):
        queue.push(list(_returned(data, tickets)))
        if data.draw(st.booleans()) and queue.is_persisting:
            queue.persisted()
    if queue.is_closed:
        assert hands.done[-1] == ("died",)
        queue.persisted()  # The disk that was writing when the process died.
        for _, ticket in tickets:
            assert not queue.take_timer(ticket)
            assert not queue.take_work(ticket)
            assert not queue.take_sent(ticket)
        assert hands.done[-1] == ("died",)


def test_what_is_behind_a_persist_is_cancelled_before_it_is_durable() -> None:
    hands = Hands()
    queue = hands.queue
    queue.push([Work(1, Job()), _persist(), CancelWork(1), SetTimer(2, 1.0), CancelTimer(2)])
    assert hands.done[2:] == [("cancel", Work, 1)]
    assert not queue.take_work(1)
    queue.persisted()
    assert hands.done[3:] == []


@pytest.mark.parametrize(
    ("begin", "cancel", "told"),
    [
        (SetTimer(1, 1.0), CancelTimer(1), []),
        (Work(1, Job()), CancelWork(1), []),
        (_bulk(1), CancelSend(1), [("not sent", 1)]),
    ],
)
def test_only_what_waits_under_the_ticket_is_taken_out(
    begin: Action, cancel: Action, told: list[tuple[str, int]]
) -> None:
    others: list[Action] = [SetTimer(2, 1.0), Work(3, Job()), _bulk(4)]
    hands = Hands([False, True])
    hands.queue.push([_persist(), *others[:2], begin, others[2], cancel])
    assert hands.done[1:] == told
    hands.queue.persisted()
    assert hands.done[1 + len(told) :] == [("begin", other) for other in others]


def test_messages_that_find_no_room_behind_a_disk_are_lost_and_told_as_not_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(action_queue, "SENDS_WAITING_MAX", 3)
    hands = Hands([False, True])
    queue = hands.queue
    queue.push([_persist(), _send(1), _send(2), Report(Opened()), _send(3), _send(4)])
    queue.push([_send(), _send(5), SetTimer(6, 1.0)])
    assert (queue.sends_lost, hands.done[1:]) == (3, [("not sent", 4), ("not sent", 5)])
    queue.persisted()
    begun = [entry[1] for entry in hands.done if entry[0] == "begin"]
    assert begun[1:] == [_send(1), _send(2), Report(Opened()), _send(3), SetTimer(6, 1.0)]
    queue.push([_send(number) for number in range(10, 20)])  # Nothing waits any more.
    assert queue.sends_lost == 3


def test_a_persist_that_nobody_has_asked_for_cannot_become_durable() -> None:
    with pytest.raises(LocalProtocolError, match="no Persist"):
        Hands().queue.persisted()


def test_a_process_that_dies_as_it_reports_does_nothing_more() -> None:
    hands = Hands()
    hands.report = lambda _action: hands.queue.close()  # type: ignore[method-assign, assignment]
    hands.queue.push([_send(), Report(Opened()), _send(1)])
    assert hands.done == [("begin", _send())]


def test_what_is_no_action_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="no action"):
        Hands().queue.push(["send"])  # type: ignore[list-item]
