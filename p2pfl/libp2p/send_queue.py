"""What a connection has to send: control frames first, then its streams in turn."""

from collections import deque

from p2pfl.libp2p.link import BODY_BYTES_MAX, TURNS_MAX
from p2pfl.libp2p.stream import Stream
from p2pfl.libp2p.yamux import Yamux
from p2pfl.libp2p.yamux_frames import HEADER_BYTES

# Up to here copying a body behind its header costs less than sealing it on its own.
_COPIED_BYTES_MAX = 16 * 1024
_OVERHEAD_BYTES = 2 * HEADER_BYTES  # A greeting frame and the data frame's header.


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

    def next_batch(self, staged: memoryview) -> list[memoryview]:
        """Frame some of what there is to send.

        Args:
            staged: room for headers and small frames, `STAGED_BYTES`.

        Returns:
            The bytes to send, at most `BATCH_BYTES_MAX` in `PIECES_MAX` pieces; large ones are the
            buffers of whoever writes, not copied, and good until the event loop turns.
        """
        batch = _Batch(staged)
        batch.take(self._yamux.control)
        while self._streams and batch.has_room:
            stream = self._streams.popleft()
            window = self._yamux.send_window(stream.stream_id)
            if not (stream.outgoing and window):
                stream.queued = False  # Added again as soon as it may send.
                continue
            self._frame(batch, stream, window)
            if stream.outgoing:
                self._streams.append(stream)
            else:
                stream.queued = False
                stream.on_drained()
        return batch.finish()

    def _frame(self, batch: "_Batch", stream: Stream, window: int) -> None:
        length = min(window, batch.room, sum(map(len, stream.outgoing)))
        header = self._yamux.data_header(stream.stream_id, length)
        batch.take(self._yamux.control)  # A greeting precedes the stream's data.
        batch.stage(header)
        while length:
            piece = stream.outgoing[0]
            part = piece if len(piece) <= length else piece[:length]
            length -= len(part)
            if part is piece:
                stream.outgoing.popleft()
            else:
                stream.outgoing[0] = piece[len(part) :]
            batch.append(part)
        stream.taken = True


class _Batch:
    """Pieces of plaintext, small ones joined in a buffer."""

    def __init__(self, staged: memoryview) -> None:
        self._staged = staged
        self._begin = self._end = 0  # Of what is staged since the last large piece.
        self._pieces: list[memoryview] = []
        self._turns = TURNS_MAX
        self.room = BODY_BYTES_MAX  # For bodies.

    @property
    def has_room(self) -> bool:
        return (
            self.room > 0
            and self._turns > 0
            and len(self._staged) - self._end > _OVERHEAD_BYTES + _COPIED_BYTES_MAX
        )

    def take(self, control: bytearray) -> None:
        """Move whole frames from `control`, as many as fit."""
        length = min(len(control), len(self._staged) - self._end)
        if length:
            self._staged[self._end : self._end + length] = control[:length]
            self._end += length
            del control[:length]

    def stage(self, data: bytes | memoryview) -> None:
        end = self._end + len(data)
        self._staged[self._end : end] = data
        self._end = end

    def append(self, part: memoryview) -> None:
        """Take a part of a body, of which there are at most `room` bytes in all."""
        self.room -= len(part)
        self._turns -= 1
        if len(part) <= min(_COPIED_BYTES_MAX, len(self._staged) - self._end):
            self.stage(part)
        else:
            if self._end > self._begin:
                self._pieces.append(self._staged[self._begin : self._end])
                self._begin = self._end
            self._pieces.append(part)

    def finish(self) -> list[memoryview]:
        if self._end > self._begin:
            self._pieces.append(self._staged[self._begin : self._end])
        return self._pieces
