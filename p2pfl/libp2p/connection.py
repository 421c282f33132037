"""One connection to one peer: a yamux session on a link, and the streams of it."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from time import monotonic  # The clock of uvloop counts whole milliseconds.

from p2pfl.libp2p.admission import Admission
from p2pfl.libp2p.errors import (
    ConnectionLost,
    RemoteFault,
    StreamTimeout,
)
from p2pfl.libp2p.inbound_streams import InboundStreams
from p2pfl.libp2p.link import Link
from p2pfl.libp2p.liveness import TICKS_PER_PERIOD, Liveness, Pulse
from p2pfl.libp2p.multiaddr import Multiaddr
from p2pfl.libp2p.multistream import MultistreamDialer
from p2pfl.libp2p.negotiation import agree_outbound
from p2pfl.libp2p.send_queue import SendQueue
from p2pfl.libp2p.shared import Shared
from p2pfl.libp2p.stream import Stream
from p2pfl.libp2p.upgrade import Upgraded
from p2pfl.libp2p.yamux import Yamux
from p2pfl.libp2p.yamux_events import (
    DataReceived,
    Event,
    GoneAway,
    PingAnswered,
    StreamFinishedWriting,
    StreamOpened,
    StreamWasReset,
    WindowGrown,
)
from p2pfl.libp2p.yamux_frames import GoAwayCode
from p2pfl.libp2p.yamux_streams import WindowBudget

# How long a stream that we have closed may stay open at the other end: one keepalive period.
_STREAM_END_TICKS = TICKS_PER_PERIOD


class Connection:
    """A live connection to an authenticated peer.

    Attributes:
        peer_id: who is at the other end.
        incarnation: which of its processes, by the Noise key that it proved to hold.
        admission: whether it may be used.
        dialer: whether we dialled.
        remote_address: where the other end's socket is.
        opened_at_s: of the event loop's clock.
        unread_bytes: received but not yet read by an application.
        round_trip_s: of the last ping; None until one was answered.
        lost_reason: None while the connection lives.
    """

    def __init__(
        self,
        shared: Shared,
        connection_socket: socket.socket,
        upgraded: Upgraded,
        *,
        dialer: bool,
        remote_address: Multiaddr,
        on_confirmed: Callable[["Connection"], None],
        on_lost: Callable[["Connection", str], None],
    ) -> None:
        """Take over a socket after its upgrade; `start` begins to read.

        Args:
            shared: of the host.
            connection_socket: owned by the connection from now on.
            upgraded: the result of the upgrade.
            dialer: whether we dialled.
            remote_address: where the other end's socket is.
            on_confirmed: called when the first bytes after the upgrade show that the other end has
                admitted us, before anything else is done with them.
            on_lost: called once with the reason, however the connection ends.
        """
        limits = shared.limits
        self.peer_id, self.incarnation = upgraded.peer_id, upgraded.incarnation
        self.admission = Admission()
        self.dialer = dialer
        self.remote_address = remote_address
        self.unread_bytes = 0
        self.round_trip_s: float | None = None
        self.lost_reason: str | None = None
        self._shared, self._limits, self._counters = shared, limits, shared.counters
        self._loop = asyncio.get_running_loop()
        self.opened_at_s = self._loop.time()
        self._on_confirmed: Callable[[Connection], None] | None = on_confirmed
        self._on_lost = on_lost
        self._early_plaintext = upgraded.plaintext
        self._yamux = Yamux(
            dialer=dialer,
            inbound_streams_max=limits.inbound_streams_per_peer_max,
            outbound_streams_max=limits.outbound_streams_per_peer_max,
            window_bytes_max=limits.window_bytes_max,
            budget=WindowBudget(limits.window_growth_per_peer_bytes_max, shared.budget),
        )
        self._streams: dict[int, Stream] = {}
        self._queue = SendQueue(self._yamux)
        self._inbound = InboundStreams(shared, upgraded.peer_id, self.admission, self._offended)
        self._ending: dict[int, int] = {}  # Stream id -> tick by which the other end has to end it.
        self._liveness = Liveness()
        self._pong: asyncio.Future[None] | None = None
        self._link = Link(
            connection_socket,
            upgraded.channel,
            shared.scratch,
            rest=upgraded.rest,
            on_plaintext=self._on_plaintext_untrusted,
            next_batch=self._queue.next_batch,
            on_lost=self._lost,
        )

    @property
    def stream_count(self) -> int:
        """Open streams in both directions."""
        return self._yamux.stream_count

    @property
    def draining(self) -> bool:
        """Whether another connection to the same peer has superseded this one."""
        return self._liveness.draining

    @property
    def gone(self) -> asyncio.Future[None]:
        """Done as soon as the socket is closed."""
        return self._link.gone

    @property
    def bytes_sent(self) -> int:
        """Bytes that the socket took, sealed."""
        return self._link.bytes_sent

    @property
    def bytes_received(self) -> int:
        """Bytes that came from the socket, sealed."""
        return self._link.bytes_received

    def start(self) -> None:
        """Begin to read, and ping: the answer confirms the connection and tells the round trip.

        Receive windows grow only where the round trip is known.
        """
        self._send_ping()
        if self._early_plaintext:
            early, self._early_plaintext = self._early_plaintext, b""
            try:
                self._on_plaintext_untrusted(memoryview(early))
            except RemoteFault as error:
                self._offended(error.reason)
                return
        self._link.start()

    async def open_stream(self, protocols: Sequence[str], timeout_s: float | None = None) -> Stream:
        """Open a stream and agree on the first of `protocols` that the other end speaks.

        Args:
            protocols: in order of preference.
            timeout_s: for the agreement; the host's `negotiation_timeout_s` by default.

        Raises:
            ConnectionLost: the connection is gone or ending.
            LimitReached: too many streams.
            ProtocolRefused: the other end speaks none of them.
            StreamReset, StreamTimeout: no agreement came about.
            RemoteFault: the other end broke the protocol; the connection is closed.
        """
        if self.lost_reason is not None:
            raise ConnectionLost(self.lost_reason)
        negotiation = MultistreamDialer(protocols)
        stream = self._new_stream(self._yamux.open_stream(monotonic()), inbound=False)
        timeout_s = self._limits.negotiation_timeout_s if timeout_s is None else timeout_s
        try:
            await agree_outbound(stream, negotiation, timeout_s)
        except RemoteFault as error:
            self._offended(error.reason)
            raise
        except BaseException:
            stream.reset()
            raise
        self._counters.add("streams_opened")
        return stream

    async def ping(self, timeout_s: float | None = None) -> float:
        """Measure a round trip by a yamux ping.

        Returns:
            Seconds.

        Raises:
            ConnectionLost: the connection is gone.
            StreamTimeout: no answer came in time.
        """
        if self._pong is None or self._pong.done():
            self._pong = self._loop.create_future()
            self._pong.add_done_callback(_retrieve)
            if self.lost_reason is None:
                self._send_ping()
                self._link.pump()
        if self.lost_reason is not None:
            raise ConnectionLost(self.lost_reason)
        try:
            async with asyncio.timeout(timeout_s or self._limits.negotiation_timeout_s):
                await asyncio.shield(self._pong)
        except TimeoutError:
            raise StreamTimeout("no answer to a ping") from None
        assert self.round_trip_s is not None
        return self.round_trip_s

    def close(
        self, reason: str, code: GoAwayCode = GoAwayCode.NORMAL, linger_s: float | None = None
    ) -> None:
        """End the connection: tell the other end, reset all streams, close the socket.

        Args:
            reason: counted, and told to whoever waits on a stream.
            code: told to the other end.
            linger_s: how long to wait for the other end to read what is on its way; by default
                `Limits.linger_s` where all is well, else not at all.
        """
        if self.lost_reason is not None:
            return
        self._yamux.go_away(code)
        if linger_s is None:
            linger_s = self._limits.linger_s if code is GoAwayCode.NORMAL else 0.0
        self._link.close(linger_s)
        self._lost(reason)

    def drain(self) -> None:
        """Another connection to this peer is used from now on: end once the streams have ended."""
        self._liveness.drain()

    def undrain(self) -> None:
        """The other connection is gone: this one is used again."""
        self._liveness.undrain()

    def tick(self) -> None:
        """Be told, `TICKS_PER_PERIOD` times a keepalive period, that time passes."""
        heard, self._link.heard = self._link.heard, False
        verdict = self._liveness.tick(heard=heard, busy=self._yamux.stream_count > 0)
        tick = self._liveness.tick_count
        if tick % TICKS_PER_PERIOD == 0:
            self._inbound.start_period()
        for stream_id in [i for i, end_tick in self._ending.items() if end_tick <= tick]:
            del self._ending[stream_id]
            self._streams.pop(stream_id, None)
            self._yamux.reset(stream_id)
        if verdict is Pulse.DEAD:
            self.close("keepalive_timeout", linger_s=0.0)
        elif verdict is Pulse.DRAINED:
            self.close("superseded")
        elif verdict is Pulse.SILENT:
            self._send_ping()
        self._link.pump()

    # What streams ask for.

    def send(self, stream: Stream) -> None:
        """`stream.outgoing` holds something new."""
        self._queue.add(stream)
        self._link.pump()

    def consume(self, stream: Stream, count: int) -> None:
        """The application has read `count` bytes."""
        self.forget_unread(count)
        queued_bytes = len(self._yamux.control)
        self._yamux.consume(stream.stream_id, count, monotonic())
        if len(self._yamux.control) > queued_bytes and not self._liveness.awaits_answer:
            # Beside a window update goes a ping: the window has to cover the round trip as it is
            # under this load, on a busy machine many times that of an idle connection.
            self._yamux.ping(self._liveness.ping(monotonic()))
        if self._yamux.control:
            self._link.schedule_pump()

    def forget_unread(self, count: int) -> None:
        """`count` bytes are unread no more."""
        if self.lost_reason is None:  # Else all of them were forgotten already.
            self.unread_bytes -= count
            self._shared.unread_bytes -= count

    def finish_stream(self, stream: Stream) -> None:
        """The application writes no more."""
        if self._yamux.knows(stream.stream_id):
            self._yamux.finish(stream.stream_id)
            self._link.schedule_pump()
        self._forget_if_over(stream.stream_id)

    def reset_stream(self, stream: Stream) -> None:
        """The application abandons the stream."""
        if self._yamux.knows(stream.stream_id):
            self._yamux.reset(stream.stream_id)
            self._counters.add("streams_reset_by_us")
            self._link.schedule_pump()
        self._forget_if_over(stream.stream_id)

    def let_stream_end(self, stream: Stream) -> None:
        """The application is done with the stream; the other end has a while to finish too."""
        if self._yamux.knows(stream.stream_id):
            self._ending[stream.stream_id] = self._liveness.tick_count + _STREAM_END_TICKS

    # What the link tells.

    def _on_plaintext_untrusted(self, plaintext: memoryview) -> None:
        if self._on_confirmed is not None:
            on_confirmed, self._on_confirmed = self._on_confirmed, None
            on_confirmed(self)
        try:
            for event in self._yamux.receive_untrusted(plaintext, monotonic()):
                if type(event) is DataReceived:
                    self._on_data_untrusted(event)
                else:
                    self._on_event_untrusted(event)
                if self.lost_reason is not None:
                    return
            if self._yamux.refused_count:
                self._inbound.count_refused(self._yamux.refused_count)
                self._yamux.refused_count = 0
            self._inbound.check_flood()
        except RemoteFault as error:
            self._offended(error.reason)
            return
        if self._queue.pending:
            self._link.pump()

    def _on_data_untrusted(self, event: DataReceived) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is None:
            return
        count = len(event.data)
        self.unread_bytes += count
        self._shared.unread_bytes += count
        stream.on_data(event.data)
        if self.unread_bytes > self._limits.unread_per_peer_bytes_max:
            raise RemoteFault("unread_bytes")
        if self._shared.unread_bytes > self._limits.unread_bytes_max:
            self._shared.on_unread_excess()

    def _on_event_untrusted(self, event: Event) -> None:
        if isinstance(event, StreamOpened):
            self._on_opened(event.stream_id)
        elif isinstance(event, WindowGrown):
            stream = self._streams.get(event.stream_id)
            if stream is not None and stream.outgoing:
                self._queue.add(stream)
        elif isinstance(event, StreamFinishedWriting):
            if (stream := self._streams.get(event.stream_id)) is not None:
                stream.on_finished()
            self._forget_if_over(event.stream_id)
        elif isinstance(event, StreamWasReset):
            self._counters.add("streams_reset_by_peer")
            if (stream := self._streams.get(event.stream_id)) is not None:
                stream.on_reset("by_peer")
            self._forget_if_over(event.stream_id)
        elif isinstance(event, PingAnswered):
            self._on_pong(event.value)
        elif isinstance(event, GoneAway):
            self.close("gone_away")

    def _on_opened(self, stream_id: int) -> None:
        if self._inbound.has_room():
            self._inbound.serve(self._new_stream(stream_id, inbound=True))
        else:
            self._yamux.reset(stream_id)

    def _on_pong(self, value: int) -> None:
        round_trip_s = self._liveness.ping_answered(value, monotonic())
        if round_trip_s is None:
            return
        self.round_trip_s = self._yamux.round_trip_s = round_trip_s
        if self._pong is not None and not self._pong.done():
            self._pong.set_result(None)

    def _lost(self, reason: str) -> None:
        if self.lost_reason is not None:
            return
        self.lost_reason = reason
        self._yamux.close()
        for stream in self._streams.values():
            stream.on_reset(reason)
        self._streams.clear()
        self._queue.clear()
        self._ending.clear()
        self._shared.unread_bytes -= self.unread_bytes
        self.unread_bytes = 0
        if self._pong is not None and not self._pong.done():
            self._pong.set_exception(ConnectionLost(reason))
        self._on_lost(self, reason)

    # Inner workings.

    def _offended(self, reason: str) -> None:
        self.close(reason, GoAwayCode.PROTOCOL_ERROR)

    def _new_stream(self, stream_id: int, *, inbound: bool) -> Stream:
        timeout_s = self._limits.stream_timeout_s
        stream = Stream(self, stream_id, inbound=inbound, timeout_s=timeout_s)
        self._streams[stream_id] = stream
        return stream

    def _forget_if_over(self, stream_id: int) -> None:
        if not self._yamux.knows(stream_id):
            self._streams.pop(stream_id, None)
            self._ending.pop(stream_id, None)

    def _send_ping(self) -> None:
        self._yamux.ping(self._liveness.ping(monotonic()))
        self._link.pump()


def _retrieve(future: asyncio.Future[None]) -> None:
    """Mark the exception of a future that nobody may be waiting for as seen."""
    if not future.cancelled():
        future.exception()
