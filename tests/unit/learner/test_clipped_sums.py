"""Sums of clipped gradients against autograd, row by row; neighbours; hostile magnitudes."""

import math
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
import torch

from p2pfl.learner.engines.clipped_sums import NORM_MAX, ClippedPerceptrons
from p2pfl.learner.engines.lot import BLOCK_ROWS, LOT_UNITS_MAX, UNIT_ROWS_MAX, Lot
from p2pfl_crypto.private_encoding import LotEncoding

WIDTHS = (20, 13, 7, 4)
ENTRIES = sum((below + 1) * above for below, above in pairwise(WIDTHS))
RNG = np.random.default_rng(5)
INPUTS = RNG.normal(size=(600, WIDTHS[0])).astype(np.float32)
TARGETS = RNG.integers(0, WIDTHS[-1], 600)
MODELS = [RNG.normal(0, 0.5, ENTRIES).astype(np.float32) for _ in range(3)]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """As workers have it; more threads for such small products only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def engine(inputs: npt.NDArray[np.float32] = INPUTS) -> ClippedPerceptrons:
    made = ClippedPerceptrons(
        WIDTHS, peers_max=3, inputs=inputs, targets=TARGETS, scale=1.0, offset=0.0
    )
    made.load(MODELS)
    return made


@cache
def gradient(number: int, row: int) -> npt.NDArray[np.float64]:
    """One row's gradient at a model, by autograd in float64."""
    model = MODELS[number]
    parameters, at = [], 0
    for below, above in pairwise(WIDTHS):
        for shape in ((below, above), (above,)):
            size = math.prod(shape)
            values = torch.tensor(model[at : at + size], dtype=torch.float64).reshape(shape)
            parameters.append(values.requires_grad_())
            at += size
    hidden = torch.tensor(INPUTS[row], dtype=torch.float64)[None]
    for depth in range(0, len(parameters), 2):
        hidden = hidden @ parameters[depth] + parameters[depth + 1]
        if depth < len(parameters) - 2:
            hidden = hidden.relu()
    loss = torch.nn.functional.cross_entropy(hidden, torch.tensor([TARGETS[row]]))
    parts = torch.autograd.grad(loss, parameters)
    return torch.cat([part.reshape(-1) for part in parts]).numpy()


def clipped_sum(
    number: int, units: Sequence[Sequence[int]], clip: float
) -> npt.NDArray[np.float64]:
    total = np.zeros(ENTRIES)
    for unit in units:
        mean = np.mean([gradient(number, row) for row in unit], axis=0)
        total += mean * min(1.0, clip / np.linalg.norm(mean))
    return total


@pytest.mark.parametrize("clip", [0.1, 1.5, 100.0])
@pytest.mark.parametrize("size", [0, 1, 64, 65, 130])
def test_sums_are_those_of_autograd(size: int, clip: float) -> None:
    rows = np.arange(size, dtype=np.int64)[::-1].copy()
    for place in (0, 2):
        found = engine().lot_sum(place, Lot(rows), clip)
        expected = clipped_sum(place, [[int(row)] for row in rows], clip)
        assert found == pytest.approx(expected, abs=2e-5 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("clip", [0.1, 1.5, 100.0])
def test_units_of_several_rows_are_clipped_as_their_mean(clip: float) -> None:
    sizes = [1, 16, 3, 16, 16, 16, 7, 1, 2]
    rows = RNG.permutation(600)[: sum(sizes)].astype(np.int64)
    ends = np.cumsum(sizes)
    units = [rows[end - size : end].tolist() for end, size in zip(ends, sizes, strict=True)]
    found = engine().lot_sum(1, Lot(rows, sizes), clip)
    expected = clipped_sum(1, units, clip)
    assert found == pytest.approx(expected, abs=2e-5 * max(1, np.abs(expected).max()))


def test_units_of_one_row_are_rows() -> None:
    rows = np.arange(100, dtype=np.int64)
    whole = engine().lot_sum(0, Lot(rows), 0.5)
    units = engine().lot_sum(0, Lot(rows, [1] * 100), 0.5)
    assert units == pytest.approx(whole, abs=1e-6)


def test_several_models_share_a_block() -> None:
    made = engine()
    index = RNG.integers(0, 600, (3, BLOCK_ROWS))
    weights = np.ones((3, BLOCK_ROWS), np.float32)
    norms = made.sum_block(0, index, weights, 0.5)
    for place in range(3):
        own = gradient(place, int(index[place, 9]))
        assert norms[place, 9] == pytest.approx(np.linalg.norm(own), rel=1e-5)
        expected = clipped_sum(place, [[int(row)] for row in index[place]], 0.5)
        assert made.block_sum(place) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("size", [65, 320])
def test_integers_of_neighbouring_lots_differ_by_at_most_the_sensitivity(size: int) -> None:
    encoding = LotEncoding(16, ENTRIES, 1.0, 880_000)
    made = engine()
    for seed in range(2):
        rng = np.random.default_rng(seed)
        rows = rng.integers(0, 600, size + 1)
        with_it = made.lot_sum(0, Lot(rows), encoding.row_clip)
        without = made.lot_sum(0, Lot(np.delete(rows, rng.integers(size + 1))), encoding.row_clip)
        difference = encoding.encode(with_it).astype(np.int64) - encoding.encode(without)
        length = math.sqrt(sum(int(x) ** 2 for x in difference))
        assert length <= 0.97 * encoding.sensitivity  # The rest of Delta is not needed here.


def test_rows_of_a_unit_that_cancel_out_stay_within_the_clip() -> None:
    """Errors of float32 in their sum are no shorter for that."""
    rng = np.random.default_rng(0)
    for exponent in (3, 7, 9, 11):
        for _ in range(20):
            inputs = np.repeat(rng.normal(0, 10.0**exponent, (1, 20)).astype(np.float32), 15, 0)
            targets = rng.permutation(np.arange(15) % 3)
            made = ClippedPerceptrons(
                (20, 3), peers_max=1, inputs=inputs, targets=targets, scale=1.0, offset=0.0
            )
            made.load([np.zeros(63, np.float32)])
            found = made.lot_sum(0, Lot(np.arange(15), [15]), 1.0)
            assert np.linalg.norm(found) <= 1 + 2**-7


@pytest.mark.parametrize("exponent", [-30, -15, 0, 15, 30])
@pytest.mark.parametrize("sizes", [None, [1] * 7])
def test_hostile_magnitudes_stay_within_the_clip(exponent: int, sizes: list[int] | None) -> None:
    inputs = (INPUTS * np.float32(10.0**exponent)).astype(np.float32)
    made = engine(inputs)
    for row in range(7):
        rows = np.array([row], np.int64)
        found = made.lot_sum(0, Lot(rows, sizes and [1]), 1e-3)
        assert np.linalg.norm(found) <= 1e-3 * (1 + 1e-5)
        if exponent <= 15:
            assert np.linalg.norm(found) == pytest.approx(1e-3, rel=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize("sizes", [None, [2, 2, 6, 10, 10]])
def test_a_unit_that_is_not_finite_counts_as_zero(value: float, sizes: list[int] | None) -> None:
    inputs = INPUTS.copy()
    inputs[3] = value
    rows = np.arange(30, dtype=np.int64)
    made = engine(inputs)
    found = made.lot_sum(0, Lot(rows, sizes), 0.5)
    dropped = 1 if sizes is None else 2  # Rows 2 and 3 are one unit.
    assert made.dropped == dropped
    left = [row for row in range(30) if not (row == 3 or (sizes and row == 2))]
    others = None if sizes is None else [2, 6, 10, 10]
    expected = engine().lot_sum(0, Lot(np.array(left, np.int64), others), 0.5)
    assert found == pytest.approx(expected, abs=1e-5)


def test_an_empty_lot_is_a_sum_of_nothing() -> None:
    assert not engine().lot_sum(0, Lot(np.array([], np.int64)), 1.0).any()


@pytest.mark.parametrize(
    ("count", "sizes", "message"),
    [
        (LOT_UNITS_MAX + 1, None, "at most 2048 units, not 2049"),
        (UNIT_ROWS_MAX + 1, [UNIT_ROWS_MAX + 1], "1 to 16 rows"),
        (1, [1, 0], "1 to 16 rows"),
        (3, [1, 1], "units of 2 rows, and 3 rows"),
    ],
)
def test_lots_that_are_refused(count: int, sizes: list[int] | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Lot(np.zeros(count, np.int64), sizes)


def test_a_unit_may_have_as_many_rows_as_stated() -> None:
    lot = Lot(np.arange(2 * UNIT_ROWS_MAX), [UNIT_ROWS_MAX] * 2)
    assert [sizes for _, sizes in lot.blocks()] == [[UNIT_ROWS_MAX] * 2]


@pytest.mark.parametrize(("part", "counts"), [(1 - 1e-6, True), (1 + 1e-6, False)])
def test_a_unit_counts_up_to_the_longest_norm(part: float, counts: bool) -> None:
    """A model of zeros says a half for both classes: the norm is sqrt((a^2 + 1) / 2) of input a."""
    inputs = np.array([[NORM_MAX * math.sqrt(2) * part]], np.float32)
    made = ClippedPerceptrons(
        (1, 2), peers_max=1, inputs=inputs, targets=np.array([0]), scale=1.0, offset=0.0
    )
    made.load([np.zeros(4, np.float32)])
    found = made.lot_sum(0, Lot(np.array([0])), 1.0)
    assert np.linalg.norm(found) == pytest.approx(1.0 if counts else 0.0)
    assert made.dropped == (0 if counts else 1)


def test_units_that_do_not_fill_a_block_are_refused() -> None:
    weights = np.zeros((1, BLOCK_ROWS), np.float32)
    weights[0, :5] = 1
    with pytest.raises(ValueError, match="units of 4 rows, and 5 rows count"):
        engine().sum_block(0, np.zeros((1, BLOCK_ROWS), np.int64), weights, 1.0, [[2, 2]])
