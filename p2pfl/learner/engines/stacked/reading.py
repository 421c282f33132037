"""Reads a torch module as a program of stacked layers, through `nn.Sequential` or torch.fx."""

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn

from p2pfl.learner.engines.stacked.attention import (
    add_attention,
    read_encoder,
    read_encoder_layer,
)
from p2pfl.learner.engines.stacked.convolution import read_convolution
from p2pfl.learner.engines.stacked.dropout import read_dropout
from p2pfl.learner.engines.stacked.embedding import read_embedding
from p2pfl.learner.engines.stacked.linear import read_linear
from p2pfl.learner.engines.stacked.norms import read_batch_norm, read_group_norm, read_layer_norm
from p2pfl.learner.engines.stacked.pointwise import ACTIVATIONS, read_activation
from p2pfl.learner.engines.stacked.pooling import (
    read_adaptive_pooling,
    read_average_pooling,
    read_max_pooling,
)
from p2pfl.learner.engines.stacked.program import NotStackable, Program, Value
from p2pfl.learner.engines.stacked.shaping import (
    AddParameter,
    MeanOverTokens,
    OneToken,
    Scale,
    Sum,
    add_flatten,
    read_flatten,
    read_identity,
    read_unflatten,
)

READERS: dict[type[nn.Module], Callable[..., Value]] = {
    nn.Linear: read_linear,
    nn.Conv2d: read_convolution,
    nn.MaxPool2d: read_max_pooling,
    nn.AvgPool2d: read_average_pooling,
    nn.AdaptiveAvgPool2d: read_adaptive_pooling,
    nn.GroupNorm: read_group_norm,
    nn.BatchNorm1d: read_batch_norm,
    nn.BatchNorm2d: read_batch_norm,
    nn.LayerNorm: read_layer_norm,
    nn.Dropout: read_dropout,
    nn.Embedding: read_embedding,
    nn.TransformerEncoderLayer: read_encoder_layer,
    nn.TransformerEncoder: read_encoder,
    nn.Flatten: read_flatten,
    nn.Unflatten: read_unflatten,
    nn.Identity: read_identity,
    **dict.fromkeys(ACTIVATIONS, read_activation),
}
"""The layers that can be stacked; subclasses of these may do anything, and are not."""

_FUNCTIONS: dict[Any, type[nn.Module]] = {
    torch.relu: nn.ReLU,
    torch.tanh: nn.Tanh,
    torch.sigmoid: nn.Sigmoid,
    nn.functional.relu: nn.ReLU,
    nn.functional.tanh: nn.Tanh,
    nn.functional.sigmoid: nn.Sigmoid,
    nn.functional.silu: nn.SiLU,
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}
"""Functions and methods of one argument that are activations."""

_SUMS = (operator.add, operator.iadd, torch.add, "add", "add_")


def read(module: nn.Module, input_shape: tuple[int, ...]) -> Program:
    """Read a module.

    Args:
        module: the module.
        input_shape: of one row of what it takes.

    Raises:
        NotStackable: it does something that these layers do not; the message says what.
    """
    for part in module.modules():
        if part._forward_hooks or part._forward_pre_hooks or part._backward_hooks:
            raise NotStackable("a module with hooks")
    program = Program(input_shape)
    _read_module(program, "", module, program.values[0])
    if program.output.number == 0:
        raise NotStackable("a model that does nothing")
    program.turned(program.output, last=False)
    program.finish()
    return program


def _read_module(program: Program, name: str, module: nn.Module, value: Value) -> Value:
    reader = READERS.get(type(module))
    if reader is not None:
        found: Value = reader(program, name, module, value)
        return found
    if type(module) is nn.Sequential:
        for part, child in module.named_children():
            value = _read_module(program, f"{name}.{part}".lstrip("."), child, value)
        return value
    return _Graph(program, name, module).read(value)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m) in READERS or type(m) in (nn.Sequential, nn.MultiheadAttention)


class _Graph:
    """Reads a module whose forward is traced."""

    def __init__(self, program: Program, name: str, module: nn.Module) -> None:
        self._program, self._prefix, self._module = program, f"{name}." if name else "", module
        try:
            self._graph = _Tracer().trace(module)
        except Exception as error:  # Whatever the module's code does with what traces it.
            reason = " ".join(str(error).split())[:60]
            raise NotStackable(
                f"{type(module).__name__}, which cannot be traced ({reason})"
            ) from None
        self._values: dict[fx.Node, Any] = {}

    def read(self, value: Value) -> Value:
        """Return the value that the module makes of one."""
        taken = False
        for node in self._graph.nodes:
            if node.op == "placeholder":
                if taken and node.users:
                    raise NotStackable("a forward of several arguments")
                self._values[node], taken = (None if taken else value), True
            elif node.op == "output":
                result = self._values_of(node.args[0])
                if not isinstance(result, Value):
                    raise NotStackable("a forward that returns no single tensor")
                # What the program gives is its last value.
                if result.number != self._program.output.number:
                    return self._program.add(
                        Scale(1.0), result, shape=result.shape, last=result.last
                    )
                return result
            else:
                self._values[node] = self._read_node(node)
        raise NotStackable("a forward that returns nothing")

    def _values_of(self, argument: Any) -> Any:
        return self._values[argument] if isinstance(argument, fx.Node) else argument

    def _read_node(self, node: fx.Node) -> Any:
        arguments = [self._values_of(argument) for argument in node.args]
        named = {key: self._values_of(argument) for key, argument in node.kwargs.items()}
        if node.op == "get_attr":
            return f"{self._prefix}{node.target}"
        if node.op == "call_module":
            return self._read_call(str(node.target), arguments, named)
        if node.target in _SUMS and len(arguments) == 2 and not named:
            return self._add(*arguments)
        value = arguments[0] if arguments else None
        if isinstance(value, _Attended):
            if node.target is operator.getitem and arguments[1] == 0:
                return value.value
        elif isinstance(value, Value):
            found = self._read_function(node.target, value, arguments[1:], named)
            if found is not None:
                return found
        elif node.target in (operator.mul, torch.mul) and isinstance(arguments[1], Value):
            found = self._read_function(node.target, arguments[1], arguments[:1], named)
            if found is not None:
                return found
        target = node.target if isinstance(node.target, str) else node.target.__name__
        raise NotStackable(f"{target}() in its forward")

    def _read_call(self, target: str, arguments: list[Any], named: dict[str, Any]) -> Any:
        module = self._module.get_submodule(target)
        name = f"{self._prefix}{target}"
        if type(module) is nn.MultiheadAttention:
            same = len(arguments) == 3 and all(it is arguments[0] for it in arguments)
            if not same or any(value for key, value in named.items() if key != "need_weights"):
                raise NotStackable("an attention with masks, or between different values")
            if not isinstance(arguments[0], Value):
                raise NotStackable("an attention of no value")
            return _Attended(add_attention(self._program, name, module, arguments[0]))
        if len(arguments) != 1 or named or not isinstance(arguments[0], Value):
            raise NotStackable(f"{type(module).__name__} with further arguments")
        return _read_module(self._program, name, module, arguments[0])

    def _add(self, left: Any, right: Any) -> Value:
        program = self._program
        if isinstance(left, Value) and isinstance(right, Value):
            if left.shape != right.shape:
                raise NotStackable(f"a sum of rows of {list(left.shape)} and {list(right.shape)}")
            right = program.turned(right, last=left.last)
            return program.add(Sum(), left, right, shape=left.shape, last=left.last)
        if isinstance(right, Value):
            left, right = right, left
        parameters = dict(self._module.named_parameters())
        name = str(right).removeprefix(self._prefix)
        if not isinstance(left, Value) or not isinstance(right, str) or name not in parameters:
            raise NotStackable("a sum with something else than a value or a parameter")
        shape = tuple(parameters[name].shape)
        if shape not in (left.shape, (1, *left.shape)):
            raise NotStackable(f"a sum of rows of {list(left.shape)} and {list(shape)}")
        left = program.turned(left, last=False)
        layer = AddParameter(right)
        return program.add(layer, left, shape=left.shape, last=False, parameters=(right,))

    def _read_function(
        self, target: Any, value: Value, rest: list[Any], named: dict[str, Any]
    ) -> Value | None:
        program = self._program
        if target in _FUNCTIONS and not rest and not (named.keys() - {"inplace"}):
            return read_activation(program, "", _FUNCTIONS[target](), value)
        if target is nn.functional.gelu and not rest:
            return read_activation(program, "", nn.GELU(**named), value)
        if target in (torch.flatten, "flatten"):
            given = dict(zip(("start_dim", "end_dim"), rest, strict=False)) | named
            return add_flatten(program, value, given.get("start_dim", 0), given.get("end_dim", -1))
        if target in (operator.mul, torch.mul, "mul", operator.truediv) and len(rest) == 1:
            if isinstance(rest[0], (int, float)):
                factor = 1 / rest[0] if target is operator.truediv else float(rest[0])
                return program.add(Scale(factor), value, shape=value.shape, last=value.last)
            return None
        tokens = len(value.shape) == 2
        if target in (torch.mean, "mean") and tokens:
            given = dict(zip(("dim", "keepdim"), rest, strict=False)) | named
            if given.get("dim") in (1, -2, (1,), [1]) and not given.get("keepdim"):
                value = program.turned(value, last=False)
                return program.add(MeanOverTokens(), value, shape=value.shape[1:], last=False)
        if target is operator.getitem and tokens and isinstance(rest[0], tuple):
            where = rest[0]
            whole = slice(None)
            if len(where) in (2, 3) and all(it == whole for i, it in enumerate(where) if i != 1):
                place = where[1]
                if isinstance(place, int) and -value.shape[0] <= place < value.shape[0]:
                    value = program.turned(value, last=False)
                    layer = OneToken(place)
                    return program.add(layer, value, shape=value.shape[1:], last=False)
        return None


class _Attended:
    """What an attention returns: its output, and weights that nobody may use."""

    def __init__(self, value: Value) -> None:
        self.value = value
