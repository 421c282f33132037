"""Drives one machine in the real world: what it asks for is done, what happens it is told.

All inputs of the machine are called on the event loop, one at a time. Its actions are carried out
in the order in which it returned them; one that takes long, such as `Persist`, holds up those
after it, never the inputs. Time is the loop's: a wall clock that jumps changes nothing.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from p2pfl.daemon.links import Links
from p2pfl_gossip import wire
from p2pfl_gossip.actions import (
    Action,
    CancelSend,
    CancelTimer,
    CancelWork,
    Command,
    Connect,
    Disconnect,
    Event,
    Job,
    Machine,
    PeerId,
    Persist,
    RemoteProtocolError,
    Report,
    Send,
    SendBulk,
    SetTimer,
    Ticket,
    Vector,
    Work,
)
from p2pfl_gossip.learning import Evaluate, Train, WorkFailed
from p2pfl_gossip.records import MalformedFrame, Message, Record

SUMMING_THREADS = 2
"""For the jobs of masked sums, which leave the interpreter free most of the time."""


SWITCH_INTERVAL_S = 0.0005
"""How long training may keep the interpreter from the links; Python's 5 ms would let a frame wait
as long as it takes to send a megabyte."""


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


class Driver:
    """Runs a machine until it is stopped, or something fails that must not.

    Attributes:
        counters: actions carried out and inputs told, by name.
        sent_bytes: what was given to the links, by the name of the message; bodies count with
            their headers.
    """

    def __init__(
        self,
        machine: Machine,
        *,
        journal: Journal,
        work: Callable[[Job], Record],
        observer: Observer,
    ) -> None:
        """Set up; `run` starts.

        Args:
            machine: what to run.
            journal: carries out `Persist`, on a thread of its own.
            work: does a job, on another thread; those of learning one at a time.
            observer: is told what happens.
        """
        self.counters: Counter[str] = Counter()
        self.sent_bytes: Counter[str] = Counter()
        self._machine, self._journal, self._do, self._observer = machine, journal, work, observer
        self._loop = asyncio.get_running_loop()
        self._began_s = self._loop.time()
        self._links: Links
        self._actions: deque[Action] = deque()
        self._more = asyncio.Event()
        self._idle = asyncio.Event()
        self._failed: asyncio.Future[None] = self._loop.create_future()
        self._timers: dict[Ticket, asyncio.TimerHandle] = {}
        self._work: dict[Ticket, asyncio.Future[Record]] = {}
        self._bodies: dict[Ticket, asyncio.Task[None]] = {}
        self._storing = ThreadPoolExecutor(1, "journal")
        self._learning = ThreadPoolExecutor(1, "learning")
        self._summing = ThreadPoolExecutor(SUMMING_THREADS, "summing")
        self._handlers: dict[type, Callable[[Any], None]] = {
            Send: self._send,
            SendBulk: self._send_bulk,
            CancelSend: self._cancel_send,
            SetTimer: self._set_timer,
            CancelTimer: self._cancel_timer,
            Work: self._start_work,
            CancelWork: self._cancel_work,
            Connect: lambda action: self._links.keep(action.peer),
            Disconnect: lambda action: self._links.disconnect(action.peer, action.reason),
            Report: lambda action: self._observer.on_event(self.now_s, action.event),
        }

    @property
    def now_s(self) -> float:
        """Seconds since the driver was made."""
        return self._loop.time() - self._began_s

    async def run(self, links: Links, stop: asyncio.Event) -> None:
        """Run until `stop` is set and all that was asked for until then is done.

        Raises:
            Exception: whatever the journal or the machine raised: going on would break a promise.
        """
        self._links = links
        performing = self._loop.create_task(self._perform())
        stopping = self._loop.create_task(_until(stop))
        try:
            records = await self._loop.run_in_executor(self._storing, self._journal.records)
            if stop.is_set():
                return  # Asked to end before it began.
            links.start()
            self._tell("start", lambda: self._machine.on_start(self.now_s, records))
            await asyncio.wait(
                [performing, stopping, self._failed], return_when=asyncio.FIRST_COMPLETED
            )
            if not (performing.done() or self._failed.done()):
                await asyncio.wait(
                    [performing, self._loop.create_task(_until(self._idle)), self._failed],
                    return_when=asyncio.FIRST_COMPLETED,
                )
                await links.flush()
        finally:
            for task in (performing, stopping):
                task.cancel()
            self._forget()
            await links.close()
            for pool in (self._summing, self._learning, self._storing):
                pool.shutdown(wait=pool is self._storing, cancel_futures=True)
        for ended in (performing, self._failed):
            if ended.done() and not ended.cancelled():
                ended.result()

    def command(self, command: Command) -> None:
        """Pass an operator's word on."""
        self._tell("command", lambda: self._machine.on_command(self.now_s, command))

    # What the links tell: `Receiver`.

    def on_frame(self, peer: PeerId, frame: bytearray) -> None:
        """Tell of a frame; end the link of a peer that breaks the protocol."""

        def take() -> list[Action]:
            message = wire.decode_untrusted(frame)
            self._observer.on_traffic("in", peer, message, frame)
            return self._machine.on_message(self.now_s, peer, message)

        self._tell("frame", take, peer)

    def on_bulk_begin(self, peer: PeerId, bulk: int, frame: bytearray) -> bool:
        """Tell of a body's header; return whether the body is wanted."""
        is_wanted = False

        def take() -> list[Action]:
            nonlocal is_wanted
            header = wire.decode_untrusted(frame)
            self._observer.on_traffic("in", peer, header, frame)
            is_wanted, actions = self._machine.on_bulk_begin(self.now_s, peer, bulk, header)
            return actions

        return self._tell("body", take, peer) and is_wanted

    def on_bulk_chunk(self, peer: PeerId, bulk: int, chunk: bytearray) -> bool:
        """Tell of some of a body; return whether the peer may go on."""
        return self._tell(
            "chunk",
            lambda: self._machine.on_bulk_chunk(self.now_s, peer, bulk, memoryview(chunk)),
            peer,
        )

    def on_bulk_end(self, peer: PeerId, bulk: int, frame: bytearray | None) -> None:
        """Tell of the end of a body."""

        def take() -> list[Action]:
            trailer = None if frame is None else wire.decode_untrusted(frame)
            return self._machine.on_bulk_end(self.now_s, peer, bulk, trailer)

        self._tell("body_end", take, peer)

    def on_bulk_lost(self, peer: PeerId, bulk: int) -> None:
        """Tell that a body will not come."""
        self._tell("body_lost", lambda: self._machine.on_bulk_lost(self.now_s, peer, bulk))

    def on_sent(self, ticket: Ticket, ok: bool) -> None:
        """Tell how a sending ended."""
        self._bodies.pop(ticket, None)
        self._tell("sent", lambda: self._machine.on_sent(self.now_s, ticket, ok))

    def on_peer_up(self, peer: PeerId) -> None:
        """Tell of a link."""
        self._observer.on_link(peer, up=True, reason="")
        self._tell("peer_up", lambda: self._machine.on_peer_up(self.now_s, peer))

    def on_peer_down(self, peer: PeerId, reason: str) -> None:
        """Tell of a link that is gone."""
        self._observer.on_link(peer, up=False, reason=reason)
        self._tell("peer_down", lambda: self._machine.on_peer_down(self.now_s, peer))

    def on_failed(self, error: BaseException) -> None:
        """End the run: a promise cannot be kept."""
        if not self._failed.done():
            self._failed.set_exception(error)

    # Inputs and actions.

    def _tell(
        self, name: str, call: Callable[[], list[Action]], peer: PeerId | None = None
    ) -> bool:
        """Call an input and take its actions; return False where the peer is at fault."""
        if self._failed.done():
            return False
        self.counters[f"input_{name}"] += 1
        try:
            actions = call()
        except (MalformedFrame, RemoteProtocolError) as error:
            if peer is None:
                self.on_failed(error)
                return False
            malformed = isinstance(error, MalformedFrame)
            reason = "malformed_frame" if malformed else str(error)
            self._observer.on_refused(peer, reason)
            self._links.disconnect(peer, reason)
            return False
        except Exception as error:
            self.on_failed(error)
            return False
        if actions:
            self._actions.extend(actions)
            self._idle.clear()
            self._more.set()
        return True

    async def _perform(self) -> None:
        """Carry actions out, for ever."""
        while True:
            while self._actions:
                action = self._actions.popleft()
                self.counters[f"action_{type(action).__name__}"] += 1
                if isinstance(action, Persist):
                    await self._loop.run_in_executor(
                        self._storing, self._journal.persist, action.records
                    )
                else:
                    self._handlers[type(action)](action)
                del action  # It may hold a model, and the next may be long in coming.
            self._more.clear()
            self._idle.set()
            await self._more.wait()

    def _send(self, action: Send) -> None:
        frame = wire.encode(action.message)
        self._observer.on_traffic("out", action.receiver, action.message, frame)
        self.sent_bytes[type(action.message).__name__] += len(frame)
        self._links.send(action.receiver, frame, action.ticket)

    def _send_bulk(self, action: SendBulk) -> None:
        header = wire.encode(action.header)
        self._observer.on_traffic("out", action.receiver, action.header, header)
        self.sent_bytes[type(action.header).__name__] += len(header) + action.size_bytes
        task = self._links.send_bulk(action, header)
        if action.ticket is not None:
            self._bodies[action.ticket] = task

    def _cancel_send(self, action: CancelSend) -> None:
        task = self._bodies.get(action.ticket)
        if task is not None:
            task.cancel()

    def _set_timer(self, action: SetTimer) -> None:
        at_s = self._began_s + action.at_s
        self._timers[action.ticket] = self._loop.call_at(at_s, self._timer_due, action.ticket)

    def _timer_due(self, ticket: Ticket) -> None:
        del self._timers[ticket]
        self._tell("timer", lambda: self._machine.on_timer(self.now_s, ticket))

    def _cancel_timer(self, action: CancelTimer) -> None:
        timer = self._timers.pop(action.ticket, None)
        if timer is not None:
            timer.cancel()

    def _start_work(self, action: Work) -> None:
        learns = isinstance(action.job, (Train, Evaluate))
        pool = self._learning if learns else self._summing
        future = self._loop.run_in_executor(pool, self._do, action.job)
        self._work[action.ticket] = future
        future.add_done_callback(lambda done: self._work_done(action.ticket, done))

    def _work_done(self, ticket: Ticket, done: "asyncio.Future[Record]") -> None:
        if self._work.pop(ticket, None) is None or done.cancelled():
            return  # It was cancelled, or all is over.
        error = done.exception()
        if error is not None:
            result: Record = WorkFailed(_one_line(error))
        else:
            result = done.result()
        if isinstance(result, WorkFailed):
            reason = result.reason
            self._tell(
                "work_failed", lambda: self._machine.on_work_failed(self.now_s, ticket, reason)
            )
        else:
            self._tell("work", lambda: self._machine.on_work_done(self.now_s, ticket, result))

    def _cancel_work(self, action: CancelWork) -> None:
        future = self._work.pop(action.ticket, None)
        if future is not None:
            future.cancel()

    def _forget(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for future in self._work.values():
            future.cancel()
        self._work.clear()


async def _until(event: asyncio.Event) -> None:
    await event.wait()


def _one_line(error: BaseException) -> str:
    told = " ".join(str(error).split())
    return f"{type(error).__name__}: {told}" if told else type(error).__name__
