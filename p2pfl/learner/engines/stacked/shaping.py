"""Reshaping, sums of values, and parameters by themselves."""

import math

import torch
from torch import nn

from p2pfl.learner.engines.stacked.program import NotStackable, Program, Saved, Value
from p2pfl.learner.engines.stacked.step import StackStep


class Reshape:
    """Views a row in another shape.

    Args:
        before: shape of a row.
        after: its new shape.
        last: whether rows come last.
    """

    def __init__(self, before: tuple[int, ...], after: tuple[int, ...], *, last: bool) -> None:
        self._before, self._after, self._last = before, after, last

    def forward(self, step: StackStep, *inputs: torch.Tensor) -> tuple[torch.Tensor, Saved]:
        """View the input."""
        return self._shaped(step, inputs[0], self._after), None

    def backward(
        self, step: StackStep, saved: Saved, gradient: torch.Tensor, *, wanted: bool
    ) -> tuple[torch.Tensor | None, ...]:
        """View the gradient."""
        return (self._shaped(step, gradient, self._before) if wanted else None,)

    def _shaped(self, step: StackStep, x: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        if self._last:
            return x.reshape(step.peers, *shape, step.rows)
        return x.reshape(step.peers, step.rows, *shape)


class Sum:
    """The sum of two values of one shape, as of a residual connection."""

    def forward(self, step: StackStep, *inputs: torch.Tensor) -> tuple[torch.Tensor, Saved]:
        """Add."""
        return inputs[0] + inputs[1], None

    def backward(
        self, step: StackStep, saved: Saved, gradient: torch.Tensor, *, wanted: bool
    ) -> tuple[torch.Tensor | None, ...]:
        """Return the gradient for both."""
        return gradient, gradient


class Scale:
    """A value times a constant."""

    def __init__(self, factor: float) -> None:
        self._factor = factor

    def forward(self, step: StackStep, *inputs: torch.Tensor) -> tuple[torch.Tensor, Saved]:
        """Multiply."""
        return inputs[0] * self._factor, None

    def backward(
        self, step: StackStep, saved: Saved, gradient: torch.Tensor, *, wanted: bool
    ) -> tuple[torch.Tensor | None, ...]:
        """Multiply the gradient."""
        return (gradient * self._factor if wanted else None,)


class Shift:
    """A value plus a constant."""

    def __init__(self, summand: float) -> None:
        self._summand = summand

    def forward(self, step: StackStep, *inputs: torch.Tensor) -> tuple[torch.Tensor, Saved]:
        """Add it."""
        return inputs[0] + self._summand, None

    def backward(
        self, step: StackStep, saved: Saved, gradient: torch.Tensor, *, wanted: bool
    ) -> tuple[torch.Tensor | None, ...]:
        """Pass the gradient on."""
        return (gradient if wanted else None,)


class AddParameter:
    """A value plus a parameter of a row's shape, as positions of tokens are; rows first."""

    def __init__(self, name: str) -> None:
        self._name = name

    def forward(self, step: StackStep, *inputs: torch.Tensor) -> tuple[torch.Tensor, Saved]:
        """Add it to every row."""
        (x,) = inputs
        parameter = step.parameters[self._name].reshape(step.peers, 1, *x.shape[2:])
        return x + parameter, None

    def backward(
        self, step: StackStep, saved: Saved, gradient: torch.Tensor, *, wanted: bool
    ) -> tuple[torch.Tensor | None, ...]:
        """Give the parameter's gradient; pass on the input's."""
        if step.trains(self._name):
            step.add_gradient(self._name, gradient.sum(1))
        return (gradient if wanted else None,)


class MeanOverTokens:
    """The mean over the first axis of a row: [peers, rows, tokens, width]."""

    def forward(self, step: StackStep, *inputs: torch.Tensor) -> tuple[torch.Tensor, Saved]:
        """Take the mean."""
        return inputs[0].sum(2).div_(inputs[0].shape[2]), inputs[0].shape

    def backward(
        self, step: StackStep, saved: Saved, gradient: torch.Tensor, *, wanted: bool
    ) -> tuple[torch.Tensor | None, ...]:
        """Spread the gradient over all tokens."""
        if not wanted:
            return (None,)
        return ((gradient / saved[2]).unsqueeze(2).expand(saved).contiguous(),)


class OneToken:
    """One place of the first axis of a row, as a class token is."""

    def __init__(self, place: int) -> None:
        self._place = place

    def forward(self, step: StackStep, *inputs: torch.Tensor) -> tuple[torch.Tensor, Saved]:
        """Take it."""
        return inputs[0][:, :, self._place].contiguous(), inputs[0].shape

    def backward(
        self, step: StackStep, saved: Saved, gradient: torch.Tensor, *, wanted: bool
    ) -> tuple[torch.Tensor | None, ...]:
        """Give the gradient to it alone."""
        if not wanted:
            return (None,)
        result = gradient.new_zeros(saved)
        result[:, :, self._place] = gradient
        return (result,)


def add_reshape(program: Program, value: Value, shape: tuple[int, ...]) -> Value:
    """Append a view of a row in another shape."""
    if math.prod(shape) != math.prod(value.shape):
        raise NotStackable(f"a view of rows of {list(value.shape)} as {list(shape)}")
    if shape == value.shape:
        return value
    layer = Reshape(value.shape, shape, last=value.last)
    return program.add(layer, value, shape=shape, last=value.last)


def as_image(program: Program, value: Value) -> Value:
    """View rows of [channels, length] as [channels, 1, length]."""
    if len(value.shape) != 2:
        raise NotStackable(f"a layer of [channels, length] on rows of {list(value.shape)}")
    return add_reshape(program, value, (value.shape[0], 1, value.shape[1]))


def as_line(program: Program, value: Value) -> Value:
    """Undo `as_image`."""
    return add_reshape(program, value, (value.shape[0], value.shape[2]))


def read_flatten(program: Program, name: str, module: nn.Flatten, value: Value) -> Value:
    """Read an `nn.Flatten`."""
    return add_flatten(program, value, module.start_dim, module.end_dim)


def add_flatten(program: Program, value: Value, start: int, end: int) -> Value:
    """Append a flattening of axes as torch counts them, the batch being axis 0."""
    axes = len(value.shape) + 1
    start, end = (axis % axes for axis in (start, end))
    if start < 1 or end < start:
        raise NotStackable("a flattening over the batch")
    shape = value.shape
    middle = math.prod(shape[start - 1 : end])
    return add_reshape(program, value, (*shape[: start - 1], middle, *shape[end:]))


def read_unflatten(program: Program, name: str, module: nn.Unflatten, value: Value) -> Value:
    """Read an `nn.Unflatten`."""
    sizes = tuple(module.unflattened_size)
    if not isinstance(module.dim, int) or not all(isinstance(size, int) for size in sizes):
        raise NotStackable("an unflattening by names")
    axis = module.dim % (len(value.shape) + 1)
    if axis < 1:
        raise NotStackable("an unflattening of the batch")
    if -1 in sizes:
        rest = value.shape[axis - 1] // -math.prod(sizes)
        sizes = tuple(rest if size == -1 else size for size in sizes)
    return add_reshape(program, value, (*value.shape[: axis - 1], *sizes, *value.shape[axis:]))


def read_identity(program: Program, name: str, module: nn.Identity, value: Value) -> Value:
    """Read an `nn.Identity`."""
    return value
