"""Drives one machine in the real world: what it asks for is done, what happens it is told.

All inputs of the machine are called on the event loop, one at a time. The actions that they return
go into the action queue (p2pfl_gossip/action_queue.py), which hands.py carries out; inputs never
wait for it. Time is the loop's: a wall clock that jumps changes nothing.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable

from p2pfl.daemon.hands import Journal, LoopHands, Observer
from p2pfl.daemon.links import Links
from p2pfl_gossip import wire
from p2pfl_gossip.action_queue import ActionQueue
from p2pfl_gossip.actions import (
    Action,
    Command,
    Job,
    Machine,
    PeerId,
    RemoteProtocolError,
    Ticket,
)
from p2pfl_gossip.learning import WorkFailed
from p2pfl_gossip.records import MalformedFrame, Record

SWITCH_INTERVAL_S = 0.0005
"""How long training may keep the interpreter from the links; Python's 5 ms would let a frame wait
as long as it takes to send a megabyte."""


class Driver:
    """Runs a machine until it is stopped, or something fails that must not.

    Attributes:
        counters: actions carried out and inputs told, by name.
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
        self._machine, self._journal, self._observer = machine, journal, observer
        self._links: Links
        self._hands = LoopHands(
            journal=journal, work=work, observer=observer, told=self, counters=self.counters
        )
        self._queue = ActionQueue(self._hands)
        self._to_carry_out: deque[Callable[[], None]] = deque()
        self._idle = asyncio.Event()
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def now_s(self) -> float:
        """Seconds since the driver was made."""
        return self._hands.now_s

    @property
    def sent_bytes(self) -> Counter[str]:
        """What was given to the links, by the name of the message; bodies with their headers."""
        return self._hands.sent_bytes

    async def run(self, links: Links, stop: asyncio.Event) -> None:
        """Run until `stop` is set and all that was asked for until then is done.

        Raises:
            Exception: whatever the journal or the machine raised: going on would break a promise.
        """
        self._links = self._hands.links = links
        loop = asyncio.get_running_loop()
        waits = [loop.create_task(_until(stop))]
        try:
            records = await loop.run_in_executor(self._hands.storing, self._journal.records)
            if stop.is_set():
                return  # Asked to end before it began.
            links.start()
            self._tell("start", lambda: self._machine.on_start(self.now_s, records))
            await asyncio.wait([*waits, self._failed], return_when=asyncio.FIRST_COMPLETED)
            waits.append(loop.create_task(_until(self._idle)))
            await asyncio.wait([waits[-1], self._failed], return_when=asyncio.FIRST_COMPLETED)
            if not self._failed.done():
                await links.flush()
        finally:
            for task in waits:
                task.cancel()
            self._queue.close()
            self._hands.stop()
            await links.close()
            self._hands.close()
        if self._failed.done():
            self._failed.result()

    def command(self, command: Command) -> None:
        """Pass an operator's word on."""
        self._tell("command", lambda: self._machine.on_command(self.now_s, command))

    def ask(self, call: Callable[[float], list[Action]]) -> None:
        """Call an input of the machine that is not among those of all machines, with the time."""
        self._tell("host", lambda: call(self.now_s))

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

    def on_peer_up(self, peer: PeerId) -> None:
        """Tell of a link."""
        self._observer.on_link(peer, up=True, reason="")
        self._tell("peer_up", lambda: self._machine.on_peer_up(self.now_s, peer))

    def on_peer_down(self, peer: PeerId, reason: str) -> None:
        """Tell of a link that is gone."""
        self._observer.on_link(peer, up=False, reason=reason)
        self._tell("peer_down", lambda: self._machine.on_peer_down(self.now_s, peer))

    # What the hands tell: `Told`. An answer that comes too late is told to nobody.

    def on_sent(self, ticket: Ticket, ok: bool) -> None:
        """Tell how a sending ended."""
        if self._queue.take_sent(ticket):
            self._tell("sent", lambda: self._machine.on_sent(self.now_s, ticket, ok))

    def on_timer(self, ticket: Ticket) -> None:
        """Tell of a timer."""
        if self._queue.take_timer(ticket):
            self._tell("timer", lambda: self._machine.on_timer(self.now_s, ticket))

    def on_work_ended(self, ticket: Ticket, result: Record) -> None:
        """Tell how a job ended."""
        if not self._queue.take_work(ticket):
            return
        if isinstance(result, WorkFailed):
            reason = result.reason
            self._tell(
                "work_failed", lambda: self._machine.on_work_failed(self.now_s, ticket, reason)
            )
        else:
            self._tell("work", lambda: self._machine.on_work_done(self.now_s, ticket, result))

    def on_persisted(self) -> None:
        """Let go on what waited for the disk."""
        self._carry_out(self._queue.persisted)

    def on_failed(self, error: BaseException) -> None:
        """End the run: a promise cannot be kept."""
        self._queue.close()
        if not self._failed.done():
            self._failed.set_exception(error)

    # Inputs and actions.

    def _tell(
        self, name: str, call: Callable[[], list[Action]], peer: PeerId | None = None
    ) -> bool:
        """Call an input and take its actions; return False where the peer is at fault."""
        if self._queue.is_closed:
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
        self._carry_out(lambda: self._queue.push(actions))
        return True

    def _carry_out(self, go_on: Callable[[], None]) -> None:
        """Have the queue carry out what it can.

        Links may tell of a frame that finds no room, or of a link that they end, from within an
        action: what the machine asks for then follows that action's list.
        """
        self._to_carry_out.append(go_on)
        if len(self._to_carry_out) > 1:
            return  # We are called from within.
        while self._to_carry_out:
            try:
                self._to_carry_out[0]()
            except Exception as error:
                self.on_failed(error)
            self._to_carry_out.popleft()
        if self._queue.is_persisting:
            self._idle.clear()
        else:
            self._idle.set()


async def _until(event: asyncio.Event) -> None:
    await event.wait()
