"""Pooling of [peers, channels, height, width, rows]."""

import math
from collections.abc import Iterator

import torch
from torch import nn

from p2pfl.learner.engines.stacked.convolution import output_size
from p2pfl.learner.engines.stacked.program import NotStackable, Program, Saved, Value
from p2pfl.learner.engines.stacked.step import StackStep

Pair = tuple[int, int]


class _Pooling:
    """Args: kernel, stride and padding, each down and across."""

    def __init__(self, kernel: Pair, stride: Pair, padding: Pair) -> None:
        self._kernel, self._stride, self._padding = kernel, stride, padding

    def _wide(self, x: torch.Tensor, fill: float) -> torch.Tensor:
        down, across = self._padding
        if not (down or across):
            return x
        peers, channels, height, width, rows = x.shape
        shape = (peers, channels, height + 2 * down, width + 2 * across, rows)
        wide = x.new_full(shape, fill)
        wide[:, :, down : down + height, across : across + width] = x
        return wide

    def _inner(self, wide: torch.Tensor) -> torch.Tensor:
        down, across = self._padding
        if not (down or across):
            return wide
        height, width = wide.shape[2:4]
        return wide[:, :, down : height - down, across : width - across].contiguous()

    def _places(self, wide: torch.Tensor) -> Iterator[torch.Tensor]:
        """Yield what each place of the kernel sees, in torch's order."""
        height, width = output_size(wide.shape[2:4], self._kernel, self._stride, (0, 0))
        down, across = self._stride
        for i in range(self._kernel[0]):
            for j in range(self._kernel[1]):
                yield wide[
                    :,
                    :,
                    i : i + down * (height - 1) + 1 : down,
                    j : j + across * (width - 1) + 1 : across,
                ]


class MaxPooling(_Pooling):
    """The largest; of equal ones the first gets the gradient, as in torch."""

    def forward(self, step: StackStep, *inputs: torch.Tensor) -> tuple[torch.Tensor, Saved]:
        """Take the maximum of each window."""
        wide = self._wide(inputs[0], -math.inf)
        largest: torch.Tensor | None = None
        for place in self._places(wide):
            if largest is None:
                largest = place.contiguous().clone()
            else:
                torch.maximum(largest, place, out=largest)
        assert largest is not None
        return largest, (wide, largest)

    def backward(
        self, step: StackStep, saved: Saved, gradient: torch.Tensor, *, wanted: bool
    ) -> tuple[torch.Tensor | None, ...]:
        """Return the gradient of the input."""
        if not wanted:
            return (None,)
        wide, largest = saved
        result = torch.zeros_like(wide)
        left = torch.ones_like(largest, dtype=torch.bool)
        for place, target in zip(self._places(wide), self._places(result), strict=True):
            hit = (place == largest).logical_and_(left)
            left.logical_xor_(hit)
            target.addcmul_(gradient, hit)
        return (self._inner(result),)


class AveragePooling(_Pooling):
    """The mean, zeros of the padding counted."""

    def forward(self, step: StackStep, *inputs: torch.Tensor) -> tuple[torch.Tensor, Saved]:
        """Take the mean of each window."""
        wide = self._wide(inputs[0], 0.0)
        total: torch.Tensor | None = None
        for place in self._places(wide):
            total = place.contiguous().clone() if total is None else total.add_(place)
        assert total is not None
        return total.div_(math.prod(self._kernel)), wide.shape

    def backward(
        self, step: StackStep, saved: Saved, gradient: torch.Tensor, *, wanted: bool
    ) -> tuple[torch.Tensor | None, ...]:
        """Return the gradient of the input."""
        if not wanted:
            return (None,)
        result = gradient.new_zeros(saved)
        share = gradient / math.prod(self._kernel)
        for target in self._places(result):
            target.add_(share)
        return (self._inner(result),)


def read_max_pooling(program: Program, name: str, module: nn.MaxPool2d, value: Value) -> Value:
    """Read an `nn.MaxPool2d` without dilation."""
    if module.ceil_mode or module.return_indices or _pair(module.dilation) != (1, 1):
        raise NotStackable("a pooling with ceil_mode, indices or dilation")
    return _read(program, MaxPooling, module, value)


def read_average_pooling(program: Program, name: str, module: nn.AvgPool2d, value: Value) -> Value:
    """Read an `nn.AvgPool2d` that counts its padding."""
    padded = _pair(module.padding) != (0, 0)
    if module.ceil_mode or module.divisor_override or (padded and not module.count_include_pad):
        raise NotStackable("a pooling with ceil_mode, a divisor, or padding that does not count")
    return _read(program, AveragePooling, module, value)


def read_adaptive_pooling(
    program: Program, name: str, module: nn.AdaptiveAvgPool2d, value: Value
) -> Value:
    """Read an `nn.AdaptiveAvgPool2d` whose windows are all of one size."""
    size = _pair(module.output_size)
    if len(value.shape) != 3 or any(
        not out or length % out for out, length in zip(size, value.shape[1:], strict=False)
    ):
        raise NotStackable(f"an adaptive pooling of {list(value.shape)} to {list(size)}")
    kernel = (value.shape[1] // size[0], value.shape[2] // size[1])
    layer = AveragePooling(kernel, kernel, (0, 0))
    turned = program.turned(value, last=True)
    return program.add(layer, turned, shape=(value.shape[0], *size), last=True)


def _read(
    program: Program,
    kind: type[MaxPooling] | type[AveragePooling],
    module: nn.MaxPool2d | nn.AvgPool2d,
    value: Value,
) -> Value:
    if len(value.shape) != 3:
        raise NotStackable(f"a pooling of rows of {list(value.shape)}")
    kernel, padding = _pair(module.kernel_size), _pair(module.padding)
    stride = _pair(module.stride)
    size = output_size(value.shape[1:], kernel, stride, padding)
    turned = program.turned(value, last=True)
    layer = kind(kernel, stride, padding)
    return program.add(layer, turned, shape=(value.shape[0], *size), last=True)


def _pair(given: object) -> Pair:
    if isinstance(given, int):
        return given, given
    if isinstance(given, tuple) and len(given) == 2 and all(isinstance(n, int) for n in given):
        return given
    raise NotStackable(f"a pooling of size {given}")
