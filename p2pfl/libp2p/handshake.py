"""Upgrades a connected socket: runs the upgrade machine over it under a deadline."""

import asyncio
import socket
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from p2pfl.libp2p.errors import RemoteFault
from p2pfl.libp2p.multiaddr import Multiaddr
from p2pfl.libp2p.upgrade import Upgrade, Upgraded
from p2pfl_crypto.identity import Identity, PeerId

# The longest message of an upgrade has 4 KiB; what else comes along belongs to the session.
_RECEIVE_BYTES = 16 * 1024


async def upgrade_socket(
    connection_socket: socket.socket,
    identity: Identity,
    *,
    dialer: bool,
    static: X25519PrivateKey,
    admit: Callable[[PeerId], None],
    timeout_s: float,
) -> Upgraded:
    """Upgrade a connected, non-blocking socket, which stays the caller's to close.

    Args:
        connection_socket: connected and non-blocking.
        identity: who we are.
        dialer: whether we dialled.
        static: the host's Noise key.
        admit: raises RemoteFault for a peer that must not be spoken to.
        timeout_s: for the whole upgrade.

    Raises:
        RemoteFault: the upgrade failed, by the reason that is counted.
    """
    loop = asyncio.get_running_loop()
    upgrade = Upgrade(
        identity,
        dialer=dialer,
        static=static,
        ephemeral=X25519PrivateKey.generate(),
        admit=admit,
    )
    try:
        async with asyncio.timeout(timeout_s):
            if first := upgrade.start():
                await loop.sock_sendall(connection_socket, first)
            while upgrade.result is None:
                data = await loop.sock_recv(connection_socket, _RECEIVE_BYTES)
                if not data:
                    raise RemoteFault("closed_in_handshake")
                if answer := upgrade.receive_untrusted(data):
                    await loop.sock_sendall(connection_socket, answer)
    except TimeoutError:
        raise RemoteFault("handshake_timeout") from None
    except OSError:
        raise RemoteFault("reset_in_handshake") from None
    return upgrade.result


def prepare_socket(connection_socket: socket.socket) -> None:
    """Set the options of a connection: frames leave at once."""
    connection_socket.setblocking(False)
    connection_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def remote_address_of(address: tuple[object, ...]) -> Multiaddr:
    """A socket address of IPv4 or IPv6 as a multiaddr."""
    host, port = str(address[0]).partition("%")[0], address[1]
    assert isinstance(port, int)
    return Multiaddr("ip6" if ":" in host else "ip4", host, port)
