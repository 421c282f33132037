# mypy: disable-error-code="no-any-return, no-untyped-call"
"""Sums of clipped gradients of linear layers, by norms: against vmap's, and when vmap is taken."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from p2pfl.learner.engines.clipped_sums import NORM_MAX
from p2pfl.learner.engines.lot import Lot
from p2pfl.learner.errors import LearningError
from p2pfl.learner.private.module_sums import ModuleSums
from p2pfl.learner.tasks.base import Data, Rows, Task
from p2pfl.learner.vectors import VectorLayout

ROWS, WIDTH, HIDDEN, CLASSES = 90, 6, 5, 3
RNG = np.random.default_rng(3)
INPUTS = RNG.standard_normal((ROWS, WIDTH)).astype(np.float32)
TARGETS = RNG.integers(0, CLASSES, ROWS).astype(np.int64)
BY_NORMS = "clipped by the norms of layers' inputs and gradients"


class Classes(Task):
    """Classes by a module."""

    def __init__(self, module: nn.Module, inputs: npt.NDArray[np.float32] = INPUTS) -> None:
        self.module, self.inputs = module, inputs

    def data(self, _data_dir: Any) -> Data:
        return Data(Rows(self.inputs, TARGETS))

    def model(self) -> nn.Module:
        return self.module


class OneClassWeighs(Classes):
    """A loss whose mean over rows is weighted by their classes."""

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(outputs, targets, weight=torch.tensor([1.0, 2.0, 3.0]))


def sums_of(
    module: nn.Module,
    inputs: npt.NDArray[np.float32] = INPUTS,
    names: Sequence[str] | None = None,
) -> ModuleSums:
    task = Classes(module, inputs)
    layout = VectorLayout(module, names or list(task.travelling(module)))
    return ModuleSums(task, module, layout, task.data(None))


def by_vmap(sums: ModuleSums) -> ModuleSums:
    """Have it take one gradient a row."""
    sums._linear = "as asked"
    return sums


class Residual(nn.Module):
    """Linear layers, with a residue and functions between them."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.over = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, HIDDEN, bias=False)
        self.out = nn.Linear(HIDDEN, CLASSES)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        hidden = nn.functional.gelu(self.into(rows))
        return self.out(hidden + torch.tanh(self.over(hidden)).reshape(-1, HIDDEN))


class Adapted(nn.Module):
    """A layer that is fixed, and an adapter of low rank that does nothing at the start."""

    def __init__(self) -> None:
        super().__init__()
        self.fixed = nn.Linear(WIDTH, CLASSES).requires_grad_(False)
        self.down, self.up = nn.Linear(WIDTH, 2, bias=False), nn.Linear(2, CLASSES, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.fixed(rows) + self.up(self.down(rows))


class OneBiasFixed(nn.Sequential):
    """The second layer's bias does not train."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(WIDTH, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, CLASSES))
        self[2].bias.requires_grad_(False)


def tanh() -> nn.Module:
    return nn.Sequential(nn.Linear(WIDTH, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, CLASSES))


def without_bias() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (2, WIDTH // 2)),
        nn.Flatten(),
        nn.Linear(WIDTH, HIDDEN, bias=False),
        nn.LayerNorm(HIDDEN, elementwise_affine=False),
        nn.Linear(HIDDEN, CLASSES, bias=False),
    )


def dropping() -> nn.Module:
    return nn.Sequential(
        nn.Linear(WIDTH, HIDDEN), nn.Dropout(0.5), nn.ELU(), nn.Linear(HIDDEN, CLASSES)
    )


LINEAR = [tanh, Residual, Adapted, OneBiasFixed, without_bias, dropping]


@pytest.mark.parametrize("make", LINEAR)
@pytest.mark.parametrize("sizes", [None, [1, 3, 16, 5, 2, 3, 16, 16, 16, 1]])
def test_linear_layers_are_summed_as_by_vmap(make: Any, sizes: list[int] | None) -> None:
    """At the start and far from it, clipped and not; dropout draws the same."""
    torch.manual_seed(1)
    sums = sums_of(make())
    assert sums.told == BY_NORMS
    other = by_vmap(sums_of(sums._module))
    start = sums._layout.to_vector(sums._module)
    far = start + RNG.normal(0, 1, len(start)).astype(np.float32)
    lot = Lot(np.arange(sum(sizes) if sizes else 70), sizes)
    for vector in (start, far):
        for clip in (0.05, 0.7, 100.0):
            one, lost = sums.lot_sum(vector, lot, clip, 7)
            two, _ = other.lot_sum(vector, lot, clip, 7)
            assert lost == 0
            assert one.dtype == np.float64
            assert np.linalg.norm(two) > clip if clip < 1 else np.linalg.norm(two) > 0
            assert np.abs(one - two).max() < 1e-5 * max(clip, np.abs(two).max())


@pytest.mark.parametrize("make", LINEAR)
def test_one_row_and_none(make: Any) -> None:
    torch.manual_seed(1)
    sums = sums_of(make())
    vector = sums._layout.to_vector(sums._module)
    one, _ = sums.lot_sum(vector, Lot(np.array([4])), 0.01, 0)
    assert np.linalg.norm(one) == pytest.approx(0.01, rel=1e-5)
    none, lost = sums.lot_sum(vector, Lot(np.arange(0)), 0.01, 0)
    assert not none.any()
    assert lost == 0


class Twice(nn.Module):
    """One layer, called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.over, self.out = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.out(torch.tanh(self.over(torch.tanh(self.over(rows)))))


class Tied(nn.Module):
    """Two layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.two.weight = self.one.weight

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.two(torch.tanh(self.one(rows)))[:, :CLASSES]


class Beside(nn.Module):
    """Uses a layer's weight beside the layer, by what is zero at the start."""

    def __init__(self) -> None:
        super().__init__()
        self.over, self.out = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, CLASSES)
        nn.init.zeros_(self.out.weight)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.out(self.over(rows) + rows @ self.over.weight.mT)


class NotCalled(nn.Module):
    """Takes its layer's tensors, and never calls it."""

    def __init__(self) -> None:
        super().__init__()
        self.over = nn.Linear(WIDTH, CLASSES)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(rows, self.over.weight, self.over.bias)


class Parts(nn.Module):
    """A layer over two entries of each row."""

    def __init__(self, *, folded: bool) -> None:
        super().__init__()
        self.over, self.folded = nn.Linear(WIDTH // 2, CLASSES), folded

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        if self.folded:  # Two dimensions, but not a row each.
            return self.over(rows.reshape(-1, WIDTH // 2)).reshape(-1, 2, CLASSES).sum(1)
        return self.over(rows.reshape(-1, 2, WIDTH // 2)).sum(1)


@pytest.mark.parametrize(
    ("make", "names", "why"),
    [
        (Twice, None, "layer 'over' is called twice"),
        (Tied, None, "tied tensors"),
        (Beside, None, "layers' inputs and gradients do not make up its gradients"),
        (NotCalled, None, "no linear layer is called"),
        (lambda: Parts(folded=False), None, "layer 'over' takes more than one entry a row"),
        (lambda: Parts(folded=True), None, "layer 'over' takes more than one entry a row"),
        (
            lambda: nn.Sequential(nn.Linear(WIDTH, CLASSES), nn.LayerNorm(CLASSES)),
            None,
            "1.weight is no linear layer's",
        ),
        (tanh, ["0.bias", "2.weight", "2.bias"], "0.bias is no linear layer's"),
    ],
)
def test_whatever_else_is_summed_by_vmap(make: Any, names: list[str] | None, why: str) -> None:
    """And says why; its sums are those of autograd."""
    torch.manual_seed(1)
    sums = sums_of(make(), names=names)
    assert sums.told == f"one gradient a row, by vmap ({why})"
    vector = sums._layout.to_vector(sums._module)
    vector += RNG.normal(0, 0.3, len(vector)).astype(np.float32)
    found, _ = sums.lot_sum(vector, Lot(np.arange(20)), 0.5, 0)
    assert found == pytest.approx(autograd_sum(sums, vector, 20, 0.5), abs=1e-5)


def test_fixed_tensors_may_be_tied() -> None:
    torch.manual_seed(1)
    module = Tied()
    module.one.requires_grad_(False)
    module.two.requires_grad_(False)
    made = nn.Sequential(module, nn.Linear(CLASSES, CLASSES))
    assert sums_of(made, names=["1.weight", "1.bias"]).told == BY_NORMS


def autograd_sum(
    sums: ModuleSums, vector: npt.NDArray[np.float32], count: int, clip: float
) -> npt.NDArray[np.float64]:
    """Sum clipped gradients of the first rows, one backward pass each."""
    module, layout = sums._module, sums._layout
    layout.to_module(vector, module)
    total = np.zeros(layout.length)
    for row in range(count):
        module.zero_grad()
        outputs = module(torch.from_numpy(INPUTS[row : row + 1]))
        nn.functional.cross_entropy(outputs, torch.tensor(TARGETS[row : row + 1])).backward()
        own = torch.zeros(layout.length)
        for name, view in layout.views(own).items():
            gradient = module.get_parameter(name).grad
            assert gradient is not None
            view.copy_(gradient)
        flat = own.numpy().astype(np.float64)
        total += flat * min(1.0, clip / float(np.linalg.norm(flat)))
    return total


@pytest.mark.parametrize("by_norms", [True, False])
def test_dropout_drops_after_an_evaluation_too(by_norms: bool) -> None:
    """The module is the engine's as well, which measures models without dropout."""
    torch.manual_seed(1)
    sums = sums_of(dropping())
    if not by_norms:
        by_vmap(sums)
    vector, lot = sums._layout.to_vector(sums._module), Lot(np.arange(70))
    before, _ = sums.lot_sum(vector, lot, 1.0, 5)
    sums._module.eval()
    after, _ = sums.lot_sum(vector, lot, 1.0, 5)
    assert (before == after).all()
    other, _ = sums.lot_sum(vector, lot, 1.0, 6)
    assert (before != other).any()


class MixesIfLarge(nn.Module):
    """Gives all rows the largest one's outputs, where a row is larger than those of a trial."""

    def __init__(self) -> None:
        super().__init__()
        self.over = nn.Linear(WIDTH, CLASSES)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        outputs = self.over(rows)
        return torch.where(rows.abs().max() > 50, outputs.amax(0), outputs)


def test_rows_are_apart_whatever_the_trial_saw() -> None:
    """A row that mixes all rows, in an ordinary pass, moves no other's gradient."""
    inputs = INPUTS.copy()
    inputs[30] = 1000
    torch.manual_seed(1)
    sums = sums_of(MixesIfLarge(), inputs)
    assert sums.told == BY_NORMS
    vector = sums._layout.to_vector(sums._module)
    both, _ = sums.lot_sum(vector, Lot(np.arange(60)), 0.1, 0)
    without, _ = sums.lot_sum(vector, Lot(np.delete(np.arange(60), 30)), 0.1, 0)
    assert np.linalg.norm(both - without) <= 0.1 * (1 + 2**-5)


def test_a_loss_of_weighted_rows_is_refused_as_before() -> None:
    task = OneClassWeighs(tanh())
    layout = VectorLayout(task.module, list(task.travelling(task.module)))
    with pytest.raises(LearningError, match="the loss is no mean over rows"):
        ModuleSums(task, task.module, layout, task.data(None))


@pytest.mark.parametrize("by_norms", [True, False])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize("sizes", [None, [2, 2, 6, 10, 10]])
def test_a_unit_that_is_not_finite_counts_as_zero(
    by_norms: bool, value: float, sizes: list[int] | None
) -> None:
    """And no other with it, in whatever block."""
    inputs = INPUTS.copy()
    inputs[9 if sizes else 29] = value
    if sizes is None:
        inputs[0] = value  # Padding copies it.
    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(WIDTH, HIDDEN), nn.Softplus(), nn.Linear(HIDDEN, CLASSES))
    sums = sums_of(module)
    assert sums.told == BY_NORMS
    if not by_norms:
        by_vmap(sums)
    vector = sums._layout.to_vector(module)
    rows = np.arange(30)
    left = np.delete(rows, range(4, 10)) if sizes else rows[1:29]
    expected, _ = sums.lot_sum(vector, Lot(left, sizes and [2, 2, 10, 10]), 0.5, 0)
    sums._inputs = inputs
    found, lost = sums.lot_sum(vector, Lot(rows, sizes), 0.5, 0)
    if not np.isfinite(value):  # Whom 3e38 makes certain of the right class has no gradient.
        assert lost == (1 if sizes else 2)
    assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("by_norms", [True, False])
@pytest.mark.parametrize(("part", "counts"), [(1 - 1e-6, True), (1 + 1e-6, False)])
def test_a_unit_counts_up_to_the_longest_norm(by_norms: bool, part: float, counts: bool) -> None:
    """A model of zeros says a third for each class: the norm is sqrt((a^2 + 1) 2 / 3)."""
    sums = sums_of(nn.Linear(WIDTH, CLASSES))
    if not by_norms:
        by_vmap(sums)
    sums._inputs = np.zeros((1, WIDTH), np.float32)
    sums._inputs[0, 0] = NORM_MAX * 1.5**0.5 * part
    found, lost = sums.lot_sum(np.zeros(sums._layout.length), Lot(np.array([0])), 1.0, 0)
    assert np.linalg.norm(found) == pytest.approx(1.0 if counts else 0.0)
    assert lost == (0 if counts else 1)
