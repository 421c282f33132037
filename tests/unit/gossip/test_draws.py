"""Public draws: what is hashed, and that it cannot be confused."""

import hashlib

import numpy as np
import pytest

from p2pfl_gossip.draws import draw_permutation, draw_words


def test_words_are_shake_256_of_the_stated_text() -> None:
    text = b"\x03abc" + (2).to_bytes(8, "little") + b"sd" + (7).to_bytes(8, "little")
    words = draw_words(b"sd", b"abc", 7, count=3)
    assert words.dtype == np.uint64
    assert words.tobytes() == hashlib.shake_256(text).digest(24)


def test_a_shorter_draw_is_a_prefix() -> None:
    np.testing.assert_array_equal(
        draw_words(b"", b"p", count=5), draw_words(b"", b"p", count=9)[:5]
    )


def test_purpose_seed_and_numbers_are_kept_apart() -> None:
    draws = [
        draw_words(b"ab", b"c", count=1),
        draw_words(b"a", b"cb", count=1),
        draw_words(b"a", b"c", count=1),
        draw_words(b"a", b"c", 0, count=1),
        draw_words(b"a", b"c", 0, 0, count=1),
    ]
    assert len({int(draw[0]) for draw in draws}) == len(draws)


def test_a_permutation_holds_everyone_once() -> None:
    assert sorted(draw_permutation(b"s", b"p", 1, count=100).tolist()) == list(range(100))


def test_errors() -> None:
    for purpose in (b"", bytes(256)):
        with pytest.raises(ValueError, match="1 to 255 bytes"):
            draw_words(b"", purpose, count=1)
    with pytest.raises(OverflowError):
        draw_words(b"", b"p", -1, count=1)
