"""Carries a machine's actions out: in order, and nothing behind a `Persist` before it is durable.

The queue has no IO. The daemon's driver and the simulated world both use it, each with hands of
its own (`Hands`), so that what one world can do to a machine, the other can do as well. It keeps
the promises of actions.py:

- Actions are carried out in the order in which the machine returned them.
- While a `Persist` is under way, all others wait, those of later inputs behind those of earlier.
- A cancel never waits. What still waits in the queue is taken out of it; what is under way ends.
- An answer is told only while its ticket is open, and at most once: `take_timer`, `take_work` and
  `take_sent` say whether it may be. So nobody is told of a job that ends on its thread while its
  cancel is on the way.
- Nothing comes out of a closed queue: its process has died.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

from p2pfl_gossip.actions import (
    Action,
    CancelSend,
    CancelTimer,
    CancelWork,
    Connect,
    Disconnect,
    LocalProtocolError,
    Persist,
    Report,
    Send,
    SendBulk,
    SetTimer,
    Ticket,
    Work,
)

SENDS_WAITING_MAX = 2**14
"""Messages that wait for a disk; later ones are lost, as any message may be. Opening a group of a
thousand members takes a few thousand; a member that asks and asks must not fill our memory."""


class Hands(Protocol):
    """Does what actions ask for: one method an action.

    No method calls the queue before it returns; what comes of an action is told later.
    """

    def send(self, action: Send) -> None:
        """Let a message leave."""

    def send_bulk(self, action: SendBulk) -> None:
        """Begin to send a body."""

    def cancel_send(self, ticket: Ticket) -> None:
        """Stop a body that has begun; its end must still be offered to `take_sent`."""

    def not_sent(self, ticket: Ticket) -> None:
        """Offer to `take_sent`, later, the end of a sending that has never begun."""

    def set_timer(self, action: SetTimer) -> None:
        """Offer the timer to `take_timer` when it is due."""

    def cancel_timer(self, ticket: Ticket) -> None:
        """Forget a timer."""

    def work(self, action: Work) -> None:
        """Begin a job; offer its end to `take_work`."""

    def cancel_work(self, ticket: Ticket) -> None:
        """Forget a job."""

    def persist(self, action: Persist) -> bool:
        """Keep records; return whether they are durable now. If not, call `persisted` later."""

    def connect(self, action: Connect) -> None:
        """Keep a link."""

    def disconnect(self, action: Disconnect) -> None:
        """End a link."""

    def report(self, action: Report) -> None:
        """Show an event."""


class ActionQueue:
    """The actions of one process of one machine.

    Attributes:
        is_closed: whether the process has died.
        sends_lost: messages that found no room to wait.
    """

    __slots__ = (
        "_hands", "_is_fast", "_persist", "_sends", "_sends_waiting", "_timers", "_waiting",
        "_watch", "_works", "is_closed", "sends_lost",
    )  # fmt: skip

    def __init__(self, hands: Hands) -> None:
        self._hands = hands
        self._waiting: list[Action] = []  # Behind a `Persist`. No cancels: they do not wait.
        self._sends_waiting = 0
        self._timers: set[Ticket] = set()  # Open tickets; membership only.
        self._works: set[Ticket] = set()
        self._sends: set[Ticket] = set()
        self._persist: Persist | None = None  # Under way.
        self._watch: Callable[[Action], None] | None = None
        self.is_closed = False
        self._is_fast = True  # None of these three: nothing persisting, no watch, not closed.
        self.sends_lost = 0

    @property
    def is_persisting(self) -> bool:
        """Whether a `Persist` is under way."""
        return self._persist is not None

    def watch(self, watch: Callable[[Action], None] | None) -> None:
        """Have `watch` called with each action once it is carried out; it may close the queue.

        A `Persist` is carried out when it is durable, a cancel when it has taken effect.
        """
        self._watch = watch
        self._note()

    # What the driver tells.

    def push(self, actions: Iterable[Action]) -> None:
        """Take what an input has returned: carry it out, or have it wait for its turn."""
        if not self._is_fast:
            self._push_with_care(actions)
            return
        # Most of what a simulated peer asks for is a message, a timer or a body.
        hands = self._hands
        rest = iter(actions)
        for action in rest:
            if type(action) is Send:
                if action.ticket is not None:
                    self._sends.add(action.ticket)
                hands.send(action)
            elif type(action) is SetTimer:
                self._timers.add(action.ticket)
                hands.set_timer(action)
            elif type(action) is SendBulk:
                if action.ticket is not None:
                    self._sends.add(action.ticket)
                hands.send_bulk(action)
            elif not self._carry_out(action):
                self._put(rest)
                return

    def persisted(self) -> None:
        """Go on: the `Persist` under way is durable."""
        if self.is_closed:
            return
        durable, self._persist = self._persist, None
        if durable is None:
            raise LocalProtocolError("no Persist is under way")
        self._note()
        if self._watch is not None:
            self._watch(durable)
        del durable  # It may hold a model.
        waiting, self._waiting, self._sends_waiting = self._waiting, [], 0
        self.push(waiting)

    def take_timer(self, ticket: Ticket) -> bool:
        """Close the ticket of a timer that is due; return whether the machine may be told."""
        if ticket in self._timers:
            self._timers.discard(ticket)
            return True
        return False

    def take_work(self, ticket: Ticket) -> bool:
        """Close the ticket of a job that has ended; return whether the machine may be told."""
        return _take(self._works, ticket)

    def take_sent(self, ticket: Ticket) -> bool:
        """Close the ticket of a sending that has ended; return whether the machine may be told."""
        return _take(self._sends, ticket)

    def close(self) -> None:
        """Forget all: the process has died. What is under way at the hands is theirs to end."""
        self.is_closed, self._persist = True, None
        self._note()
        for held in (self._waiting, self._timers, self._works, self._sends):
            held.clear()

    # The order of things.

    def _note(self) -> None:
        self._is_fast = self._persist is None and self._watch is None and not self.is_closed

    def _push_with_care(self, actions: Iterable[Action]) -> None:
        rest = iter(actions)
        if self._persist is None:
            for action in rest:
                if self.is_closed:
                    return
                if not self._carry_out(action):
                    break
                if self._watch is not None:
                    self._watch(action)
        self._put(rest)

    def _carry_out(self, action: Action) -> bool:
        """Carry an action out; return whether the next may follow."""
        hands = self._hands
        match action:
            case Persist():
                return self._begin_persist(action)
            case CancelTimer() | CancelWork() | CancelSend():
                self._cancel(action)
            case Send() | SendBulk():
                if action.ticket is not None:
                    self._sends.add(action.ticket)
                if isinstance(action, Send):
                    hands.send(action)
                else:
                    hands.send_bulk(action)
            case SetTimer():
                self._timers.add(action.ticket)
                hands.set_timer(action)
            case Work():
                self._works.add(action.ticket)
                hands.work(action)
            case Report():
                hands.report(action)
                return not self.is_closed  # Whoever sees events may bring a fault by one.
            case Connect():
                hands.connect(action)
            case Disconnect():
                hands.disconnect(action)
            case _:
                raise LocalProtocolError(f"no action: {action!r}")
        return True

    def _begin_persist(self, action: Persist) -> bool:
        self._persist = action
        if not self._hands.persist(action):
            self._note()
            return False
        self._persist = None
        return True

    def _put(self, actions: Iterable[Action]) -> None:
        """Have actions wait, but for cancels."""
        for action in actions:
            if self.is_closed:
                return
            match action:
                case CancelTimer() | CancelWork() | CancelSend():
                    self._cancel(action)
                    if self._watch is not None:
                        self._watch(action)
                    continue
                case Send():
                    if self._sends_waiting >= SENDS_WAITING_MAX:
                        self._lose(action)
                        continue
                    self._sends_waiting += 1
            self._waiting.append(action)

    def _lose(self, action: Send) -> None:
        self.sends_lost += 1
        if action.ticket is not None:
            self._sends.add(action.ticket)
            self._hands.not_sent(action.ticket)

    def _cancel(self, action: CancelTimer | CancelWork | CancelSend) -> None:
        """End what is under way, or take out what waits; what has ended already is left alone."""
        ticket, hands = action.ticket, self._hands
        if isinstance(action, CancelTimer):
            if _take(self._timers, ticket):
                hands.cancel_timer(ticket)
            else:
                self._take_out(SetTimer, ticket)
        elif isinstance(action, CancelWork):
            if _take(self._works, ticket):
                hands.cancel_work(ticket)
            else:
                self._take_out(Work, ticket)
        elif ticket in self._sends:
            hands.cancel_send(ticket)  # The ticket stays open: `on_sent` still comes.
        elif self._take_out(SendBulk, ticket):
            self._sends.add(ticket)
            hands.not_sent(ticket)

    def _take_out(self, kind: type[SetTimer | Work | SendBulk], ticket: Ticket) -> bool:
        for place, action in enumerate(self._waiting):
            if isinstance(action, kind) and action.ticket == ticket:
                del self._waiting[place]
                return True
        return False


def _take(tickets: set[Ticket], ticket: Ticket) -> bool:
    if ticket in tickets:
        tickets.remove(ticket)
        return True
    return False
