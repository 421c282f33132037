"""Proof that a commitment holds a short sketch, and nothing else of it.

docs/audit-proof.md has the argument: why a proof that passes shows the bound, and why it tells
nothing more. In short: with p the sketch and T the bound, the prover

1. commits to p in C, and in Y to a (four numbers whose squares add up to T - |p|^2) and to y (46
   random numbers that hide what follows);
2. is given 46 rows of numbers from -3 to 3 and sends u = y + R(p, a): u is short, so p and a are
   (or what they are times 60 is), so that their squares do not wrap around L;
3. is given a number a row, and one challenge c, and shows by one Schnorr proof that it can open C
   and Y, that the squares add up to T, and that u is what it should be.

C and Y are opened apart, each over its own generators. With one equation for C + Y a liar puts
what makes its sketch too long into Y, with the other sign, and C holds anything.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from p2pfl_crypto.audit.commitments import (
    ROWS,
    SLACK_ENTRIES,
    commit,
    commit_to_number,
    commit_to_sketch,
    sketch_generators,
    slack_generators,
)
from p2pfl_crypto.audit.curve import POINT_BYTES, encode_number
from p2pfl_crypto.audit.sketch import SKETCH_ENTRIES
from p2pfl_crypto.audit.squares import four_squares
from p2pfl_crypto.audit.transcript import SHORT_ENTRIES, Rows, Statement, column_sums, numbers_of
from p2pfl_crypto.hashing import hash_parts
from p2pfl_crypto.shamir import GROUP_ORDER, SCALAR_BYTES

HIDING_BITS = 112
"""y is uniform in +-2^112. R(p, a) stays below 2^41, so u tells it with 2^-65 at most."""
COMBINED_MAX = 2 ** (HIDING_BITS + 1)
"""|u| of an honest prover is smaller. 260 squares of numbers below 120 times that are below L."""
COMBINED_BYTES = 15  # A signed number below 2^119.
ENTROPY_BYTES = 32

_POINTS = 5
_NUMBERS = SKETCH_ENTRIES + SLACK_ENTRIES + 4
PROOF_BYTES = _POINTS * POINT_BYTES + ROWS * COMBINED_BYTES + _NUMBERS * SCALAR_BYTES
_ORDER_BYTES = GROUP_ORDER.to_bytes(SCALAR_BYTES, "little")


class InvalidProof(ValueError):
    """A proof that shows nothing; the message says which part fails."""


class SketchTooLong(ValueError):
    """The sketch is longer than the bound: there is nothing to prove."""


@dataclass(frozen=True, slots=True)
class Proof:
    """A proof's parts, as they are sent.

    Attributes:
        slack: Y.
        openings: first messages for the openings of C and of Y.
        products: commitments to the coefficients of 1 and c in the sum of z^2.
        combined: u, 46 signed numbers of 15 bytes.
        offset: what the shortness equation has beside c.
        responses: z, for the sketch, the four squares and the rows.
        blindings: responses for the blindings of C, of Y, and of the products.
    """

    slack: bytes
    openings: tuple[bytes, bytes]
    products: tuple[bytes, bytes]
    combined: bytes
    offset: int
    responses: tuple[int, ...]
    blindings: tuple[int, int, int]

    @property
    def announced(self) -> bytes:
        """All that the last challenge follows from, beside what came before."""
        return b"".join((*self.openings, *self.products, encode_number(self.offset)))

    def encode(self) -> bytes:
        """Write the proof; `PROOF_BYTES`."""
        points = b"".join((self.slack, *self.openings, *self.products))
        numbers = (self.offset, *self.responses, *self.blindings)
        return points + self.combined + b"".join(map(encode_number, numbers))

    @classmethod
    def decode_untrusted(cls, encoded: bytes) -> "Proof":
        """Read a proof. Whether its points are of the group shows when they are multiplied.

        Raises:
            InvalidProof: another length, or a number that is not reduced modulo L.
        """
        if len(encoded) != PROOF_BYTES:
            raise InvalidProof(f"a proof has {PROOF_BYTES} bytes, not {len(encoded)}")
        points = [encoded[POINT_BYTES * at : POINT_BYTES * (at + 1)] for at in range(_POINTS)]
        start = _POINTS * POINT_BYTES
        combined = encoded[start : start + ROWS * COMBINED_BYTES]
        start += ROWS * COMBINED_BYTES
        numbers = [
            int.from_bytes(encoded[at : at + SCALAR_BYTES], "little")
            for at in range(start, PROOF_BYTES, SCALAR_BYTES)
        ]
        if max(numbers) >= GROUP_ORDER:
            raise InvalidProof("a number is not reduced modulo L")
        return cls(
            slack=points[0],
            openings=(points[1], points[2]),
            products=(points[3], points[4]),
            combined=combined,
            offset=numbers[0],
            responses=tuple(numbers[1:-3]),
            blindings=(numbers[-3], numbers[-2], numbers[-1]),
        )


def combined_of(encoded: bytes) -> list[int]:
    """Read u.

    Raises:
        InvalidProof: a number of it is too long.
    """
    numbers = [
        int.from_bytes(encoded[at : at + COMBINED_BYTES], "little", signed=True)
        for at in range(0, len(encoded), COMBINED_BYTES)
    ]
    if max(map(abs, numbers)) >= COMBINED_MAX:
        raise InvalidProof("a combination of the entries is too long")
    return numbers


def prove(
    context: bytes, bound: int, sketch: Sequence[int], blinding: int, entropy: bytes
) -> tuple[bytes, bytes]:
    """Commit to a sketch and prove that it is short.

    Args:
        context: 32 bytes, see `Statement`.
        bound: T.
        sketch: p, 256 integers.
        blinding: r, secret.
        entropy: 32 secret uniform bytes, used for nothing else.

    Returns:
        The commitment, 32 bytes, and the proof, `PROOF_BYTES`.

    Raises:
        SketchTooLong: |p|^2 > T.
    """
    rest = bound - sum(entry * entry for entry in sketch)
    if rest < 0:
        raise SketchTooLong("the sketch is longer than the bound")
    squares = four_squares(rest, _random_below(entropy))
    commitment, proof = prove_opening(context, bound, sketch, squares, blinding, entropy)
    return commitment, proof.encode()


def prove_opening(
    context: bytes,
    bound: int,
    sketch: Sequence[int],
    squares: Sequence[int],
    blinding: int,
    entropy: bytes,
) -> tuple[bytes, Proof]:
    """Make a proof of what is given, true or not: `prove` sees to it that it is.

    Args:
        squares: four numbers, whose squares should add up to T - |p|^2 over the integers.
        context: see `prove`, as for the others.
        bound: T.
        sketch: p.
        blinding: r.
        entropy: 32 secret uniform bytes.
    """
    if len(entropy) != ENTROPY_BYTES:
        raise ValueError(f"a proof takes {ENTROPY_BYTES} bytes of entropy, not {len(entropy)}")
    short = (*sketch, *squares)
    statement = Statement(context, bound, commit_to_sketch(sketch, blinding))
    # Hashed with what is proved: the same entropy twice would not open anything.
    seed = hash_parts(b"p2pfl/audit-rand", context, statement.commitment, key=entropy)
    hiding = _hiding(hash_parts(b"p2pfl/audit-hide", seed))
    drawn = numbers_of(seed, SHORT_ENTRIES + ROWS + 5)
    masks, (slack_blinding, *blinds) = drawn[: SHORT_ENTRIES + ROWS], drawn[SHORT_ENTRIES + ROWS :]
    slack = commit((*squares, *hiding), slack_generators(), slack_blinding)

    rows = statement.rows(slack)
    combined = _combine_rows(rows, short, hiding)
    encoded = b"".join(
        (number % 2 ** (8 * COMBINED_BYTES)).to_bytes(COMBINED_BYTES, "little")
        for number in combined
    )
    gammas = statement.gammas(slack, encoded)
    weights = (*column_sums(rows, gammas), *gammas)
    openings = (
        commit(masks[:SKETCH_ENTRIES], sketch_generators(), blinds[0]),
        commit(masks[SKETCH_ENTRIES:], slack_generators(), blinds[1]),
    )
    constant = sum(mask * mask for mask in masks[:SHORT_ENTRIES])
    linear = 2 * sum(mask * entry for mask, entry in zip(masks, short, strict=False))
    products = (commit_to_number(constant, blinds[2]), commit_to_number(linear, blinds[3]))
    offset = sum(map(int.__mul__, weights, masks)) % GROUP_ORDER
    announced = b"".join((*openings, *products, encode_number(offset)))
    challenge = statement.challenge(slack, encoded, announced)
    witness = (*short, *hiding)
    return statement.commitment, Proof(
        slack=slack,
        openings=openings,
        products=products,
        combined=encoded,
        offset=offset,
        responses=tuple(
            (mask + challenge * entry) % GROUP_ORDER
            for mask, entry in zip(masks, witness, strict=True)
        ),
        blindings=(
            (blinds[0] + challenge * blinding) % GROUP_ORDER,
            (blinds[1] + challenge * slack_blinding) % GROUP_ORDER,
            (blinds[2] + challenge * blinds[3]) % GROUP_ORDER,
        ),
    )


def _combine_rows(rows: Rows, short: Sequence[int], hiding: Sequence[int]) -> list[int]:
    """Add each row's multiples of the entries to what hides them: u = y + R(p, a).

    Modulo L, of either sign: which changes nothing of entries that are short.
    """
    half = GROUP_ORDER // 2
    return [
        (hidden + sum(map(int.__mul__, row, short)) + half) % GROUP_ORDER - half
        for hidden, row in zip(hiding, rows.tolist(), strict=True)
    ]


def _hiding(seed: bytes) -> list[int]:
    """Draw y: 46 numbers, uniform in -2^112 <= y < 2^112."""
    stream = hashlib.shake_256(seed).digest(ROWS * COMBINED_BYTES)
    spare = 8 * COMBINED_BYTES - HIDING_BITS - 1
    return [
        (int.from_bytes(stream[at : at + COMBINED_BYTES], "little") >> spare) - 2**HIDING_BITS
        for at in range(0, len(stream), COMBINED_BYTES)
    ]


def _random_below(entropy: bytes) -> Callable[[int], int]:
    """Return a source of random numbers for the squares, from a stream of its own."""
    drawn = 0

    def below(limit: int) -> int:
        nonlocal drawn
        drawn += 1
        seed = hash_parts(b"p2pfl/audit-sqr", drawn.to_bytes(8, "little"), key=entropy)
        return int.from_bytes(seed, "little") % limit  # Limits are below 2^64: bias 2^-192.

    return below
