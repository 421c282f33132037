"""All traffic of one peer: frames and bodies, out and in, over one libp2p host.

Two protocols, named after the group, so that peers of another group or version share none:

    /p2pfl/1/<group>/frames   one stream a direction, held open: frames, each after its length
    /p2pfl/1/<group>/body     one stream a body: the header's frame, the body's size (8 bytes,
                              little-endian), the body, and the trailer's frame if there is one

A link is up once its frames protocol is agreed on, in either direction: a member of another group
has a connection to us at most, never a link. Whichever end dialled, frames go over the connection
that stands, and a dial that fails beside it is no news. What is told of a link, `states` holds: up
and down are told in turn, and the down of a link that cannot be made once for what waited for it.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from p2pfl.daemon.incarnations import incarnation_protocol
from p2pfl.daemon.outbox import Outbox
from p2pfl.libp2p import (
    Connection,
    DialFailed,
    Host,
    Keeper,
    Libp2pError,
    LimitReached,
    MalformedBytes,
    PeerDoubled,
    PeerEvent,
    PeerUp,
    ProtocolRefused,
    Stream,
    StreamReset,
    StreamTimeout,
)
from p2pfl_gossip import wire
from p2pfl_gossip.actions import Buffer, PeerId, SendBulk, Ticket
from p2pfl_gossip.inbound import BODIES_PER_SENDER_MAX

LINKS_KEPT_MAX = 64
"""In a larger group links are made when they are needed: cohorts of a few dozen change each round,
and every link costs its two ends a ping a period."""

OUTBOX_BYTES_MAX = 8 * 2**20
"""Frames that wait for one peer: 128 of the largest; who takes none for so long is not reading."""

FRAME_STREAMS_MAX = 4
"""Inbound, from one peer: one, and one more for each link that it replaces meanwhile."""

BODIES_TO_RECEIVER_MAX = 2
"""Outbound, to one peer at once: a small mean need not wait for a large part."""

PIECE_BYTES = 2**20
"""Of a body, written and read at once."""

UP, NOT_YET = "up", "not_yet"
"""States of a link; any other is the reason why there is none."""

OTHER_GROUP, SECOND, CHECKED = "other_group_or_version", "another_incarnation", "being_checked"
"""Reasons: the other end speaks of another group; it is linked to another process with our key; it
is no running peer, but `p2pfl peer check`."""

DIAL_RATE = "dial_rate"
"""A reason: our own host spares an address for a second."""

HEADER_TIMEOUT_S = 30.0
SIZE_BYTES = 8
SHUTDOWN_S = 5.0


class NoLink(ProtocolRefused):
    """The other end is of our group, and takes no frames from us; `reason` tells why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Receiver(Protocol):
    """Who is told what arrives; the driver. Bodies are numbered, and told as `Machine` has it."""

    def on_frame(self, peer: PeerId, frame: bytearray) -> None:
        """A frame came."""

    def on_bulk_begin(self, peer: PeerId, bulk: int, frame: bytearray) -> bool:
        """A body's header came; is the body wanted?"""

    def on_bulk_chunk(self, peer: PeerId, bulk: int, chunk: bytearray) -> bool:
        """Some of the body came; is the rest still wanted?"""

    def on_bulk_end(self, peer: PeerId, bulk: int, frame: bytearray | None) -> None:
        """All of the body came, with its trailer's frame if there is one."""

    def on_bulk_lost(self, peer: PeerId, bulk: int) -> None:
        """The body's stream broke."""

    def on_sent(self, ticket: Ticket, ok: bool) -> None:
        """A frame or body left, or cannot."""

    def on_peer_up(self, peer: PeerId) -> None:
        """A link stands."""

    def on_peer_down(self, peer: PeerId, reason: str) -> None:
        """A link broke, or could not be made."""

    def on_failed(self, error: BaseException) -> None:
        """Something of our own failed, such as the drawing of a body."""


class Links:
    """The links of one peer to the members of its group.

    Attributes:
        counters: frames, bodies and their bytes, out and in; what was lost, by reason.
        states: of the link to each member: `UP`, `NOT_YET`, or why there is none.
    """

    def __init__(
        self,
        host: Host,
        *,
        addresses: Mapping[PeerId, Sequence[str]],
        group_id: bytes,
        receiver: Receiver,
    ) -> None:
        """Take a host over, best before it listens; nothing moves before `start`.

        Args:
            host: admits members only; stays the caller's to close.
            addresses: of all other members.
            group_id: names the protocols.
            receiver: is told what arrives.
        """
        self.counters: Counter[str] = Counter()
        self.states: dict[PeerId, str] = dict.fromkeys(addresses, NOT_YET)
        self._host, self._addresses, self._receiver = host, dict(addresses), receiver
        prefix = protocol_prefix(group_id)
        self._frames, self._body = f"{prefix}/frames", f"{prefix}/body"
        # What is spoken in place of frames, and why there is no link then.
        self._no_links = {check_protocol(prefix): CHECKED, incarnation_protocol(prefix): SECOND}
        self._keeper = Keeper(host, on_failed=self._unreachable)
        self._outboxes: dict[PeerId, Outbox] = {}
        self._sending: dict[PeerId, asyncio.Semaphore] = {}
        self._taking: dict[PeerId, asyncio.Semaphore] = {}
        self._frame_streams: Counter[PeerId] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._bulk = 0
        self._started = asyncio.Event()
        self._unwatch: Callable[[], None] = lambda: None
        # At once: whoever finds no handler takes us for a member of another group.
        host.set_handler(self._frames, self._take_frames)
        host.set_handler(self._body, self._take_body)

    def start(self) -> None:
        """Serve, and hold links to all members of a group that is not too large."""
        self._unwatch = self._host.watch(self._on_peer)
        self._started.set()
        for peer in self._host.peers():
            self._on_peer(PeerUp(peer))
        if len(self._addresses) <= LINKS_KEPT_MAX:
            for peer in self._addresses:
                self.keep(peer)

    def keep(self, peer: PeerId) -> None:
        """Hold a link to a member, ahead of need."""
        if peer not in self._keeper.kept():
            self._keeper.keep(peer, self._addresses[peer])

    def admit(self, addresses: Mapping[PeerId, Sequence[str]]) -> None:
        """Link to other members from now on: an epoch has begun.

        Who is a member no more gets nothing more. Links that stand and are to stay do.
        """
        for peer in [peer for peer in self._addresses if peer not in addresses]:
            del self._addresses[peer]
            self._keeper.release(peer)
            was_up = self.states.pop(peer) == UP
            outbox = self._outboxes.pop(peer, None)
            if outbox is not None:
                if outbox.task is not None:
                    outbox.task.cancel()
                self._lose(outbox)
            self.disconnect(peer, "not_a_member")
            if was_up:
                self._receiver.on_peer_down(peer, "not_a_member")
        moved = [peer for peer in addresses if self._addresses.get(peer) != addresses[peer]]
        for peer in moved:
            self._addresses[peer] = addresses[peer]
            self.states.setdefault(peer, NOT_YET)
        if self._started.is_set() and len(self._addresses) <= LINKS_KEPT_MAX:
            for peer in moved:
                self._keeper.keep(peer, self._addresses[peer])
                if self._host.connection(peer) is not None:
                    self._on_peer(PeerUp(peer))

    def disconnect(self, peer: PeerId, reason: str) -> None:
        """End the link to a member."""
        self.counters[f"disconnected.{reason}"] += 1
        self._host.disconnect(peer, reason)

    def send(self, peer: PeerId, frame: bytes, ticket: Ticket | None) -> None:
        """Send a frame after those before it, over a link that is made if there is none."""
        if peer not in self._addresses:  # Of an epoch that is over, or whose papers are not here.
            self.counters["frames_lost"] += 1
            self._tell_sent(ticket, ok=False)
            return
        outbox = self._outbox(peer)
        if outbox.waiting_bytes + len(frame) > OUTBOX_BYTES_MAX:
            self._tell_sent(ticket, ok=False)
            self.disconnect(peer, "does_not_read")
            return
        outbox.add(frame, ticket)
        self._begin(peer, outbox)

    def send_bulk(self, action: SendBulk, header: bytes) -> asyncio.Task[None]:
        """Send a body on a stream of its own; cancel the task to stop it."""
        return self._spawn(self._send_body(action, header), f"body to {action.receiver}")

    async def flush(self) -> None:
        """Wait for what is on its way out, for some seconds, and end the streams of frames.

        What a stream that was ended has brought may still be read when its connection is gone; of
        any other that is lost. A member's last words, such as that it leaves, are said only once.
        """
        tasks = list(self._tasks)
        if tasks:
            await asyncio.wait(tasks, timeout=SHUTDOWN_S)
        for outbox in self._outboxes.values():
            if outbox.task is None and outbox.stream is not None:
                with contextlib.suppress(StreamReset):
                    outbox.stream.finish()

    async def close(self) -> None:
        """End all that is under way; links stay the host's to close."""
        self._unwatch()
        for protocol in (self._frames, self._body):
            self._host.set_handler(protocol, None)
        await self._keeper.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=SHUTDOWN_S)

    # Out.

    def _outbox(self, peer: PeerId) -> Outbox:
        outbox = self._outboxes.get(peer)
        if outbox is None:
            outbox = self._outboxes[peer] = Outbox()
        return outbox

    def _begin(self, peer: PeerId, outbox: Outbox) -> None:
        if outbox.task is None:
            outbox.task = self._spawn(self._empty(peer, outbox), f"frames to {peer}")

    async def _connection(self, peer: PeerId) -> Connection:
        connection = self._host.connection(peer)
        if connection is None:
            if peer not in self._addresses:
                raise DialFailed("not_allowed")
            connection = await self._host.dial(peer, self._addresses[peer])
        return connection

    async def _open(self, connection: Connection, protocol: str) -> Stream:
        """Open a stream; raises ProtocolRefused, or NoLink where it is known why."""
        stream = await connection.open_stream([protocol, *self._no_links])
        if stream.protocol in self._no_links:
            stream.close()
            raise NoLink(self._no_links[stream.protocol])
        return stream

    async def _empty(self, peer: PeerId, outbox: Outbox) -> None:
        """Write all frames that wait for a peer; tell of the link that cannot be had."""
        try:
            while outbox.frames or outbox.is_fresh:
                if not outbox.frames and self._host.connection(peer) is None:
                    outbox.is_fresh = False  # The connection is gone before it was of use.
                    return
                connection = None
                try:
                    connection = await self._connection(peer)
                    await self._write(peer, outbox, connection)
                except Libp2pError as error:
                    self._broke(peer, connection, error)
                    # Another connection, where one stands, takes the frames that were not begun,
                    # and tells whether there is a link at all.
                    outbox.is_fresh = self._host.connection(peer) not in (None, connection)
                    if not outbox.is_fresh:
                        self._lose(outbox)
        finally:
            outbox.task = None

    async def _write(self, peer: PeerId, outbox: Outbox, connection: Connection) -> None:
        if outbox.refused_by is connection:
            raise outbox.refusal
        outbox.is_fresh = False
        if outbox.stream is None or outbox.connection is not connection:
            if outbox.stream is not None:
                outbox.stream.close()
            outbox.stream, outbox.connection = None, connection
            outbox.stream = await self._open(connection, self._frames)
            self._tell_up(peer)
        while outbox.frames:
            frame, ticket = outbox.take()
            sent = False
            try:
                await outbox.stream.write_message(frame)
                sent = True
            finally:
                if not sent:
                    self.counters["frames_lost"] += 1
                    self._tell_sent(ticket, ok=False)
            self.counters["frames_sent"] += 1
            self.counters["bytes_sent"] += len(frame)
            self._tell_sent(ticket, ok=True)

    def _lose(self, outbox: Outbox) -> None:
        outbox.is_fresh = False
        while outbox.frames:
            _, ticket = outbox.take()
            self.counters["frames_lost"] += 1
            self._tell_sent(ticket, ok=False)

    async def _send_body(self, action: SendBulk, header: bytes) -> None:
        peer, connection, ok = action.receiver, None, False
        slots = self._sending.setdefault(peer, asyncio.Semaphore(BODIES_TO_RECEIVER_MAX))
        try:
            async with slots:
                connection = await self._connection(peer)
                async with await self._open(connection, self._body) as stream:
                    await stream.write_message(header)
                    await stream.write(action.size_bytes.to_bytes(SIZE_BYTES, "little"))
                    await stream.write_from(_pieces(action.parts))
                    if action.trailer is not None:
                        await stream.write_message(wire.encode(action.trailer()))
                    stream.finish()
            ok = True
            self.counters["bodies_sent"] += 1
            self.counters["bytes_sent"] += len(header) + action.size_bytes
        except StreamReset:
            self.counters["bodies_refused"] += 1  # Or the link broke, which is told of as such.
        except Libp2pError as error:
            self.counters["bodies_lost"] += 1
            self._broke(peer, connection, error)
        finally:
            self._tell_sent(action.ticket, ok=ok)

    # In.

    async def _take_frames(self, stream: Stream) -> None:
        peer = stream.peer_id
        if peer not in self._addresses or self._frame_streams[peer] >= FRAME_STREAMS_MAX:
            stream.reset()
            return
        self._frame_streams[peer] += 1
        try:
            await self._started.wait()
            self._outbox(peer).refused_by = None  # Whoever speaks to us takes frames as well.
            self._tell_up(peer)
            while True:
                frame = await stream.read_message(wire.FRAME_BYTES_MAX, timeout_s=None)
                if frame is None:
                    return
                self.counters["frames_received"] += 1
                self.counters["bytes_received"] += len(frame)
                self._receiver.on_frame(peer, frame)
        except MalformedBytes as error:
            self.disconnect(peer, error.reason)
        except Libp2pError:
            stream.reset()  # The end of its connection is told of as such.
        finally:
            self._frame_streams[peer] -= 1

    async def _take_body(self, stream: Stream) -> None:
        peer = stream.peer_id
        if peer not in self._addresses:
            stream.reset()
            return
        # As many as the machine takes of one sender; the others wait in their windows.
        slots = self._taking.setdefault(peer, asyncio.Semaphore(BODIES_PER_SENDER_MAX))
        async with slots:
            await self._started.wait()
            self._bulk += 1
            bulk, is_wanted = self._bulk, False
            try:
                header = await stream.read_message(wire.FRAME_BYTES_MAX, HEADER_TIMEOUT_S)
                if header is None:
                    return
                left = int.from_bytes(await stream.read_exactly(SIZE_BYTES), "little")
                is_wanted = self._receiver.on_bulk_begin(peer, bulk, header)
                while is_wanted and left:
                    chunk = await stream.read(min(left, PIECE_BYTES))
                    if not chunk:
                        raise MalformedBytes("body_too_short")
                    left -= len(chunk)
                    self.counters["bytes_received"] += len(chunk)
                    is_wanted = self._receiver.on_bulk_chunk(peer, bulk, chunk)
                if not is_wanted:
                    stream.reset()
                    return
                trailer = await stream.read_message(wire.FRAME_BYTES_MAX)
                is_wanted = False
                self.counters["bodies_received"] += 1
                self._receiver.on_bulk_end(peer, bulk, trailer)
            except MalformedBytes as error:
                self.disconnect(peer, error.reason)
            except Libp2pError:
                stream.reset()
            finally:
                if is_wanted:
                    self._receiver.on_bulk_lost(peer, bulk)

    # What is told.

    def _on_peer(self, event: PeerEvent) -> None:
        """A connection is there, which may become a link; or the last one to a peer is gone."""
        peer = event.peer_id
        if peer not in self._addresses:
            return
        outbox = self._outbox(peer)
        if isinstance(event, PeerDoubled):
            return  # Nothing changes for the link that stands.
        if isinstance(event, PeerUp):
            outbox.is_fresh = True
            self._begin(peer, outbox)
        elif self.states[peer] in (UP, NOT_YET):
            self._tell_down(peer, event.reason)

    def _unreachable(self, peer: PeerId, reason: str) -> None:
        """A dial of the keeper has failed: news only where nothing was known of the link."""
        if peer not in self._addresses:
            return
        if self._host.connection(peer) is not None or reason == DIAL_RATE:
            return
        if self.states[peer] == NOT_YET:
            self._tell_down(peer, reason)
        elif self.states[peer] != UP:  # Else the end of its connection is about to be told.
            self.states[peer] = reason

    def _broke(self, peer: PeerId, connection: Connection | None, error: Libp2pError) -> None:
        """Something could not be sent: see that what is told of the link is true."""
        if peer not in self._addresses:
            return
        if connection is None:  # It was no link that broke, but a dial that failed.
            # Anything else than a failed dial says that the host is about to close.
            if isinstance(error, DialFailed) and self._host.connection(peer) is None:
                self._tell_down(peer, error.reason)
            return
        outbox = self._outbox(peer)
        if isinstance(error, ProtocolRefused):
            outbox.refused_by, outbox.refusal = connection, error
            if self._host.connection(peer) is connection:
                self._tell_down(peer, error.reason if isinstance(error, NoLink) else OTHER_GROUP)
            return
        if isinstance(error, LimitReached):
            return  # Our own limit, of streams under way at once: nothing is wrong with the link.
        if outbox.connection is connection:
            outbox.stream = None
        if self._host.connection(peer) is connection:
            # It stands, but takes nothing: no link, and its end tells so.
            timed_out = isinstance(error, StreamTimeout)
            self.disconnect(peer, "does_not_read" if timed_out else "stream_failed")

    def _tell_up(self, peer: PeerId) -> None:
        is_member = peer in self._addresses
        if is_member and self.states[peer] != UP and self._host.connection(peer) is not None:
            self.states[peer] = UP
            self._receiver.on_peer_up(peer)

    def _tell_down(self, peer: PeerId, reason: str) -> None:
        if reason != DIAL_RATE or self.states[peer] in (UP, NOT_YET):
            self.states[peer] = reason
        self._receiver.on_peer_down(peer, reason)

    def _tell_sent(self, ticket: Ticket | None, *, ok: bool) -> None:
        if ticket is not None:
            self._receiver.on_sent(ticket, ok)

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._receiver.on_failed(error)


def _pieces(parts: Iterable[Buffer]) -> Iterator[memoryview]:
    """Cut a body's parts into pieces, each of which has the deadline of a write."""
    for part in parts:
        whole = np.frombuffer(part, np.uint8).data
        for start in range(0, len(whole), PIECE_BYTES):
            yield whole[start : start + PIECE_BYTES]


def check_protocol(prefix: str) -> str:
    """Return the protocol that `p2pfl peer check` serves in place of frames; it says nothing."""
    return f"{prefix}/check"


def protocol_prefix(group_id: bytes) -> str:
    """Return what a group's protocol names begin with."""
    return f"{protocol_version()}/{group_id.hex()[:32]}"


def protocol_version() -> str:
    """Return the name and version of what travels between members."""
    return "/p2pfl/1"
