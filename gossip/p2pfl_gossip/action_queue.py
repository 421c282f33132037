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

from collections import deque
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

    What a method has told to the machine before it returns comes behind what waits already. Only
    `persisted` must not be called from within `persist`.
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
        watch: is called with each action that has been carried out; a `Persist` is once it is
            durable. It may close the queue.
        is_closed: whether the process has died.
        sends_lost: messages that found no room to wait.
    """

    __slots__ = (
        "_hands", "_is_held", "_persist", "_sends", "_sends_waiting", "_timers", "_waiting",
        "_works", "is_closed", "sends_lost", "watch",
    )  # fmt: skip

    def __init__(self, hands: Hands) -> None:
        self._hands = hands
        self._waiting: deque[Action] = deque()
        self._sends_waiting = 0  # Counted while held; 0 otherwise.
        self._is_held = False  # By a `Persist`, by an action that is being carried out, for ever.
        self._timers: set[Ticket] = set()  # Open tickets; membership only.
        self._works: set[Ticket] = set()
        self._sends: set[Ticket] = set()
        self._persist: Persist | None = None  # Under way.
        self.watch: Callable[[Action], None] | None = None
        self.is_closed = False
        self.sends_lost = 0

    @property
    def is_persisting(self) -> bool:
        """Whether a `Persist` is under way."""
        return self._persist is not None

    # What the driver tells.

    def push(self, actions: Iterable[Action]) -> None:
        """Take what an input has returned: carry it out, or have it wait for its turn."""
        if self._is_held:
            self._put(actions)
            return
        self._waiting.extend(actions)
        self._carry_out()

    def persisted(self) -> None:
        """Go on: the `Persist` under way is durable."""
        if self.is_closed:
            return
        durable, self._persist = self._persist, None
        if durable is None:
            raise LocalProtocolError("no Persist is under way")
        if self.watch is not None:
            self.watch(durable)
        del durable  # It may hold a model.
        self._carry_out()

    def take_timer(self, ticket: Ticket) -> bool:
        """Close the ticket of a timer that is due; return whether the machine may be told."""
        return _take(self._timers, ticket)

    def take_work(self, ticket: Ticket) -> bool:
        """Close the ticket of a job that has ended; return whether the machine may be told."""
        return _take(self._works, ticket)

    def take_sent(self, ticket: Ticket) -> bool:
        """Close the ticket of a sending that has ended; return whether the machine may be told."""
        return _take(self._sends, ticket)

    def close(self) -> None:
        """Forget all: the process has died. What is under way at the hands is theirs to end."""
        self.is_closed = self._is_held = True
        self._persist = None
        for held in (self._waiting, self._timers, self._works, self._sends):
            held.clear()

    # The order of things.

    def _carry_out(self) -> None:
        """Carry out what waits, up to a `Persist` that takes its time."""
        waiting, hands = self._waiting, self._hands
        self._is_held = True
        while waiting:
            action = waiting.popleft()
            if isinstance(action, Send):
                if action.ticket is not None:
                    self._sends.add(action.ticket)
                hands.send(action)
            elif isinstance(action, SetTimer):
                self._timers.add(action.ticket)
                hands.set_timer(action)
            elif isinstance(action, Persist):
                self._persist = action
                if not hands.persist(action):
                    self._let_cancels_pass()
                    return
                self._persist = None
            else:
                self._do(action)
                continue  # It has been watched.
            if self.watch is not None:
                self.watch(action)
        self._sends_waiting = 0
        self._is_held = self.is_closed

    def _do(self, action: Action) -> None:
        """Carry out one of the rarer actions."""
        hands = self._hands
        match action:
            case CancelTimer() | CancelWork() | CancelSend():
                self._cancel(action)
                return
            case SendBulk():
                if action.ticket is not None:
                    self._sends.add(action.ticket)
                hands.send_bulk(action)
            case Work():
                self._works.add(action.ticket)
                hands.work(action)
            case Report():
                hands.report(action)
            case Connect():
                hands.connect(action)
            case Disconnect():
                hands.disconnect(action)
            case _:
                raise LocalProtocolError(f"no action: {action!r}")
        if self.watch is not None:
            self.watch(action)

    def _put(self, actions: Iterable[Action]) -> None:
        """Have actions wait, but for cancels."""
        if self.is_closed:
            return
        for action in actions:
            match action:
                case CancelTimer() | CancelWork() | CancelSend():
                    self._cancel(action)
                    continue
                case Send():
                    if self._sends_waiting >= SENDS_WAITING_MAX:
                        self._lose(action)
                        continue
                    self._sends_waiting += 1
            self._waiting.append(action)

    def _let_cancels_pass(self) -> None:
        """Sort anew what waits behind a `Persist` that has just begun."""
        behind = list(self._waiting)
        self._waiting.clear()
        self._sends_waiting = 0
        self._put(behind)

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
        if self.watch is not None:
            self.watch(action)

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
