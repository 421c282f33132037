"""Dials peers: several addresses side by side, one dial a peer at a time, at a bounded rate."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from p2pfl.libp2p.connection import Connection
from p2pfl.libp2p.counters import Counters, TokenBucket
from p2pfl.libp2p.errors import ConnectionLost, DialFailed, RemoteFault
from p2pfl.libp2p.handshake import prepare_socket, remote_address_of
from p2pfl.libp2p.limits import Limits
from p2pfl.libp2p.multiaddr import Multiaddr
from p2pfl.shortages import is_passing
from p2pfl_crypto.identity import PeerId

# Peers whose dial rate is remembered; those that have not been dialled of late are forgotten first.
_BUCKETS_MAX = 4096


@dataclass(slots=True)
class _Dial:
    """One dial and those who wait for it.

    Attributes:
        task: the dial itself.
        arrived: done where a connection to the peer is there, whoever dialled it.
        waiters: calls that wait; the last one to be cancelled takes the dial with it.
    """

    task: asyncio.Task[Connection]
    arrived: asyncio.Future[Connection]
    waiters: int = 0


class Dialer:
    """Turns addresses into connections."""

    def __init__(
        self,
        limits: Limits,
        counters: Counters,
        connect: Callable[[socket.socket, Multiaddr, PeerId], Awaitable[Connection]],
    ) -> None:
        """Prepare to dial.

        Args:
            limits: of the host.
            counters: of the host.
            connect: upgrades a connected socket to a confirmed connection and owns the socket.
        """
        self._limits, self._counters, self._connect = limits, counters, connect
        self._loop = asyncio.get_running_loop()
        self._dials: dict[PeerId, _Dial] = {}
        self._outrun: set[asyncio.Task[Connection]] = set()  # Nobody waits for these any more.
        self._bucket = TokenBucket(limits.dials_per_s, limits.dials_burst, self._loop.time())
        self._peer_buckets: dict[PeerId, TokenBucket] = {}

    @property
    def dial_count(self) -> int:
        """Dials in progress."""
        return len(self._dials) + len(self._outrun)

    async def dial(self, peer_id: PeerId, addresses: Sequence[Multiaddr]) -> Connection:
        """Connect to a peer; calls for the same peer share one dial.

        Where the last of them is cancelled, so is the dial. Where the peer connects to us
        meanwhile, that connection is the answer (`arrived`), however the dial ends.

        Raises:
            DialFailed: no address led to the peer, or the rate limit was reached.
        """
        dial = self._dials.get(peer_id)
        if dial is None:
            self._check_rate(peer_id)
            if not 0 < len(addresses) <= self._limits.addresses_per_dial_max:
                raise DialFailed("address_count", f"{len(addresses)} addresses")
            attempt = self._dial(peer_id, list(addresses))
            task = self._loop.create_task(attempt, name=f"dial {peer_id}")
            dial = self._dials[peer_id] = _Dial(task, self._loop.create_future())
            task.add_done_callback(_retrieve)
        dial.waiters += 1
        try:
            await asyncio.wait([dial.task, dial.arrived], return_when=asyncio.FIRST_COMPLETED)
            if dial.arrived.done():
                return dial.arrived.result()
            if dial.task.cancelled():
                raise DialFailed("host_closed")
            return dial.task.result()
        finally:
            dial.waiters -= 1
            if dial.waiters == 0 and not dial.arrived.done():
                dial.task.cancel()
                if self._dials.get(peer_id) is dial:
                    del self._dials[peer_id]

    def arrived(self, connection: Connection) -> None:
        """There is a connection to a peer: whoever waits for one has it.

        A dial that is under way ends by itself: to break it off could break a connection that the
        other end has begun to use.
        """
        dial = self._dials.pop(connection.peer_id, None)
        if dial is not None:
            dial.arrived.set_result(connection)
            self._outrun.add(dial.task)
            dial.task.add_done_callback(self._outrun.discard)

    def close(self) -> list[asyncio.Task[Connection]]:
        """Break all dials off; returns the tasks that are still ending."""
        tasks = [*(dial.task for dial in self._dials.values()), *self._outrun]
        for task in tasks:
            task.cancel()
        return tasks

    def _check_rate(self, peer_id: PeerId) -> None:
        now_s, limits = self._loop.time(), self._limits
        bucket = self._peer_buckets.get(peer_id)
        if bucket is None:
            if len(self._peer_buckets) >= _BUCKETS_MAX:
                del self._peer_buckets[next(iter(self._peer_buckets))]
            bucket = TokenBucket(limits.dials_per_peer_per_s, limits.dials_per_peer_burst, now_s)
            self._peer_buckets[peer_id] = bucket
        if not (bucket.take(now_s) and self._bucket.take(now_s)):
            self._counters.add("dials_failed", reason="dial_rate")
            raise DialFailed("dial_rate")

    async def _dial(self, peer_id: PeerId, addresses: list[Multiaddr]) -> Connection:
        self._counters.add("dials")
        failure = DialFailed("no_address")
        attempts: set[asyncio.Task[Connection]] = set()
        try:
            async with asyncio.timeout(self._limits.dial_timeout_s):
                while addresses or attempts:
                    if addresses:
                        attempt = self._attempt(peer_id, addresses.pop(0))
                        attempts.add(self._loop.create_task(attempt))
                    delay_s = self._limits.address_delay_s if addresses else None
                    done, attempts = await asyncio.wait(
                        attempts, timeout=delay_s, return_when=asyncio.FIRST_COMPLETED
                    )
                    for task in done:
                        error = task.exception()
                        if error is None:
                            return task.result()
                        if not isinstance(error, DialFailed):
                            raise error
                        failure = error
        except TimeoutError:
            failure = DialFailed("dial_timeout")
        finally:
            for task in attempts:
                task.cancel()
        self._counters.add("dials_failed", reason=failure.reason)
        raise failure

    async def _attempt(self, peer_id: PeerId, address: Multiaddr) -> Connection:
        if address.peer_id not in (None, peer_id):
            raise DialFailed("address_of_another_peer", str(address))
        family = {"4": socket.AF_INET, "6": socket.AF_INET6}.get(address.kind[-1], 0)
        try:
            found = await self._loop.getaddrinfo(
                address.host, address.port, family=family, type=socket.SOCK_STREAM
            )
            connected = await self._connect_first(found[: self._limits.addresses_per_dial_max])
        except (OSError, UnicodeError) as error:
            reason = "out_of_descriptors" if is_passing(error) else "unreachable"
            raise DialFailed(reason, f"{address}: {error}") from None
        try:
            return await self._connect(
                connected, remote_address_of(connected.getpeername()), peer_id
            )
        except RemoteFault as error:
            raise DialFailed(error.reason, str(address)) from None
        except ConnectionLost as error:
            raise DialFailed(error.reason, str(address)) from None
        except OSError as error:
            raise DialFailed("unreachable", f"{address}: {error}") from None

    async def _connect_first(
        self, found: Sequence[tuple[int, int, int, str, tuple[object, ...]]]
    ) -> socket.socket:
        failure: OSError = OSError("the name has no addresses")
        for family, kind, protocol, _, socket_address in found:
            candidate = socket.socket(family, kind, protocol)
            with contextlib.ExitStack() as on_failure:
                on_failure.callback(candidate.close)
                prepare_socket(candidate)
                try:
                    await self._loop.sock_connect(candidate, socket_address)
                except OSError as error:
                    failure = error
                    continue
                on_failure.pop_all()
                return candidate
        raise failure


def _retrieve(task: asyncio.Task[Connection]) -> None:
    """Mark the exception of a dial that nobody may be waiting for as seen."""
    if not task.cancelled():
        task.exception()
