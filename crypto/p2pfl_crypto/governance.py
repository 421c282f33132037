"""Governance keys: by them the members of a group change what they agreed on. Offline, as a rule.

Two kinds: Ed25519 (RFC 8032), and ECDSA on P-256 with SHA-256 (FIPS 186-5), which is what hardware
tokens do. Both are checked by one fixed rule each, so that all members think alike of every key and
every signature: one encoding of a key, and no second signature that anybody could make of a first.

- An Ed25519 key is the canonical encoding of a point of the prime-order group. S is below the
  group's order, and R of no low order (libsodium's rule, without cofactor).
- A P-256 key is a compressed point, 33 bytes. A signature is r and s, 32 bytes each, big-endian;
  both are from 1 to the order less one, and s is at most half the order (`with_low_s`).

What is signed names its purpose and the key (`governance_message`): with ECDSA a signature by one
key can be made one of another, found afterwards.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from nacl.bindings import crypto_core_ed25519_is_valid_point

from p2pfl_crypto import identity
from p2pfl_crypto.hashing import Buffer, hash_parts

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
SIGNATURE_BYTES = 64
KEY_BYTES_MIN = 33
"""Of a key with its kind: an Ed25519 one."""
KEY_BYTES_MAX = 34
"""Of a key with its kind: a P-256 one."""

KeyKind = Literal["ed25519", "p256"]

_PUBLIC_BYTES: dict[KeyKind, int] = {"ed25519": 32, "p256": 33}
_CODES: dict[KeyKind, bytes] = {"ed25519": b"\x01", "p256": b"\x02"}
_NAMES: dict[KeyKind, str] = {"ed25519": "an Ed25519", "p256": "a P-256"}
_PREFIX = b"p2pfl governance\n"


class InvalidGovernance(ValueError):
    """A governance key, or a signature by one, is not what it must be; the message says how."""


@dataclass(frozen=True, slots=True, order=True)
class GovernanceKey:
    """A public key.

    Attributes:
        kind: ``"ed25519"`` or ``"p256"``.
        public: 32 bytes, or 33 of a compressed point.

    Raises:
        InvalidGovernance: it is none, or not in its one encoding.
    """

    kind: KeyKind
    public: bytes

    def __post_init__(self) -> None:
        if self.kind not in _PUBLIC_BYTES:
            raise InvalidGovernance(f"{self.kind!r} is no kind of key: ed25519 or p256")
        size, name = _PUBLIC_BYTES[self.kind], _NAMES[self.kind]
        if len(self.public) != size:
            raise InvalidGovernance(f"{name} key has {size} bytes, not {len(self.public)}")
        if self.kind == "p256":
            _point_of(self.public)
        elif not _is_point(self.public):
            raise InvalidGovernance("an Ed25519 key is a point of the prime-order group")

    @property
    def encoded(self) -> bytes:
        """The key with its kind: a byte, and `public`."""
        return _CODES[self.kind] + self.public

    @classmethod
    def read(cls, encoded: bytes) -> "GovernanceKey":
        """Read what `encoded` wrote.

        Raises:
            InvalidGovernance: it is no key.
        """
        for kind, code in _CODES.items():
            if encoded[:1] == code:
                return cls(kind, encoded[1:])
        raise InvalidGovernance("it is of no kind of key that is known")

    @property
    def unsigned(self) -> bytes:
        """The key without its sign: the same for the two keys that one secret can sign for."""
        if self.kind == "p256":
            return _CODES[self.kind] + self.public[1:]
        return _CODES[self.kind] + self.public[:-1] + bytes([self.public[-1] & 0x7F])

    @property
    def fingerprint(self) -> str:
        """The kind and 16 hex digits of the key, for people: so its whole text begins."""
        return f"{self.kind}:{self.public.hex()[:16]}"


def governance_message(key: GovernanceKey, purpose: bytes, *body: Buffer) -> bytes:
    """Return what a governance key signs: a line that names it, and 32 bytes.

    Args:
        key: the one that signs.
        purpose: names the kind of statement.
        body: the parts stated; each is prefixed by its length.
    """
    return _PREFIX + hash_parts(b"p2pfl/governance", purpose, key.encoded, *body)


def verify(key: GovernanceKey, signature: bytes, message: bytes) -> None:
    """Check a signature.

    Raises:
        InvalidGovernance: it is malformed, or not of this key and message.
    """
    if len(signature) != SIGNATURE_BYTES:
        raise InvalidGovernance(f"a signature has {SIGNATURE_BYTES} bytes, not {len(signature)}")
    if key.kind == "ed25519":
        try:
            identity.verify(key.public, message, signature)
        except identity.InvalidIdentity:
            raise InvalidGovernance("the signature does not verify") from None
        return
    r, s = _numbers_of(signature)
    if not (0 < r < P256_ORDER and 0 < s <= P256_ORDER // 2):
        raise InvalidGovernance("r or s of the signature is out of range, or s not the low one")
    try:
        _point_of(key.public).verify(encode_dss_signature(r, s), message, ec.ECDSA(SHA256()))
    except InvalidSignature:
        raise InvalidGovernance("the signature does not verify") from None


def with_low_s(signature: bytes) -> bytes:
    """Return a P-256 signature, r and s as a token gives them, in the one form that is taken."""
    if len(signature) != SIGNATURE_BYTES:
        raise InvalidGovernance(f"a signature has {SIGNATURE_BYTES} bytes, not {len(signature)}")
    _, s = _numbers_of(signature)
    if not 0 < s < P256_ORDER:
        raise InvalidGovernance("s of the signature is out of range")
    return signature[:32] + min(s, P256_ORDER - s).to_bytes(32, "big")


def _numbers_of(signature: bytes) -> tuple[int, int]:
    return int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")


@lru_cache(maxsize=4096)  # All keys of a group of 128 members, and it is not quick.
def _is_point(public: bytes) -> bool:
    return crypto_core_ed25519_is_valid_point(public)


@lru_cache(maxsize=4096)
def _point_of(public: bytes) -> ec.EllipticCurvePublicKey:
    if public[0] not in (2, 3):
        raise InvalidGovernance("a P-256 key is a compressed point")
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public)
    except ValueError:
        raise InvalidGovernance("a P-256 key is a point of the curve") from None
