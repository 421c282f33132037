"""Deltas as fixed-point numbers: sums that fit, one model from them, and norms."""

import math
import struct
from random import Random

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pfl_crypto.encoding import DeltaEncoding, Encoding, NotFinite, shrink
from p2pfl_crypto.masks import KeyStream, add_vectors

KEY = bytes(range(32))


def norm_of(values: npt.NDArray[np.float32]) -> float:
    """The exact norm, rounded once."""
    return math.sqrt(math.fsum(float(x) * float(x) for x in values))


@given(
    st.integers(1, 64),
    st.lists(st.floats(-3, 3, width=32), min_size=1, max_size=50),
    st.floats(0.001, 1),
    st.integers(0, 2**40),
)
def test_encoding_follows_the_formula(
    members: int, values: list[float], fraction: float, chunk: int
) -> None:
    encoding = DeltaEncoding(members, 2.0, 500.0)
    weight = fraction * 500.0
    body, clipped = encoding.encode_body(np.array(values, np.float32), weight, KEY, chunk)
    room = bytearray(4 * len(values))
    KeyStream(KEY, chunk).fill(memoryview(room))
    quantum = (2**31 - 1) // members
    bound = (weight / 500.0) * quantum
    expected = []
    for x, r in zip(values, np.frombuffer(room, "<u4").tolist(), strict=True):
        scaled = min(max(x * (bound / 2.0), -bound), bound)
        expected.append(min(max(math.floor(scaled + r / 2**32), -quantum), quantum))
    assert body.view(np.int32).tolist() == expected  # And no weight behind them.
    assert clipped == sum(abs(x * (bound / 2.0)) > bound for x in values)


def test_there_is_no_least_weight() -> None:
    # A weight that travels with the sum must not vanish there; one that all know may be any.
    with pytest.raises(ValueError, match="vanishes"):
        Encoding(16, 8.0, 1.0).encode_weight(1e-12)
    body, _ = DeltaEncoding(16, 8.0, 1.0).encode_body(np.ones(4, np.float32), 1e-12, KEY, 0)
    assert set(body.view(np.int32).tolist()) <= {0, 1}


@pytest.mark.parametrize("weight", [0.0, -1.0, 1.0000001, math.nan, math.inf])
def test_weights_out_of_range_are_refused(weight: float) -> None:
    with pytest.raises(ValueError, match="weight"):
        DeltaEncoding(16, 8.0, 1.0).encode_body(np.ones(1, np.float32), weight, KEY, 0)


@pytest.mark.parametrize(
    ("members", "clip", "weight_max"),
    [(0, 1.0, 1.0), (4097, 1.0, 1.0), (5, 0.0, 1.0), (5, math.nan, 1.0), (5, 1.0, math.inf)],
)
def test_bad_parameters_are_refused(members: int, clip: float, weight_max: float) -> None:
    with pytest.raises(ValueError, match=r"^(1 to 4096 members|clip is|weight_max is)"):
        DeltaEncoding(members, clip, weight_max)


@given(st.integers(5, 128), st.integers(0, 2**32))
@settings(max_examples=40)
def test_sums_of_honest_members_are_in_range_and_exact(members: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    encoding = DeltaEncoding(members, 0.7, 90.0)
    weights = [float(weight) for weight in random.uniform(0.01, 90, members)]
    total, exact = np.zeros(3, np.uint32), np.zeros(3, np.int64)
    for member in range(members):
        # All of the norm in one entry, of one sign: no sum is longer. Rounded to float32 it may be
        # a little beyond S.
        delta, _ = shrink(np.array([1e9, 0, 0], np.float32), 0.7)
        delta = delta if member % 2 else np.array([0.7, 0, 0], np.float32)
        body, _ = encoding.encode_body(delta, weights[member], random.bytes(32), 0)
        add_vectors(total, [body])
        exact += body.view(np.int32)
    assert (total.view(np.int32) == exact).all()
    assert encoding.is_in_range(total, math.fsum(weights), members)


def test_sums_are_in_range_up_to_the_bound_and_not_beyond() -> None:
    encoding = DeltaEncoding(5, 8.0, 2.0)
    bound = math.floor(encoding.quantum_max * (3.0 / 2.0) + 1.5 * 3)
    for entry, is_fine in ((bound, True), (-bound, True), (bound + 1, False), (-bound - 1, False)):
        for index in (0, 32_767, 32_768, 99_999):
            total = np.zeros(100_000, np.uint32)
            total[index] = entry % 2**32
            assert encoding.is_in_range(total, 3.0, 3) is is_fine
    lowest = np.array([2**31], np.uint32)  # -2^31, whose opposite int32 has not.
    assert not encoding.is_in_range(lowest, 9.9, 5)


@pytest.mark.parametrize("count", [1, 7, 32_768, 70_001])
def test_a_model_moves_as_the_formula_says_bit_for_bit(count: int) -> None:
    random = Random(count)
    encoding = DeltaEncoding(7, 0.3, 110.0)
    base = np.array([random.gauss(0, 2) for _ in range(count)], np.float32)
    total = np.array([random.randrange(2**32) for _ in range(count)], np.uint32)
    weight_total = 430.5
    moved = encoding.apply(base, total, weight_total)
    # Python's floats are binary64, one operation at a time; struct rounds once to binary32.
    factor = (0.3 * 110.0) / (float((2**31 - 1) // 7) * weight_total)
    for index in random.sample(range(count), min(count, 2_000)):
        expected = float(base[index]) + float(total.view(np.int32)[index]) * factor
        assert struct.pack("<f", expected) == struct.pack("<f", moved[index])
    assert moved.dtype == np.float32


def test_a_sum_of_all_moves_the_model_by_the_weighted_mean() -> None:
    random = np.random.default_rng(4)
    encoding = DeltaEncoding(9, 4.0, 100.0)
    weights = [float(weight) for weight in random.uniform(1, 100, 9)]
    deltas = [shrink(random.normal(0, 0.05, 500).astype(np.float32), 4.0)[0] for _ in weights]
    total = np.zeros(500, np.uint32)
    for delta, weight in zip(deltas, weights, strict=True):
        add_vectors(total, [encoding.encode_body(delta, weight, random.bytes(32), 0)[0]])
    base = random.normal(0, 1, 500).astype(np.float32)
    moved = encoding.apply(base, total, math.fsum(weights)).astype(np.float64)
    mean = sum(w * d.astype(np.float64) for w, d in zip(weights, deltas, strict=True)) / sum(
        weights
    )
    assert np.abs(moved - (base + mean)).max() < 1e-6


@pytest.mark.parametrize("weight_total", [0.0, -1.0, math.nan, math.inf])
def test_a_model_is_moved_by_a_weight_only(weight_total: float) -> None:
    one = np.zeros(1, np.float32)
    with pytest.raises(ValueError, match="the weight of all"):
        DeltaEncoding(5, 1.0, 1.0).apply(one, np.zeros(1, np.uint32), weight_total)
    with pytest.raises(ValueError, match="of one length"):
        DeltaEncoding(5, 1.0, 1.0).apply(one, np.zeros(2, np.uint32), 1.0)


@given(
    st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=40),
    st.floats(1e-6, 1e6),
)
def test_a_delta_is_shrunk_to_the_norm_and_keeps_its_direction(
    values: list[float], clip: float
) -> None:
    delta = np.array(values, np.float32)
    before = delta.copy()
    shrunk, norm = shrink(delta, clip)
    assert (delta == before).all()
    assert math.isclose(norm, norm_of(delta), rel_tol=1e-12)
    assert norm_of(shrunk) <= clip
    if norm <= clip:
        assert shrunk is delta
    else:
        assert math.isclose(norm_of(shrunk), clip, rel_tol=1e-5)
        scaled = delta.astype(np.float64) * (clip / norm)
        assert np.abs(shrunk - scaled).max() <= 1e-6 * clip


def test_the_norm_is_of_all_blocks() -> None:
    delta = np.full(100_000, 0.5, np.float32)
    shrunk, norm = shrink(delta, 1.0)
    assert norm == math.sqrt(25_000.0)
    assert 1 - 1e-6 < norm_of(shrunk) <= 1
    assert shrunk.min() == shrunk.max()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused(bad: float) -> None:
    delta = np.zeros(40_000, np.float32)
    delta[35_000] = bad
    with pytest.raises(NotFinite, match="index 35000 "):
        shrink(delta, 1.0)
    with pytest.raises(NotFinite):
        DeltaEncoding(5, 1.0, 1.0).encode_body(delta, 1.0, KEY, 0)
    for clip in (0.0, -1.0, bad):
        with pytest.raises(ValueError, match="clip is positive"):
            shrink(np.zeros(1, np.float32), clip)
