"""Pooling of [peers, channels, height, width, rows]."""

import torch
from torch import nn

from p2pfl.learner.engines.stacked.convolution import output_size
from p2pfl.learner.engines.stacked.pointwise import Pointwise
from p2pfl.learner.engines.stacked.program import NotStackable, Program, Saved, Value
from p2pfl.learner.engines.stacked.shaping import add_reshape, as_image, as_line
from p2pfl.learner.engines.stacked.step import StackStep

Pair = tuple[int, int]

_aten = torch.ops.aten


class _Pooling:
    """Args: kernel, stride and padding, each down and across."""

    def __init__(self, kernel: Pair, stride: Pair, padding: Pair) -> None:
        self._kernel, self._stride, self._padding = list(kernel), list(stride), list(padding)


class MaxPooling(_Pooling):
    """The largest; of equal ones the first gets the gradient, as in torch."""

    def forward(self, step: StackStep, *inputs: torch.Tensor) -> tuple[torch.Tensor, Saved]:
        """Take the maximum of each window."""
        images = _images(inputs[0])
        largest, places = _aten.max_pool2d_with_indices(
            images, self._kernel, self._stride, self._padding
        )
        return _values(largest, inputs[0]), (images, places)

    def backward(
        self, step: StackStep, saved: Saved, gradient: torch.Tensor, *, wanted: bool
    ) -> tuple[torch.Tensor | None, ...]:
        """Return the gradient of the input."""
        if not wanted:
            return (None,)
        images, places = saved
        found = _aten.max_pool2d_with_indices_backward(
            _images(gradient),
            images,
            self._kernel,
            self._stride,
            self._padding,
            [1, 1],
            False,
            places,
        )
        return (_values(found, gradient),)


class AveragePooling(_Pooling):
    """The mean, zeros of the padding counted."""

    def forward(self, step: StackStep, *inputs: torch.Tensor) -> tuple[torch.Tensor, Saved]:
        """Take the mean of each window."""
        images = _images(inputs[0])
        mean = _aten.avg_pool2d(images, self._kernel, self._stride, self._padding)
        return _values(mean, inputs[0]), images

    def backward(
        self, step: StackStep, saved: Saved, gradient: torch.Tensor, *, wanted: bool
    ) -> tuple[torch.Tensor | None, ...]:
        """Return the gradient of the input."""
        if not wanted:
            return (None,)
        found = _aten.avg_pool2d_backward(
            _images(gradient),
            saved,
            self._kernel,
            self._stride,
            self._padding,
            False,
            True,
            None,
        )
        return (_values(found, gradient),)


class AdaptivePooling:
    """The means of as many windows as are asked for, of sizes as equal as can be.

    Args:
        size: of the output, down and across.
    """

    def __init__(self, size: Pair) -> None:
        self._size = list(size)

    def forward(self, step: StackStep, *inputs: torch.Tensor) -> tuple[torch.Tensor, Saved]:
        """Take the mean of each window."""
        images = _images(inputs[0])
        return _values(_aten._adaptive_avg_pool2d(images, self._size), inputs[0]), images

    def backward(
        self, step: StackStep, saved: Saved, gradient: torch.Tensor, *, wanted: bool
    ) -> tuple[torch.Tensor | None, ...]:
        """Return the gradient of the input."""
        if not wanted:
            return (None,)
        found = _aten._adaptive_avg_pool2d_backward(_images(gradient), saved)
        return (_values(found, gradient),)


def _images(values: torch.Tensor) -> torch.Tensor:
    """View [peers, channels, height, width, rows] as images whose channels are the rows.

    That is torch's order "channels last", whose pooling does all rows at once.
    """
    return values.contiguous().flatten(0, 1).permute(0, 3, 1, 2)


def _values(images: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Undo `_images`."""
    _, rows, height, width = images.shape
    values = images.permute(0, 2, 3, 1).contiguous()
    return values.view(*like.shape[:2], height, width, rows)


def read_max_pooling(program: Program, name: str, module: nn.MaxPool2d, value: Value) -> Value:
    """Read an `nn.MaxPool2d` without dilation."""
    if module.ceil_mode or module.return_indices or _pair(module.dilation) != (1, 1):
        raise NotStackable("a pooling with ceil_mode, indices or dilation")
    made = program.made_by(value)
    if made is not None and isinstance(made.layer, Pointwise) and made.layer.commutes_with_max:
        # After the pooling there is less of it to do, and values and gradients are the same.
        program.replaced(value)
        pooled = _read(program, MaxPooling, module, made.inputs[0])
        return program.add(made.layer, pooled, shape=pooled.shape, last=pooled.last)
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
    """Read an `nn.AdaptiveAvgPool2d`."""
    size = _pair(module.output_size)
    if len(value.shape) != 3 or not all(size):
        raise NotStackable(f"an adaptive pooling of {list(value.shape)} to {list(size)}")
    kernel = (value.shape[1] // size[0], value.shape[2] // size[1])
    is_even = not (value.shape[1] % size[0] or value.shape[2] % size[1])
    layer = AveragePooling(kernel, kernel, (0, 0)) if is_even else AdaptivePooling(size)
    turned = program.turned(value, last=True)
    return program.add(layer, turned, shape=(value.shape[0], *size), last=True)


def add_mean_over_places(program: Program, value: Value) -> Value:
    """Append the mean over height and width: [channels, height, width] becomes [channels]."""
    pooled = read_adaptive_pooling(program, "", nn.AdaptiveAvgPool2d(1), value)
    return add_reshape(program, pooled, value.shape[:1])


def read_max_pooling_1d(program: Program, name: str, module: nn.MaxPool1d, value: Value) -> Value:
    """Read an `nn.MaxPool1d`."""
    kernel, stride, padding, dilation = (
        _single(it) for it in (module.kernel_size, module.stride, module.padding, module.dilation)
    )
    image = nn.MaxPool2d(
        (1, kernel),
        (1, stride),
        (0, padding),
        (1, dilation),
        return_indices=module.return_indices,
        ceil_mode=module.ceil_mode,
    )
    return as_line(program, read_max_pooling(program, name, image, as_image(program, value)))


def read_average_pooling_1d(
    program: Program, name: str, module: nn.AvgPool1d, value: Value
) -> Value:
    """Read an `nn.AvgPool1d`."""
    kernel, stride, padding = (
        _single(it) for it in (module.kernel_size, module.stride, module.padding)
    )
    image = nn.AvgPool2d(
        (1, kernel), (1, stride), (0, padding), module.ceil_mode, module.count_include_pad
    )
    return as_line(program, read_average_pooling(program, name, image, as_image(program, value)))


def read_adaptive_pooling_1d(
    program: Program, name: str, module: nn.AdaptiveAvgPool1d, value: Value
) -> Value:
    """Read an `nn.AdaptiveAvgPool1d`."""
    image = nn.AdaptiveAvgPool2d((1, _single(module.output_size)))
    return as_line(program, read_adaptive_pooling(program, name, image, as_image(program, value)))


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


def _single(given: object) -> int:
    if isinstance(given, tuple) and len(given) == 1:
        (given,) = given
    if isinstance(given, int):
        return given
    raise NotStackable(f"a pooling of size {given}")


def _pair(given: object) -> Pair:
    if isinstance(given, int):
        return given, given
    if isinstance(given, tuple) and len(given) == 2 and all(isinstance(n, int) for n in given):
        return given
    raise NotStackable(f"a pooling of size {given}")
