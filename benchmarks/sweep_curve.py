"""A stand-in for the audit's group, in which discrete logarithms are known: proofs at no cost.

A proof is some thousand multiplications of points, .15 s; a sweep has hundreds of thousands of
them. Here a point is the number by which the base point would be multiplied, so a multiplication
is one of integers modulo L. All that uses points runs as it is: commitments, proofs, checks, and
liars, none of whom looks for a logarithm. That points are what they should be, and how they are
multiplied, is for tests of the curve; some seeds of the sweep use it.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

from replacing import replaced

from p2pfl_crypto.audit import commitments, curve, shared_points
from p2pfl_crypto.audit.curve import POINT_BYTES, InvalidPoint
from p2pfl_crypto.hashing import hash_parts
from p2pfl_crypto.shamir import GROUP_ORDER


def _encode(logarithm: int) -> bytes:
    """Write a point: 1 more than its logarithm, so that the neutral one is the curve's."""
    return (logarithm % GROUP_ORDER + 1).to_bytes(POINT_BYTES, "little")


def _logarithm(point: bytes) -> int:
    number = int.from_bytes(point, "little")
    if len(point) != POINT_BYTES or not 1 <= number <= GROUP_ORDER:
        raise InvalidPoint("not a point of the prime-order group")
    return number - 1


def require_point(point: bytes) -> None:
    """As `curve.require_point`."""
    if not _logarithm(point):
        raise InvalidPoint("not a point of the prime-order group")


def hash_to_point(label: bytes, *parts: bytes) -> bytes:
    """As `curve.hash_to_point`."""
    return _encode(int.from_bytes(hash_parts(label, *parts), "little"))


def multiply(number: int, point: bytes) -> bytes:
    """As `curve.multiply`."""
    require_point(point)
    return _encode(number * _logarithm(point))


def multiply_base(number: int) -> bytes:
    """As `curve.multiply_base`."""
    return _encode(number)


def add(one: bytes, other: bytes) -> bytes:
    """As `curve.add`."""
    return _encode(_logarithm(one) + _logarithm(other))


def subtract(one: bytes, other: bytes) -> bytes:
    """As `curve.subtract`."""
    return _encode(_logarithm(one) - _logarithm(other))


def add_all(points: Iterable[bytes]) -> bytes:
    """As `curve.add_all`."""
    return _encode(sum(map(_logarithm, points)))


def combine(numbers: Sequence[int], points: Sequence[bytes]) -> bytes:
    """As `curve.combine`."""
    total = 0
    for number, point in zip(numbers, points, strict=True):
        if number % GROUP_ORDER:
            require_point(point)
            total += number * _logarithm(point)
    return _encode(total)


def _replacements() -> dict[int, Callable[..., Any]]:
    """Return what stands in for what, by the identity of the latter."""
    names = ("require_point", "hash_to_point", "multiply", "multiply_base", "add", "subtract")
    found = {getattr(curve, name): globals()[name] for name in (*names, "add_all", "combine")}
    for name in ("blinding_generator", "sketch_generators", "slack_generators"):
        cached = getattr(commitments, name)
        found[cached] = cache(cached.__wrapped__)
    return {id(before): after for before, after in found.items()}


_STANDING_IN = _replacements()


def stand_in_curve() -> AbstractContextManager[None]:
    """Have the stand-in wherever a module has taken something of the curve's by name."""
    modules = [
        it
        for name, it in list(sys.modules.items())
        # Those points are of X25519's keys, which stay what they are.
        if it and name.startswith("p2pfl") and it is not shared_points
    ]
    return replaced(
        [
            (module, attribute, _STANDING_IN[id(value)])
            for module in modules
            for attribute, value in vars(module).items()
            if id(value) in _STANDING_IN
        ]
    )
