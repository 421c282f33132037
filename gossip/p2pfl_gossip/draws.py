"""Public random draws that every peer, in any language, makes alike.

A draw is SHAKE-256 (FIPS 202) of its purpose, its seed and some numbers, read as little-endian
words. Graphs and cohorts are drawn so, and not from NumPy's generators, because all peers of a
network must draw the same ones, whatever their library or its version.
"""

import hashlib

import numpy as np
import numpy.typing as npt

WORD_BYTES = 8
PURPOSE_BYTES_MAX = 255  # The purpose's length is one byte.


def draw_words(seed: bytes, purpose: bytes, *numbers: int, count: int) -> npt.NDArray[np.uint64]:
    """Draw uniform 64-bit words.

    The hashed text is: length of `purpose` (one byte), `purpose`, length of `seed` (LE64), `seed`,
    then each number (LE64).

    Args:
        seed: public seed of the network, of any length.
        purpose: names what is drawn, 1 to 255 bytes, so that no two kinds of draw are related.
        numbers: which draw it is (a round, an attempt), each in 0 .. 2^64 - 1.
        count: number of words.

    Returns:
        uint64[count]; a draw of fewer words is a prefix of it.

    Raises:
        ValueError: the purpose is empty or too long.
        OverflowError: a number is negative or above 2^64 - 1.
    """
    if not 0 < len(purpose) <= PURPOSE_BYTES_MAX:
        raise ValueError(f"a purpose has 1 to {PURPOSE_BYTES_MAX} bytes, not {len(purpose)}")
    state = hashlib.shake_256(bytes([len(purpose)]) + purpose)
    state.update(len(seed).to_bytes(WORD_BYTES, "little"))
    state.update(seed)
    for number in numbers:
        state.update(number.to_bytes(WORD_BYTES, "little"))
    words = np.frombuffer(state.digest(count * WORD_BYTES), dtype="<u8")
    return words.astype(np.uint64, copy=False)


def draw_permutation(
    seed: bytes, purpose: bytes, *numbers: int, count: int
) -> npt.NDArray[np.int64]:
    """Draw a permutation of 0 .. count - 1: the order that sorts `count` words, ties by index.

    Args and errors are those of `draw_words`.

    Returns:
        int64[count]: who stands at each place.
    """
    words = draw_words(seed, purpose, *numbers, count=count)
    return np.argsort(words, kind="stable").astype(np.int64, copy=False)
