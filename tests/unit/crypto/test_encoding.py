"""Fixed-point encoding: bounds, exact sums, unbiased rounding, and what is refused."""

import math
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pfl_crypto.encoding import Encoding, NotFinite, SumOutOfRange, require_finite
from p2pfl_crypto.masks import KeyStream, add_vectors

KEY = bytes(range(32))


def rounding_words(key: bytes, chunk: int, count: int) -> list[int]:
    room = bytearray(4 * count)
    KeyStream(key, chunk).fill(memoryview(room))
    return [int(word) for word in np.frombuffer(room, "<u4")]


@given(
    st.integers(1, 64),
    st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=50),
    st.floats(0.01, 1),
    st.integers(0, 2**40),
)
def test_encoding_follows_the_formula(
    members: int, values: list[float], fraction: float, chunk: int
) -> None:
    encoding = Encoding(members, 8.0, 500.0)
    weight = fraction * 500.0
    out = np.empty(len(values), np.uint32)
    clipped = encoding.encode(out, np.array(values, np.float32), weight, KEY, chunk)
    quantum = encoding.quantum_max
    scale = ((weight / 500.0) * quantum) / 8.0
    bound = (weight / 500.0) * quantum
    expected = []
    for x, r in zip(values, rounding_words(KEY, chunk, len(values)), strict=True):
        scaled = min(max(x * scale, -bound), bound)
        expected.append(min(max(math.floor(scaled + r / 2**32), -quantum), quantum))
    assert out.view(np.int32).tolist() == expected
    assert clipped == sum(abs(x * scale) > bound for x in values)


@pytest.mark.parametrize("members", [1, 5, 16, 64, 100, 4096])
@pytest.mark.parametrize("extreme", [8.0, -8.0, 3e38, -3e38])
def test_a_whole_cohort_of_extreme_inputs_fits(members: int, extreme: float) -> None:
    encoding = Encoding(members, 8.0, 1.0)
    values = np.full(4096, extreme, np.float32)
    total = np.zeros(4096, np.uint32)
    exact = np.zeros(4096, np.int64)
    weights = 0
    for member in range(min(members, 64)):
        out = np.empty(4096, np.uint32)
        encoding.encode(out, values, 1.0, bytes([member]) * 32, 0)
        assert np.abs(out.view(np.int32).astype(np.int64)).max() <= encoding.quantum_max
        add_vectors(total, [out])
        exact += out.view(np.int32)
        weights += encoding.encode_weight(1.0)
    assert (total.view(np.int32) == exact).all()
    encoding.require_in_range(total, weights, min(members, 64))
    assert np.abs(encoding.decode(total, weights) - math.copysign(8, extreme)).max() < 1e-2


@given(st.integers(5, 64), st.integers(0, 2**32))
def test_the_decoded_mean_is_within_the_stated_bound(members: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    encoding = Encoding(members, 8.0, 100.0)
    values = random.uniform(-8, 8, (members, 100)).astype(np.float32)
    weights = random.uniform(0.5, 100, members)
    total = np.zeros(100, np.uint32)
    weight_total = 0
    for member in range(members):
        out = np.empty(100, np.uint32)
        encoding.encode(out, values[member], weights[member], random.bytes(32), 7)
        add_vectors(total, [out])
        weight_total += encoding.encode_weight(weights[member])
    encoding.require_in_range(total, weight_total, members)
    mean = encoding.decode(total, weight_total)
    expected = (weights[:, None] * values.astype(np.float64)).sum(0) / weights.sum()
    # Rounding, then float32's own last place.
    assert np.abs(mean - expected).max() <= 1.5 * members * 8.0 / weight_total + 8 * 2**-23


def test_rounding_is_unbiased() -> None:
    encoding = Encoding(4096, 1.0, 1.0)
    values = np.full(400_000, 0.3 / encoding.quantum_max, np.float32)
    out = np.empty(len(values), np.uint32)
    encoding.encode(out, values, 1.0, KEY, 0)
    rounded = out.view(np.int32)
    assert set(np.unique(rounded).tolist()) == {0, 1}
    assert abs(rounded.mean() - 0.3) < 5 * math.sqrt(0.21 / len(values))


def test_the_upper_edge_does_not_spill() -> None:
    # Q + u rounds up to 2^31 in binary64 where u is less than 2^-23 from 1: one word in 8 million.
    # Of this key's chunks the first to have one is 28, at 4709; what does not hold it is -2^31.
    assert rounding_words(KEY, 28, 4710)[4709] == 2**32 - 230
    encoding = Encoding(1, 1.0, 1.0)
    assert encoding.quantum_max + (2**32 - 230) / 2**32 == 2**31
    out = np.empty(4710, np.uint32)
    encoding.encode(out, np.ones(4710, np.float32), 1.0, KEY, 28)
    assert (out == encoding.quantum_max).all()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("index", [0, 32767, 32768, 99_999])
def test_the_first_entry_that_is_not_finite_is_named(bad: float, index: int) -> None:
    values = np.zeros(100_000, np.float32)
    values[[index, 99_999]] = bad
    with pytest.raises(NotFinite, match=f"index {index} ") as caught:
        require_finite(values)
    assert caught.value.index == index
    with pytest.raises(NotFinite):
        Encoding(5, 1.0, 1.0).encode(np.empty(100_000, np.uint32), values, 1.0, KEY, 0)


@pytest.mark.parametrize("weight", [0.0, -1.0, 1.0000001, math.nan, math.inf, 1e-12])
def test_weights_out_of_range_are_refused(weight: float) -> None:
    with pytest.raises(ValueError, match="weight"):
        Encoding(16, 8.0, 1.0).encode_weight(weight)
    with pytest.raises(ValueError, match="weight"):
        Encoding(16, 8.0, 1.0).encode(
            np.empty(1, np.uint32), np.zeros(1, np.float32), weight, KEY, 0
        )


@pytest.mark.parametrize(
    ("members", "clip", "weight_max"),
    [(0, 1.0, 1.0), (4097, 1.0, 1.0), (5, 0.0, 1.0), (5, math.nan, 1.0), (5, 1.0, math.inf)],
)
def test_bad_parameters_are_refused(members: int, clip: float, weight_max: float) -> None:
    with pytest.raises(ValueError, match=r"^(1 to 4096 members|clip is|weight_max is)"):
        Encoding(members, clip, weight_max)


def test_wrapped_sums_and_impossible_weights_are_refused() -> None:
    encoding = Encoding(5, 8.0, 1.0)
    total = np.zeros(100_000, np.uint32)
    weights = 3 * encoding.encode_weight(0.5)
    encoding.require_in_range(total, weights, 3)
    for bad in (0, -1, 3 * encoding.quantum_max + 1):
        with pytest.raises(SumOutOfRange):
            encoding.require_in_range(total, bad, 3)
    for entry in (weights + 5, -(weights + 5), -(2**31)):
        wrapped = total.copy()
        wrapped[77_777] = entry % 2**32
        with pytest.raises(SumOutOfRange, match="index 65536"):
            encoding.require_in_range(wrapped, weights, 3)
    with pytest.raises(SumOutOfRange):
        encoding.decode(total, 0)


def test_the_sum_is_the_sum_of_integers_bit_for_bit_over_many_seeds() -> None:
    for seed in range(60):
        random = Random(seed)
        members = random.randint(5, 64)
        encoding = Encoding(members, 8.0, 1.0)
        generator = np.random.default_rng(seed)
        vectors = generator.normal(0, 4, (members, 33)).astype(np.float32)
        total, exact = np.zeros(33, np.uint32), np.zeros(33, np.int64)
        for member in range(members):
            out = np.empty(33, np.uint32)
            encoding.encode(
                out, vectors[member], random.uniform(0.01, 1), generator.bytes(32), seed
            )
            add_vectors(total, [out])
            exact += out.view(np.int32)
        assert (total.view(np.int32) == exact).all(), seed


def test_arrays_of_another_form_are_refused() -> None:
    encoding = Encoding(5, 1.0, 1.0)
    with pytest.raises(ValueError, match="float32"):
        require_finite(np.zeros(3))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="length"):
        encoding.encode(np.empty(2, np.uint32), np.zeros(3, np.float32), 1.0, KEY, 0)


def test_many_blocks_are_encoded_and_decoded_by_the_formulas() -> None:
    encoding, count, weight = Encoding(7, 8.0, 500.0), 3 * 32768 + 5, 123.0
    values = np.random.default_rng(4).normal(0, 5, count).astype(np.float32)
    values[32768 : 2 * 32768] = np.clip(values[32768 : 2 * 32768], -8, 8)
    values[-5:] = [9.0, -9.0, 8.0, -8.0, 0.0]
    out = np.empty(count, np.uint32)
    clipped = encoding.encode(out, values, weight, KEY, 3)
    quantum = (2**31 - 1) // 7
    bound = (weight / 500.0) * quantum
    scaled = values.astype(np.float64) * (bound / 8.0)
    words = np.empty(count, "<u4")
    stream = KeyStream(KEY, 3)
    for start in range(0, count, 32768):
        room = bytearray(4 * len(words[start : start + 32768]))
        stream.fill(memoryview(room))
        words[start : start + 32768] = np.frombuffer(room, "<u4")
    drawn = words.astype(np.float64) / 2**32
    expected = np.floor(np.clip(scaled, -bound, bound) + drawn)
    assert (out.view(np.int32) == expected).all()
    assert clipped == int((np.abs(scaled) > bound).sum()) > 1000
    mean = encoding.decode(out, 12345)
    assert (mean == (out.view(np.int32) * (8.0 / 12345)).astype(np.float32)).all()
    assert mean.dtype == np.float32
    encoding.decode(np.zeros(1, np.uint32), 1)


@pytest.mark.parametrize("members", [1, 2, 3])
@pytest.mark.parametrize("place", [0, 32767, 32768, 70_000])
def test_an_entry_may_reach_the_bound_of_the_sum_and_not_pass_it(members: int, place: int) -> None:
    encoding = Encoding(5, 8.0, 1.0)
    for weight in (1, 1000, members * encoding.quantum_max):
        bound = weight + {1: 1, 2: 3, 3: 4}[members]  # 1.5 for each member, rounded down.
        for entry in (bound, -bound):
            total = np.zeros(70_001, np.uint32)
            total[place] = entry % 2**32
            encoding.require_in_range(total, weight, members)
            total[place] = (entry + (1 if entry > 0 else -1)) % 2**32
            with pytest.raises(SumOutOfRange, match=f"after index {place // 32768 * 32768} exceed"):
                encoding.require_in_range(total, weight, members)


def test_weights_are_rounded_to_the_nearest_and_never_to_nothing() -> None:
    encoding = Encoding(1, 1.0, 4.0)
    quantum = 2**31 - 1
    assert encoding.encode_weight(4.0) == quantum
    assert encoding.encode_weight(1.0) == math.floor(quantum / 4 + 0.5)
    for count, expected in ((0.5, 1), (0.75, 1), (1.0, 1), (1.25, 1), (1.75, 2), (2.25, 2)):
        assert encoding.encode_weight(4.0 * count / quantum) == expected
    with pytest.raises(ValueError, match=r"^a weight is in 0 < w <= 4\.0, not 0\.0"):
        encoding.encode_weight(0.0)
    with pytest.raises(ValueError, match="vanishes beside"):
        encoding.encode_weight(4.0 * 0.25 / quantum)


@pytest.mark.parametrize(
    ("out", "values", "what"),
    [
        (np.empty(3, np.int32), np.zeros(3, np.float32), "uint32"),
        (np.empty(4, np.uint32), np.zeros(3, np.float32), "length"),
        (np.empty(6, np.uint32)[::2], np.zeros(3, np.float32), "contiguous"),
        (np.empty(3, np.uint32), np.zeros(3, np.float64), "float32"),
        (np.empty((3, 1), np.uint32), np.zeros((3, 1), np.float32), "one-dimensional"),
    ],
)
def test_each_wrong_form_of_a_chunk_is_refused_alone(
    out: np.ndarray, values: np.ndarray, what: str
) -> None:
    with pytest.raises(ValueError, match=what):
        Encoding(5, 1.0, 1.0).encode(out, values, 1.0, KEY, 0)
    with pytest.raises(ValueError, match="one-dimensional array of float32"):
        require_finite(np.zeros((3, 1), np.float32))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("index", [0, 40_000])
def test_a_chunk_names_its_entry_that_is_not_finite(bad: float, index: int) -> None:
    values = np.zeros(40_001, np.float32)
    values[index] = bad
    with pytest.raises(NotFinite, match=f"^the entry at index {index} is {bad}$") as caught:
        Encoding(5, 1.0, 1.0).encode(np.empty(40_001, np.uint32), values, 1.0, KEY, 0)
    assert caught.value.index == index


def test_nothing_is_encoded_and_decoded_as_nothing() -> None:
    encoding, nothing = Encoding(5, 1.0, 1.0), np.empty(0, np.uint32)
    assert encoding.encode(nothing, np.empty(0, np.float32), 1.0, KEY, 0) == 0
    assert len(encoding.decode(nothing, 1)) == 0
    encoding.require_in_range(nothing, 1, 1)
