"""A libp2p host: listens, dials, and keeps one connection to each peer."""

import asyncio
import socket
import time
from collections.abc import Callable, Collection, Sequence
from types import TracebackType
from typing import Any, Self, TypeAlias

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from p2pfl.libp2p import identify, ping
from p2pfl.libp2p.connection import Connection
from p2pfl.libp2p.counters import Counters
from p2pfl.libp2p.dialer import Dialer
from p2pfl.libp2p.errors import ConnectionLost, DialFailed, LocalFault, RemoteFault
from p2pfl.libp2p.handshake import upgrade_socket
from p2pfl.libp2p.identify import Identification
from p2pfl.libp2p.limits import DEFAULT_LIMITS, Limits
from p2pfl.libp2p.link import Scratch
from p2pfl.libp2p.listener import Listener
from p2pfl.libp2p.liveness import TICKS_PER_PERIOD
from p2pfl.libp2p.multiaddr import Multiaddr, parse_multiaddr
from p2pfl.libp2p.multistream import encode_message
from p2pfl.libp2p.peer_table import PeerEvent, PeerTable, PeerUp, Watcher
from p2pfl.libp2p.probe import probe_addresses
from p2pfl.libp2p.shared import Handler, Shared
from p2pfl.libp2p.stream import Stream
from p2pfl.libp2p.upgrade import Upgraded
from p2pfl.libp2p.yamux_streams import WindowBudget
from p2pfl_crypto.identity import Identity, PeerId, public_key_of

AGENT = "p2pfl/0.1.0"
_PROTOCOL_VERSION = "p2pfl/1"
_HANDLERS_MAX = identify.PROTOCOLS_MAX  # All are told by identify.
_CLOSE_S = 0.5  # For links to linger and tasks to end; the promise is a second.


AllowList: TypeAlias = Collection[PeerId] | Callable[[PeerId], bool]


class Host:
    """One peer's end of all its connections. Make it within a running event loop.

    Attributes:
        identity: who we are.
        peer_id: the peer id of `identity`.
        incarnation: 32 bytes, drawn when the host was made: others tell processes apart by it.
        counters: what has happened; `metrics` adds what is.
    """

    def __init__(
        self,
        identity: Identity,
        *,
        limits: Limits = DEFAULT_LIMITS,
        allow: AllowList | None = None,
        agent: str = AGENT,
        tells_incarnations: bool = False,
    ) -> None:
        """Make a host that neither listens nor dials yet.

        Args:
            identity: who we are.
            limits: all limits and periods.
            allow: peers that may connect and be dialled, looked up each time: a collection or a
                predicate; None allows everybody.
            agent: what identify tells of our software.
            tells_incarnations: whether a second process of a peer is refused while a first one is
                linked and alive (`PeerDoubled`); for hosts that speak to this implementation only.
        """
        self.identity = identity
        self.peer_id = identity.peer_id
        self.counters = Counters()
        self._limits = limits
        self._allow = allow
        self._agent = agent
        self._loop = asyncio.get_running_loop()
        self._static = X25519PrivateKey.generate()
        self.incarnation = self._static.public_key().public_bytes_raw()
        self._shared = Shared(
            limits=limits,
            counters=self.counters,
            handlers={},
            scratch=Scratch(),
            budget=WindowBudget(limits.window_growth_bytes_max),
            on_unread_excess=self._shed,
        )
        self._table = PeerTable(
            self.peer_id, limits, self.counters, tells_incarnations=tells_incarnations
        )
        self._listener = Listener(limits, self.counters, self._accept)
        self._dialer = Dialer(limits, self.counters, self._connect)
        self._table.watch(self._on_peer)
        self._closed = False
        self._tick_s = limits.keepalive_period_s / TICKS_PER_PERIOD
        self._ticker = self._loop.call_later(self._tick_s, self._tick)
        self._shared.handlers[identify.PROTOCOL] = self._serve_identify
        self._shared.handlers[ping.PROTOCOL] = ping.PingService().serve

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    # Connections.

    async def listen(self, *addresses: Multiaddr | str) -> tuple[Multiaddr, ...]:
        """Listen, and return the addresses that others can dial, with our peer id.

        Raises:
            InvalidMultiaddr, OSError: not an address, or one that cannot be had.
        """
        self._check_open()
        opened: list[Multiaddr] = []
        for address in addresses:
            opened += await self._listener.listen(_parsed(address))
        return tuple(address.with_peer(self.peer_id) for address in opened)

    @property
    def addresses(self) -> tuple[Multiaddr, ...]:
        """Where we listen, with our peer id."""
        return tuple(address.with_peer(self.peer_id) for address in self._listener.addresses)

    async def dial(self, peer_id: PeerId, addresses: Sequence[Multiaddr | str] = ()) -> Connection:
        """Connect to a peer, unless it is connected already.

        Returns once the peer has shown that it admits us, so a refusal is an error here and not a
        connection that comes and goes; or once the peer has connected to us.

        Args:
            peer_id: whom to expect; nobody else is spoken to.
            addresses: tried side by side, each a moment after the one before.

        Raises:
            DialFailed: no connection came about; `reason` tells why.
        """
        self._check_open()
        connection = self._table.get(peer_id)
        if connection is not None:
            return connection
        self._check_allowed(peer_id)
        return await self._dialer.dial(peer_id, [_parsed(address) for address in addresses])

    async def probe(self, peer_id: PeerId, addresses: Sequence[Multiaddr | str]) -> float:
        """See whether a peer can be dialled, without a connection to it coming or going.

        Returns:
            Seconds of a round trip.

        Raises:
            DialFailed: it is at none of the addresses; `reason` tells why.
        """
        self._check_open()
        return await probe_addresses(
            peer_id,
            [_parsed(address) for address in addresses],
            identity=self.identity,
            static=self._static,
            limits=self._limits,
        )

    def connection(self, peer_id: PeerId) -> Connection | None:
        """The live connection to a peer."""
        return self._table.get(peer_id)

    def peers(self) -> tuple[PeerId, ...]:
        """Who is connected, in order of connection."""
        return self._table.peers()

    def disconnect(self, peer_id: PeerId, reason: str = "disconnected") -> None:
        """Close every connection to a peer, if there is one."""
        for connection in self._table:
            if connection.peer_id == peer_id:
                connection.close(reason)

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        """Call `watcher` with every PeerUp and PeerDown from now on, in order.

        Returns:
            What ends that when called.
        """
        return self._table.watch(watcher)

    # Streams.

    def set_handler(
        self, protocol: str, handler: Handler | None, *, for_refused: bool = False
    ) -> None:
        """Serve inbound streams of a protocol by `handler(stream)`, or no more where it is None.

        The stream ends when the handler returns; an exception resets it and nothing else.
        A second process of a peer is served only where `for_refused`.

        Raises:
            LocalFault: the name cannot be one, or there are too many handlers.
        """
        encode_message(protocol)
        handlers = self._shared.handlers
        self._shared.for_refused.discard(protocol)
        if for_refused:
            self._shared.for_refused.add(protocol)
        if handler is None:
            handlers.pop(protocol, None)
        elif len(handlers) >= _HANDLERS_MAX and protocol not in handlers:
            raise LocalFault(f"more than {_HANDLERS_MAX} protocols")
        else:
            handlers[protocol] = handler

    async def open_stream(
        self, peer_id: PeerId, protocols: str | Sequence[str], timeout_s: float | None = None
    ) -> Stream:
        """Open a stream to a connected peer; arguments and errors as `Connection.open_stream`."""
        connection = self._table.get(peer_id)
        if connection is None:
            raise ConnectionLost("not_connected")
        wanted = [protocols] if isinstance(protocols, str) else list(protocols)
        return await connection.open_stream(wanted, timeout_s)

    async def ping(self, peer_id: PeerId) -> float:
        """Measure a round trip through `/ipfs/ping/1.0.0`, in seconds; raises as `open_stream`."""
        async with await self.open_stream(peer_id, ping.PROTOCOL) as stream:
            return await ping.ping(stream, time.perf_counter)

    async def identify(self, peer_id: PeerId) -> Identification:
        """Ask a peer what it tells of itself.

        Raises:
            RemoteFault: its answer is malformed, or names another key than its own.
            Libp2pError: as `open_stream`.
        """
        async with await self.open_stream(peer_id, identify.PROTOCOL) as stream:
            message = await stream.read_message(identify.MESSAGE_BYTES_MAX)
        told = identify.decode_identification_untrusted(bytes(message or b""))
        if told.peer_id not in (None, peer_id):
            raise RemoteFault("identify_other_key")
        return told

    # Housekeeping.

    def metrics(self) -> dict[str, int]:
        """All counters, and gauges: what is there now."""
        return self.counters.snapshot() | {
            "connections": len(self._table),
            "connections_superseded": self._table.other_count,
            "dials_in_progress": self._dialer.dial_count,
            "handshakes_in_progress": self._listener.handshake_count,
            "streams": sum(connection.stream_count for connection in self._table),
            "unread_bytes": self._shared.unread_bytes,
        }

    async def close(self) -> None:
        """Stop listening, end every connection, dial and handler; within a second."""
        if self._closed:
            return
        self._closed = True
        self._ticker.cancel()
        tasks: list[asyncio.Future[Any]] = [
            *self._listener.close(),
            *self._dialer.close(),
            *self._table.close(),
        ]
        for connection in self._table:
            connection.close("host_closed", linger_s=min(self._limits.linger_s, _CLOSE_S))
        for task in self._shared.stream_tasks:
            task.cancel()
        tasks += [*self._shared.stream_tasks, *self._table.ending]
        if tasks:
            await asyncio.wait(tasks, timeout=_CLOSE_S)

    # Inner workings.

    async def _accept(self, accepted: socket.socket, remote: Multiaddr) -> None:
        """Upgrade an inbound connection; owns its socket."""
        try:
            upgraded = await upgrade_socket(
                accepted,
                self.identity,
                dialer=False,
                static=self._static,
                admit=self._admit_inbound,
                timeout_s=self._limits.handshake_timeout_s,
            )
        except RemoteFault as error:
            self.counters.add("handshakes_failed", reason=error.reason)
            accepted.close()
            return
        except BaseException:
            accepted.close()
            raise
        connection = self._new_connection(accepted, upgraded, dialer=False, remote=remote)
        self._table.adopt(connection)
        connection.start()

    async def _connect(
        self, connected: socket.socket, remote: Multiaddr, peer_id: PeerId
    ) -> Connection:
        """Upgrade an outbound connection and wait until the other end has confirmed it."""

        def admit(found: PeerId) -> None:
            if found != peer_id:
                raise RemoteFault("wrong_peer_id")

        try:
            upgraded = await upgrade_socket(
                connected,
                self.identity,
                dialer=True,
                static=self._static,
                admit=admit,
                timeout_s=self._limits.handshake_timeout_s,
            )
        except BaseException:
            connected.close()
            raise
        connection = self._new_connection(connected, upgraded, dialer=True, remote=remote)
        try:
            connection.start()
            async with asyncio.timeout(self._limits.handshake_timeout_s):
                await connection.ping()
        except TimeoutError:
            connection.close("handshake_timeout")
            raise RemoteFault("handshake_timeout") from None
        except BaseException:
            connection.close("dial_cancelled")
            raise
        # The other end may have dialled as well, and that connection be the one to keep.
        kept = self._table.get(peer_id)
        if kept is None and connection.lost_reason is not None:
            raise ConnectionLost(connection.lost_reason)
        return kept or connection

    def _new_connection(
        self, connected: socket.socket, upgraded: Upgraded, *, dialer: bool, remote: Multiaddr
    ) -> Connection:
        connection = Connection(
            self._shared,
            connected,
            upgraded,
            dialer=dialer,
            remote_address=remote,
            on_confirmed=self._table.adopt if dialer else _already_adopted,
            on_lost=self._table.lost,
        )
        self._table.add(connection)
        return connection

    def _on_peer(self, event: PeerEvent) -> None:
        connection = self._table.get(event.peer_id)
        if isinstance(event, PeerUp) and connection is not None:
            self._dialer.arrived(connection)

    def _tick(self) -> None:
        self._ticker = self._loop.call_later(self._tick_s, self._tick)
        for connection in self._table:
            connection.tick()

    def _shed(self) -> None:
        """Too much is unread in all: end the connection that has most of it."""
        max(self._table, key=lambda connection: connection.unread_bytes).close(
            "unread_bytes_in_all"
        )

    def _admit_inbound(self, peer_id: PeerId) -> None:
        if peer_id == self.peer_id:
            raise RemoteFault("own_peer_id")
        if not self._allows(peer_id):
            raise RemoteFault("not_allowed")
        if len(self._table) >= self._limits.connections_max:
            raise RemoteFault("connections")
        if self._table.count_of(peer_id) > self._limits.connections_per_peer_max:
            raise RemoteFault("connections_per_peer")

    def _check_allowed(self, peer_id: PeerId) -> None:
        public_key_of(peer_id)
        if peer_id == self.peer_id:
            raise DialFailed("own_peer_id")
        if not self._allows(peer_id):
            raise DialFailed("not_allowed")
        if len(self._table) >= self._limits.connections_max:
            raise DialFailed("connections")

    def _allows(self, peer_id: PeerId) -> bool:
        if self._allow is None:
            return True
        return self._allow(peer_id) if callable(self._allow) else peer_id in self._allow

    def _check_open(self) -> None:
        if self._closed:
            raise LocalFault("the host is closed")

    async def _serve_identify(self, stream: Stream) -> None:
        connection = self._table.get(stream.peer_id)
        told = Identification(
            public_key=self.identity.public_key,
            protocols=tuple(sorted(self._shared.handlers)),
            listens_on=tuple(self._listener.addresses),
            observed=None if connection is None else connection.remote_address,
            agent_version=self._agent,
            protocol_version=_PROTOCOL_VERSION,
        )
        await stream.write_message(identify.encode_identification(told))


def _parsed(address: Multiaddr | str) -> Multiaddr:
    return parse_multiaddr(address) if isinstance(address, str) else address


def _already_adopted(_connection: Connection) -> None:
    """An inbound connection needs no confirmation: the dialer has spoken last."""
