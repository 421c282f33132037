"""Activations, entry by entry."""

from collections.abc import Callable

import torch
from torch import nn

from p2pfl.learner.engines.stacked.program import Program, Saved, Value
from p2pfl.learner.engines.stacked.step import StackStep

LANES = 32
"""Entries that a vector loop does at once, at most. Those that are left over at the end of a tensor
are done one at a time, by other code with other last bits: a peer's part is padded to this."""

_aten = torch.ops.aten

Forward = Callable[[torch.Tensor], torch.Tensor]
Backward = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class Pointwise:
    """An activation.

    Args:
        forward: of the input.
        backward: of the gradient, and of the output or the input.
        keeps_output: which of the two.
        commutes_with_max: whether it may be done after a maximum in place of before, by value and
            by gradient. It may not where it maps different values to one that takes a gradient.
    """

    def __init__(
        self,
        forward: Forward,
        backward: Backward,
        *,
        keeps_output: bool,
        commutes_with_max: bool = False,
    ) -> None:
        self._forward, self._backward, self._keeps_output = forward, backward, keeps_output
        self.commutes_with_max = commutes_with_max

    def forward(self, step: StackStep, *inputs: torch.Tensor) -> tuple[torch.Tensor, Saved]:
        """Apply it."""
        (x,) = inputs
        y = _in_lanes(self._forward, x)
        return y, (y if self._keeps_output else x)

    def backward(
        self, step: StackStep, saved: Saved, gradient: torch.Tensor, *, wanted: bool
    ) -> tuple[torch.Tensor | None, ...]:
        """Return the gradient of the input."""
        return (_in_lanes(self._backward, gradient, saved) if wanted else None,)


def _in_lanes(work: Callable[..., torch.Tensor], *values: torch.Tensor) -> torch.Tensor:
    shape = values[0].shape
    count = values[0][0].numel()
    if count % LANES == 0 and all(value.is_contiguous() for value in values):
        return work(*values)
    flat = [value.reshape(len(value), -1) for value in values]
    padded = [nn.functional.pad(value, (0, -count % LANES)) for value in flat]
    return work(*padded)[:, :count].reshape(shape)


def _relu(_: nn.Module) -> Pointwise:
    def backward(gradient: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = _aten.threshold_backward(gradient, output, 0)
        return result

    return Pointwise(torch.relu, backward, keeps_output=True, commutes_with_max=True)


def _tanh(_: nn.Module) -> Pointwise:
    return Pointwise(torch.tanh, _aten.tanh_backward, keeps_output=True)


def _sigmoid(_: nn.Module) -> Pointwise:
    return Pointwise(torch.sigmoid, _aten.sigmoid_backward, keeps_output=True)


def _silu(_: nn.Module) -> Pointwise:
    return Pointwise(nn.functional.silu, _aten.silu_backward, keeps_output=False)


def _gelu(module: nn.Module) -> Pointwise:
    how = str(getattr(module, "approximate", "none"))

    def forward(x: torch.Tensor) -> torch.Tensor:
        return nn.functional.gelu(x, approximate=how)

    def backward(gradient: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = _aten.gelu_backward(gradient, x, approximate=how)
        return result

    return Pointwise(forward, backward, keeps_output=False)


def _leaky_relu(module: nn.Module) -> Pointwise:
    slope = float(getattr(module, "negative_slope", 0.01))

    def forward(x: torch.Tensor) -> torch.Tensor:
        return nn.functional.leaky_relu(x, slope)

    def backward(gradient: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = _aten.leaky_relu_backward(gradient, x, slope, False)
        return result

    return Pointwise(forward, backward, keeps_output=False)


ACTIVATIONS: dict[type[nn.Module], Callable[[nn.Module], Pointwise]] = {
    nn.ReLU: _relu,
    nn.Tanh: _tanh,
    nn.Sigmoid: _sigmoid,
    nn.SiLU: _silu,
    nn.GELU: _gelu,
    nn.LeakyReLU: _leaky_relu,
}


def read_activation(program: Program, name: str, module: nn.Module, value: Value) -> Value:
    """Read an activation."""
    layer = ACTIVATIONS[type(module)](module)
    return program.add(layer, value, shape=value.shape, last=value.last)
