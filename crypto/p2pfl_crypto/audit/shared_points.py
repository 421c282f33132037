"""Showing what X25519 gave two members, so that anybody can check it (Chaum & Pedersen, 1992).

X25519 works on the Montgomery form of the curve that Ed25519's group is on, by u alone: a key is
the u of a point or of its negative. The map y = (u - 1) / (u + 1) leads to Ed25519's form. Of the
two points with that y the one with an even x is taken; a secret that gives the other one is
replaced by its negative, which gives the same u everywhere.

X25519 secrets are multiples of 8, s = 8 a. So with P the other's point, whatever part of small
order it has: 8 P is of the prime-order group, and the shared u is that of a (8 P). Shown is the
point X = a (8 P), with a proof that the a in it is the one in the own key A = a (8 B). A is a
point of the group, so that there is one such a, and only one u can be shown for two keys.

*What is shown must be known to the other end already.* A key may be made of another member's: if A
is twice B's key, what A shares with C is twice what B and C share. So nobody shows anything to whom
has not proved that it knows the secret of its key (Schnorr, CRYPTO 1989), in its own place.
"""

from p2pfl_crypto.audit.curve import (
    POINT_BYTES,
    InvalidPoint,
    add,
    encode_number,
    multiply,
    multiply_base,
    require_point,
    subtract,
)
from p2pfl_crypto.hashing import hash_parts
from p2pfl_crypto.shamir import GROUP_ORDER, scalar_of

OPENED_BYTES = 96
"""The shared point, the challenge and the response."""

POSSESSION_BYTES = 64
"""The challenge and the response."""

_FIELD = 2**255 - 19
_COFACTOR = 8


class InvalidOpening(ValueError):
    """It does not show what two keys share, or that a key's secret is known."""


def open_shared(
    secret: bytes, own_key: bytes, other_key: bytes, context: bytes, entropy: bytes
) -> bytes:
    """Show what X25519 gives for our secret and another member's key.

    Args:
        secret: our 32 secret bytes.
        own_key: our public key of them.
        other_key: the other's.
        context: what it is shown for.
        entropy: 32 secret bytes, never used before.

    Returns:
        `OPENED_BYTES`.

    Raises:
        InvalidPoint: the other's key is on no point of the curve.
    """
    own, other = _lift(own_key), _times_cofactor(_lift(other_key))
    number = _logarithm(secret, own)
    shared = multiply(number, other)
    nonce = _number(b"p2pfl/open-nonce", context, own, other, key=entropy)
    firsts = (multiply_base(_COFACTOR * nonce), multiply(nonce, other))
    challenge = _number(b"p2pfl/open", context, own, other, shared, *firsts)
    return shared + encode_number(challenge) + encode_number(nonce + challenge * number)


def read_opened(opened: bytes, own_key: bytes, other_key: bytes, context: bytes) -> bytes:
    """Check what a member showed, and return what X25519 gave it: 32 secret bytes.

    Args:
        opened: as it came.
        own_key: key of the member that shows it.
        other_key: key of the other.
        context: what it is shown for.

    Raises:
        InvalidOpening: it shows nothing.
    """
    if len(opened) != OPENED_BYTES:
        raise InvalidOpening(f"{OPENED_BYTES} bytes are shown, not {len(opened)}")
    shared = opened[:POINT_BYTES]
    challenge, response = _read_numbers(opened[POINT_BYTES:])
    try:
        own, other = _lift(own_key), _times_cofactor(_lift(other_key))
        for point in (own, other, shared):
            require_point(point)
        firsts = (
            subtract(multiply_base(_COFACTOR * response), multiply(challenge, own)),
            subtract(multiply(response, other), multiply(challenge, shared)),
        )
    except (InvalidPoint, ValueError, RuntimeError) as error:
        raise InvalidOpening(str(error)) from None
    if _number(b"p2pfl/open", context, own, other, shared, *firsts) != challenge:
        raise InvalidOpening("the point is not the one that the two keys share")
    y = int.from_bytes(shared, "little") & (2**255 - 1)
    u = (1 + y) * pow(1 - y, -1, _FIELD) % _FIELD
    return u.to_bytes(POINT_BYTES, "little")


def prove_possession(secret: bytes, own_key: bytes, context: bytes, entropy: bytes) -> bytes:
    """Prove that we know the secret of our key.

    Args:
        secret: our 32 secret bytes.
        own_key: our public key of them.
        context: names the session and our place: whoever has another place proves nothing by it.
        entropy: 32 secret bytes, never used before.

    Returns:
        `POSSESSION_BYTES`.
    """
    own = _lift(own_key)
    number = _logarithm(secret, own)
    nonce = _number(b"p2pfl/own-nonce", context, own, key=entropy)
    challenge = _number(b"p2pfl/own-key", context, own, multiply_base(_COFACTOR * nonce))
    return encode_number(challenge) + encode_number(nonce + challenge * number)


def require_possession(proof: bytes, key: bytes, context: bytes) -> None:
    """Check that who proves it knows the secret of a key.

    Raises:
        InvalidOpening: it proves nothing.
    """
    if len(proof) != POSSESSION_BYTES:
        raise InvalidOpening(f"{POSSESSION_BYTES} bytes prove it, not {len(proof)}")
    challenge, response = _read_numbers(proof)
    try:
        own = _lift(key)
        require_point(own)
        first = subtract(multiply_base(_COFACTOR * response), multiply(challenge, own))
    except (InvalidPoint, ValueError, RuntimeError) as error:
        raise InvalidOpening(str(error)) from None
    if _number(b"p2pfl/own-key", context, own, first) != challenge:
        raise InvalidOpening("nobody shows to know the key's secret")


def is_on_curve(key: bytes) -> bool:
    """Tell whether an X25519 key is the u of a point of the curve: each honest key is."""
    try:
        _times_cofactor(_lift(key))
    except (ValueError, RuntimeError):
        return False
    return True


def _logarithm(secret: bytes, own: bytes) -> int:
    """Return the number whose multiple of 8 B our lifted key is."""
    number = _clamped(secret) // _COFACTOR
    return number if multiply_base(_COFACTOR * number) == own else -number


def _read_numbers(encoded: bytes) -> tuple[int, int]:
    challenge, response = (int.from_bytes(encoded[at : at + 32], "little") for at in (0, 32))
    if max(challenge, response) >= GROUP_ORDER:
        raise InvalidOpening("a number is not reduced modulo L")
    return challenge, response


def _clamped(secret: bytes) -> int:
    number = int.from_bytes(secret, "little")
    return (number & ~7 & (2**255 - 1)) | 2**254


def _lift(key: bytes) -> bytes:
    u = int.from_bytes(key, "little")
    if u >= _FIELD or u == _FIELD - 1:
        raise InvalidPoint("the key is no point's u")
    return ((u - 1) * pow(u + 1, -1, _FIELD) % _FIELD).to_bytes(POINT_BYTES, "little")


def _times_cofactor(point: bytes) -> bytes:
    for _ in range(3):
        point = add(point, point)
    return point


def _number(label: bytes, *parts: bytes, key: bytes = b"") -> int:
    low = hash_parts(label, b"low", *parts, key=key)
    wide = low + hash_parts(label, b"high", *parts, key=key)
    return int.from_bytes(scalar_of(wide), "little")
