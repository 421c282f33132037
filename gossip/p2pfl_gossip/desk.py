"""The desk of a machine: gives its tickets, and knows what is to follow when each is answered.

Who asks for a timer, a job or a sending says at once what the answer leads to: a *continuation*,
which returns actions as an input does. So no machine keeps a ticket to compare it with what comes.
An answer that comes too late, to what was cancelled or forgotten, or one that comes twice, ends
here and does nothing: a driver that is slow to cancel can do no harm.

A machine within a machine works at a *sub-desk*. Its tickets are of the same numbers, so that the
outermost machine passes every answer to its own desk and need not know whose it is. What a
continuation of a sub-desk returns goes through the `settle` of each desk around it, by which the
composer sees that something has happened. Closing a sub-desk ends all that was asked for there.

For example::

    self._desk = desk.sub(self._settle)
    actions += self._desk.set_timer("deadline", now_s + 5.0, self._on_deadline)
    actions.append(self._desk.work(job, self._on_trained, self._on_training_failed))
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias, TypeVar

from p2pfl_gossip.actions import (
    Action,
    Buffer,
    CancelTimer,
    CancelWork,
    Job,
    LocalProtocolError,
    PeerId,
    SendBulk,
    SetTimer,
    Ticket,
    Work,
)
from p2pfl_gossip.records import Message, Record

Due: TypeAlias = Callable[[float], list[Action]]
"""Follows a timer: takes the time."""

Sent: TypeAlias = Callable[[float, bool], list[Action]]
"""Follows a sending: takes the time, and whether all of it left."""

Done: TypeAlias = Callable[[float, Any], list[Action]]
"""Follows a job, or a part of one: takes the time and the result, a record of the job's kind."""

Failed: TypeAlias = Callable[[float, str], list[Action]]
"""Follows a job that could not be done: takes the time, and one line for people."""

Settle: TypeAlias = Callable[[float, list[Action]], list[Action]]
"""Takes the time and what a continuation returned; returns what is to be done in its place."""


@dataclass(slots=True)
class _Timer:
    what: ClassVar[str] = "a timer"
    desk: "Desk"
    name: str
    due: Due


@dataclass(slots=True)
class _Sending:
    what: ClassVar[str] = "a sending"
    desk: "Desk"
    sent: Sent


@dataclass(slots=True)
class _Job:
    what: ClassVar[str] = "a job"
    desk: "Desk"
    done: Done
    failed: Failed
    part: Done | None


_Open = TypeVar("_Open", _Timer, _Sending, _Job)


class _Book:
    """What a desk and its sub-desks share: the number of tickets given, and those still open."""

    __slots__ = ("given", "open")

    def __init__(self) -> None:
        self.given = 0
        self.open: dict[Ticket, _Timer | _Sending | _Job] = {}


class Desk:
    """The tickets of one machine, in one incarnation: 1, 2, 3, ...

    Only open tickets are kept. That another one was given follows from its number.
    """

    __slots__ = ("_book", "_is_closed", "_outer", "_settles", "_subs", "_tickets", "_timers")

    def __init__(self, outer: "Desk | None" = None, settle: Settle | None = None) -> None:
        """Set up; `sub` makes those that are within another."""
        self._outer = outer
        self._book: _Book = _Book() if outer is None else outer._book
        own = () if settle is None else (settle,)
        self._settles: tuple[Settle, ...] = own if outer is None else (*own, *outer._settles)
        self._tickets: dict[Ticket, None] = {}
        self._timers: dict[str, Ticket] = {}
        self._subs: dict[Desk, None] = {}
        self._is_closed = False

    @property
    def open(self) -> tuple[Ticket, ...]:
        """The tickets that are open here and at all sub-desks, ascending."""
        tickets = list(self._tickets)
        for sub in self._subs:
            tickets += sub.open
        return tuple(sorted(tickets))

    def sub(self, settle: Settle | None = None) -> "Desk":
        """Make the desk of a machine within this one; `settle` sees what its answers lead to."""
        if self._is_closed:
            raise LocalProtocolError("a sub-desk is asked for at a desk that is closed")
        made = Desk(self, settle)
        self._subs[made] = None
        return made

    # --- what is asked for ------------------------------------------------------------------

    def set_timer(self, name: str, at_s: float, due: Due) -> list[Action]:
        """Have `due` called at a time, in place of an earlier timer of that name at this desk."""
        actions = self.cancel_timer(name)
        ticket = self._timers[name] = self._give(_Timer(self, name, due))
        actions.append(SetTimer(ticket, at_s))
        return actions

    def cancel_timer(self, name: str) -> list[Action]:
        """Cancel a timer, if it is set."""
        ticket = self._timers.pop(name, None)
        if ticket is None:
            return []
        del self._tickets[ticket], self._book.open[ticket]
        return [CancelTimer(ticket)]

    def cancel_timers(self, *, but: str | None = None) -> list[Action]:
        """Cancel all timers of this desk, or all but one."""
        actions: list[Action] = []
        for name in [name for name in self._timers if name != but]:
            actions += self.cancel_timer(name)
        return actions

    def work(self, job: Job, done: Done, failed: Failed, part: Done | None = None) -> Work:
        """Have a job done; `part` takes parts of its result, of a job that tells any."""
        return Work(self._give(_Job(self, done, failed, part)), job)

    def cancel_work(self, ticket: Ticket) -> list[Action]:
        """Cancel a job of this desk, unless it has ended."""
        if not isinstance(self._book.open.get(ticket), _Job) or ticket not in self._tickets:
            return []
        del self._tickets[ticket], self._book.open[ticket]
        return [CancelWork(ticket)]

    def send_bulk(
        self,
        receiver: PeerId,
        header: Message,
        parts: Iterable[Buffer],
        size_bytes: int,
        sent: Sent,
    ) -> SendBulk:
        """Send a body whose end is to be told; who need not know it makes a `SendBulk` itself."""
        ticket = self._give(_Sending(self, sent))
        return SendBulk(receiver, header, parts, size_bytes, ticket=ticket)

    def close(self) -> list[Action]:
        """Cancel all timers and jobs, of sub-desks too, and forget what was sent; give no more."""
        actions: list[Action] = []
        for sub in list(self._subs):
            actions += sub.close()
        for ticket in self._tickets:
            asked = self._book.open.pop(ticket)
            if isinstance(asked, _Timer):
                actions.append(CancelTimer(ticket))
            elif isinstance(asked, _Job):
                actions.append(CancelWork(ticket))
        self._tickets.clear()
        self._timers.clear()
        self._settles = ()  # So that nothing refers to who worked here.
        self._is_closed = True
        if self._outer is not None:
            self._outer._subs.pop(self, None)
        return actions

    def _give(self, asked: _Timer | _Sending | _Job) -> Ticket:
        if self._is_closed:
            raise LocalProtocolError(f"{asked.what} is asked for at a desk that is closed")
        book = self._book
        book.given = ticket = book.given + 1
        book.open[ticket] = asked
        self._tickets[ticket] = None
        return ticket

    # --- what is answered -------------------------------------------------------------------

    def on_timer(self, now_s: float, ticket: Ticket) -> list[Action]:
        """A timer is due."""
        timer = self._take(ticket, _Timer)
        if timer is None:
            return []
        del timer.desk._timers[timer.name]
        return _settled(timer.desk._settles, now_s, timer.due(now_s))

    def on_sent(self, now_s: float, ticket: Ticket, ok: bool) -> list[Action]:
        """Something left this machine, or cannot."""
        sending = self._take(ticket, _Sending)
        if sending is None:
            return []
        return _settled(sending.desk._settles, now_s, sending.sent(now_s, ok))

    def on_work_done(self, now_s: float, ticket: Ticket, result: Record) -> list[Action]:
        """A job ended with a result."""
        job = self._take(ticket, _Job)
        if job is None:
            return []
        return _settled(job.desk._settles, now_s, job.done(now_s, result))

    def on_work_part(self, now_s: float, ticket: Ticket, part: Record) -> list[Action]:
        """A job has part of its result; it stays open."""
        job = self._find(ticket, _Job)
        if job is None:
            return []
        if job.part is None:
            raise LocalProtocolError(f"job {ticket} has no parts")
        return _settled(job.desk._settles, now_s, job.part(now_s, part))

    def on_work_failed(self, now_s: float, ticket: Ticket, reason: str) -> list[Action]:
        """A job could not be done."""
        job = self._take(ticket, _Job)
        if job is None:
            return []
        return _settled(job.desk._settles, now_s, job.failed(now_s, reason))

    def _find(self, ticket: Ticket, kind: type[_Open]) -> _Open | None:
        """Return what a ticket was given for; None where it is open no more."""
        asked = self._book.open.get(ticket)
        if asked is None:
            if 0 < ticket <= self._book.given:
                return None
            raise LocalProtocolError(f"ticket {ticket} was never given")
        if not isinstance(asked, kind):
            raise LocalProtocolError(f"ticket {ticket} is of {asked.what}, not of {kind.what}")
        return asked

    def _take(self, ticket: Ticket, kind: type[_Open]) -> _Open | None:
        asked = self._find(ticket, kind)
        if asked is not None:
            del self._book.open[ticket], asked.desk._tickets[ticket]
        return asked


def _settled(settles: tuple[Settle, ...], now_s: float, actions: list[Action]) -> list[Action]:
    """Have desks see what a continuation returned, from its own outwards.

    Which these are is asked before it is called, as it may close its desk.
    """
    for settle in settles:
        actions = settle(now_s, actions)
    return actions


class DeskMachine:
    """The inputs by which an outermost machine is told of answers: its desk knows the rest."""

    _desk: Desk

    def on_timer(self, now_s: float, ticket: Ticket) -> list[Action]:
        """A timer is due."""
        return self._desk.on_timer(now_s, ticket)

    def on_sent(self, now_s: float, ticket: Ticket, ok: bool) -> list[Action]:
        """Something left this machine, or cannot."""
        return self._desk.on_sent(now_s, ticket, ok)

    def on_work_done(self, now_s: float, ticket: Ticket, result: Record) -> list[Action]:
        """A job ended with a result."""
        return self._desk.on_work_done(now_s, ticket, result)

    def on_work_part(self, now_s: float, ticket: Ticket, part: Record) -> list[Action]:
        """A job has part of its result."""
        return self._desk.on_work_part(now_s, ticket, part)

    def on_work_failed(self, now_s: float, ticket: Ticket, reason: str) -> list[Action]:
        """A job could not be done."""
        return self._desk.on_work_failed(now_s, ticket, reason)
