"""Which connection to each peer is the one to use, and who is told of up and down."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from p2pfl.libp2p.admission import Admittance
from p2pfl.libp2p.connection import Connection
from p2pfl.libp2p.counters import Counters
from p2pfl.libp2p.errors import ConnectionLost, StreamTimeout
from p2pfl.libp2p.limits import Limits
from p2pfl_crypto.identity import PeerId


@dataclass(frozen=True, slots=True)
class PeerUp:
    """There is a connection to the peer, where there was none before."""

    peer_id: PeerId


@dataclass(frozen=True, slots=True)
class PeerDown:
    """The last connection to the peer is gone; `reason` as counted."""

    peer_id: PeerId
    reason: str


@dataclass(frozen=True, slots=True)
class PeerDoubled:
    """A second process of a peer has connected while the first is alive, and is refused.

    Both connections stand for `Limits.refused_s`, so that both processes can be told.
    """

    peer_id: PeerId
    kept: Connection
    refused: Connection


PeerEvent: TypeAlias = PeerUp | PeerDown | PeerDoubled
Watcher: TypeAlias = Callable[[PeerEvent], None]


class PeerTable:
    """The connections of one host, one to each peer, and others on their way in or out."""

    def __init__(
        self, peer_id: PeerId, limits: Limits, counters: Counters, *, tells_incarnations: bool
    ) -> None:
        """Begin with no connections.

        Args:
            peer_id: the host's own.
            limits: of the host.
            counters: of the host.
            tells_incarnations: whether a second process of a peer is refused while a first one is
                alive; other libp2p implementations draw a Noise key for each connection.
        """
        self._tells_incarnations = tells_incarnations
        self._judging: set[asyncio.Task[None]] = set()
        self._peer_id, self._limits, self._counters = peer_id, limits, counters
        self._loop = asyncio.get_running_loop()
        self._connections: dict[PeerId, Connection] = {}
        self._others: set[Connection] = set()  # Not yet confirmed, or superseded.
        self._ending: set[asyncio.Future[None]] = set()  # Sockets of closed connections.
        self._watchers: list[Watcher] = []

    def get(self, peer_id: PeerId) -> Connection | None:
        """The connection to use to a peer."""
        return self._connections.get(peer_id)

    def peers(self) -> tuple[PeerId, ...]:
        """Who is connected, in order of connection."""
        return tuple(self._connections)

    def __len__(self) -> int:
        return len(self._connections)

    @property
    def other_count(self) -> int:
        """Connections that are not yet confirmed, or superseded."""
        return len(self._others)

    @property
    def ending(self) -> tuple[asyncio.Future[None], ...]:
        """Done as the sockets of connections that are alive or ending are closed."""
        return tuple(self._ending)

    def __iter__(self) -> Iterator[Connection]:
        return iter([*self._connections.values(), *self._others])

    def count_of(self, peer_id: PeerId) -> int:
        """Connections to one peer, of all kinds."""
        return sum(connection.peer_id == peer_id for connection in self._others) + (
            peer_id in self._connections
        )

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        """Call `watcher` with every event from now on; return what ends that."""
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)

    def add(self, connection: Connection) -> None:
        """Hold a new connection that is not in use yet."""
        self._others.add(connection)
        self._ending.add(connection.gone)
        connection.gone.add_done_callback(self._ending.discard)

    def adopt(self, new: Connection) -> None:
        """Make `new` the connection to its peer, or let it drain where another is to be kept."""
        self._counters.add("connections_opened", reason="outbound" if new.dialer else "inbound")
        self._adopt(new)

    def _adopt(self, new: Connection) -> None:
        peer_id = new.peer_id
        old = self._connections.get(peer_id)
        if self._tells_incarnations and old is not None and old.incarnation != new.incarnation:
            new.admission.hold()
            task = self._loop.create_task(self._judge(old, new), name=f"judge {peer_id}")
            self._judging.add(task)
            task.add_done_callback(self._judging.discard)
            return
        for superseded in [other for other in self._others if other.peer_id == peer_id]:
            if superseded.draining:
                superseded.close("superseded")
        if old is None:
            self._others.discard(new)
            self._connections[peer_id] = new
            self._tell(PeerUp(peer_id))
            return
        keep_old = self._keeps(old, new)
        kept, drained = (old, new) if keep_old else (new, old)
        self._others.discard(kept)
        self._others.add(drained)
        self._connections[peer_id] = kept
        drained.drain()

    def _keeps(self, old: Connection, new: Connection) -> bool:
        """Which of two connections to one peer stays: the same answer at both ends.

        Two that were dialled at about the same time from both ends: the one that the smaller peer
        id dialled. Otherwise the new one: whoever dials again has lost the old one. While a peer
        has a connection it does not dial, so an old one seen here long before the new one came
        cannot be alive at the dialling end.
        """
        both_within_s = 2 * (self._limits.dial_timeout_s + self._limits.handshake_timeout_s)
        if old.dialer == new.dialer or new.opened_at_s - old.opened_at_s > both_within_s:
            return False
        return old.dialer == (self._peer_id < old.peer_id)

    async def _judge(self, old: Connection, new: Connection) -> None:
        """See whether the process behind `old` is alive: then `new`, of a second one, is refused.

        Where it is not, its end admits `new`, in `lost`: so a peer that was started again is in at
        once where its socket told of the end, and else after this question.
        """
        heard_bytes = old.bytes_received
        try:
            await old.ping(self._limits.incarnation_probe_s)
        except (ConnectionLost, StreamTimeout):
            # Our own process may have been too busy to see an answer that is there.
            if old.lost_reason is None and old.bytes_received == heard_bytes:
                old.close("another_incarnation", linger_s=0.0)
        if new.lost_reason is not None or new.admission.verdict is not Admittance.PENDING:
            return
        kept = self._connections.get(new.peer_id)
        if kept is None or kept.incarnation == new.incarnation:
            new.admission.decide(Admittance.ADMITTED)
            self._adopt(new)
            return
        self._counters.add("incarnations_refused")
        new.admission.decide(Admittance.REFUSED)
        self._loop.call_later(self._limits.refused_s, new.close, "another_incarnation")
        self._tell(PeerDoubled(new.peer_id, kept, new))

    def lost(self, connection: Connection, reason: str) -> None:
        """Forget a connection that is gone; where another to the same peer is alive, use that."""
        peer_id = connection.peer_id
        self._counters.add("bytes_sent", connection.bytes_sent)
        self._counters.add("bytes_received", connection.bytes_received)
        self._others.discard(connection)
        is_in_use = self._connections.get(peer_id) is connection
        was_held = connection.admission.verdict is not Admittance.ADMITTED
        if was_held:
            connection.admission.decide(Admittance.REFUSED)
        # Else it was never opened, but a dial that failed.
        if is_in_use or connection.draining or was_held:
            self._counters.add("connections_closed", reason=reason)
        if not is_in_use:
            return
        for other in self._others:
            if other.peer_id == peer_id and other.draining:
                self._others.discard(other)
                self._connections[peer_id] = other
                other.undrain()
                return
        del self._connections[peer_id]
        self._tell(PeerDown(peer_id, reason))
        for other in [it for it in self._others if it.peer_id == peer_id]:
            if other.admission.verdict is Admittance.PENDING:
                other.admission.decide(Admittance.ADMITTED)
                self._adopt(other)

    def close(self) -> list[asyncio.Task[None]]:
        """Judge no more; returns the tasks that are still ending."""
        tasks = list(self._judging)
        for task in tasks:
            task.cancel()
        return tasks

    def _tell(self, event: PeerEvent) -> None:
        for watcher in self._watchers:
            self._loop.call_soon(watcher, event)
