"""The streams that one peer opens to us: how many it may, and who serves them."""

import asyncio
import logging
from collections.abc import Callable

from p2pfl.libp2p.admission import Admission, Admittance
from p2pfl.libp2p.errors import (
    Libp2pError,
    RemoteFault,
    StreamFinished,
    StreamReset,
    StreamTimeout,
)
from p2pfl.libp2p.negotiation import agree_inbound
from p2pfl.libp2p.shared import Handler, Shared
from p2pfl.libp2p.stream import Stream
from p2pfl_crypto.identity import PeerId

_log = logging.getLogger(__name__)


class InboundStreams:
    """The inbound streams of one connection.

    Args:
        shared: of the host.
        peer_id: who opens them.
        admission: of the connection; until it is decided, streams wait.
        on_offence: called with the reason where the agreement on a protocol shows that the other
            end speaks another language than multistream-select.
    """

    __slots__ = ("_admission", "_on_offence", "_peer_id", "_refused", "_shared", "_tasks")

    def __init__(
        self,
        shared: Shared,
        peer_id: PeerId,
        admission: Admission,
        on_offence: Callable[[str], None],
    ) -> None:
        self._shared, self._peer_id, self._on_offence = shared, peer_id, on_offence
        self._admission = admission
        self._tasks: set[asyncio.Task[None]] = set()
        self._refused = 0

    def has_room(self) -> bool:
        """Tell whether one more may be served; counts it as refused if not.

        Handlers outlive their streams: a peer that opens and resets is held to the same number.
        """
        limits = self._shared.limits
        if (
            len(self._tasks) < limits.inbound_streams_per_peer_max
            and len(self._shared.stream_tasks) < limits.streams_max
        ):
            return True
        self.count_refused(1)
        return False

    def serve(self, stream: Stream) -> None:
        """Agree on a protocol and run its handler, in a task."""
        task = asyncio.create_task(self._serve(stream), name=f"stream from {self._peer_id}")
        for tasks in (self._tasks, self._shared.stream_tasks):
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    def count_refused(self, count: int) -> None:
        """Count streams that were reset for want of room, here or by the muxer."""
        self._refused += count
        self._shared.counters.add("streams_refused", count)

    def check_flood(self) -> None:
        """Raise RemoteFault where more were refused than a period may have."""
        if self._refused > self._shared.limits.refused_streams_per_period_max:
            raise RemoteFault("stream_flood")

    def start_period(self) -> None:
        """Begin to count refused streams anew."""
        self._refused = 0

    async def _serve(self, stream: Stream) -> None:
        counters = self._shared.counters
        try:
            await self._admission.decided()
            handler = await self._agree(stream)
            if handler is not None:
                counters.add("streams_accepted")
                await handler(stream)
        except RemoteFault as error:
            # Raised by a handler for what it was sent: that stream's fault only.
            counters.add("streams_failed", reason=error.reason)
            stream.reset()
        except (StreamReset, StreamFinished, StreamTimeout):
            counters.add("streams_failed", reason="broken_off")
            stream.reset()
        except asyncio.CancelledError:
            stream.reset()
            raise
        except Exception:
            _log.exception("a handler of %s failed", stream.protocol)
            counters.add("handlers_failed")
            stream.reset()
        finally:
            stream.close()

    def _speaks(self, protocol: str) -> bool:
        if (
            self._admission.verdict is Admittance.REFUSED
            and protocol not in self._shared.for_refused
        ):
            return False
        return protocol in self._shared.handlers

    async def _agree(self, stream: Stream) -> Handler | None:
        shared = self._shared
        handlers, timeout_s = shared.handlers, shared.limits.negotiation_timeout_s
        try:
            await agree_inbound(stream, self._speaks, timeout_s)
        except RemoteFault as error:
            self._on_offence(error.reason)
            return None
        except StreamTimeout:
            shared.counters.add("streams_refused", reason="negotiation_timeout")
            stream.reset()
            return None
        except Libp2pError:  # The other end changed its mind, or the connection is gone.
            stream.reset()
            return None
        handler = handlers.get(stream.protocol)
        if handler is None:  # Taken away while the answer was on its way.
            stream.reset()
        return handler
