"""Who a peer is: an Ed25519 key pair (RFC 8032) and the libp2p peer id that names it.

Follows the libp2p specification "Peer Ids and Keys": a public key is a protobuf message of two
fields, and the peer id of an Ed25519 key is that message itself as an identity multihash. So a
peer id holds the key: whoever knows the id can verify the peer's signatures.
Only Ed25519 is spoken; RSA, Secp256k1 and ECDSA ids are refused by name.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import NewType

from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey

PeerId = NewType("PeerId", str)
"""The base58btc text of a libp2p peer id, ``12D3Koo...``: 52 characters for an Ed25519 key."""

PEER_IDS_KEPT = 4096
"""Peer ids that are worked out once: of a group's members they are asked for again and again."""

SEED_BYTES = 32
PUBLIC_KEY_BYTES = 32
SIGNATURE_BYTES = 64

# PublicKey { Type = 1 (Ed25519), Data = 32 bytes }, encoded canonically: fields in order, minimal.
_KEY_MESSAGE_PREFIX = b"\x08\x01\x12\x20"
# Multihash code 0 (identity), then the message's length.
_PEER_ID_PREFIX = b"\x00\x24" + _KEY_MESSAGE_PREFIX
_PEER_ID_TEXT_MAX = 64  # Longer than any id we take; bounds the quadratic base58 decoding.

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BASE58_VALUES = {character: value for value, character in enumerate(_BASE58)}


class InvalidIdentity(ValueError):
    """A key, peer id or signature is not what it must be; the message says how."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A peer's long-lived Ed25519 key pair.

    Attributes:
        seed: 32 secret bytes (the RFC 8032 private key); never shown by `repr`.
    """

    seed: bytes = field(repr=False)
    _signing_key: SigningKey = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.seed) != SEED_BYTES:
            raise InvalidIdentity(f"an identity seed has {SEED_BYTES} bytes, not {len(self.seed)}")
        object.__setattr__(self, "_signing_key", SigningKey(self.seed))

    @property
    def public_key(self) -> bytes:
        """The 32 bytes of the Ed25519 public key."""
        return bytes(self._signing_key.verify_key)

    @property
    def peer_id(self) -> PeerId:
        """The peer id that others know this identity by."""
        return peer_id_of(self.public_key)

    def sign(self, statement: bytes) -> bytes:
        """Sign `statement`; 64 bytes, deterministic (RFC 8032)."""
        return self._signing_key.sign(statement).signature


def verify(public_key: bytes, statement: bytes, signature: bytes) -> None:
    """Check an Ed25519 signature.

    Raises:
        InvalidIdentity: the signature is malformed, or not of this key and statement.
    """
    if len(public_key) != PUBLIC_KEY_BYTES:
        raise InvalidIdentity(f"a public key has {PUBLIC_KEY_BYTES} bytes, not {len(public_key)}")
    if len(signature) != SIGNATURE_BYTES:
        raise InvalidIdentity(f"a signature has {SIGNATURE_BYTES} bytes, not {len(signature)}")
    try:
        crypto_sign_open(signature + statement, public_key)
    except BadSignatureError:
        raise InvalidIdentity("the signature does not verify") from None


def encode_public_key(public_key: bytes) -> bytes:
    """Encode a 32-byte Ed25519 key as the libp2p `PublicKey` protobuf message (36 bytes)."""
    if len(public_key) != PUBLIC_KEY_BYTES:
        raise InvalidIdentity(f"a public key has {PUBLIC_KEY_BYTES} bytes, not {len(public_key)}")
    return _KEY_MESSAGE_PREFIX + public_key


def decode_public_key(message: bytes) -> bytes:
    """Decode a libp2p `PublicKey` message, taking the one canonical encoding only.

    Returns:
        The 32 bytes of an Ed25519 public key.

    Raises:
        InvalidIdentity: another key type, another encoding, or not such a message.
    """
    if len(message) >= 2 and message[0] == 0x08 and message[1] in (0, 2, 3):
        name = {0: "RSA", 2: "Secp256k1", 3: "ECDSA"}[message[1]]
        raise InvalidIdentity(f"{name} keys are not supported; use an Ed25519 identity")
    prefix = len(_KEY_MESSAGE_PREFIX)
    if len(message) != prefix + PUBLIC_KEY_BYTES or message[:prefix] != _KEY_MESSAGE_PREFIX:
        raise InvalidIdentity("not a canonical libp2p Ed25519 public key message")
    return message[prefix:]


@lru_cache(maxsize=PEER_IDS_KEPT)
def peer_id_of(public_key: bytes) -> PeerId:
    """Name a 32-byte Ed25519 public key by its libp2p peer id."""
    return PeerId(_encode_base58(b"\x00\x24" + encode_public_key(public_key)))


def public_key_of(peer_id: str) -> bytes:
    """Take the Ed25519 public key out of a peer id.

    Raises:
        InvalidIdentity: not base58btc, or not the peer id of an Ed25519 key.
    """
    binary = _decode_base58(peer_id)
    prefix = len(_PEER_ID_PREFIX)
    if len(binary) != prefix + PUBLIC_KEY_BYTES or binary[:prefix] != _PEER_ID_PREFIX:
        raise InvalidIdentity(f"{peer_id!r} is not the peer id of an Ed25519 key (12D3Koo...)")
    return binary[prefix:]


def _encode_base58(binary: bytes) -> str:
    number = int.from_bytes(binary, "big")
    digits = []
    while number:
        number, digit = divmod(number, 58)
        digits.append(_BASE58[digit])
    leading_zeros = len(binary) - len(binary.lstrip(b"\0"))
    return _BASE58[0] * leading_zeros + "".join(reversed(digits))


def _decode_base58(text: str) -> bytes:
    if len(text) > _PEER_ID_TEXT_MAX:
        raise InvalidIdentity(f"a peer id of {len(text)} characters is too long")
    number = 0
    for character in text:
        if character not in _BASE58_VALUES:
            raise InvalidIdentity(f"{text!r} is not base58btc: it has the character {character!r}")
        number = number * 58 + _BASE58_VALUES[character]
    leading_zeros = len(text) - len(text.lstrip(_BASE58[0]))
    return bytes(leading_zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")
