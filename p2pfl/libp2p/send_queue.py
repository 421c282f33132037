"""What a connection has to send: control frames first, then its streams in turn."""

from collections import deque

from p2pfl.libp2p.noise import PLAINTEXT_BYTES_MAX
from p2pfl.libp2p.stream import Stream
from p2pfl.libp2p.yamux import Yamux
from p2pfl.libp2p.yamux_frames import HEADER_BYTES

# A frame's body: four full Noise messages. Every implementation takes frames up to its initial
# window of 256 KiB; larger ones would keep other streams and pings waiting for longer.
FRAME_BYTES_MAX = 4 * PLAINTEXT_BYTES_MAX
# Frames, streams and buffers in one batch, which bounds the Noise messages it is sealed into.
_TURNS_MAX = 32
# Up to here copying a body behind its header costs less than sealing it on its own.
_COPIED_BYTES_MAX = 16 * 1024
_OVERHEAD_BYTES = 2 * HEADER_BYTES  # A greeting frame and the data frame's header.
# Small frames and headers of one batch; full Noise messages of them are worth waiting for.
STAGED_BYTES = PLAINTEXT_BYTES_MAX
# Plaintext of one batch: a large frame, after as much of everything else as is staged.
BATCH_BYTES_MAX = FRAME_BYTES_MAX + STAGED_BYTES
# Each turn ends at most two pieces: what was staged before a large buffer, and that buffer. The
# last frame of a batch may be of two buffers, a message and its length.
PIECES_MAX = 2 * (_TURNS_MAX + 1) + 1


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
        self._turns = _TURNS_MAX
        self.room = FRAME_BYTES_MAX  # For bodies.

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
