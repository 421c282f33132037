"""The prime-order group of Ed25519 (Bernstein et al., CHES 2011), by libsodium through PyNaCl.

Points are the 32 bytes of their only encoding. The curve has eight times as many points as the
group: a point with a component of small order would let two commitments to one thing differ, so
each received point passes `require_point` before it is used.

Numbers are Python's integers, reduced modulo L here. libsodium multiplies in constant time; what
Python does with the numbers before is not constant-time.
"""

from collections.abc import Iterable, Sequence

from nacl.bindings import (
    crypto_core_ed25519_add,
    crypto_core_ed25519_from_uniform,
    crypto_core_ed25519_is_valid_point,
    crypto_core_ed25519_sub,
    crypto_scalarmult_ed25519_base_noclamp,
    crypto_scalarmult_ed25519_noclamp,
)
from nacl.exceptions import RuntimeError as SodiumError

from p2pfl_crypto.hashing import hash_parts
from p2pfl_crypto.shamir import GROUP_ORDER, SCALAR_BYTES

POINT_BYTES = 32
IDENTITY = bytes([1]) + bytes(POINT_BYTES - 1)
"""The group's neutral element. It may come out of a sum; as something received it is refused."""


class InvalidPoint(ValueError):
    """Not the encoding of a point of the group other than its neutral element."""


def require_point(point: bytes) -> None:
    """Refuse what is not a point of the prime-order group, in its one encoding.

    Raises:
        InvalidPoint: not 32 bytes, not canonical, not on the curve, of another order, or neutral.
    """
    if len(point) != POINT_BYTES:
        raise InvalidPoint(f"a point has {POINT_BYTES} bytes, not {len(point)}")
    if not crypto_core_ed25519_is_valid_point(point):
        raise InvalidPoint("not a point of the prime-order group")


def hash_to_point(label: bytes, *parts: bytes) -> bytes:
    """Hash to a point of which nobody knows a discrete logarithm (Elligator 2, cofactor cleared).

    The points are not uniform (Elligator reaches half of the curve), which binding does not need.
    """
    return crypto_core_ed25519_from_uniform(hash_parts(label, *parts))


def encode_number(number: int) -> bytes:
    """Write a number modulo L as 32 bytes, little-endian."""
    return (number % GROUP_ORDER).to_bytes(SCALAR_BYTES, "little")


def multiply(number: int, point: bytes) -> bytes:
    """Multiply a point of the group.

    Raises:
        InvalidPoint: it is none; libsodium looks before it multiplies.
    """
    scalar = encode_number(number)
    if not any(scalar) or len(point) != POINT_BYTES:
        require_point(point)
        return IDENTITY
    try:
        return crypto_scalarmult_ed25519_noclamp(scalar, point)
    except SodiumError:
        raise InvalidPoint("not a point of the prime-order group") from None


def multiply_base(number: int) -> bytes:
    """Multiply Ed25519's base point."""
    scalar = encode_number(number)
    return crypto_scalarmult_ed25519_base_noclamp(scalar) if any(scalar) else IDENTITY


def add(one: bytes, other: bytes) -> bytes:
    """Add two points of the group, the neutral one among them."""
    return crypto_core_ed25519_add(one, other)


def subtract(one: bytes, other: bytes) -> bytes:
    """Take a point of the group away from another."""
    return crypto_core_ed25519_sub(one, other)


def add_all(points: Iterable[bytes]) -> bytes:
    """Add many points of the group."""
    total = IDENTITY
    for point in points:
        total = crypto_core_ed25519_add(total, point)
    return total


def combine(numbers: Sequence[int], points: Sequence[bytes]) -> bytes:
    """Multiply each point by its number, and add: a multi-exponentiation.

    One multiplication each. Shared doublings (Straus, Pippenger) do not pay: an addition through
    libsodium's encodings takes a sixth of a multiplication.

    Raises:
        InvalidPoint: one of the points is not of the group.
    """
    return add_all(
        multiply(number, point)
        for number, point in zip(numbers, points, strict=True)
        if number % GROUP_ORDER
    )
