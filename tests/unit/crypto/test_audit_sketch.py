"""Sketches against plain integers, their bound, and four squares."""

import math
from random import Random

import numpy as np
import pytest

from p2pfl_crypto.audit import squares
from p2pfl_crypto.audit.sketch import (
    BLOCKS,
    BUCKETS,
    SKETCH_ENTRIES,
    Entries,
    sketch_of,
    sketches_of,
    square_norm_max,
)
from p2pfl_crypto.audit.squares import four_squares
from p2pfl_crypto.masks import KeyStream

SEED = bytes(range(32))
BATCH = 32768


def plain_sketch(seed: bytes, chunk: int, entries: list[int]) -> list[int]:
    """The definition, entry by entry, for a chunk of one batch."""
    room = bytearray(BLOCKS * len(entries))
    KeyStream(seed, chunk).fill(memoryview(room))
    totals = [0] * SKETCH_ENTRIES
    for block in range(BLOCKS):
        for place, entry in enumerate(entries):
            choice = room[block * len(entries) + place]
            sign = -1 if choice & 32 else 1
            totals[block * BUCKETS + choice % BUCKETS] += sign * entry
    return totals


def words(seed: int, count: int) -> Entries:
    rng = np.random.default_rng(seed)
    return rng.integers(-(2**31), 2**31, count, dtype=np.int64).astype(np.int32)


@pytest.mark.parametrize("chunk", [0, 3, 2**40])
def test_a_sketch_is_as_its_definition_says(chunk: int) -> None:
    entries = words(1, 500)
    assert sketch_of(SEED, [(chunk, entries)]).tolist() == plain_sketch(
        SEED, chunk, entries.tolist()
    )


def test_vectors_are_sketched_together_as_one_by_one() -> None:
    vectors = [words(seed, BATCH + 700) for seed in range(3)]
    together = sketches_of(SEED, 3, [(2, vectors)])
    for vector, sketch in zip(vectors, together, strict=True):
        assert (sketch == sketch_of(SEED, [(2, vector)])).all()


def test_sketches_of_words_at_their_extremes_are_exact_and_add_up() -> None:
    """Over more than one batch, and two chunks: the sum of sketches is the sketch of the sum."""
    first = np.full(BATCH + 7, -(2**31), np.int64)
    second = np.full(BATCH + 7, 2**31 - 1, np.int64)
    tail = np.arange(5)
    both = [
        sketch_of(SEED, [(0, part.astype(np.int32)), (1, tail.astype(np.int32))])
        for part in (first, second)
    ]
    total = sketch_of(SEED, [(0, (first + second).astype(np.int32)), (1, (2 * tail).astype("i4"))])
    assert (both[0] + both[1] == total).all()
    assert not (total == 0).all()


def test_a_chunk_that_is_left_out_counts_as_zeros() -> None:
    entries = words(2, 100)
    alone = sketch_of(SEED, [(1, entries)])
    beside = sketch_of(SEED, [(0, np.zeros(50, np.int32)), (1, entries)])
    assert (alone == beside).all()


def test_another_seed_or_chunk_sketches_otherwise() -> None:
    entries = words(3, 100)
    sketch = sketch_of(SEED, [(0, entries)])
    assert (sketch != sketch_of(bytes(32), [(0, entries)])).any()
    assert (sketch != sketch_of(SEED, [(1, entries)])).any()


def test_only_int32_is_sketched() -> None:
    with pytest.raises(ValueError, match="int32"):
        sketch_of(SEED, [(0, np.zeros(3, np.uint32))])
    with pytest.raises(ValueError, match="one-dimensional"):
        sketch_of(SEED, [(0, np.zeros((3, 1), np.int32))])


def spread(norm: float, count: int, entries: int, seed: int) -> Entries:
    rng = np.random.default_rng(seed)
    vector = np.zeros(entries)
    vector[:count] = rng.normal(size=count) if count > 24 else 1.0
    return np.floor(vector * (norm / np.linalg.norm(vector))).astype(np.int32)


@pytest.mark.parametrize("count", [2, 3, 24, 2000])
def test_the_bound_lets_honest_inputs_pass_and_holds_the_long_back(count: int) -> None:
    """At norm Q all of 40 seeds pass; at 1.8 Q none does. docs/audit-proof.md has the tails."""
    quantum = (2**31 - 1) // 16
    bound = square_norm_max(quantum, 1.0, 2000)
    for seed in range(40):
        for norm, passes in ((1.0, True), (1.8, False)):
            entries = spread(norm * quantum, count, 2000, seed)
            sketch = sketch_of(seed.to_bytes(32, "little"), [(0, entries)]).tolist()
            assert (sum(entry * entry for entry in sketch) <= bound) == passes


def test_the_bound_grows_with_share_and_rounding() -> None:
    assert square_norm_max(1000, 1.0, 100) == 64 * 1012**2 // 5
    assert square_norm_max(1000, 0.25, 99) == 64 * (250 + 9 + 2) ** 2 // 5


@pytest.mark.parametrize("start", [0, squares._BY_TRIAL_MAX - 60, 2**40, 2**62 - 60])
def test_any_number_is_four_squares(start: int) -> None:
    random = Random(start)
    for number in range(start, start + 120):
        roots = four_squares(number, random.randrange)
        assert sum(root * root for root in roots) == number
        assert all(0 <= root <= math.isqrt(number) for root in roots)


def test_a_negative_number_is_no_sum_of_squares() -> None:
    with pytest.raises(ValueError, match="negative"):
        four_squares(-1, Random(0).randrange)
