"""X25519 key agreement (RFC 7748) that refuses every key which is not a plain, contributory one.

X25519 itself takes any 32 bytes. Here an encoding must be the canonical one, because two spellings
of one key would let a member appear twice with one secret, and a shared secret must not be zero,
because a key of low order forces it whatever the other side does.

A key may still carry a component of low order: such a key gives the same secrets as its twin
without it. Whoever agrees with several keys therefore also compares the secrets
(`require_distinct`), and every key derived from a secret is bound to the two members' places.
"""

from collections.abc import Iterable, Mapping

from nacl.bindings import crypto_scalarmult, crypto_scalarmult_base
from nacl.exceptions import RuntimeError as SodiumError

from p2pfl_crypto.hashing import hash_parts

PUBLIC_KEY_BYTES = 32
SCALAR_BYTES = 32
_FIELD_PRIME = 2**255 - 19


class InvalidKey(ValueError):
    """A key agreement key that may not be used; the message says why."""


def agreement_secret_of(scalar: bytes) -> bytes:
    """Turn a scalar modulo L into an X25519 secret, H("p2pfl/x25519", scalar).

    What is shared by Shamir must be an element of Z_L; what X25519 takes are 32 clamped bytes.

    Args:
        scalar: 32 secret bytes.

    Returns:
        32 secret bytes.
    """
    if len(scalar) != SCALAR_BYTES:
        raise ValueError(f"a scalar has {SCALAR_BYTES} bytes, not {len(scalar)}")
    return hash_parts(b"p2pfl/x25519", scalar)


def public_key_of(secret: bytes) -> bytes:
    """Compute the 32-byte public key of a 32-byte X25519 secret."""
    if len(secret) != SCALAR_BYTES:
        raise ValueError(f"an X25519 secret has {SCALAR_BYTES} bytes, not {len(secret)}")
    return crypto_scalarmult_base(secret)


def require_canonical(public_key: bytes) -> None:
    """Refuse an encoding of which there is another one for the same key.

    Raises:
        InvalidKey: not 32 bytes, or a number of 2^255 - 19 or more (RFC 7748 would reduce it).
    """
    if len(public_key) != PUBLIC_KEY_BYTES:
        raise InvalidKey(f"an X25519 key has {PUBLIC_KEY_BYTES} bytes, not {len(public_key)}")
    if int.from_bytes(public_key, "little") >= _FIELD_PRIME:
        raise InvalidKey("the key is not in its canonical encoding")


def agree(secret: bytes, public_key: bytes) -> bytes:
    """Compute the X25519 secret shared with the holder of `public_key`.

    Args:
        secret: our 32 secret bytes.
        public_key: the other side's 32 bytes, untrusted.

    Returns:
        32 secret bytes; not uniform, so only to be used as the key of a hash.

    Raises:
        InvalidKey: the encoding is not canonical, or the key has low order.
    """
    if len(secret) != SCALAR_BYTES:
        raise ValueError(f"an X25519 secret has {SCALAR_BYTES} bytes, not {len(secret)}")
    require_canonical(public_key)
    try:
        shared = crypto_scalarmult(secret, public_key)
    except SodiumError:  # libsodium refuses the all-zero result.
        raise InvalidKey("the key has low order") from None
    if shared == bytes(PUBLIC_KEY_BYTES):
        raise InvalidKey("the key has low order")
    return shared


def require_contributory(public_keys: Iterable[bytes]) -> None:
    """Check keys of others before any secret of ours is used with them.

    Raises:
        InvalidKey: a key is not canonical, has low order, or comes twice.
    """
    seen: dict[bytes, None] = {}
    probe = hash_parts(b"p2pfl/probe", b"")  # Any secret: low order shows with each of them.
    for public_key in public_keys:
        agree(probe, public_key)
        if public_key in seen:
            raise InvalidKey("a key comes twice")
        seen[public_key] = None


def require_distinct(secrets: Mapping[int, bytes]) -> None:
    """Refuse twins: keys that differ, yet give one shared secret.

    Args:
        secrets: shared secret by member.

    Raises:
        InvalidKey: names the two members whose keys are twins.
    """
    holders: dict[bytes, int] = {}
    for member, secret in secrets.items():
        if secret in holders:
            raise InvalidKey(f"the keys of members {holders[secret]} and {member} are twins")
        holders[secret] = member
