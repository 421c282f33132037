"""The multiaddrs that a TCP peer needs: `/ip4|ip6|dns|dns4|dns6/HOST/tcp/PORT[/p2p/PEER]`.

Follows multiformats "multiaddr" and the libp2p specification "Addressing". Other components (QUIC,
relays, WebSocket) name transports that are not spoken here; such an address is refused whole.
"""

import ipaddress
import re
from dataclasses import dataclass

from p2pfl.libp2p.errors import MalformedBytes
from p2pfl.libp2p.varint import decode_varint_untrusted, encode_varint
from p2pfl_crypto.identity import (
    InvalidIdentity,
    PeerId,
    decode_public_key,
    encode_public_key,
    peer_id_of,
    public_key_of,
)

# A host name has at most 253 characters (RFC 1035); a peer id 52; the rest is fixed.
MULTIADDR_BYTES_MAX = 400
MULTIADDR_TEXT_MAX = 400
_HOST_NAME_MAX = 253

_CODES = {"ip4": 4, "ip6": 41, "dns": 53, "dns4": 54, "dns6": 55}
_KINDS = {code: kind for kind, code in _CODES.items()}
_TCP, _P2P = 6, 421
_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*\.?")
_IDENTITY_MULTIHASH = b"\x00\x24"


class InvalidMultiaddr(ValueError):
    """An address that was typed or configured is not one we can dial; the message says how."""


@dataclass(frozen=True, slots=True)
class Multiaddr:
    """Where a peer listens.

    Attributes:
        kind: `ip4`, `ip6`, `dns`, `dns4` or `dns6`: how `host` is to be understood.
        host: canonical IP address text, or a host name.
        port: TCP port, 0 to 65535; 0 only to listen on whichever port is free.
        peer_id: who is expected there, if known.
    """

    kind: str
    host: str
    port: int
    peer_id: PeerId | None = None

    def __post_init__(self) -> None:
        if self.kind not in _CODES:
            raise InvalidMultiaddr(f"/{self.kind} is not spoken here, only {sorted(_CODES)}")
        if not 0 <= self.port <= 0xFFFF:
            raise InvalidMultiaddr(f"{self.port} is not a TCP port")
        if self.kind in ("ip4", "ip6"):
            try:
                address = ipaddress.ip_address(self.host)
            except ValueError:
                raise InvalidMultiaddr(f"{self.host!r} is not an IP address") from None
            if f"ip{address.version}" != self.kind or "%" in self.host:
                raise InvalidMultiaddr(f"{self.host!r} is not an /{self.kind} address")
            object.__setattr__(self, "host", str(address))
        elif len(self.host) > _HOST_NAME_MAX or not _HOST_NAME.fullmatch(self.host):
            raise InvalidMultiaddr(f"{self.host!r} is not a host name")
        if self.peer_id is not None:
            try:
                public_key_of(self.peer_id)
            except InvalidIdentity as error:
                raise InvalidMultiaddr(str(error)) from None

    def __str__(self) -> str:
        peer = "" if self.peer_id is None else f"/p2p/{self.peer_id}"
        return f"/{self.kind}/{self.host}/tcp/{self.port}{peer}"

    def with_peer(self, peer_id: PeerId) -> "Multiaddr":
        """The same address, naming who is expected there."""
        return Multiaddr(self.kind, self.host, self.port, peer_id)

    def encode(self) -> bytes:
        """Encode as a binary multiaddr."""
        encoded = bytearray(encode_varint(_CODES[self.kind]))
        if self.kind in ("ip4", "ip6"):
            encoded += ipaddress.ip_address(self.host).packed
        else:
            name = self.host.encode("ascii")
            encoded += encode_varint(len(name)) + name
        encoded += encode_varint(_TCP) + self.port.to_bytes(2, "big")
        if self.peer_id is not None:
            multihash = _IDENTITY_MULTIHASH + encode_public_key(public_key_of(self.peer_id))
            encoded += encode_varint(_P2P) + encode_varint(len(multihash)) + multihash
        return bytes(encoded)


def parse_multiaddr(text: str) -> Multiaddr:
    """Parse an address as people write it.

    Raises:
        InvalidMultiaddr: not `/ip4|ip6|dns|dns4|dns6/HOST/tcp/PORT[/p2p/PEER]`.
    """
    if len(text) > MULTIADDR_TEXT_MAX:
        raise InvalidMultiaddr(f"an address of {len(text)} characters is too long")
    parts = text.split("/")
    form = len(parts) in (5, 7) and parts[0] == "" and parts[3] == "tcp"
    if not form or (len(parts) == 7 and parts[5] != "p2p"):
        raise InvalidMultiaddr(f"{text!r} is not /ip4|ip6|dns/HOST/tcp/PORT[/p2p/PEER]")
    if not (parts[4].isascii() and parts[4].isdigit() and len(parts[4]) <= 5):
        raise InvalidMultiaddr(f"{parts[4]!r} is not a TCP port")
    peer_id = PeerId(parts[6]) if len(parts) == 7 else None
    return Multiaddr(parts[1], parts[2], int(parts[4]), peer_id)


def decode_multiaddr_untrusted(encoded: bytes) -> Multiaddr:
    """Decode a binary multiaddr that a peer sent.

    Raises:
        MalformedBytes: not an address of the kinds spoken here.
    """
    if len(encoded) > MULTIADDR_BYTES_MAX:
        raise MalformedBytes("multiaddr_too_long")
    reader = _Reader(encoded)
    kind = _KINDS.get(reader.varint())
    if kind is None:
        raise MalformedBytes("multiaddr_unsupported")
    try:
        if kind in ("ip4", "ip6"):
            host = str(ipaddress.ip_address(reader.take(4 if kind == "ip4" else 16)))
        else:
            host = reader.take(reader.varint()).decode("ascii")
        if reader.varint() != _TCP:
            raise MalformedBytes("multiaddr_unsupported")
        port = int.from_bytes(reader.take(2), "big")
        peer_id = None
        if reader.offset < len(encoded):
            if reader.varint() != _P2P:
                raise MalformedBytes("multiaddr_unsupported")
            multihash = reader.take(reader.varint())
            if multihash[:2] != _IDENTITY_MULTIHASH or reader.offset != len(encoded):
                raise MalformedBytes("multiaddr_unsupported")
            peer_id = peer_id_of(decode_public_key(multihash[2:]))
        return Multiaddr(kind, host, port, peer_id)
    except ValueError:  # UnicodeDecodeError, InvalidMultiaddr and InvalidIdentity among them.
        raise MalformedBytes("multiaddr_malformed") from None


class _Reader:
    def __init__(self, encoded: bytes) -> None:
        self._encoded = encoded
        self.offset = 0

    def varint(self) -> int:
        decoded = decode_varint_untrusted(self._encoded, self.offset)
        if decoded is None:
            raise MalformedBytes("multiaddr_truncated")
        number, self.offset = decoded
        return number

    def take(self, length: int) -> bytes:
        end = self.offset + length
        if end > len(self._encoded):
            raise MalformedBytes("multiaddr_truncated")
        taken = self._encoded[self.offset : end]
        self.offset = end
        return taken
