"""Pedersen commitments to vectors (Pedersen, CRYPTO 1991), whose generators nobody chose.

A commitment to x with blinding r is sum of x_l G_l + r H. It says nothing of x while r is unknown
and uniform, and nobody can open it to two vectors without a discrete logarithm. Commitments add
up as what they hold does.
"""

from collections.abc import Sequence
from functools import cache

from p2pfl_crypto.audit.curve import add, combine, hash_to_point, multiply_base
from p2pfl_crypto.audit.sketch import SKETCH_ENTRIES

SQUARES = 4
ROWS = 46
"""Random combinations of the entries that a proof shows to be short; each leaves a liar less than
37 chances of 256, and all of them 2^-128."""
SLACK_ENTRIES = SQUARES + ROWS


@cache
def blinding_generator() -> bytes:
    """H, by which all blindings are multiplied."""
    return hash_to_point(b"p2pfl/audit-H")


@cache
def sketch_generators() -> tuple[bytes, ...]:
    """One for each entry of a sketch."""
    return _generators(b"p2pfl/audit-G", SKETCH_ENTRIES)


@cache
def slack_generators() -> tuple[bytes, ...]:
    """One for each of the four squares, then one for each row of the shortness proof."""
    return _generators(b"p2pfl/audit-Y", SLACK_ENTRIES)


def _generators(label: bytes, count: int) -> tuple[bytes, ...]:
    return tuple(hash_to_point(label, place.to_bytes(4, "little")) for place in range(count))


def commit(numbers: Sequence[int], generators: Sequence[bytes], blinding: int) -> bytes:
    """Commit to a vector."""
    return combine((*numbers, blinding), (*generators, blinding_generator()))


def commit_to_sketch(sketch: Sequence[int], blinding: int) -> bytes:
    """Commit to a sketch; with blinding 0, to one that all know."""
    return commit(sketch, sketch_generators(), blinding)


def commit_to_number(number: int, blinding: int) -> bytes:
    """Commit to one number, by Ed25519's base point."""
    return add(multiply_base(number), combine((blinding,), (blinding_generator(),)))
