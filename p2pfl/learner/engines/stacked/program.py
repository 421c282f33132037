"""A model as layers in order, which a stack of models goes through and back."""

from dataclasses import dataclass
from typing import Any, Protocol

import torch

from p2pfl.learner.engines.stacked.step import StackStep
from p2pfl.learner.errors import LearningError

Saved = Any
"""What a layer keeps from the way forward for the way back."""


def tensor_name(module: str, part: str) -> str:
    """Name a tensor of a module; a model that is one layer by itself has no name."""
    return f"{module}.{part}" if module else part


class Layer(Protocol):
    """One operation on stacked values. It keeps nothing itself: threads share it."""

    def forward(self, step: StackStep, *inputs: torch.Tensor) -> tuple[torch.Tensor, Saved]:
        """Return the output, and what `backward` needs."""

    def backward(
        self, step: StackStep, saved: Saved, gradient: torch.Tensor, *, wanted: bool
    ) -> tuple[torch.Tensor | None, ...]:
        """Give the gradients of parameters to `step`; return those of the inputs, if wanted."""


@dataclass(frozen=True)
class Value:
    """A value of the program: [peers, rows, *shape], or [peers, *shape, rows] if `last`."""

    number: int
    shape: tuple[int, ...]
    last: bool


@dataclass(frozen=True)
class Made:
    """What made a value.

    Attributes:
        layer: the layer.
        inputs: its inputs.
    """

    layer: Layer
    inputs: tuple[Value, ...]


@dataclass(frozen=True)
class _Node:
    layer: Layer
    inputs: tuple[int, ...]
    wanted: bool  # Whether the gradients of its inputs are.


class Program:
    """Layers in the order of a forward pass; built by `add`.

    Value 0 is the batch. Each layer's output is a value, in order.

    Args:
        input_shape: of one row.
    """

    def __init__(self, input_shape: tuple[int, ...]) -> None:
        self.values = [Value(0, input_shape, last=False)]
        self.parameter_names: list[str] = []
        self.draws = False  # Whether a layer draws random numbers.
        self.scratch = 0  # float32 a row that the widest layer needs beside its output.
        self._depends = [False]
        self._nodes: list[_Node] = []
        self._replaced: set[int] = set()
        self.output = self.values[0]

    def add(
        self,
        layer: Layer,
        *inputs: Value,
        shape: tuple[int, ...],
        last: bool,
        parameters: tuple[str, ...] = (),
    ) -> Value:
        """Append a layer; return its output.

        Args:
            layer: the layer.
            inputs: its inputs, in order.
            shape: of a row of its output.
            last: whether the output's rows come last.
            parameters: the names of those that it uses, all of which take gradients or are frozen.
        """
        numbers = tuple(value.number for value in inputs)
        wanted = any(self._depends[number] for number in numbers)
        self._nodes.append(_Node(layer, numbers, wanted))
        self._depends.append(wanted or bool(parameters))
        self.parameter_names.extend(parameters)
        value = Value(len(self.values), shape, last)
        self.values.append(value)
        self.output = value
        return value

    def turned(self, value: Value, *, last: bool) -> Value:
        """Return a value with its rows last, or first."""
        if value.last == last:
            return value
        return self.add(Turn(last), value, shape=value.shape, last=last)

    def made_by(self, value: Value) -> Made | None:
        """Return what made a value; None for the batch."""
        if value.number == 0:
            return None
        node = self._nodes[value.number - 1]
        return Made(node.layer, tuple(self.values[number] for number in node.inputs))

    def replaced(self, value: Value) -> None:
        """Have a value left out, unless another layer than the one now read takes it."""
        self._replaced.add(value.number)

    def finish(self) -> None:
        """Leave out what was replaced and nobody takes; no layer is added afterwards."""
        taken = {self.output.number, *(it for node in self._nodes for it in node.inputs)}
        self._replaced -= taken

    def kept_values(self) -> list[Value]:
        """Return the values that are worked out."""
        return [value for value in self.values if value.number not in self._replaced]

    def forward(self, step: StackStep) -> tuple[torch.Tensor, list[Saved]]:
        """Return the output of the last layer for the batch, and what `backward` needs."""
        values: list[torch.Tensor] = [step.inputs]
        saved: list[Saved] = []
        for number, node in enumerate(self._nodes, 1):
            if number in self._replaced:
                values.append(step.inputs)  # Nobody looks at it.
                saved.append(None)
                continue
            value, kept = node.layer.forward(step, *[values[i] for i in node.inputs])
            values.append(value)
            saved.append(kept)
        return values[self.output.number], saved

    def backward(self, step: StackStep, saved: list[Saved], gradient: torch.Tensor) -> None:
        """Give the gradients of all parameters to `step`, by that of the output."""
        gradients: list[torch.Tensor | None] = [None] * len(self.values)
        gradients[self.output.number] = gradient
        for number in range(len(self._nodes) - 1, -1, -1):
            node, given = self._nodes[number], gradients[number + 1]
            gradients[number + 1] = None
            if given is None or not self._depends[number + 1]:
                continue
            found = node.layer.backward(step, saved[number], given, wanted=node.wanted)
            for place, part in zip(node.inputs, found, strict=True):
                if part is not None and self._depends[place]:
                    before = gradients[place]
                    gradients[place] = part if before is None else before + part
        step.clear_rest()


class Turn:
    """Moves rows from the first place to the last, or back."""

    def __init__(self, last: bool) -> None:
        self._last = last

    def forward(self, step: StackStep, *inputs: torch.Tensor) -> tuple[torch.Tensor, Saved]:
        """Copy the input into the other order."""
        return self._moved(inputs[0], self._last), None

    def backward(
        self, step: StackStep, saved: Saved, gradient: torch.Tensor, *, wanted: bool
    ) -> tuple[torch.Tensor | None, ...]:
        """Copy the gradient back."""
        return (self._moved(gradient, not self._last) if wanted else None,)

    @staticmethod
    def _moved(value: torch.Tensor, last: bool) -> torch.Tensor:
        # As [peers, rows, all else]: a copy in two dimensions is faster than in four.
        if last:
            peers, rows = value.shape[:2]
            turned = value.reshape(peers, rows, -1).transpose(1, 2).contiguous()
            return turned.view(peers, *value.shape[2:], rows)
        peers, rows = value.shape[0], value.shape[-1]
        turned = value.reshape(peers, -1, rows).transpose(1, 2).contiguous()
        return turned.view(peers, rows, *value.shape[1:-1])


class NotStackable(LearningError):
    """A module that these layers cannot stand for; the message says why, for people."""
