"""The logarithm of a softmax over the classes of each row."""

import torch
from torch import nn

from p2pfl.learner.engines.stacked.program import NotStackable, Program, Saved, Value
from p2pfl.learner.engines.stacked.step import StackStep


class LogSoftmax:
    """Over the last axis of [peers, rows, classes]: each row by itself."""

    def forward(self, step: StackStep, *inputs: torch.Tensor) -> tuple[torch.Tensor, Saved]:
        """Take it."""
        y = torch.log_softmax(inputs[0].contiguous(), -1)
        return y, y

    def backward(
        self, step: StackStep, saved: Saved, gradient: torch.Tensor, *, wanted: bool
    ) -> tuple[torch.Tensor | None, ...]:
        """Return the gradient of the input."""
        if not wanted:
            return (None,)
        result: torch.Tensor = torch.ops.aten._log_softmax_backward_data(
            gradient.contiguous(), saved, -1, saved.dtype
        )
        return (result,)


def read_log_softmax(program: Program, name: str, module: nn.LogSoftmax, value: Value) -> Value:
    """Read an `nn.LogSoftmax` of classes."""
    if len(value.shape) != 1 or module.dim not in (1, -1):
        raise NotStackable(f"a log_softmax of rows of {list(value.shape)} over axis {module.dim}")
    value = program.turned(value, last=False)
    return program.add(LogSoftmax(), value, shape=value.shape, last=False)
