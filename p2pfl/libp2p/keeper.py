"""Persistent links: keeps connections to a set of peers, dialling again whenever one is lost."""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from p2pfl.libp2p.errors import DialFailed, LocalFault
from p2pfl.libp2p.host import Host
from p2pfl.libp2p.multiaddr import Multiaddr
from p2pfl.libp2p.peer_table import PeerEvent
from p2pfl_crypto.identity import PeerId


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait between dials of one peer.

    The k-th failure in a row is followed by `first_s * 2**k` seconds, at most `longest_s`, times a
    random factor from 1/2 to 1, so that peers which lost each other together do not dial together.

    Attributes:
        first_s: an outage of a moment is over sooner.
        longest_s: how long after its return a peer may wait to be found.
        stable_s: a connection that lasted so long ends the row of failures.
    """

    first_s: float = 0.25
    longest_s: float = 30.0
    stable_s: float = 10.0

    def delay_s(self, failures: int, rng: random.Random) -> float:
        """Seconds to wait after `failures` >= 1 failures in a row."""
        # Beyond 2^32 the exponent alone exceeds any `longest_s`; larger ones overflow a float.
        longest_s = self.first_s * 2.0 ** min(failures - 1, 32)
        return min(longest_s, self.longest_s) * rng.uniform(0.5, 1.0)


class Keeper:
    """Holds connections to a set of peers; `Host.watch` tells of up and down."""

    def __init__(
        self,
        host: Host,
        *,
        backoff: Backoff | None = None,
        rng: random.Random | None = None,
        on_failed: Callable[[PeerId, str], None] | None = None,
    ) -> None:
        """Begin with no peers.

        Args:
            host: dials and is told of; stays the caller's to close.
            backoff: between dials.
            rng: of the jitter.
            on_failed: called with peer and reason of each dial that failed.
        """
        self._host, self._on_failed = host, on_failed
        self._backoff = backoff or Backoff()
        self._rng = rng or random.Random()
        self._loop = asyncio.get_running_loop()
        self._tasks: dict[PeerId, asyncio.Task[None]] = {}
        self._changed: dict[PeerId, asyncio.Event] = {}
        self._unwatch = host.watch(self._on_peer)
        self._closed = False

    def keep(self, peer_id: PeerId, addresses: Sequence[Multiaddr | str]) -> None:
        """Hold a connection to a peer; called again, with other addresses from then on."""
        if self._closed:
            raise LocalFault("the keeper is closed")
        self.release(peer_id)
        self._changed[peer_id] = asyncio.Event()
        holding = self._hold(peer_id, list(addresses), self._changed[peer_id])
        self._tasks[peer_id] = self._loop.create_task(holding, name=f"keep {peer_id}")

    def release(self, peer_id: PeerId) -> None:
        """Dial a peer no more; a connection that is there stays."""
        task = self._tasks.pop(peer_id, None)
        self._changed.pop(peer_id, None)
        if task is not None:
            task.cancel()

    def kept(self) -> tuple[PeerId, ...]:
        """The peers that are held, connected or not."""
        return tuple(self._tasks)

    async def close(self) -> None:
        """Dial nobody any more; connections stay."""
        self._closed = True
        self._unwatch()
        tasks = list(self._tasks.values())
        for peer_id in list(self._tasks):
            self.release(peer_id)
        if tasks:
            await asyncio.wait(tasks)

    def _on_peer(self, event: PeerEvent) -> None:
        changed = self._changed.get(event.peer_id)
        if changed is not None:
            changed.set()

    async def _hold(
        self, peer_id: PeerId, addresses: list[Multiaddr | str], changed: asyncio.Event
    ) -> None:
        failures = 0
        while True:
            changed.clear()
            if self._host.connection(peer_id) is not None:
                begun_s = self._loop.time()
                while self._host.connection(peer_id) is not None:
                    await changed.wait()
                    changed.clear()
                stable = self._loop.time() - begun_s >= self._backoff.stable_s
                failures = 0 if stable else failures + 1
            else:
                try:
                    await self._host.dial(peer_id, addresses)
                    continue
                except DialFailed as error:
                    failures += 1
                    if self._on_failed is not None:
                        self._on_failed(peer_id, error.reason)
            await self._pause(changed, self._backoff.delay_s(max(1, failures), self._rng))

    @staticmethod
    async def _pause(changed: asyncio.Event, delay_s: float) -> None:
        try:
            async with asyncio.timeout(delay_s):
                await changed.wait()
        except TimeoutError:
            return
