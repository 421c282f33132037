"""Carries the actions of one machine out in the real world: `Hands` of its action queue.

Frames and bodies go to the links, timers to the event loop, jobs to threads, records to the journal
on a thread of its own. What comes of them is told to the driver, on the event loop.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from p2pfl.daemon.links import Links
from p2pfl_gossip import wire
from p2pfl_gossip.actions import (
    Action,
    Connect,
    Disconnect,
    Event,
    Job,
    PeerId,
    Persist,
    Report,
    Send,
    SendBulk,
    SetTimer,
    Ticket,
    Vector,
    Work,
)
from p2pfl_gossip.learning import LearningJob, WorkFailed
from p2pfl_gossip.records import Message, Record

SUMMING_THREADS = 2
"""For the jobs of masked sums, which leave the interpreter free most of the time."""


class Journal(Protocol):
    """Keeps records; p2pfl/store has the one on disk."""

    def records(self) -> dict[str, bytes | Vector]:
        """Return what is kept."""

    def persist(self, records: dict[str, bytes | Vector | None]) -> None:
        """Keep records, durably and together; None deletes."""


class Observer(Protocol):
    """Is told what happens, for logs and metrics."""

    def on_event(self, now_s: float, event: Event) -> None:
        """The machine has reported something."""

    def on_link(self, peer: PeerId, *, up: bool, reason: str) -> None:
        """A link stands, or is gone, or cannot be had."""

    def on_refused(self, peer: PeerId, reason: str) -> None:
        """A member broke the protocol; its link is ended."""

    def on_traffic(
        self, direction: str, peer: PeerId, message: Message, frame: bytes | bytearray
    ) -> None:
        """A frame, or a body's header, is sent (``"out"``) or has come (``"in"``)."""


class Told(Protocol):
    """Who is told what came of actions; the driver. An answer may come too late: it judges that."""

    def on_timer(self, ticket: Ticket) -> None:
        """A timer is due."""

    def on_work_ended(self, ticket: Ticket, result: Record) -> None:
        """A job ended; `result` may be WorkFailed."""

    def on_sent(self, ticket: Ticket, ok: bool) -> None:
        """A sending ended."""

    def on_persisted(self) -> None:
        """The `Persist` under way is durable."""

    def on_failed(self, error: BaseException) -> None:
        """A promise cannot be kept."""


class LoopHands:
    """The hands of one driver.

    Attributes:
        links: to be set before the first action.
        sent_bytes: what was given to the links, by the name of the message.
        storing: the journal's thread.
    """

    links: Links

    def __init__(
        self,
        *,
        journal: Journal,
        work: Callable[[Job], Record],
        observer: Observer,
        told: Told,
        counters: Counter[str],
    ) -> None:
        self.sent_bytes: Counter[str] = Counter()
        self.storing = ThreadPoolExecutor(1, "journal")
        self._journal, self._do, self._observer, self._told = journal, work, observer, told
        self._counters = counters
        self._loop = asyncio.get_running_loop()
        self._began_s = self._loop.time()
        self._timers: dict[Ticket, asyncio.TimerHandle] = {}
        self._jobs: dict[Ticket, Future[Record]] = {}
        self._bodies: dict[Ticket, asyncio.Task[None]] = {}
        self._learning = ThreadPoolExecutor(1, "learning")
        self._summing = ThreadPoolExecutor(SUMMING_THREADS, "summing")

    @property
    def now_s(self) -> float:
        """Seconds since these hands were made."""
        return self._loop.time() - self._began_s

    @property
    def job_count(self) -> int:
        """Jobs under way, or waiting for a thread."""
        return len(self._jobs)

    def stop(self) -> None:
        """Forget timers and jobs; nothing more is told of them."""
        for timer in self._timers.values():
            timer.cancel()
        for future in self._jobs.values():
            future.cancel()
        self._timers.clear()
        self._jobs.clear()

    def close(self) -> None:
        """End the threads: the journal's once it has written what it is writing."""
        for pool in (self._summing, self._learning, self.storing):
            pool.shutdown(wait=pool is self.storing, cancel_futures=True)

    # Frames and bodies.

    def send(self, action: Send) -> None:
        """Give a frame to the links."""
        self._count(action)
        frame = wire.encode(action.message)
        self._observer.on_traffic("out", action.receiver, action.message, frame)
        self.sent_bytes[type(action.message).__name__] += len(frame)
        self.links.send(action.receiver, frame, action.ticket)

    def send_bulk(self, action: SendBulk) -> None:
        """Begin a body, on a stream of its own."""
        self._count(action)
        header = wire.encode(action.header)
        self._observer.on_traffic("out", action.receiver, action.header, header)
        self.sent_bytes[type(action.header).__name__] += len(header) + action.size_bytes
        task = self.links.send_bulk(action, header)
        ticket = action.ticket
        if ticket is not None:
            self._bodies[ticket] = task
            # A task that is cancelled before its first step tells nothing itself.
            task.add_done_callback(lambda _: self._body_ended(ticket))

    def _body_ended(self, ticket: Ticket) -> None:
        self._bodies.pop(ticket, None)
        self._told.on_sent(ticket, False)  # Most often too late: the links have told.

    def cancel_send(self, ticket: Ticket) -> None:
        """Reset a body's stream; what waits among the links' frames is left to leave."""
        self._counters["action_CancelSend"] += 1
        task = self._bodies.get(ticket)
        if task is not None:
            task.cancel()

    def not_sent(self, ticket: Ticket) -> None:
        """Have a sending told as not done."""
        self._loop.call_soon(self._told.on_sent, ticket, False)

    def connect(self, action: Connect) -> None:
        """Hold a link."""
        self._count(action)
        self.links.keep(action.peer)

    def disconnect(self, action: Disconnect) -> None:
        """End a link."""
        self._count(action)
        self.links.disconnect(action.peer, action.reason)

    # Time and work.

    def set_timer(self, action: SetTimer) -> None:
        """Set a timer of the loop."""
        self._count(action)
        at_s = self._began_s + action.at_s
        self._timers[action.ticket] = self._loop.call_at(at_s, self._timer_due, action.ticket)

    def _timer_due(self, ticket: Ticket) -> None:
        self._timers.pop(ticket, None)
        self._told.on_timer(ticket)

    def cancel_timer(self, ticket: Ticket) -> None:
        """Cancel a timer of the loop."""
        self._counters["action_CancelTimer"] += 1
        timer = self._timers.pop(ticket, None)
        if timer is not None:
            timer.cancel()

    def work(self, action: Work) -> None:
        """Begin a job on a thread; those of learning one at a time."""
        self._count(action)
        learns = isinstance(action.job, LearningJob)
        pool = self._learning if learns else self._summing
        ticket = action.ticket
        # The pool's own future: one of the loop is taken from the queue a turn of the loop later.
        queued = self._jobs[ticket] = pool.submit(self._do, action.job)
        future = asyncio.wrap_future(queued, loop=self._loop)
        future.add_done_callback(lambda done: self._job_ended(ticket, done))

    def _job_ended(self, ticket: Ticket, done: "asyncio.Future[Record]") -> None:
        if done.cancelled():
            return
        error = done.exception()
        if self._jobs.pop(ticket, None) is None:
            return  # It ran already when it was cancelled.
        result = done.result() if error is None else WorkFailed(_one_line(error))
        self._told.on_work_ended(ticket, result)

    def cancel_work(self, ticket: Ticket) -> None:
        """Take a job from its thread's queue; one that runs already ends for nobody."""
        self._counters["action_CancelWork"] += 1
        future = self._jobs.pop(ticket, None)
        if future is not None:
            future.cancel()

    # Records and events.

    def persist(self, action: Persist) -> bool:
        """Have the journal's thread write records."""
        self._count(action)
        future = self._loop.run_in_executor(self.storing, self._journal.persist, action.records)
        future.add_done_callback(self._written)
        return False

    def _written(self, done: "asyncio.Future[None]") -> None:
        if done.cancelled():
            return
        error = done.exception()
        if error is None:
            self._told.on_persisted()
        else:
            self._told.on_failed(error)

    def report(self, action: Report) -> None:
        """Show an event."""
        self._count(action)
        self._observer.on_event(self.now_s, action.event)

    def _count(self, action: Action) -> None:
        self._counters[f"action_{type(action).__name__}"] += 1


def _one_line(error: BaseException) -> str:
    told = " ".join(str(error).split())
    return f"{type(error).__name__}: {told}" if told else type(error).__name__
