"""identify 1.0.0: what a peer tells of itself, encoded and decoded.

Follows the libp2p specification "Identify v1.0.0". The answering peer sends one message, prefixed
by its length as a varint, and closes the stream. Addresses of transports that are not spoken here
are left out, as are signed peer records; `identify/push` is not spoken.
"""

from dataclasses import dataclass

from p2pfl.libp2p.errors import MalformedBytes
from p2pfl.libp2p.multiaddr import Multiaddr, decode_multiaddr_untrusted
from p2pfl.libp2p.protobuf import decode_fields_untrusted, decode_text_untrusted, encode_fields
from p2pfl_crypto.identity import (
    InvalidIdentity,
    PeerId,
    decode_public_key,
    encode_public_key,
    peer_id_of,
)

PROTOCOL = "/ipfs/id/1.0.0"
# go-libp2p takes 8 KiB, or 64 KiB with a signed record; hosts with many transports send about 3.
MESSAGE_BYTES_MAX = 64 * 1024
PROTOCOLS_MAX = 128
ADDRESSES_MAX = 64
_TEXT_BYTES_MAX = 256  # Agent and protocol versions and protocol names are shorter by far.


@dataclass(frozen=True, slots=True)
class Identification:
    """What a peer tells of itself; only `public_key` is proved, by the Noise handshake.

    Attributes:
        public_key: its 32-byte identity key; None where it told none.
        protocols: names that it takes streams for.
        listens_on: its addresses of the kinds we can dial.
        observed: our address as it sees us, if of such a kind.
        agent_version: free text, for instance `js-libp2p/2.9.0`.
        protocol_version: free text.
    """

    public_key: bytes | None
    protocols: tuple[str, ...] = ()
    listens_on: tuple[Multiaddr, ...] = ()
    observed: Multiaddr | None = None
    agent_version: str = ""
    protocol_version: str = ""

    @property
    def peer_id(self) -> PeerId | None:
        """The peer id of `public_key`."""
        return None if self.public_key is None else peer_id_of(self.public_key)


def encode_identification(identification: Identification) -> bytes:
    """Encode as an `Identify` message, fields in ascending order."""
    fields: list[tuple[int, bytes]] = []
    if identification.public_key is not None:
        fields.append((1, encode_public_key(identification.public_key)))
    fields += [(2, address.encode()) for address in identification.listens_on]
    fields += [(3, protocol.encode()) for protocol in identification.protocols]
    if identification.observed is not None:
        fields.append((4, identification.observed.encode()))
    fields.append((5, identification.protocol_version.encode()))
    fields.append((6, identification.agent_version.encode()))
    return encode_fields(fields)


def decode_identification_untrusted(message: bytes) -> Identification:
    """Decode an `Identify` message.

    Raises:
        MalformedBytes: not such a message, or its key is not that of an Ed25519 identity.
    """
    known = {1: 1, 2: ADDRESSES_MAX, 3: PROTOCOLS_MAX, 4: 1, 5: 1, 6: 1}
    fields = decode_fields_untrusted(message, known)
    public_key = None
    if fields[1]:
        try:
            public_key = decode_public_key(fields[1][0])
        except InvalidIdentity:
            raise MalformedBytes("identify_public_key") from None
    observed = _dialable_untrusted(fields[4])
    return Identification(
        public_key=public_key,
        protocols=tuple(_text_untrusted(name) for name in fields[3]),
        listens_on=_dialable_untrusted(fields[2]),
        observed=observed[0] if observed else None,
        agent_version="".join(_text_untrusted(text) for text in fields[6]),
        protocol_version="".join(_text_untrusted(text) for text in fields[5]),
    )


def _dialable_untrusted(encoded: list[bytes]) -> tuple[Multiaddr, ...]:
    addresses = []
    for address in encoded:
        try:
            addresses.append(decode_multiaddr_untrusted(address))
        except MalformedBytes:  # QUIC, relays and the like: legitimate, but of no use to us.
            continue
    return tuple(addresses)


def _text_untrusted(content: bytes) -> str:
    if len(content) > _TEXT_BYTES_MAX:
        raise MalformedBytes("identify_text_too_long")
    return decode_text_untrusted(content)
