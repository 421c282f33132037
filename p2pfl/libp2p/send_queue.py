"""What a connection has to send: control frames first, then its streams in turn."""

from collections import deque

from p2pfl.libp2p.noise import PLAINTEXT_BYTES_MAX
from p2pfl.libp2p.stream import Stream
from p2pfl.libp2p.yamux import Yamux
from p2pfl.libp2p.yamux_frames import HEADER_BYTES

# A full data frame with its header is one full Noise message; a greeting frame may precede it.
FRAME_BYTES_MAX = PLAINTEXT_BYTES_MAX - HEADER_BYTES
_OVERHEAD_BYTES = 2 * HEADER_BYTES


class SendQueue:
    """Frames what streams have in `outgoing`, one frame of one stream at a time."""

    def __init__(self, yamux: Yamux) -> None:
        self._yamux = yamux
        self._streams: deque[Stream] = deque()

    @property
    def pending(self) -> bool:
        """Whether there may be something to send."""
        return bool(self._yamux.control or self._streams)

    def add(self, stream: Stream) -> None:
        """Send what is in `stream.outgoing` as its window allows."""
        if not stream.queued and self._yamux.send_window(stream.stream_id):
            stream.queued = True
            self._streams.append(stream)

    def clear(self) -> None:
        """Send nothing more."""
        self._streams.clear()

    def fill(self, staged: memoryview) -> int:
        """Write frames into `staged`, as many as there are and fit; return how many bytes."""
        filled = self._fill_control(staged, 0)
        while self._streams and len(staged) - filled > _OVERHEAD_BYTES:
            stream = self._streams.popleft()
            window = self._yamux.send_window(stream.stream_id)
            if not (stream.outgoing and window):
                stream.queued = False  # Added again as soon as it may send.
                continue
            filled = self._fill_data(staged, filled, stream, window)
            if stream.outgoing:
                self._streams.append(stream)
            else:
                stream.queued = False
                stream.on_drained()
        return filled

    def _fill_control(self, staged: memoryview, filled: int) -> int:
        control = self._yamux.control
        length = min(len(control), len(staged) - filled)
        if length:
            staged[filled : filled + length] = control[:length]
            del control[:length]
        return filled + length

    def _fill_data(self, staged: memoryview, filled: int, stream: Stream, window: int) -> int:
        room = min(window, FRAME_BYTES_MAX, len(staged) - filled - _OVERHEAD_BYTES)
        length = min(room, sum(map(len, stream.outgoing)))
        header = self._yamux.data_header(stream.stream_id, length)
        filled = self._fill_control(staged, filled)  # A greeting precedes the stream's data.
        staged[filled : filled + HEADER_BYTES] = header
        filled += HEADER_BYTES
        end = filled + length
        while filled < end:
            piece = stream.outgoing[0]
            part = piece[: end - filled]
            staged[filled : filled + len(part)] = part
            filled += len(part)
            if len(part) == len(piece):
                stream.outgoing.popleft()
            else:
                stream.outgoing[0] = piece[len(part) :]
        stream.taken = True
        return filled
