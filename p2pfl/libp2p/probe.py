"""Finds out whether a peer can be reached at its addresses, without becoming connected to it.

The handshake goes on until the other end has proved who it is, and is broken off before we say who
we are. So the other end sees a stranger that hangs up, and its connections stay as they are.
"""

import asyncio
import socket
from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from p2pfl.libp2p.errors import DialFailed, RemoteFault
from p2pfl.libp2p.handshake import prepare_socket, upgrade_socket
from p2pfl.libp2p.limits import Limits
from p2pfl.libp2p.multiaddr import Multiaddr
from p2pfl.shortages import is_passing
from p2pfl_crypto.identity import Identity, PeerId

_FOUND = "probe_found"


async def probe_addresses(
    peer_id: PeerId,
    addresses: Sequence[Multiaddr],
    *,
    identity: Identity,
    static: X25519PrivateKey,
    limits: Limits,
) -> float:
    """Return the round trip to a peer, in seconds, by the first of its addresses that leads there.

    Args:
        peer_id: who has to be there.
        addresses: tried one after the other.
        identity: ours; it is not told.
        static: the host's Noise key; it is not told.
        limits: of the host; `dial_timeout_s` is for all addresses together.

    Raises:
        DialFailed: none leads there; `reason` is that of the last one tried.
    """
    failure = DialFailed("no_address")
    try:
        async with asyncio.timeout(limits.dial_timeout_s):
            for address in addresses[: limits.addresses_per_dial_max]:
                try:
                    return await _probe(peer_id, address, identity, static, limits)
                except DialFailed as error:
                    failure = error
    except TimeoutError:
        raise DialFailed("dial_timeout") from None
    raise failure


async def _probe(
    peer_id: PeerId,
    address: Multiaddr,
    identity: Identity,
    static: X25519PrivateKey,
    limits: Limits,
) -> float:
    def admit(found: PeerId) -> None:
        raise RemoteFault(_FOUND if found == peer_id else "wrong_peer_id")

    loop = asyncio.get_running_loop()
    family = {"4": socket.AF_INET, "6": socket.AF_INET6}.get(address.kind[-1], 0)
    try:
        found = await loop.getaddrinfo(
            address.host, address.port, family=family, type=socket.SOCK_STREAM
        )
        family, kind, protocol, _, socket_address = found[0]
        with socket.socket(family, kind, protocol) as probing:
            prepare_socket(probing)
            begun_s = loop.time()
            await loop.sock_connect(probing, socket_address)
            round_trip_s = loop.time() - begun_s
            await upgrade_socket(
                probing,
                identity,
                dialer=True,
                static=static,
                admit=admit,
                timeout_s=limits.handshake_timeout_s,
            )
    except RemoteFault as error:
        if error.reason == _FOUND:
            return round_trip_s
        raise DialFailed(error.reason, str(address)) from None
    except (OSError, UnicodeError, IndexError) as error:
        reason = "out_of_descriptors" if is_passing(error) else "unreachable"
        raise DialFailed(reason, f"{address}: {error}") from None
    raise AssertionError("an upgrade ended without asking whom it was for")
