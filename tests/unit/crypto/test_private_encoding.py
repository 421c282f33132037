"""Neighbours' integers differ by at most the sensitivity, exactly; sums never leave int32."""

import math
from fractions import Fraction
from random import Random

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pfl_crypto import private_encoding
from p2pfl_crypto.discrete_gaussian import NARROW, WIDE, NoiseWidth, draw_noise
from p2pfl_crypto.encoding import NotFinite
from p2pfl_crypto.private_encoding import (
    NOISE_UNIT,
    ROW_CLIP,
    Descent,
    LotEncoding,
    MemberEncoding,
    WordsAsTheyAre,
    add_noise,
    sensitivity_for,
)
from p2pfl_crypto.private_streams import PrivateStream

CLIP = 0.7


def lot(entries: int, *, members: int = 16, sensitivity: int = 880_000) -> LotEncoding:
    return LotEncoding(members, entries, CLIP, sensitivity)


def squared(difference: npt.NDArray[np.int64]) -> int:
    return sum(int(x) ** 2 for x in difference)


def neighbours(
    random: Random, entries: int, magnitude: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return a sum, and the same with one more unit at the full row clip."""
    rng = np.random.default_rng(random.randrange(2**32))
    rest = rng.normal(size=entries) * magnitude
    part = rng.normal(size=entries) * 10.0 ** rng.integers(-30, 30, size=entries)
    if random.random() < 0.3:
        part = np.sign(part)
    part *= CLIP * ROW_CLIP / np.linalg.norm(part)
    return rest, rest + part


@settings(deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([1, 2, 65, 2_000]), st.integers(-30, 12))
def test_neighbours_differ_by_at_most_the_sensitivity(
    seed: int, entries: int, magnitude: int
) -> None:
    encoding = lot(entries)
    without, with_it = neighbours(Random(seed), entries, 10.0**magnitude)
    difference = encoding.encode(with_it).astype(np.int64) - encoding.encode(without)
    assert squared(difference) <= encoding.sensitivity**2


def test_cutting_to_integers_needs_its_allowance() -> None:
    """Equal entries of 16.4 units of Delta / C: cut without an allowance, 17 each are too long."""
    entries, sensitivity = 10_000, 1_690
    encoding = LotEncoding(5, entries, CLIP, sensitivity)
    part = np.full(entries, CLIP * ROW_CLIP / math.sqrt(entries))
    naive = []
    for low in np.linspace(0, 2, 81) * CLIP / sensitivity:
        sums = np.full(entries, low)
        difference = encoding.encode(sums + part).astype(np.int64) - encoding.encode(sums)
        assert squared(difference) <= sensitivity**2
        cut = [np.trunc(x * sensitivity / CLIP).astype(np.int64) for x in (sums, sums + part)]
        naive.append(squared(cut[1] - cut[0]))
    assert max(naive) == 1_700**2


@pytest.mark.parametrize("members", [1, 5, 32, 33, 128])
def test_the_sum_of_all_members_never_leaves_int32(members: int) -> None:
    encoding = LotEncoding(members, 2, CLIP, 10_000)
    quanta = encoding.encode(np.array([1e30, -1e30]))
    assert quanta.tolist() == [encoding.room, -encoding.room]
    noise = encoding.width.largest
    assert np.iinfo(np.int32).max == private_encoding._SUM_MAX
    assert members * (encoding.room + noise) <= private_encoding._SUM_MAX
    assert members * (encoding.room + noise + 1) > private_encoding._SUM_MAX
    total = np.array([members * (encoding.room + noise)] * 2, np.int64).astype(np.uint32)
    assert encoding.is_in_range(total, members)
    assert members == 1 or not encoding.is_in_range(total, members - 1)


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(-30, 30))
def test_a_members_integers_are_at_most_the_sensitivity_long(seed: int, magnitude: int) -> None:
    encoding = MemberEncoding(32, 500, CLIP, 700_000)
    rng = np.random.default_rng(seed)
    delta = (rng.normal(size=500) * 10.0**magnitude).astype(np.float32)
    quanta, norm = encoding.encode(delta, 1.0, 4.0)
    assert squared(quanta.astype(np.int64)) <= encoding.sensitivity**2
    assert norm == pytest.approx(np.linalg.norm(delta.astype(float)) / 4, rel=1e-9)
    if norm > CLIP:  # What was clipped uses nearly all of its length.
        assert squared(quanta.astype(np.int64)) > 0.999 * encoding.sensitivity**2


def test_a_short_update_is_not_scaled_up() -> None:
    encoding = MemberEncoding(32, 2, 1.0, 700_000)
    quanta, _ = encoding.encode(np.array([0.25, -0.5], np.float32), 1.0, 2.0)
    assert quanta.tolist() == [87_500, -175_000]


def test_an_update_that_floating_point_leaves_too_long_is_shrunk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The norm in binary64 is not relied on: here it is a ten-thousandth too short."""
    measured = private_encoding._norm_of
    monkeypatch.setattr(private_encoding, "_norm_of", lambda update: 0.9999 * measured(update))
    encoding = MemberEncoding(32, 500, CLIP, 700_000)
    delta = np.random.default_rng(1).normal(size=500).astype(np.float32)
    quanta, _ = encoding.encode(delta, 1.0, 1.0)
    found = squared(quanta.astype(np.int64))
    assert 0.99999**2 * encoding.sensitivity**2 < found <= encoding.sensitivity**2


@pytest.mark.parametrize(
    ("quanta", "short"),
    [
        ([1_000], True),
        ([-1_000], True),
        ([1_001], False),
        ([1_000, 1], False),
        ([600, -800], True),
        ([600, 801], False),
        ([2**31 - 1] * 3, False),
    ],
)
def test_lengths_are_exact(quanta: list[int], short: bool) -> None:
    encoding = MemberEncoding(5, len(quanta), CLIP, 1_000)
    assert encoding._is_short(np.array(quanta, np.int64)) is short


@given(st.sampled_from([WIDE, NARROW]), st.integers(1, 128), st.integers(2**17, 2**27))
def test_the_sensitivity_is_the_largest_that_the_noise_allows(
    width: NoiseWidth, shares: int, noise_units: int
) -> None:
    found = sensitivity_for(width, shares, noise_units)
    noise = Fraction(noise_units) * Fraction(NOISE_UNIT)
    assert (noise * found) ** 2 <= width.variance * shares < (noise * (found + 1)) ** 2


def test_the_design_page_example() -> None:
    """Members 16, present 15, colluding 5, z = 1.2532: Q / Delta is 147."""
    found = sensitivity_for(WIDE, 10, round(1.2532 / NOISE_UNIT))
    assert found == 878_537
    assert LotEncoding(16, 101_770, 1.0, found).room / found == pytest.approx(147.5, abs=0.1)


def test_noise_is_added_modulo_two_to_the_32() -> None:
    noise = draw_noise(PrivateStream(bytes(32)), WIDE, 1_000)
    quanta = np.arange(-500, 500, dtype=np.int32) * 1_000
    sent = add_noise(quanta, noise)
    assert sent.dtype == np.uint32
    assert (sent.view(np.int32) == quanta + noise).all()
    assert add_noise(np.array([2**31 - 1], np.int32), np.array([1], np.int32)).tolist() == [2**31]


def test_a_descent_is_momentum_then_a_step() -> None:
    descent = Descent(gradient_unit=0.125, momentum=0.5)
    model, velocity = np.array([1, 2], np.float32), np.array([4, -4], np.float32)
    total = np.array([8, -16], np.int32).view(np.uint32)
    moved, faster = descent.step(model, velocity, total, 0.25)
    assert faster.tolist() == [3.0, -4.0]
    assert moved.tolist() == [0.25, 3.0]
    assert moved.dtype == np.float32
    assert faster.dtype == np.float32
    assert model.tolist() == [1, 2]
    assert velocity.tolist() == [4, -4]


def test_the_mean_gradient_comes_back() -> None:
    encoding = lot(1_000)
    rng = np.random.default_rng(3)
    sums = rng.normal(size=1_000) * 5
    total = encoding.encode(sums).view(np.uint32)
    zero = np.zeros(1_000, np.float32)
    moved, _ = Descent(encoding.gradient_unit(62.5), 0.0).step(zero, zero, total, 1.0)
    assert np.abs(moved + sums / 62.5).max() < 1e-6


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LotEncoding(0, 10, 1.0, 1000), "1 to 4096 members, not 0"),
        (lambda: LotEncoding(5, 0, 1.0, 1000), "has entries, not 0"),
        (lambda: LotEncoding(5, 10, math.inf, 1000), "a clip is positive"),
        (lambda: LotEncoding(5, 10, 1.0, 0), "no sensitivity at all; lower it"),
        (lambda: LotEncoding(128, 10, 1.0, 10_000_000), "less than 8 times the sensitivity"),
        (lambda: LotEncoding(5, 1_000_000, 1.0, 15_999), "more than one part in 16"),
        (lambda: MemberEncoding(128, 10, 1.0, 10_000_000), "less than 8 times the sensitivity"),
        (lambda: MemberEncoding(5, 2, 1.0, 9).encode(np.zeros(2, np.float32), 2, 1), "a weight"),
        (lambda: MemberEncoding(5, 2, 1.0, 9).encode(np.zeros(3, np.float32), 1, 1), "2 entries"),
        (lambda: MemberEncoding(5, 2, 1.0, 9).encode(np.zeros(2), 1, 1), "an update is float32"),  # type: ignore[arg-type]
        (lambda: lot(2).encode(np.zeros(2, np.float32)), "float64 of 2 entries"),
        (lambda: WordsAsTheyAre.encode_body(np.zeros(2, np.int32), 1, b"", 0), "words are uint32"),
        (lambda: sensitivity_for(WIDE, 0, 1), "positive"),
        (lambda: sensitivity_for(WIDE, 1, 0), "positive"),
        (lambda: Descent(0.0, 0.0), "positive and finite, not 0.0"),
        (lambda: Descent(1.0, 1.0), "momentum is in"),
        (lambda: add_noise(np.zeros(2, np.int32), np.zeros(3, np.int32)), "of one length"),
    ],
)
def test_refusals(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=message):
        make()


def test_one_part_in_sixteen_is_enough() -> None:
    LotEncoding(5, 1_000_000, 1.0, 16_000)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_named(value: float) -> None:
    with pytest.raises(NotFinite, match="index 1"):
        lot(3).encode(np.array([0, value, 0]))
    with pytest.raises(NotFinite, match="index 1"):
        MemberEncoding(5, 3, 1.0, 9).encode(np.array([0, value, 0], np.float32), 1, 1)


def test_a_rate_or_lengths_that_do_not_fit() -> None:
    zero, total = np.zeros(2, np.float32), np.zeros(2, np.uint32)
    descent = Descent(1.0, 0.0)
    with pytest.raises(ValueError, match="rate"):
        descent.step(zero, zero, total, math.nan)
    with pytest.raises(ValueError, match="one length"):
        descent.step(zero, zero, np.zeros(3, np.uint32), 1.0)
