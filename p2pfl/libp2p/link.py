"""One encrypted TCP connection under an event loop: sealed bytes on a socket, plaintext above.

The socket is driven by readiness, not through a transport: bytes are sealed only when the kernel
takes them. So nothing queues up in between, a window update or ping overtakes bulk data that is
still to be sealed, and buffers are shared by all links of a host, which keeps an idle link small.
"""

import asyncio
import logging
import socket
from collections.abc import Callable

from p2pfl.libp2p.errors import RemoteFault
from p2pfl.libp2p.noise import (
    FRAMED_MESSAGE_BYTES_MAX,
    MESSAGE_OVERHEAD_BYTES,
    PLAINTEXT_BYTES_MAX,
    NoiseChannel,
    sealed_bytes,
)

# What is sealed and sent at once, a batch:

# A frame's body: four full Noise messages. Every implementation takes frames up to its initial
# window of 256 KiB; larger ones would keep other streams and pings waiting for longer.
BODY_BYTES_MAX = 4 * PLAINTEXT_BYTES_MAX
# Frames, streams and buffers in one batch, which bounds the Noise messages it is sealed into.
TURNS_MAX = 32
# Small frames and headers of one batch; full Noise messages of them are worth waiting for.
STAGED_BYTES = PLAINTEXT_BYTES_MAX
# Plaintext of one batch: a large frame, after as much of everything else as is staged.
BATCH_BYTES_MAX = BODY_BYTES_MAX + STAGED_BYTES
# Each turn ends at most two pieces: what was staged before a large buffer, and that buffer. The
# last frame of a batch may be of two buffers, a message and its length.
PIECES_MAX = 2 * (TURNS_MAX + 1) + 1

# Read at a time, beside the part of a message left over from the last time.
READ_BYTES = 256 * 1024
# Sent before other links and tasks have their turn: 1 ms of sealing.
BURST_BYTES = 1024 * 1024

_log = logging.getLogger(__name__)


class Scratch:
    """Buffers that all links of one host share; nothing in them outlives a callback."""

    def __init__(self) -> None:
        self.received = memoryview(bytearray(FRAMED_MESSAGE_BYTES_MAX + READ_BYTES))
        self.opened = memoryview(bytearray(len(self.received)))
        self.staged = memoryview(bytearray(STAGED_BYTES))
        sealed = sealed_bytes(BATCH_BYTES_MAX) + PIECES_MAX * MESSAGE_OVERHEAD_BYTES
        self.sealed = memoryview(bytearray(sealed))


class Link:
    """Moves bytes between a socket and whoever multiplexes them.

    Attributes:
        bytes_received: sealed bytes that came from the socket.
        bytes_sent: sealed bytes that the socket took.
        heard: something came since this was last set to False.
        gone: done as soon as the socket is closed.
    """

    def __init__(
        self,
        connection_socket: socket.socket,
        channel: NoiseChannel,
        scratch: Scratch,
        *,
        rest: bytes,
        on_plaintext: Callable[[memoryview], None],
        next_batch: Callable[[memoryview], list[memoryview]],
        on_lost: Callable[[str], None],
    ) -> None:
        """Take over a connected, non-blocking socket after its upgrade.

        Args:
            connection_socket: owned by the link from now on.
            channel: the Noise channel of the upgrade.
            scratch: the host's buffers.
            rest: sealed bytes already received.
            on_plaintext: takes opened bytes, valid during the call only; may raise
                RemoteFault.
            next_batch: gives plaintext to send, pieces of which may lie in the buffer it is given;
                none where there is nothing to send.
            on_lost: called once with the reason, unless `close` was called before.
        """
        self.bytes_received = self.bytes_sent = 0
        self.heard = True
        self._loop = asyncio.get_running_loop()
        self.gone: asyncio.Future[None] = self._loop.create_future()
        self._socket = connection_socket
        self._channel = channel
        self._scratch = scratch
        self._partial = rest
        self._on_plaintext, self._on_lost = on_plaintext, on_lost
        self._next_batch = next_batch
        self._unsent = memoryview(b"")
        self._waiting = False  # For the socket to take more; the writer callback is registered.
        self._closing = False
        self._burst_left = BURST_BYTES
        self._pump_scheduled = False

    def start(self) -> None:
        """Begin to read, with what came along with the upgrade first."""
        if self.gone.done():  # What was sent before has found the connection broken.
            return
        self._loop.add_reader(self._socket, self._on_readable)
        if self._partial:
            self._guard(lambda: self._open_untrusted(len(self._take_partial())))

    def pump(self) -> None:
        """Send what there is to send, as far as the socket takes it now."""
        if not (self._waiting or self._closing):
            self._guard(self._pump)

    def schedule_pump(self) -> None:
        """Pump once the callbacks that are ready now have run."""
        if not (self._pump_scheduled or self._waiting or self._closing):
            self._pump_scheduled = True
            self._loop.call_soon(self._pump_later)

    def close(self, linger_s: float) -> None:
        """Send what was given, then end; for both the other end has `linger_s` to read it."""
        if self._closing or self.gone.done():
            return
        self._on_lost = _ignore
        self.pump()
        if self.gone.done():
            return
        self._closing = True
        if linger_s <= 0:
            self._destroy()
            return
        self._loop.call_later(linger_s, self._destroy)
        if not self._waiting:
            self._shut()

    def _shut(self) -> None:
        """Tell the other end that nothing more comes; it is read until it says so, too."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self._destroy()

    def _on_readable(self) -> None:
        self._guard(self._read_untrusted)

    def _read_untrusted(self) -> None:
        received = self._scratch.received
        kept = len(self._take_partial())
        try:
            count = self._socket.recv_into(received[kept:])
        except (BlockingIOError, InterruptedError):
            self._partial = bytes(received[:kept])
            return
        except OSError:
            self._lose("connection_reset")
            return
        if count == 0:
            self._lose("closed_by_peer")
        elif not self._closing:  # Afterwards only the end of the input is waited for.
            self.bytes_received += count
            self.heard = True
            self._open_untrusted(kept + count)

    def _take_partial(self) -> bytes:
        partial, self._partial = self._partial, b""
        self._scratch.received[: len(partial)] = partial
        return partial

    def _open_untrusted(self, end: int) -> None:
        received, opened = self._scratch.received[:end], self._scratch.opened
        used, filled = self._channel.open_into_untrusted(received, opened)
        if used < end:
            self._partial = bytes(received[used:])
        if filled:
            self._on_plaintext(opened[:filled])

    def _pump_later(self) -> None:
        self._pump_scheduled = False
        self.pump()

    def _pump(self) -> None:
        scratch = self._scratch
        while pieces := self._next_batch(scratch.staged):
            size = 0
            for piece in pieces:
                size += self._channel.seal_into(piece, scratch.sealed[size:])
            sent = self._send(scratch.sealed[:size])
            if sent < size:
                if not self.gone.done():
                    self._unsent = memoryview(bytes(scratch.sealed[sent:size]))
                    self._wait()
                return
            self._burst_left -= size
            if self._burst_left <= 0:
                self._wait()
                return

    def _send(self, sealed: memoryview) -> int:
        try:
            sent = self._socket.send(sealed)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            self._lose("connection_reset")
            return 0
        self.bytes_sent += sent
        return sent

    def _wait(self) -> None:
        self._waiting = True
        self._loop.add_writer(self._socket, self._on_writable)

    def _on_writable(self) -> None:
        if len(self._unsent):
            self._unsent = self._unsent[self._send(self._unsent) :]
            if len(self._unsent) or self.gone.done():
                return
            self._unsent = memoryview(b"")
        self._waiting = False
        self._burst_left = BURST_BYTES
        self._loop.remove_writer(self._socket)
        self._guard(self._pump)
        if self._closing and not (self._waiting or self.gone.done()):
            self._shut()

    def _guard(self, step: Callable[[], None]) -> None:
        """Run one callback; whatever goes wrong in it ends this link and no other."""
        try:
            step()
        except RemoteFault as error:
            self._lose(error.reason)
        except Exception:
            _log.exception("a bug ends this connection")
            self._lose("internal_error")

    def _lose(self, reason: str) -> None:
        if not self.gone.done():
            on_lost, self._on_lost = self._on_lost, _ignore
            on_lost(reason)
            self._destroy()

    def _destroy(self) -> None:
        if self.gone.done():
            return
        self._closing = True
        self._loop.remove_reader(self._socket)
        if self._waiting:
            self._loop.remove_writer(self._socket)
        self._socket.close()
        self._partial, self._unsent = b"", memoryview(b"")
        self.gone.set_result(None)


def _ignore(_reason: str) -> None:
    """Told of the loss of a link that was closed on purpose."""
