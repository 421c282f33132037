"""Private trainings: which units are drawn, what is summed, and what is refused."""

from typing import Any

import numpy as np
import pytest
import torch

from p2pfl.learner.engines.lot import LOT_UNITS_MAX, UNIT_ROWS_MAX, Lot
from p2pfl.learner.errors import LearningError
from p2pfl.learner.learner import Learner, make_learner
from p2pfl.learner.private.lots import PrivateLots
from p2pfl.learner.private.module_sums import ModuleSums
from p2pfl.learner.private.perceptron_sums import PerceptronSums
from p2pfl.learner.private.units import require_room, units_of
from p2pfl.learner.settings import LearningSettings
from p2pfl.learner.tasks.base import Data, Rows, Task
from p2pfl.learner.vectors import VectorLayout
from p2pfl_crypto.discrete_gaussian import draw_noise
from p2pfl_crypto.private_encoding import LotEncoding
from p2pfl_crypto.private_streams import LOT, NOISE, private_stream
from p2pfl_gossip.learning import LotSummed, PrivateLot, Trained, TrainPrivately

ENTROPY = bytes(range(32))
ROWS, WIDTH, CLASSES = 90, 6, 3
RNG = np.random.default_rng(3)
DATA = Data(
    Rows(
        RNG.standard_normal((ROWS, WIDTH)).astype(np.float32),
        RNG.integers(0, CLASSES, ROWS).astype(np.int64),
    )
)


class Small(Task):
    """Classes by a module."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.module = module

    def data(self, _data_dir: Any) -> Data:
        return DATA

    def model(self) -> torch.nn.Module:
        return self.module


def sums_of(*layers: torch.nn.Module, task: type[Small] = Small) -> ModuleSums:
    torch.manual_seed(0)
    module = torch.nn.Sequential(*layers)
    names = [name for name, _ in module.named_parameters()]
    return ModuleSums(task(module), module, VectorLayout(module, names), DATA)


def linear() -> tuple[torch.nn.Module, ...]:
    torch.manual_seed(1)
    return torch.nn.Linear(WIDTH, 5), torch.nn.ReLU(), torch.nn.Linear(5, CLASSES)


def test_units_are_drawn_each_by_itself() -> None:
    """Another unit more changes nobody else's chance, nor draw."""
    rows = np.arange(1000)
    units = units_of(rows, None)
    lot = units.draw(private_stream(ENTROPY, LOT), 2**30)
    assert 200 < len(lot.rows) < 300
    fewer = units_of(rows[:-1], None).draw(private_stream(ENTROPY, LOT), 2**30)
    assert [row for row in lot.rows if row < 999] == list(fewer.rows)
    assert len(units.draw(private_stream(ENTROPY, LOT), 2**32).rows) == 1000
    assert len(units.draw(private_stream(ENTROPY, LOT), 1).rows) == 0


def test_rows_of_a_unit_stay_together() -> None:
    """Of one with many rows the first few count, always the same."""
    column = np.array(["a", "b", "a", "c", "a"] + ["d"] * 40)
    units = units_of(np.arange(45), column)
    assert units.count == 4
    assert units.sizes is not None
    assert units.sizes.tolist() == [3, 1, 1, UNIT_ROWS_MAX]
    lot = units.draw(private_stream(ENTROPY, LOT), 2**32)
    assert lot.rows.tolist() == [0, 2, 4, 1, 3, *range(5, 5 + UNIT_ROWS_MAX)]
    assert lot.sizes == [3, 1, 1, UNIT_ROWS_MAX]


def test_lots_that_may_be_too_large_are_refused() -> None:
    """By a bound on the chance of a lot with more units than are summed."""
    require_room(LOT_UNITS_MAX, 1.0)
    require_room(100_000, 0.016)
    with pytest.raises(LearningError, match="take a smaller"):
        require_room(100_000, 0.0162)
    with pytest.raises(LearningError, match="lots of 2049"):
        require_room(LOT_UNITS_MAX + 1, 1.0)


@pytest.mark.parametrize("sizes", [None, [1, 3, 16, 5, 2, 3]])
def test_a_module_is_summed_as_a_perceptron_is(sizes: list[int] | None) -> None:
    """Two ways to one sum; that of perceptrons is held against others elsewhere."""
    sums = sums_of(*linear())
    other = PerceptronSums((WIDTH, 5, CLASSES), DATA)
    vector = sums._layout.to_vector(sums._module)
    lot = Lot(np.arange(sum(sizes) if sizes else 70), sizes)
    for clip in (0.05, 100.0):
        one, lost = sums.lot_sum(vector, lot, clip, 0)
        two, _ = other.lot_sum(vector, lot, clip, 0)
        assert lost == 0
        assert np.abs(one - two).max() < 1e-5 * max(1.0, np.abs(two).max())
    empty, _ = sums.lot_sum(vector, Lot(np.arange(0)), 1.0, 0)
    assert not empty.any()


def test_each_unit_adds_its_clip_at_most() -> None:
    """Whatever the rows: two lots that differ by one are so near."""
    sums = sums_of(*linear())
    vector = 30 * sums._layout.to_vector(sums._module)
    both, _ = sums.lot_sum(vector, Lot(np.arange(70)), 0.5, 0)
    fewer, _ = sums.lot_sum(vector, Lot(np.arange(1, 70)), 0.5, 0)
    assert np.linalg.norm(both - fewer) < 0.5 * (1 + 2**-5)
    vector[:] = np.inf
    nothing, lost = sums.lot_sum(vector, Lot(np.arange(70)), 0.5, 0)
    assert lost == 70
    assert not nothing.any()


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_a_row_that_is_not_finite_takes_its_own_unit_alone(value: float) -> None:
    """Units of several rows share a block: no other may be lost with it."""
    sums = sums_of(torch.nn.Linear(WIDTH, 5), torch.nn.GroupNorm(1, 5), torch.nn.Linear(5, CLASSES))
    vector, sizes = sums._layout.to_vector(sums._module), [2, 3, 16, 1, 5]
    rows = np.arange(sum(sizes))
    expected, _ = sums.lot_sum(vector, Lot(np.delete(rows, range(2, 5)), [2, 16, 1, 5]), 0.5, 0)
    sums._inputs = DATA.train.inputs.copy()
    sums._inputs[3] = value
    found, lost = sums.lot_sum(vector, Lot(rows, sizes), 0.5, 0)
    assert lost == 1
    assert np.linalg.norm(expected) > 0.5
    assert found == pytest.approx(expected, abs=1e-5)


def test_dropout_drops_after_an_evaluation_too() -> None:
    """The module is the engine's as well, which measures models without dropout."""
    first, relu, last = linear()
    sums = sums_of(first, torch.nn.Dropout(0.5), torch.nn.GroupNorm(1, 5), relu, last)
    vector, lot = sums._layout.to_vector(sums._module), Lot(np.arange(70))
    before, _ = sums.lot_sum(vector, lot, 1.0, 5)
    sums._module.eval()
    after, _ = sums.lot_sum(vector, lot, 1.0, 5)
    assert (before == after).all()


class Tied(torch.nn.Module):
    """Two layers with one weight, and two that are fixed with another."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three, self.four = (
            torch.nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4)
        )
        self.two.weight = self.one.weight
        self.four.weight = self.three.requires_grad_(False).weight

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        for layer in (self.one, self.three, self.two, self.four):
            rows = torch.tanh(layer(rows))
        return rows[:, :CLASSES]


def test_tied_tensors_are_one() -> None:
    """Their gradient is that of all their places."""
    torch.manual_seed(1)
    module = Tied()
    names = list(Small(module).travelling(module))
    assert names == ["one.weight"]
    sums = ModuleSums(Small(module), module, VectorLayout(module, names), DATA)
    vector = 2 * sums._layout.to_vector(module)
    found, _ = sums.lot_sum(vector, Lot(np.arange(1)), 1e9, 0)
    with torch.no_grad():
        module.one.weight.mul_(2)
    inputs, targets = (torch.from_numpy(it[:1]) for it in (DATA.train.inputs, DATA.train.targets))
    (gradient,) = torch.autograd.grad(
        Small(module).loss(module(inputs), targets), [module.one.weight]
    )
    assert found == pytest.approx(gradient.T.reshape(-1).numpy(), rel=1e-4, abs=1e-7)


class Pairs(Small):
    """A loss of pairs of rows."""

    def loss(self, outputs: torch.Tensor, _targets: torch.Tensor) -> torch.Tensor:
        return (outputs - outputs.flip(0)).square().mean() + outputs.mean()


class AcrossRows(torch.nn.Module):
    """Attention of each row to all rows."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return rows + torch.softmax(rows @ rows.mT, -1) @ rows


def channels(*layers: torch.nn.Module) -> list[torch.nn.Module]:
    """Layers over one channel of five entries."""
    return [torch.nn.Unflatten(1, (1, 5)), *layers, torch.nn.Flatten()]


@pytest.mark.parametrize(
    ("layers", "task", "why"),
    [
        ([torch.nn.BatchNorm1d(5)], Small, "BatchNorm"),
        ([torch.nn.BatchNorm1d(5, track_running_stats=False)], Small, "BatchNorm"),
        ([torch.nn.LayerNorm(5)], Small, None),
        ([torch.nn.GroupNorm(1, 5)], Small, None),
        (channels(torch.nn.InstanceNorm1d(1)), Small, None),
        (
            channels(torch.nn.InstanceNorm1d(1, track_running_stats=True)),
            Small,
            "changes in a training pass",
        ),
        ([AcrossRows()], Small, "a row's gradient moves when other rows are with it"),
        ([torch.nn.Dropout(0.5)], Small, None),
        ([], Pairs, "the loss is no mean over rows"),
    ],
)
def test_layers_that_mix_rows_are_refused(
    layers: list[torch.nn.Module], task: type[Small], why: str | None
) -> None:
    """By trial, with the rows at hand."""
    first, relu, last = linear()
    if why is None:
        sums_of(first, *layers, relu, last, task=task)
        return
    with pytest.raises(LearningError, match=why):
        sums_of(first, *layers, relu, last, task=task)


def test_tensors_that_take_no_gradient_are_refused() -> None:
    """They travel with the model, and no step would move them."""
    first, relu, last = linear()
    first.requires_grad_(False)
    with pytest.raises(LearningError, match="a tensor travels that takes no gradient"):
        sums_of(first, relu, last)


class Counts(torch.nn.Module):
    """Keeps how many rows it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            self.get_buffer("seen").add_(len(rows))
        return rows


def test_buffers_that_change_are_refused() -> None:
    with pytest.raises(LearningError, match=r"'1\.seen' changes in a training pass"):
        sums_of(torch.nn.Linear(WIDTH, CLASSES), Counts())


def digits() -> Learner:
    return make_learner(LearningSettings(task="digits"), peer_count=5, seed=1, folder=None)


def encoding_of(entries: int) -> LotEncoding:
    return LotEncoding(5, entries, 1.0, 500_000)


def test_words_are_the_lots_sum_and_the_noise() -> None:
    """Drawn of the job's entropy alone: others give others."""
    learner = digits()
    vector, encoding = learner.initial_vector(), encoding_of(learner.vector_length)
    job = TrainPrivately(0, vector, PrivateLot(2**31, encoding), ENTROPY)
    (one,) = learner.run([(2, job)])
    assert isinstance(one, LotSummed)
    assert "TrainPrivately(round=0)" in repr(job)
    lots: PrivateLots = learner.lots
    lot = lots.units(2).draw(private_stream(ENTROPY, LOT), 2**31)
    sums, _ = lots.summer.lot_sum(vector, lot, encoding.row_clip, 0)
    noise = draw_noise(private_stream(ENTROPY, NOISE), encoding.width, encoding.entries)
    assert (one.words.view(np.int32) - noise == encoding.encode(sums)).all()
    assert np.abs(encoding.encode(sums)).max() > 100_000
    other = TrainPrivately(0, vector, PrivateLot(2**31, encoding), bytes(32))
    (two,) = learner.run([(2, other)])
    assert isinstance(two, LotSummed)
    assert (one.words != two.words).mean() > 0.99
    assert learner.steps(2, job) > 0


def test_a_pass_that_fails_counts_as_an_empty_lot() -> None:
    """A model that is no number gives noise, as one does without rows."""
    learner = digits()
    encoding = encoding_of(learner.vector_length)
    vector = np.full(learner.vector_length, np.nan, np.float32)
    (one,) = learner.run([(0, TrainPrivately(0, vector, PrivateLot(2**32, encoding), ENTROPY))])
    assert isinstance(one, LotSummed)
    noise = draw_noise(private_stream(ENTROPY, NOISE), encoding.width, encoding.entries)
    assert (one.words.view(np.int32) == noise).all()
    assert one.dropped == learner.lots.units(0).count


def test_local_steps_each_have_noise_of_their_own() -> None:
    """Who trusts nobody trains some steps by itself, and gives an update."""
    learner = digits()
    encoding = LotEncoding(1, learner.vector_length, 1.0, 500_000)
    unit = encoding.gradient_unit(100.0)
    lot = PrivateLot(2**31, encoding, 3, unit)
    (one,) = learner.run([(0, TrainPrivately(0, learner.initial_vector(), lot, ENTROPY))])
    assert isinstance(one, Trained)
    moved = (one.vector - learner.initial_vector()).astype(np.float64)
    noise = encoding.width.variance**0.5 * unit * 3**0.5
    assert 0.9 < moved.std() / noise < 1.2
