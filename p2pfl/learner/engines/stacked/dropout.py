"""Dropout, with each peer's own masks."""

import torch
from torch import nn

from p2pfl.learner.engines.stacked.program import NotStackable, Program, Saved, Value
from p2pfl.learner.engines.stacked.step import StackStep


def draw_mask(
    step: StackStep, probability: float, shape: tuple[int, ...], *, rows_second: bool = False
) -> torch.Tensor:
    """Draw masks [peers, rows, *shape], scaled; 0 in padded rows.

    Each peer draws for its real rows alone, in the order that the layers have, from a generator
    that began as torch's own would: so the masks are those of a model that trains by itself.
    With `rows_second` they are drawn as [tokens, rows, ...], the order in memory of what torch's
    attention returns.
    """
    keep = 1 - probability
    masks = step.weights.new_zeros(step.peers, step.rows, *shape)
    for mask, size, generator in zip(masks, step.sizes, step.generators, strict=True):
        if rows_second:
            drawn = torch.empty(shape[0], size, *shape[1:]).bernoulli_(keep, generator=generator)
            drawn = drawn.transpose(0, 1)
        else:
            drawn = torch.empty(size, *shape).bernoulli_(keep, generator=generator)
        mask[:size].copy_(drawn)
    if keep:
        masks.div_(keep)
    return masks


class DropoutLayer:
    """Sets entries to zero at random, and scales the others.

    Args:
        probability: of zero.
        shape: of a row's mask; further axes of the row have the same all along.
        last: whether rows come last.
        rows_second: how masks are drawn, see `draw_mask`.
    """

    def __init__(
        self, probability: float, shape: tuple[int, ...], *, last: bool, rows_second: bool
    ) -> None:
        self._probability, self._shape, self._last = probability, shape, last
        self._rows_second = rows_second

    def forward(self, step: StackStep, *inputs: torch.Tensor) -> tuple[torch.Tensor, Saved]:
        """Draw a mask, and multiply by it."""
        mask = draw_mask(step, self._probability, self._shape, rows_second=self._rows_second)
        if self._last:
            mask = mask.movedim(1, -1).contiguous()
            further = inputs[0].dim() - mask.dim()
            mask = mask.view(*mask.shape[:-1], *[1] * further, mask.shape[-1])
        return inputs[0] * mask, mask

    def backward(
        self, step: StackStep, saved: Saved, gradient: torch.Tensor, *, wanted: bool
    ) -> tuple[torch.Tensor | None, ...]:
        """Return the gradient of the input."""
        return (gradient * saved if wanted else None,)


def read_dropout(program: Program, name: str, module: nn.Dropout, value: Value) -> Value:
    """Read an `nn.Dropout`."""
    return add_dropout(program, module.p, value)


def read_channel_dropout(
    program: Program, name: str, module: nn.Dropout1d | nn.Dropout2d, value: Value
) -> Value:
    """Read an `nn.Dropout1d` or `nn.Dropout2d`, which drop whole channels."""
    if len(value.shape) != (3 if isinstance(module, nn.Dropout2d) else 2):
        raise NotStackable(f"a dropout of channels of rows of {list(value.shape)}")
    if module.p == 0:
        return value
    program.draws = True
    layer = DropoutLayer(module.p, value.shape[:1], last=True, rows_second=False)
    return program.add(layer, program.turned(value, last=True), shape=value.shape, last=True)


def add_dropout(
    program: Program, probability: float, value: Value, *, rows_second: bool = False
) -> Value:
    """Append a dropout, if it does anything."""
    if probability == 0:
        return value
    program.draws = True
    layer = DropoutLayer(probability, value.shape, last=value.last, rows_second=rows_second)
    return program.add(layer, value, shape=value.shape, last=value.last)
