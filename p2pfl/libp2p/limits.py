"""Every limit and period of a host, in one place, each with the reason for its number."""

from dataclasses import dataclass

MiB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What one host grants to others and demands of them; see each field's comment.

    The defaults suit a daemon with tens of neighbours. `_s` are seconds.
    """

    # A daemon has 10 to 60 neighbours; a thousand leaves room for a crowd of strangers to be
    # refused by the allow-list, at about 30 KB each.
    connections_max: int = 1024
    # Two that dial each other at once have two for a moment; a third is somebody's bug.
    connections_per_peer_max: int = 2
    # One takes 0.5 ms of CPU. Where more strangers than this knock, the oldest gives way: an honest
    # handshake is over within a few round trips, a slow one is not honest.
    handshakes_max: int = 128
    # By IP address, as a stranger has no other name yet. Simulations run 60 peers on one address.
    handshakes_per_address_max: int = 96
    # Ten times what a daemon uses at once; yamux implementations expect to be allowed 256.
    inbound_streams_per_peer_max: int = 256
    outbound_streams_per_peer_max: int = 256
    streams_max: int = 16_384
    # A peer that goes on opening streams while we refuse them is stopped by the connection's end.
    refused_streams_per_period_max: int = 1024
    # One stream may have this much unread. At 16 MiB a path of 100 ms carries 160 MB/s.
    window_bytes_max: int = 16 * MiB
    # By how much all windows of one connection, and of the host, may exceed their initial 256 KiB.
    window_growth_per_peer_bytes_max: int = 32 * MiB
    window_growth_bytes_max: int = 256 * MiB
    # Reached only by many initial windows filled and never read: 256 x 256 KiB are 64 MiB a peer.
    unread_per_peer_bytes_max: int = 64 * MiB
    unread_bytes_max: int = 512 * MiB
    # Dials: a keeper that starts with 60 peers needs a burst; afterwards back-off keeps it low.
    dials_per_s: float = 32.0
    dials_burst: int = 128
    dials_per_peer_per_s: float = 1.0
    dials_per_peer_burst: int = 8
    # More addresses than interfaces is guessing.
    addresses_per_dial_max: int = 8
    # Between two addresses of one peer (RFC 8305, section 5, "Connection Attempt Delay").
    address_delay_s: float = 0.25
    # A packet lost three times in a row (1 + 2 + 4 s) still connects.
    dial_timeout_s: float = 10.0
    # From the TCP connection to the muxer: 4 round trips and 1 ms of CPU, on a loaded machine.
    handshake_timeout_s: float = 10.0
    # From the SYN of a stream to its protocol.
    negotiation_timeout_s: float = 10.0
    # A read or write without any progress. A handler that waits longer on purpose says so.
    stream_timeout_s: float = 60.0
    # A silent peer is pinged after one period and given up within three.
    keepalive_period_s: float = 5.0
    # For the process that is linked to answer, where a second one of the same peer comes: a busy
    # one on a loaded machine. One that is dead was told of by its socket's end, or is asked here.
    incarnation_probe_s: float = 3.0
    # For telling a second process of a peer that it is refused, and why.
    refused_s: float = 5.0
    # For the other end to take the last bytes of a closing connection.
    linger_s: float = 0.25


DEFAULT_LIMITS = Limits()
