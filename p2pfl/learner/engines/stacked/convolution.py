"""Convolutions: patches side by side (im2col), then one batched product over peers.

A grouped convolution over all peers would be the obvious way. Its kernels are slower than those of
single convolutions where a group has few channels, and they change bits with the number of groups.
"""

from collections.abc import Iterator

import torch
from torch import nn

from p2pfl.learner.engines.stacked.program import NotStackable, Program, Saved, Value, tensor_name
from p2pfl.learner.engines.stacked.shaping import as_image, as_line
from p2pfl.learner.engines.stacked.step import StackStep, product

PATCHES_MAX = 2**18
"""Entries of patches at one time, 1 MB: they are read by the product while still in the cache."""


class Convolution:
    """A 2-D convolution of [peers, channels, height, width, rows].

    Patches of a few peers at a time are copied into working memory, and again on the way back: kept
    for all, they would fall out of the caches.

    Args:
        weight: name of the parameter, [outputs, channels, height, width].
        bias: name of the parameter, or None.
        kernel: height and width.
        stride: of the kernel, down and across.
        padding: zeros on each side, down and across.
    """

    def __init__(
        self,
        weight: str,
        bias: str | None,
        *,
        kernel: tuple[int, int],
        stride: tuple[int, int],
        padding: tuple[int, int],
    ) -> None:
        self._weight, self._bias = weight, bias
        self._kernel, self._stride, self._padding = kernel, stride, padding

    def forward(self, step: StackStep, *inputs: torch.Tensor) -> tuple[torch.Tensor, Saved]:
        """Convolve."""
        x = self._padded(inputs[0])
        windows, height, width = self._windows(x)
        weight = step.parameters[self._weight]
        peers, outputs, rows = len(x), weight.shape[1], x.shape[-1]
        weight = weight.reshape(peers, outputs, -1)
        y = x.new_empty(peers, outputs, height * width * rows)
        for first, last, patches in _patches(step, windows):
            torch.bmm(weight[first:last], patches, out=y[first:last])
        if self._bias is not None:
            y += step.parameters[self._bias].unsqueeze(2)
        return y.view(peers, outputs, height, width, rows), x

    def backward(
        self, step: StackStep, saved: Saved, gradient: torch.Tensor, *, wanted: bool
    ) -> tuple[torch.Tensor | None, ...]:
        """Give the gradients of weight and bias; return that of the input."""
        x: torch.Tensor = saved
        windows, height, width = self._windows(x)
        weight = step.parameters[self._weight]
        peers, outputs, rows = len(x), weight.shape[1], x.shape[-1]
        flat = weight.reshape(peers, outputs, -1)
        g = gradient.reshape(peers, outputs, -1)
        trains = step.trains(self._weight)
        of_weight = torch.empty_like(flat)
        of_input = torch.zeros_like(x) if wanted else None
        for first, last, patches in _patches(step, windows, copied=trains):
            if trains:
                of_weight[first:last] = product(g[first:last], patches.transpose(1, 2))
            if of_input is not None:
                torch.bmm(flat[first:last].transpose(1, 2), g[first:last], out=patches)
                parts = patches.view(last - first, x.shape[1], *self._kernel, height, width, rows)
                self._add_back(of_input[first:last], parts)
        if trains:
            step.add_gradient(self._weight, of_weight)
        if self._bias is not None and step.trains(self._bias):
            step.add_gradient(self._bias, g.sum(2))
        if of_input is None:
            return (None,)
        down, across = self._padding
        inner = of_input[:, :, down : x.shape[2] - down, across : x.shape[3] - across]
        return (inner.contiguous(),)

    def _padded(self, x: torch.Tensor) -> torch.Tensor:
        down, across = self._padding
        if not (down or across):
            return x.contiguous()
        peers, channels, height, width, rows = x.shape
        wide = x.new_zeros(peers, channels, height + 2 * down, width + 2 * across, rows)
        wide[:, :, down : down + height, across : across + width] = x
        return wide

    def _windows(self, x: torch.Tensor) -> tuple[torch.Tensor, int, int]:
        """View x as [peers, channels, kernel..., height, width, rows]; with height and width."""
        peers, channels, _, _, rows = x.shape
        height, width = output_size(x.shape[2:4], self._kernel, self._stride, (0, 0))
        by_peer, by_channel, down, across, by_row = x.stride()
        shape = (peers, channels, *self._kernel, height, width, rows)
        moves = (down * self._stride[0], across * self._stride[1])
        strides = (by_peer, by_channel, down, across, *moves, by_row)
        return x.as_strided(shape, strides), height, width

    def _add_back(self, target: torch.Tensor, parts: torch.Tensor) -> None:
        """Add the gradient of each place of the kernel to where it was taken from."""
        peers, channels, _, _, height, width, rows = parts.shape
        by_peer, by_channel, down, across, by_row = target.stride()
        shape = (peers, channels, height, width, rows)
        strides = (by_peer, by_channel, down * self._stride[0], across * self._stride[1], by_row)
        places = parts.view(peers, channels, -1, height, width, rows).unbind(2)
        start = int(target.storage_offset())
        for number, place in enumerate(places):  # One view each: slices would cost as much again.
            i, j = divmod(number, self._kernel[1])
            target.as_strided(shape, strides, start + i * down + j * across).add_(place)


def _patches(
    step: StackStep, windows: torch.Tensor, *, copied: bool = True
) -> Iterator[tuple[int, int, torch.Tensor]]:
    """Yield (first, last, patches [last - first, channels * kernel, places]) of a few peers."""
    peers, channels, kernel_height, kernel_width, height, width, rows = windows.shape
    shape = (channels * kernel_height * kernel_width, height * width * rows)
    count = max(1, min(peers, PATCHES_MAX // (shape[0] * shape[1])))
    memory = step.memory.take("patches", count, *shape)
    for first in range(0, peers, count):
        last = min(peers, first + count)
        patches = memory[: last - first]
        if copied:
            patches.view(last - first, *windows.shape[1:]).copy_(windows[first:last])
        yield first, last, patches


def output_size(
    size: tuple[int, ...] | torch.Size,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> tuple[int, int]:
    """Return height and width of what a kernel gives that moves over an image."""
    height, width = ((size[i] + 2 * padding[i] - kernel[i]) // stride[i] + 1 for i in range(2))
    if height < 1 or width < 1:
        raise NotStackable(f"a kernel of {list(kernel)} on an image of {list(size)}")
    return height, width


def read_convolution(program: Program, name: str, module: nn.Conv2d, value: Value) -> Value:
    """Read an `nn.Conv2d` without groups and dilation."""
    return _read(program, name, module, value)


def read_convolution_1d(program: Program, name: str, module: nn.Conv1d, value: Value) -> Value:
    """Read an `nn.Conv1d` without groups and dilation: a convolution of images of height 1."""
    return as_line(program, _read(program, name, module, as_image(program, value)))


def _read(program: Program, name: str, module: nn.Conv1d | nn.Conv2d, value: Value) -> Value:
    if module.groups != 1 or set(module.dilation) != {1} or module.padding_mode != "zeros":
        raise NotStackable("a convolution with groups, dilation or another padding than zeros")
    if module.out_channels == 1 or module.weight[0].numel() == 1:
        raise NotStackable("a convolution to one channel, or from one pixel of one channel")
    kernel, stride = (_pair(it, 1) for it in (module.kernel_size, module.stride))
    padding = _padding(module, kernel)
    if len(value.shape) != 3 or value.shape[0] != module.in_channels:
        raise NotStackable(f"a convolution on rows of {list(value.shape)}")
    size = output_size(value.shape[1:], kernel, stride, padding)
    weight, bias = (
        tensor_name(name, "weight"),
        tensor_name(name, "bias") if module.bias is not None else None,
    )
    return program.add(
        Convolution(weight, bias, kernel=kernel, stride=stride, padding=padding),
        program.turned(value, last=True),
        shape=(module.out_channels, *size),
        last=True,
        parameters=(weight,) if bias is None else (weight, bias),
    )


def _padding(module: nn.Conv1d | nn.Conv2d, kernel: tuple[int, int]) -> tuple[int, int]:
    if module.padding == "valid":
        return 0, 0
    if module.padding != "same":
        assert not isinstance(module.padding, str)
        return _pair(module.padding, 0)
    if not all(length % 2 for length in kernel):
        raise NotStackable("a convolution with padding 'same' and an even kernel")
    return kernel[0] // 2, kernel[1] // 2


def _pair(given: tuple[int, ...], of_height: int) -> tuple[int, int]:
    """Return what is given down and across; of a line, what stands for its height comes first."""
    return (of_height, given[0]) if len(given) == 1 else (given[0], given[1])
