"""What members say of their sketches once the commitments did not add up to the sum's sketch.

docs/audit-proof.md has the argument. M_ij is a sketch of the mask that two members share, lifted
by random multiples of 2^32 that both know, and B_ij = Com(M_ij; -rho_ij) its commitment. A member
i shows X_i = p_i + sum of +-M_ij over the other members of the sum, which hides p_i, and its B_ij.
Everybody can check three things: C_i + sum of +-B_ij = Com(X_i; 0); that both ends of a pair say
one B_ij; and that X_i is, modulo 2^32, the sketch V_i of i's masked words, of which owners hold
parts. If all hold for all, the commitments do add up.

V_i is over all chunks, an owner holds some. So i says, for each chunk, a combination of its part's
entries, by weights that follow from V_i: parts add up to the combination of V_i, and each is
checked by whoever holds that chunk.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from p2pfl_crypto.audit.commitments import commit_to_sketch
from p2pfl_crypto.audit.curve import POINT_BYTES, InvalidPoint, add, require_point, subtract
from p2pfl_crypto.audit.sketch import SKETCH_ENTRIES, Entries, Sketch, sketch_of
from p2pfl_crypto.masks import Mask, Masked, add_masks
from p2pfl_crypto.shamir import scalar_of
from p2pfl_crypto.transcripts import pair_blinding, pair_lift, pair_mask_key

PART_BYTES = 16
SHOWN_BYTES = 8 * SKETCH_ENTRIES
LIFT_BYTES = 16
LIFTS_BYTES = LIFT_BYTES * SKETCH_ENTRIES
WORD = 2**32
_PART_PRIME = 2**127 - 1
_DRAWN_BYTES = 12
"""Of a pair's lift of one entry. They hide the words' carries, which are below 2^38, with 2^-58."""


@dataclass(frozen=True, slots=True)
class PairSketch:
    """M_ij and the blinding of B_ij; secrets of two members."""

    numbers: tuple[int, ...] = field(repr=False)
    blinding: int = field(repr=False)

    def commit(self) -> bytes:
        """Return B_ij."""
        return commit_to_sketch(self.numbers, self.blinding)


def pair_mask(pair: bytes, tau2: bytes, one: int, other: int, chunk: int, entries: int) -> Masked:
    """Make the words that the lower of two members adds to a chunk, and the higher takes away."""
    words = np.zeros(entries, np.uint32)
    add_masks(words, [Mask(pair_mask_key(pair, tau2, one, other))], chunk)
    return words


def sketch_pair(
    seed: bytes, pair: bytes, tau2: bytes, one: int, other: int, layout: Iterable[tuple[int, int]]
) -> PairSketch:
    """Sketch the mask of two members.

    Args:
        seed: of the audit's sketches.
        pair: the secret K of the two.
        tau2: the session's transcript.
        one: the rank of one of them.
        other: that of the other.
        layout: number and count of entries of each chunk that has a sum.
    """
    masks = (
        (chunk, pair_mask(pair, tau2, one, other, chunk, entries).view(np.int32))
        for chunk, entries in layout
    )
    sketch = sketch_of(seed, masks).tolist()
    drawn = hashlib.shake_256(pair_lift(pair, tau2, one, other)).digest(
        SKETCH_ENTRIES * _DRAWN_BYTES
    )
    lifts = (
        int.from_bytes(drawn[at : at + _DRAWN_BYTES], "little")
        for at in range(0, len(drawn), _DRAWN_BYTES)
    )
    numbers = tuple(entry + WORD * lift for entry, lift in zip(sketch, lifts, strict=True))
    wide = pair_blinding(pair, tau2, one, other)
    return PairSketch(numbers, -int.from_bytes(scalar_of(wide), "little"))


@dataclass(frozen=True, slots=True)
class Shown:
    """What a member shows of its sketch.

    Attributes:
        sketch: V, of its masked words: 256 signed numbers of 8 bytes.
        lifts: (X - V) / 2^32: 256 signed numbers of 16 bytes.
        points: B_ij by the other's rank.
    """

    sketch: bytes
    lifts: bytes
    points: Mapping[int, bytes]

    def lifted(self) -> list[int]:
        """Return X."""
        return [
            entry + WORD * lift
            for entry, lift in zip(
                _numbers(self.sketch, 8), _numbers(self.lifts, LIFT_BYTES), strict=True
            )
        ]


def show(
    own: Sequence[int], masked: Sequence[int], pairs: Mapping[int, PairSketch], rank: int
) -> Shown:
    """Show what hides a member's sketch.

    Args:
        own: the sketch p of its input.
        masked: V, the sketch of its masked words.
        pairs: M_ij by the other's rank.
        rank: its own.
    """
    total = list(own)
    for other, pair in pairs.items():
        sign = 1 if other > rank else -1
        total = [entry + sign * number for entry, number in zip(total, pair.numbers, strict=True)]
    lifts = []
    for entry, base in zip(total, masked, strict=True):
        lift, rest = divmod(entry - base, WORD)
        assert not rest, "words and sketches are of one input"
        lifts.append(lift)
    return Shown(
        b"".join(entry.to_bytes(8, "little", signed=True) for entry in masked),
        b"".join(lift.to_bytes(LIFT_BYTES, "little", signed=True) for lift in lifts),
        {other: pair.commit() for other, pair in pairs.items()},
    )


def is_consistent(
    shown: Shown, rank: int, commitment: bytes, core: bytes, parts: Sequence[int]
) -> bool:
    """Tell whether what a member shows fits its commitment, and its parts what it shows.

    Args:
        shown: by the member.
        rank: the member's.
        commitment: C, of its audit proof.
        core: digest of all that it shows but for the parts.
        parts: of each chunk that has a sum.
    """
    if sum(parts) % _PART_PRIME != combine_part(core, _numbers(shown.sketch, 8)):
        return False
    total = commitment
    try:
        for other, point in shown.points.items():
            require_point(point)
            total = add(total, point) if other > rank else subtract(total, point)
    except (InvalidPoint, ValueError, RuntimeError):
        return False
    return total == commit_to_sketch(shown.lifted(), 0)


def combine_part(core: bytes, entries: Sequence[int]) -> int:
    """Combine the entries of a sketch, or of a chunk's part of it, by weights that `core` gives."""
    stream = hashlib.shake_256(b"p2pfl/dispute-parts" + core).digest(PART_BYTES * SKETCH_ENTRIES)
    weights = (
        int.from_bytes(stream[at : at + PART_BYTES], "little")
        for at in range(0, len(stream), PART_BYTES)
    )
    return sum(map(int.__mul__, weights, entries)) % _PART_PRIME


def chunk_sketch(seed: bytes, chunk: int, words: Entries) -> Sketch:
    """Sketch one chunk of masked words, all else zeros."""
    return sketch_of(seed, [(chunk, words)])


def _numbers(encoded: bytes, size: int) -> list[int]:
    return [
        int.from_bytes(encoded[at : at + size], "little", signed=True)
        for at in range(0, len(encoded), size)
    ]


assert POINT_BYTES == 32
