"""A stream as an application sees it: an asynchronous reader and writer with deadlines.

Every call has a deadline: `timeout_s` of the stream unless the call names its own; None waits for
ever. One task may read and one may write at a time.

A write is over when its bytes are sealed and on their way; until then its buffers must not change,
and they are not copied to wait. A write that is cancelled or out of time before any of it was taken
leaves the stream as it was; otherwise it resets the stream, since the other end has half a message.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterable, Iterable
from types import TracebackType
from typing import Final, Protocol, Self, TypeAlias

from p2pfl.libp2p.admission import Admission, Admittance
from p2pfl.libp2p.errors import (
    LocalFault,
    MalformedBytes,
    StreamFinished,
    StreamReset,
    StreamTimeout,
)
from p2pfl.libp2p.varint import VARINT_BYTES_MAX, decode_varint_untrusted, encode_varint
from p2pfl_crypto.identity import PeerId

Buffer: TypeAlias = bytes | bytearray | memoryview

# Small pieces are joined up to this size, so that a peer that sends single bytes costs no more
# memory than its window; large ones are cut, as the C library's allocator returns larger blocks to
# the kernel each time, and page faults then cost as much as the decryption.
_CHUNK_BYTES_MAX = 64 * 1024
_JOINED_BYTES_MAX = 16 * 1024
# More than a chunk has, so that a read takes one as it is.
READ_BYTES_MAX = 1024 * 1024


class _Default:
    """The type of `DEFAULT`: the stream's own timeout."""


DEFAULT: Final = _Default()
Timeout: TypeAlias = float | _Default | None


class Carrier(Protocol):
    """What a stream needs of its connection.

    Attributes:
        peer_id: who is at the other end.
        admission: whether it may be used.
    """

    peer_id: PeerId
    admission: Admission

    def send(self, stream: "Stream") -> None:
        """`stream.outgoing` holds something new."""

    def consume(self, stream: "Stream", count: int) -> None:
        """The application has read `count` bytes."""

    def forget_unread(self, count: int) -> None:
        """`count` bytes are unread no more."""

    def finish_stream(self, stream: "Stream") -> None:
        """The application writes no more."""

    def reset_stream(self, stream: "Stream") -> None:
        """The application abandons the stream."""

    def let_stream_end(self, stream: "Stream") -> None:
        """The application is done with the stream; the other end has a while to finish too."""


class Stream:
    """One stream of one connection.

    Attributes:
        peer_id: who is at the other end.
        protocol: the protocol agreed on.
        inbound: whether the other end opened it.
        timeout_s: deadline of each call that names none; None waits for ever.
    """

    def __init__(
        self, connection: Carrier, stream_id: int, *, inbound: bool, timeout_s: float | None
    ) -> None:
        self.peer_id: PeerId = connection.peer_id
        self.protocol = ""
        self.inbound = inbound
        self.timeout_s = timeout_s
        self.stream_id = stream_id
        self.outgoing: deque[memoryview] = deque()  # Drawn from by the connection.
        self.queued = False  # In the connection's round of streams with something to send.
        self.taken = False  # Something of the present write has been drawn.
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._chunks: deque[bytearray] = deque()
        self._unread = 0
        self._returned = 0  # Bytes at the front that were read once already and put back.
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._finished_locally = False
        self._finished_remotely = False
        self._closed = False
        self._reset_reason: str | None = None

    @property
    def is_refused(self) -> bool:
        """Whether it comes from a second process of its peer, which is linked by a first."""
        return self._connection.admission.verdict is Admittance.REFUSED

    # Reading.

    async def read(
        self, bytes_max: int = READ_BYTES_MAX, timeout_s: Timeout = DEFAULT
    ) -> bytearray:
        """Read what is there, or wait for something to be.

        Returns:
            1 to `bytes_max` bytes; none only where the other end has finished writing.

        Raises:
            StreamReset: the stream or its connection is gone.
            StreamTimeout: nothing came in time.
        """
        if not self._chunks:
            await self._readable(self._deadline(timeout_s))
        return self._take(bytes_max)

    async def read_exactly(self, count: int, timeout_s: Timeout = DEFAULT) -> bytearray:
        """Read `count` bytes.

        Raises:
            StreamFinished: the other end finished writing before; what had come is lost.
            StreamReset: the stream or its connection is gone.
            StreamTimeout: they did not come in time.
        """
        taken = self._take(count) if self._chunks else bytearray()
        deadline_s = None if len(taken) == count else self._deadline(timeout_s)
        while len(taken) < count:
            if not self._chunks:
                await self._readable(deadline_s)
            piece = self._take(count - len(taken))
            if not piece:
                raise StreamFinished(f"the stream ended {count - len(taken)} bytes early")
            taken += piece
        return taken

    async def read_into(self, buffer: bytearray | memoryview, timeout_s: Timeout = DEFAULT) -> None:
        """Fill `buffer`, without making a copy first; raises as `read_exactly` does."""
        view = memoryview(buffer).cast("B")
        deadline_s = self._deadline(timeout_s)
        while len(view):
            if not self._chunks:
                await self._readable(deadline_s)
            piece = self._take(len(view))
            if not piece:
                raise StreamFinished(f"the stream ended {len(view)} bytes early")
            view[: len(piece)] = piece
            view = view[len(piece) :]

    async def read_message(self, bytes_max: int, timeout_s: Timeout = DEFAULT) -> bytearray | None:
        """Read one message, framed by its length as a varint.

        Args:
            bytes_max: longer messages are not taken.
            timeout_s: for the whole message.

        Returns:
            The message, or None where the other end finished writing between two messages.

        Raises:
            MalformedBytes: longer than `bytes_max`, or not framed so; reset the stream.
            StreamFinished, StreamReset, StreamTimeout: as `read_exactly`.
        """
        deadline_s = self._deadline(timeout_s)
        prefix = bytearray()
        while True:
            if not self._chunks:
                await self._readable(deadline_s)
            chunk = self._chunks[0] if self._chunks else bytearray()
            start = len(prefix)
            prefix += chunk[: VARINT_BYTES_MAX - start]
            decoded = decode_varint_untrusted(prefix, 0)
            if decoded is not None:
                length, size = decoded
                self._take(size - start)
                break
            if not self._take(len(prefix) - start):
                if not prefix:
                    return None
                raise StreamFinished("the stream ended within the length of a message")
        if length > bytes_max:
            raise MalformedBytes("message_too_long")
        if self._chunks and len(self._chunks[0]) >= length:
            return self._take(length)
        left_s = None if deadline_s is None else deadline_s - self._loop.time()
        return await self.read_exactly(length, left_s)

    # Writing.

    async def write(self, data: Buffer, timeout_s: Timeout = DEFAULT) -> None:
        """Send `data`; see the module's text for what its end, cancelled or not, means.

        Raises:
            StreamReset: the stream or its connection is gone.
            StreamTimeout: the other end did not take it in time.
        """
        await self._write([memoryview(data).cast("B")], timeout_s)

    async def write_message(self, message: Buffer, timeout_s: Timeout = DEFAULT) -> None:
        """Send one message, framed by its length as a varint; raises as `write` does."""
        view = memoryview(message).cast("B")
        await self._write([memoryview(encode_varint(len(view))), view], timeout_s)

    async def write_from(
        self, buffers: Iterable[Buffer] | AsyncIterable[Buffer], timeout_s: Timeout = DEFAULT
    ) -> int:
        """Send buffers one after the other, each drawn when the one before is on its way.

        Args:
            buffers: any number of any sizes; never joined, never more than one held.
            timeout_s: for each buffer.

        Returns:
            How many bytes they were.

        Raises:
            StreamReset, StreamTimeout: as `write`. Whatever `buffers` itself raises.
        """
        sent = 0
        if isinstance(buffers, AsyncIterable):
            async for buffer in buffers:
                view = memoryview(buffer).cast("B")
                await self._write([view], timeout_s)
                sent += len(view)
        else:
            for buffer in buffers:
                view = memoryview(buffer).cast("B")
                await self._write([view], timeout_s)
                sent += len(view)
        return sent

    def finish(self) -> None:
        """Write no more (half-close); reading goes on.

        Raises:
            LocalFault: a write is under way.
            StreamReset: the stream or its connection is gone.
        """
        if self._writer is not None:
            raise LocalFault("a write is under way")
        if self._finished_locally:
            return
        self._check_not_reset()
        self._finished_locally = True
        self._connection.finish_stream(self)

    # Ending.

    def reset(self) -> None:
        """Abandon the stream in both directions; whoever waits on it gets StreamReset."""
        self._connection.reset_stream(self)
        self.on_reset("local")
        self._drop_unread()

    def close(self) -> None:
        """Finish writing and read no more; what the other end still sends resets the stream."""
        if self._reset_reason is None and not self._closed:
            self._closed = True
            if self._writer is not None or self._reader is not None:
                self.reset()
                return
            self.finish()
            self._drop_unread()
            self._connection.let_stream_end(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.reset()

    # What the connection tells.

    def on_data(self, data: memoryview) -> None:
        """More data came."""
        if self._closed:
            self.reset()
            return
        self._unread += len(data)
        last = self._chunks[-1] if self._chunks else None
        joined = len(data) < _JOINED_BYTES_MAX and last is not None
        if last is not None and joined and len(last) + len(data) <= _CHUNK_BYTES_MAX:
            last += data
        else:
            for start in range(0, len(data), _CHUNK_BYTES_MAX):
                self._chunks.append(bytearray(data[start : start + _CHUNK_BYTES_MAX]))
        _wake(self._reader)

    def on_finished(self) -> None:
        """The other end writes no more."""
        self._finished_remotely = True
        _wake(self._reader)

    def on_reset(self, reason: str) -> None:
        """The stream is gone."""
        if self._reset_reason is None:
            self._reset_reason = reason
            self.outgoing.clear()
            if not self._finished_remotely:  # Else all is here, and may still be read.
                self._drop_unread()
            _wake(self._reader)
            _wake(self._writer)

    def on_drained(self) -> None:
        """All of `outgoing` has been drawn."""
        _wake(self._writer)

    def put_back(self, data: bytes) -> None:
        """Make `data`, which was read before, the next to be read."""
        if data:
            self._chunks.appendleft(bytearray(data))
            self._returned += len(data)
            self._unread += len(data)

    # Inner workings.

    def _take(self, count: int) -> bytearray:
        if not self._chunks or count == 0:
            return bytearray()
        chunk = self._chunks[0]
        if len(chunk) <= count:
            self._chunks.popleft()
        else:
            rest = chunk
            chunk = rest[:count]
            del rest[:count]
        self._unread -= len(chunk)
        fresh = len(chunk)
        if self._returned:
            again = min(self._returned, fresh)
            self._returned -= again
            fresh -= again
        self._connection.consume(self, fresh)
        return chunk

    def _drop_unread(self) -> None:
        self._connection.forget_unread(self._unread - self._returned)
        self._unread = self._returned = 0
        self._chunks.clear()

    async def _readable(self, deadline_s: float | None) -> None:
        """Wait until there is a chunk or the end of the stream."""
        if self._reader is not None:
            raise LocalFault("another task reads from this stream")
        while not (self._chunks or self._finished_remotely):
            self._check_not_reset()
            self._reader = self._loop.create_future()
            try:
                await self._wait(self._reader, deadline_s)
            finally:
                self._reader = None

    async def _write(self, views: list[memoryview], timeout_s: Timeout) -> None:
        if self._writer is not None or self.outgoing:
            raise LocalFault("another task writes to this stream")
        if self._finished_locally:
            raise LocalFault("the stream is finished for writing")
        self._check_not_reset()
        self.outgoing.extend(view for view in views if len(view))
        self.taken = False
        self._connection.send(self)
        if self.outgoing:
            self._writer = self._loop.create_future()
            try:
                await self._wait(self._writer, self._deadline(timeout_s))
            finally:
                self._writer = None
                if self.outgoing:
                    self._abandon_write()
        self._check_not_reset()

    def _abandon_write(self) -> None:
        if self.taken:
            self.reset()
        else:
            self.outgoing.clear()

    async def _wait(self, future: asyncio.Future[None], deadline_s: float | None) -> None:
        if deadline_s is None:
            await future
            return
        timer = self._loop.call_at(deadline_s, _expire, future)
        try:
            await future
        finally:
            timer.cancel()

    def _deadline(self, timeout_s: Timeout) -> float | None:
        seconds = self.timeout_s if isinstance(timeout_s, _Default) else timeout_s
        return None if seconds is None else self._loop.time() + seconds

    def _check_not_reset(self) -> None:
        if self._reset_reason is not None:
            raise StreamReset(self._reset_reason)


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


def _expire(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_exception(StreamTimeout("nothing moved until the deadline"))
