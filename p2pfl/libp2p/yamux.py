"""yamux 1.0.0: many streams over one ordered connection, as a machine without IO.

Follows hashicorp/yamux `spec.md`, sections "Message Flow" and "Flow Control", and the libp2p
specification "yamux". Bytes in, events out; frames to send gather in `control`, and the driver
frames bodies with `data_header` when its link has room for them.

The receive window is enforced as soon as a data frame's header is there. What is unread on a stream
therefore never exceeds its window, whatever the other end does. A window grows while its reader
keeps up with a sender that fills it within a few round trips, as far as `WindowBudget` allows.

A SYN and an ACK travel on a window update of their own, as go-yamux sends them: py-libp2p overlooks
a FIN or RST beside an ACK.
"""

from collections.abc import Iterator

from p2pfl.libp2p.errors import LimitReached, LocalFault, RemoteFault
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
from p2pfl.libp2p.yamux_frames import (
    HEADER_BYTES,
    INITIAL_WINDOW_BYTES,
    WINDOW_BYTES_MAX,
    Flag,
    FrameHeader,
    FrameType,
    GoAwayCode,
    decode_header_untrusted,
    encode_header,
)
from p2pfl.libp2p.yamux_streams import (
    TRANSITIONS,
    SessionStream,
    StreamInput,
    StreamState,
    WindowBudget,
)

# Answers to a peer that sends pings or opens streams without reading: about 5,000 frames.
CONTROL_BYTES_MAX = 64 * 1024
# "Implementations SHOULD at most allow an ACK backlog of 256 streams" (libp2p "yamux").
ACK_BACKLOG_MAX = 256
STREAM_ID_MAX = 0xFFFFFFFF
# A sender that fills its window within this many round trips is held up by the window. go-yamux's
# forks in go-libp2p use the same number.
_GROWTH_ROUND_TRIPS = 4
_GROWTH_FACTOR = 2


class Yamux:
    """One session.

    Invariants: for each stream, unread bytes + `consumed` + `receive_window` == `window_size`;
    `control` holds whole frames only.

    Attributes:
        control: encoded frames without bodies, to be sent in order before any later body.
        gone_away: whether either end has ended the session: no new streams then.
        round_trip_s: as the driver last measured it; None until then.
        refused_count: streams of the other end that were reset for being too many, since the
            driver last set this to 0.
    """

    def __init__(
        self,
        *,
        dialer: bool,
        inbound_streams_max: int,
        outbound_streams_max: int,
        window_bytes_max: int,
        budget: WindowBudget,
    ) -> None:
        """Begin a session.

        Args:
            dialer: our streams have odd ids; the listener's have even ones.
            inbound_streams_max: streams of the other end at any time; more are reset.
            outbound_streams_max: streams of our own at any time.
            window_bytes_max: how far one stream's receive window may grow.
            budget: bounds the growth of all windows together.
        """
        self.control = bytearray()
        self.gone_away = False
        self.round_trip_s: float | None = None
        self.refused_count = 0
        self._parity = 1 if dialer else 0
        self._next_id = 1 if dialer else 2
        self._streams: dict[int, SessionStream] = {}
        self._inbound_count = 0
        self._unacknowledged = 0
        self._inbound_max = inbound_streams_max
        self._outbound_max = outbound_streams_max
        self._window_max = window_bytes_max
        self._budget = budget
        self._header = bytearray()  # The first bytes of a header that is not all there.
        self._body_left = 0
        self._body: FrameHeader | None = None
        # What the other end may still send to streams that are gone: what it had been allowed when
        # we reset them. Beyond that, data for an unknown stream is an offence.
        self._stray_bytes = 0

    @property
    def stream_count(self) -> int:
        """Streams in both directions that are not closed."""
        return len(self._streams)

    @property
    def inbound_count(self) -> int:
        """Streams that the other end opened and that are not closed."""
        return self._inbound_count

    def knows(self, stream_id: int) -> bool:
        """Whether the stream is not closed."""
        return stream_id in self._streams

    def send_window(self, stream_id: int) -> int:
        """Bytes that may be sent on the stream now; 0 where it is gone."""
        stream = self._streams.get(stream_id)
        return 0 if stream is None else stream.send_window

    # What our side does.

    def open_stream(self, now_s: float) -> int:
        """Open a stream; the SYN precedes the first frame sent on it.

        Raises:
            LimitReached: too many streams of ours, or too many that were never acknowledged.
        """
        if self.gone_away:
            raise LimitReached("session_ending")
        outbound = len(self._streams) - self._inbound_count
        if outbound >= self._outbound_max or self._next_id > STREAM_ID_MAX:
            raise LimitReached("outbound_streams")
        if self._unacknowledged >= ACK_BACKLOG_MAX:
            raise LimitReached("ack_backlog")
        stream_id = self._next_id
        self._next_id += 2
        self._streams[stream_id] = SessionStream(Flag.SYN, now_s)
        self._unacknowledged += 1
        self._greet(stream_id)
        return stream_id

    def data_header(self, stream_id: int, length: int) -> bytes:
        """Frame the next `length` > 0 bytes of the stream; they must follow the header at once.

        Raises:
            LocalFault: the stream is not open for writing, or its window is too small.
        """
        stream = self._local(stream_id, StreamInput.SEND_DATA)
        if not 0 < length <= stream.send_window:
            raise LocalFault("the data exceed the other end's window")
        self._greet(stream_id)
        stream.send_window -= length
        return encode_header(FrameType.DATA, 0, stream_id, length)

    def finish(self, stream_id: int) -> None:
        """Send nothing more on the stream (half-close)."""
        stream = self._local(stream_id, StreamInput.SEND_FIN)
        self._greet(stream_id)
        # On a data frame: js-libp2p and go-libp2p do so; py-libp2p understands both.
        self.control += encode_header(FrameType.DATA, Flag.FIN, stream_id, 0)
        stream.state = TRANSITIONS[stream.state, StreamInput.SEND_FIN]
        if stream.state is StreamState.CLOSED:
            self._forget(stream_id)

    def reset(self, stream_id: int) -> None:
        """Abandon the stream, if it is still there."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        self._control_reset(stream_id)
        if stream.state is not StreamState.FINISHED_REMOTELY:
            self._stray_bytes += stream.receive_window
        self._forget(stream_id)

    def consume(self, stream_id: int, count: int, now_s: float) -> None:
        """Tell that our application has taken `count` bytes of the stream's data."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.state is StreamState.FINISHED_REMOTELY:
            return  # Nothing more will come: a larger window is of no use.
        stream.consumed += count
        # Half a window at a time: seldom, yet before a sender in full flow runs dry.
        if stream.consumed * 2 < stream.window_size:
            return
        growth = self._growth(stream, now_s)
        self._greet(stream_id)
        delta = stream.consumed + growth
        stream.window_size += growth
        stream.receive_window += delta
        stream.consumed = 0
        stream.updated_at_s = now_s
        self.control += encode_header(FrameType.WINDOW_UPDATE, 0, stream_id, delta)

    def ping(self, value: int) -> None:
        """Ask the other end for a sign of life; `value` < 2^32 comes back."""
        self.control += encode_header(FrameType.PING, Flag.SYN, 0, value)

    def go_away(self, code: GoAwayCode) -> None:
        """End the session: no new streams in either direction."""
        if not self.gone_away:
            self.control += encode_header(FrameType.GO_AWAY, 0, 0, code)
        self.gone_away = True

    def close(self) -> None:
        """Forget all streams: the connection is gone."""
        for stream_id in list(self._streams):
            self._forget(stream_id)

    # What the other side does.

    def receive_untrusted(self, data: memoryview, now_s: float) -> Iterator[Event]:
        """Take the next bytes of the connection, in any pieces.

        Yields:
            Events in order; each has already happened to the machine when it is yielded.

        Raises:
            RemoteFault: the other end broke the protocol; the session is over.
        """
        offset, end = 0, len(data)
        while offset < end:
            if self._body is not None:
                piece = data[offset : offset + self._body_left]
                offset += len(piece)
                self._body_left -= len(piece)
                body = self._body
                if body.stream_id in self._streams:
                    yield DataReceived(body.stream_id, piece)
                if self._body_left == 0:
                    self._body = None
                    yield from self._on_flags_untrusted(body)
                continue
            if self._header or end - offset < HEADER_BYTES:
                taken = min(HEADER_BYTES - len(self._header), end - offset)
                self._header += data[offset : offset + taken]
                offset += taken
                if len(self._header) < HEADER_BYTES:
                    return
                header = decode_header_untrusted(self._header, 0)
                self._header.clear()
            else:
                header = decode_header_untrusted(data, offset)
                offset += HEADER_BYTES
            yield from self._on_header_untrusted(header, now_s)

    def _on_header_untrusted(self, header: FrameHeader, now_s: float) -> Iterator[Event]:
        if header.type == FrameType.PING:
            yield from self._on_ping_untrusted(header)
            return
        if header.type == FrameType.GO_AWAY:
            self.gone_away = True
            yield GoneAway(header.length)
            return
        if header.flags & Flag.SYN:
            yield from self._on_syn_untrusted(header, now_s)
        stream = self._streams.get(header.stream_id)
        if stream is None:
            self._on_stray_untrusted(header)
            return
        if header.flags & Flag.ACK and not stream.acknowledged and self._is_ours(header.stream_id):
            stream.acknowledged = True
            self._unacknowledged -= 1
        if header.type == FrameType.DATA and header.length:
            self._expect_body_untrusted(header, stream)
        elif header.type == FrameType.WINDOW_UPDATE and header.length:
            if stream.send_window + header.length > WINDOW_BYTES_MAX:
                raise RemoteFault("yamux_window_overflow")
            stream.send_window += header.length
            yield WindowGrown(header.stream_id)
        if self._body is None:
            yield from self._on_flags_untrusted(header)

    def _on_ping_untrusted(self, header: FrameHeader) -> Iterator[Event]:
        if header.flags == Flag.SYN:
            self.control += encode_header(FrameType.PING, Flag.ACK, 0, header.length)
            self._check_control_untrusted()
        elif header.flags == Flag.ACK:
            yield PingAnswered(header.length)
        else:
            raise RemoteFault("yamux_ping_flags")

    def _on_syn_untrusted(self, header: FrameHeader, now_s: float) -> Iterator[Event]:
        stream_id = header.stream_id
        if self._is_ours(stream_id):
            raise RemoteFault("yamux_stream_parity")
        if stream_id in self._streams:
            raise RemoteFault("yamux_stream_exists")
        if self.gone_away or self._inbound_count >= self._inbound_max:
            self.refused_count += 1
            self._stray_bytes += INITIAL_WINDOW_BYTES
            self._control_reset(stream_id)
            self._check_control_untrusted()
            return
        self._streams[stream_id] = SessionStream(Flag.ACK, now_s)
        self._inbound_count += 1
        yield StreamOpened(stream_id)

    def _on_stray_untrusted(self, header: FrameHeader) -> None:
        if self._is_ours(header.stream_id) and header.stream_id >= self._next_id:
            raise RemoteFault("yamux_unknown_stream")
        if header.type == FrameType.DATA and header.length:
            if header.length > self._stray_bytes:
                raise RemoteFault("yamux_unknown_stream")
            self._stray_bytes -= header.length
            self._body, self._body_left = header, header.length

    def _expect_body_untrusted(self, header: FrameHeader, stream: SessionStream) -> None:
        if (stream.state, StreamInput.RECEIVE_DATA) not in TRANSITIONS:
            raise RemoteFault("yamux_data_after_fin")
        if header.length > stream.receive_window:
            raise RemoteFault("yamux_window_exceeded")
        if header.flags & Flag.RST:
            raise RemoteFault("yamux_data_with_reset")
        stream.receive_window -= header.length
        self._body, self._body_left = header, header.length

    def _on_flags_untrusted(self, header: FrameHeader) -> Iterator[Event]:
        stream_id = header.stream_id
        stream = self._streams.get(stream_id)
        if stream is None:  # The driver has reset it on an event of this very frame.
            return
        if header.flags & Flag.RST:
            self._forget(stream_id)
            yield StreamWasReset(stream_id)
        elif header.flags & Flag.FIN:
            state = TRANSITIONS.get((stream.state, StreamInput.RECEIVE_FIN))
            if state is None:
                raise RemoteFault("yamux_fin_repeated")
            stream.state = state
            if state is StreamState.CLOSED:
                self._forget(stream_id)
            yield StreamFinishedWriting(stream_id)

    # Inner workings.

    def _is_ours(self, stream_id: int) -> bool:
        return stream_id & 1 == self._parity

    def _local(self, stream_id: int, what: StreamInput) -> SessionStream:
        stream = self._streams.get(stream_id)
        if stream is None or (stream.state, what) not in TRANSITIONS:
            raise LocalFault(f"cannot {what.value} on stream {stream_id}")
        return stream

    def _greet(self, stream_id: int) -> None:
        stream = self._streams[stream_id]
        if stream.greeting is not None:
            flag, stream.greeting = stream.greeting, None
            self.control += encode_header(FrameType.WINDOW_UPDATE, flag, stream_id, 0)

    def _growth(self, stream: SessionStream, now_s: float) -> int:
        if self.round_trip_s is None:
            return 0
        if now_s - stream.updated_at_s > _GROWTH_ROUND_TRIPS * self.round_trip_s:
            return 0
        growth = min(stream.window_size * _GROWTH_FACTOR, self._window_max) - stream.window_size
        return growth if growth > 0 and self._budget.take(growth) else 0

    def _control_reset(self, stream_id: int) -> None:
        self.control += encode_header(FrameType.WINDOW_UPDATE, Flag.RST, stream_id, 0)

    def _check_control_untrusted(self) -> None:
        if len(self.control) > CONTROL_BYTES_MAX:
            raise RemoteFault("yamux_control_flood")

    def _forget(self, stream_id: int) -> None:
        stream = self._streams.pop(stream_id)
        stream.state = StreamState.CLOSED
        self._budget.give_back(stream.window_size - INITIAL_WINDOW_BYTES)
        if not self._is_ours(stream_id):
            self._inbound_count -= 1
        elif not stream.acknowledged:
            self._unacknowledged -= 1
