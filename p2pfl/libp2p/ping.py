"""The ping protocol: 32 random bytes there and back.

Follows the libp2p specification "Ping". Keepalive uses yamux's own ping; this one is for people and
for peers that ask.
"""

import os
from collections import Counter
from collections.abc import Callable

from p2pfl.libp2p.errors import RemoteFault, StreamFinished
from p2pfl.libp2p.stream import Stream

PROTOCOL = "/ipfs/ping/1.0.0"
PAYLOAD_BYTES = 32
STREAMS_PER_PEER_MAX = 2  # "SHOULD accept at most two streams per peer."


async def ping(stream: Stream, clock: Callable[[], float]) -> float:
    """Measure one round trip on an open ping stream.

    Returns:
        Seconds, by `clock`.

    Raises:
        RemoteFault: something else came back.
    """
    payload = os.urandom(PAYLOAD_BYTES)
    begun_s = clock()
    await stream.write(payload)
    answer = await stream.read_exactly(PAYLOAD_BYTES)
    if answer != payload:
        raise RemoteFault("ping_payload")
    return clock() - begun_s


class PingService:
    """Answers pings."""

    def __init__(self) -> None:
        self._streams: Counter[str] = Counter()

    async def serve(self, stream: Stream) -> None:
        """Echo payloads until the other end finishes writing."""
        peer_id = stream.peer_id
        if self._streams[peer_id] >= STREAMS_PER_PEER_MAX:
            raise RemoteFault("ping_streams")
        self._streams[peer_id] += 1
        try:
            while True:
                await stream.write(await stream.read_exactly(PAYLOAD_BYTES))
        except StreamFinished:
            return
        finally:
            self._streams[peer_id] -= 1
            if not self._streams[peer_id]:
                del self._streams[peer_id]
