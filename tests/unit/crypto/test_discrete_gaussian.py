"""Noise against the exact distribution, an exact sampler, and vectors of another implementation."""

import math
from decimal import Decimal, localcontext
from fractions import Fraction
from random import Random

import numpy as np
import numpy.typing as npt
import pytest
from exact_gaussian import exact_draw
from scipy.special import chdtrc

from p2pfl_crypto import private_streams
from p2pfl_crypto.discrete_gaussian import (
    BLOCK_DRAWS,
    DRAW_DISTANCE,
    NARROW,
    TABLE_DIGESTS,
    WIDE,
    WIDE_MEMBERS_MAX,
    NoiseWidth,
    _table,
    draw_noise,
    width_for,
)
from p2pfl_crypto.hashing import body_digest
from p2pfl_crypto.private_streams import LOT, NOISE, PrivateStream, private_stream

DRAWS = 1_000_000
SURELY = 1e-9  # A p-value below it refutes; keys are fixed, so a test passes always or never.
SMALL = NoiseWidth(16, 5)


def drawn(width: NoiseWidth, count: int = DRAWS, key: int = 0) -> npt.NDArray[np.int64]:
    return draw_noise(PrivateStream(bytes([key]) * 32), width, count).astype(np.int64)


def p_value_of_cells(noise: npt.NDArray[np.int64], sigma: float) -> float:
    """Every integer within 2.5 sigma is a cell."""
    reach, tail = int(2.5 * sigma), int(14 * sigma)
    integers = np.arange(-tail, tail + 1)
    chances = np.exp(-(integers.astype(float) ** 2) / (2 * sigma**2))
    cells = slice(tail - reach, tail + reach + 1)
    expected = len(noise) * (chances / chances.sum())[cells]
    seen = np.bincount(noise + tail, minlength=2 * tail + 1)[cells]
    return float(chdtrc(len(expected), ((seen - expected) ** 2 / expected).sum()))


def p_value_of_residues(noise: npt.NDArray[np.int64], modulus: int) -> float:
    seen = np.bincount(noise % modulus, minlength=modulus)
    expected = len(noise) / modulus
    return float(chdtrc(modulus - 1, ((seen - expected) ** 2 / expected).sum()))


def test_first_draws_are_those_of_another_implementation() -> None:
    """Source: the design's reference sampler, whose table mpmath makes in 200 bits."""
    assert drawn(WIDE, 6).tolist() == [-423476, 20738, -21003, -568718, -77726, 507155]


@pytest.mark.parametrize(
    ("width", "digest"),
    [
        (WIDE, "5ac3de3559eee5bc62962ea58f17b1517bb60b10d4ca9cabdd4d441e4cae61c7"),
        (NARROW, "d0328e7b5ef79bbc5e6668245aa6d1ca6f7bdf6a2a371a59e02a290bae9a4492"),
    ],
)
def test_many_blocks(width: NoiseWidth, digest: str) -> None:
    """Source: the reference sampler, called block by block."""
    noise = draw_noise(PrivateStream(bytes(range(32))), width, 2 * BLOCK_DRAWS + 7)
    assert body_digest(noise.astype("<i4").tobytes()).hex() == digest


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_tables_are_the_shipped_ones(width: NoiseWidth) -> None:
    assert width.digest.hex() == TABLE_DIGESTS[width]


@pytest.mark.parametrize("width", [pytest.param(WIDE, marks=pytest.mark.long), NARROW, SMALL])
def test_distance_of_the_table_from_the_discrete_gaussian(width: NoiseWidth) -> None:
    """The exact sum of |P - D| / 2, tails too; chances of D by another library's exponentials."""
    table = _table(width.base)
    thresholds = [
        (int(high) << 64) + int(low) for high, low in zip(table.high, table.low, strict=True)
    ]
    bounds = [0, *thresholds, 2**128]
    with localcontext() as context:
        context.prec = 60
        variance = Decimal(2 * width.base**2)
        reach = 16 * width.base
        weights = [(-(Decimal(x) ** 2) / variance).exp() for x in range(reach + 1)]
        total = 2 * sum(weights) - 1
        distance = sum(weights[table.tail + 1 :], Decimal(0)) / total
        for x in range(-table.tail, table.tail + 1):
            own = Decimal(bounds[x + table.tail + 1] - bounds[x + table.tail]) / 2**128
            distance += abs(own - weights[abs(x)] / total) / 2
    assert 0 < distance < DRAW_DISTANCE / 2


@pytest.mark.parametrize("key", [1, 2, 3])
@pytest.mark.parametrize("width", [SMALL, NoiseWidth(64, 21), NoiseWidth(16, 0)])
def test_every_integer_comes_as_often_as_it_should(width: NoiseWidth, key: int) -> None:
    assert p_value_of_cells(drawn(width, key=key), math.sqrt(width.variance)) > SURELY


def test_cells_tell_a_width_that_is_off_by_two_hundredths() -> None:
    assert p_value_of_cells(drawn(SMALL), 1.02 * math.sqrt(SMALL.variance)) < SURELY


def test_cells_tell_rounded_uniform_bits() -> None:
    """A planted table of 8 bits: its thresholds are off by more than a draw may be."""
    table = _table(16)
    coarse = (table.high >> np.uint64(56)) << np.uint64(56)
    words = PrivateStream(bytes(32)).words64(DRAWS)
    noise = np.searchsorted(coarse, words, "right").astype(np.int64) - table.tail
    assert p_value_of_cells(noise, 16.0) < SURELY


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_residues_of_the_factor_are_uniform(width: NoiseWidth) -> None:
    assert p_value_of_residues(drawn(width), width.factor) > SURELY


def test_residues_tell_a_factor_that_is_too_large() -> None:
    assert p_value_of_residues(drawn(NoiseWidth(64, 200)), 200) < SURELY


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_variance_and_largest(width: NoiseWidth) -> None:
    noise = drawn(width)
    # The sample variance of a million normal draws has a relative deviation of 0.14%.
    assert abs(noise.astype(float).var() / width.variance - 1) < 6 * 0.0014
    assert abs(noise).max() < 6.5 * math.sqrt(width.variance)
    assert width.largest < 13.4 * math.sqrt(width.variance)


def test_an_exact_sampler_gives_the_same_distribution() -> None:
    """Two samples, cells of sigma / 4; the other is of exact rational coins (see its module)."""
    width, count = NoiseWidth(4, 1), 6_000
    random = Random(7)
    exact = np.array([exact_draw(Fraction(width.variance), random) for _ in range(count)])
    ours = drawn(width, count)
    edges = np.arange(-16, 17)
    seen = np.histogram(ours, edges)[0].astype(float)
    other = np.histogram(exact, edges)[0].astype(float)
    full = seen + other > 20
    statistic = ((seen - other)[full] ** 2 / (seen + other)[full]).sum()
    assert chdtrc(full.sum(), statistic) > SURELY


class Scripted(PrivateStream):
    """A stream that gives the words that a test names, one after another."""

    def __init__(self, words: list[int]) -> None:
        super().__init__(bytes(32))
        self._words = words

    def words64(self, count: int) -> npt.NDArray[np.uint64]:
        taken, self._words = self._words[:count], self._words[count:]
        return np.array(taken, np.uint64)


def test_lower_halves_decide_ties_only() -> None:
    table = _table(1024)
    place = table.tail + 100
    high, low = int(table.high[place]), int(table.low[place])
    assert high < int(table.high[place + 1])
    stream = Scripted([high, high, high - 1, high + 1, low, low - 1])
    # A threshold of t is for draws below it: of t itself, the draw is beyond.
    assert table.invert(stream, 4).tolist() == [101, 100, 100, 101]
    assert len(stream.words64(1)) == 0


def test_equal_upper_halves_are_told_apart_by_the_lower() -> None:
    table = _table(1024)
    place = int(np.searchsorted(table.high, 1)) - 2
    high, lows = int(table.high[place]), [int(low) for low in table.low[place : place + 2]]
    assert high == int(table.high[place + 1])
    assert lows[0] < lows[1]
    stream = Scripted([high] * 3 + [lows[0] - 1, lows[0], lows[1]])
    first = place - table.tail
    assert table.invert(stream, 3).tolist() == [first, first + 1, first + 2]


@pytest.mark.parametrize("width", [WIDE, NARROW, SMALL])
def test_no_draw_is_beyond_the_largest(width: NoiseWidth) -> None:
    ends = [2**64 - 1] * 4
    assert draw_noise(Scripted(ends), width, 1).tolist() == [width.largest]
    # Thresholds are rounded down, so the lower tail is shorter by what comes once in 2^128 draws.
    assert -width.largest <= draw_noise(Scripted([0] * 4), width, 1)[0] < -0.97 * width.largest


def test_the_guide_finds_what_a_search_does() -> None:
    table = _table(512)
    words = PrivateStream(bytes(32)).words64(200_000)
    searched = np.searchsorted(table.high, words, "left") - table.tail
    assert (table.invert(PrivateStream(bytes(32)), 200_000) == searched).all()


def test_streams_are_chacha20() -> None:
    """The first block of the zero key, nonce and counter: RFC 8439, appendix A.1, vector 1."""
    block = PrivateStream(bytes(32)).words32(16)
    assert block.astype("<u4").tobytes().hex() == (
        "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
        "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586"
    )


def test_each_purpose_has_a_stream_of_its_own() -> None:
    lot, noise = (private_stream(bytes(32), purpose).words64(4) for purpose in (LOT, NOISE))
    assert not (lot == noise).any()


def test_refusals() -> None:
    with pytest.raises(ValueError, match="32 bytes, not 31"):
        private_stream(bytes(31), LOT)
    with pytest.raises(ValueError, match="32 bytes, not 16"):
        PrivateStream(bytes(16))
    with pytest.raises(ValueError, match="1 to 1024, not 2048"):
        NoiseWidth(2048, 1)
    with pytest.raises(ValueError, match="not negative"):
        NoiseWidth(16, -1)


def test_a_stream_ends_before_its_block_counter_does(monkeypatch: pytest.MonkeyPatch) -> None:
    assert private_streams.STREAM_BYTES_MAX == 2**32 * 64  # 32 bits count blocks of 64 bytes.
    monkeypatch.setattr(private_streams, "STREAM_BYTES_MAX", 64)
    stream = PrivateStream(bytes(32))
    stream.words64(7)
    with pytest.raises(ValueError, match="ends after 64 bytes"):
        stream.words32(3)
    assert (stream.words32(2) == PrivateStream(bytes(32)).words32(16)[14:]).all()
    with pytest.raises(ValueError, match="ends after 64 bytes"):
        stream.words32(1)


def test_widths_by_members() -> None:
    counts = (5, WIDE_MEMBERS_MAX, WIDE_MEMBERS_MAX + 1, 128)
    assert [width_for(count) for count in counts] == [WIDE, WIDE, NARROW, NARROW]
