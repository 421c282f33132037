"""libp2p over TCP on asyncio: multistream-select, Noise XX, yamux, identify, ping; no more.

`Host` listens, dials and opens streams; `Keeper` holds connections to a set of peers. See
docs/libp2p.md for what is spoken and for the limits. The protocols are machines without IO, one
file each; the host is the thin layer of sockets and tasks around them.
"""

from p2pfl.libp2p.connection import Connection
from p2pfl.libp2p.errors import (
    ConnectionLost,
    DialFailed,
    Libp2pError,
    LimitReached,
    LocalFault,
    MalformedBytes,
    ProtocolRefused,
    RemoteFault,
    StreamFinished,
    StreamReset,
    StreamTimeout,
)
from p2pfl.libp2p.host import Host
from p2pfl.libp2p.identify import Identification
from p2pfl.libp2p.keeper import Backoff, Keeper
from p2pfl.libp2p.limits import DEFAULT_LIMITS, Limits
from p2pfl.libp2p.multiaddr import InvalidMultiaddr, Multiaddr, parse_multiaddr
from p2pfl.libp2p.peer_table import PeerDoubled, PeerDown, PeerEvent, PeerUp
from p2pfl.libp2p.stream import Stream

__all__ = [
    "DEFAULT_LIMITS",
    "Backoff",
    "Connection",
    "ConnectionLost",
    "DialFailed",
    "Host",
    "Identification",
    "InvalidMultiaddr",
    "Keeper",
    "Libp2pError",
    "LimitReached",
    "Limits",
    "LocalFault",
    "MalformedBytes",
    "Multiaddr",
    "PeerDoubled",
    "PeerDown",
    "PeerEvent",
    "PeerUp",
    "ProtocolRefused",
    "RemoteFault",
    "Stream",
    "StreamFinished",
    "StreamReset",
    "StreamTimeout",
    "parse_multiaddr",
]
