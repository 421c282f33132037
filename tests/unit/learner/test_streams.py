"""Streams: the same draws on any machine."""

import hashlib

import numpy as np

from p2pfl.learner.streams import (
    integers_below,
    permutation,
    permutations,
    raw_draws,
    seed_of,
    uniforms,
)

PINNED = [1, 5, 3, 0, 4, 7, 6, 2]
SEED = 3419133721158945938


def test_draws_are_those_of_shake_128() -> None:
    draws = raw_draws(["1/0/1/train/0", "b"], 3)
    for name, row in zip(["1/0/1/train/0", "b"], draws, strict=True):
        digest = hashlib.shake_128(name.encode()).digest(24)
        assert [int.from_bytes(digest[i : i + 8], "little") for i in (0, 8, 16)] == row.tolist()


def test_a_permutation_is_pinned() -> None:
    assert permutation("p2pfl", 8).tolist() == PINNED
    assert seed_of("p2pfl") == SEED


def test_maps_of_draws() -> None:
    ends = np.array([0, 2**32 - 1, 2**32, 2**64 - 1], np.uint64)
    assert integers_below(7, ends).tolist() == [0, 0, 0, 6]
    assert uniforms(ends)[0] == 0
    assert uniforms(ends)[-1] == 1 - 2**-53
    assert permutations(np.array([[5, 1, 5, 0]], np.uint64)).tolist() == [[3, 1, 0, 2]]
