"""Linear layers: one batched product over all peers."""

import torch
from torch import nn

from p2pfl.learner.engines.stacked.program import NotStackable, Program, Saved, Value, tensor_name
from p2pfl.learner.engines.stacked.step import StackStep, product


class LinearRowsFirst:
    """``x @ W.T + b`` of [peers, rows, ..., inputs].

    Args:
        weight: name of the parameter, [outputs, inputs].
        bias: name of the parameter, or None.
        is_transposed: whether the weight lies as [inputs, outputs] in memory.
    """

    def __init__(self, weight: str, bias: str | None, *, is_transposed: bool) -> None:
        self._weight, self._bias, self._is_transposed = weight, bias, is_transposed

    def forward(self, step: StackStep, *inputs: torch.Tensor) -> tuple[torch.Tensor, Saved]:
        """Multiply all rows, and tokens, of a peer by its weight."""
        (x,) = inputs
        weight = step.parameters[self._weight]
        flat = x.reshape(step.peers, -1, x.shape[-1])
        y = product(flat, weight.transpose(1, 2))
        if self._bias is not None:
            y += step.parameters[self._bias].unsqueeze(1)
        return y.view(*x.shape[:-1], weight.shape[1]), (flat, x.shape)

    def backward(
        self, step: StackStep, saved: Saved, gradient: torch.Tensor, *, wanted: bool
    ) -> tuple[torch.Tensor | None, ...]:
        """Give the gradients of weight and bias; return that of the input."""
        x, shape = saved
        g = gradient.reshape(step.peers, x.shape[1], -1)
        if step.trains(self._weight):
            if self._is_transposed:
                step.add_gradient_transposed(self._weight, product(x.transpose(1, 2), g))
            else:
                step.add_gradient(self._weight, product(g.transpose(1, 2), x))
        if self._bias is not None and step.trains(self._bias):
            step.add_gradient(self._bias, g.sum(1))
        if not wanted:
            return (None,)
        return (product(g, step.parameters[self._weight]).view(shape),)


class LinearRowsLast:
    """``W @ x + b`` of [peers, inputs, rows]; arguments as of `LinearRowsFirst`."""

    def __init__(self, weight: str, bias: str | None, *, is_transposed: bool) -> None:
        self._weight, self._bias, self._is_transposed = weight, bias, is_transposed

    def forward(self, step: StackStep, *inputs: torch.Tensor) -> tuple[torch.Tensor, Saved]:
        """Multiply each peer's weight by its rows."""
        (x,) = inputs
        y = product(step.parameters[self._weight], x)
        if self._bias is not None:
            y += step.parameters[self._bias].unsqueeze(2)
        return y, x

    def backward(
        self, step: StackStep, saved: Saved, gradient: torch.Tensor, *, wanted: bool
    ) -> tuple[torch.Tensor | None, ...]:
        """Give the gradients of weight and bias; return that of the input."""
        if step.trains(self._weight):
            if self._is_transposed:
                step.add_gradient_transposed(self._weight, product(saved, gradient.transpose(1, 2)))
            else:
                step.add_gradient(self._weight, product(gradient, saved.transpose(1, 2)))
        if self._bias is not None and step.trains(self._bias):
            step.add_gradient(self._bias, gradient.sum(2))
        if not wanted:
            return (None,)
        return (product(step.parameters[self._weight].transpose(1, 2), gradient),)


def add_linear(
    program: Program,
    weight: str,
    bias: str | None,
    widths: tuple[int, int],
    value: Value,
    *,
    is_transposed: bool,
) -> Value:
    """Append a linear layer from widths[0] to widths[1], in the order that the value has."""
    if not value.shape or value.shape[-1] != widths[0]:
        raise NotStackable(f"a linear layer of {widths[0]} inputs on rows of {list(value.shape)}")
    if len(value.shape) > 1:
        value = program.turned(value, last=False)
    kind = LinearRowsLast if value.last else LinearRowsFirst
    names = (weight,) if bias is None else (weight, bias)
    shape = (*value.shape[:-1], widths[1])
    layer = kind(weight, bias, is_transposed=is_transposed)
    return program.add(layer, value, shape=shape, last=value.last, parameters=names)


def read_linear(program: Program, name: str, module: nn.Linear, value: Value) -> Value:
    """Read an `nn.Linear`."""
    bias = None if module.bias is None else tensor_name(name, "bias")
    widths = (module.in_features, module.out_features)
    return add_linear(program, tensor_name(name, "weight"), bias, widths, value, is_transposed=True)
