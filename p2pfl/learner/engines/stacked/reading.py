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
from p2pfl.learner.engines.stacked.convolution import read_convolution, read_convolution_1d
from p2pfl.learner.engines.stacked.dropout import read_channel_dropout, read_dropout
from p2pfl.learner.engines.stacked.embedding import read_embedding
from p2pfl.learner.engines.stacked.functions import module_of, name_of
from p2pfl.learner.engines.stacked.linear import read_linear
from p2pfl.learner.engines.stacked.norms import read_batch_norm, read_group_norm, read_layer_norm
from p2pfl.learner.engines.stacked.pointwise import ACTIVATIONS, read_activation
from p2pfl.learner.engines.stacked.pooling import (
    add_mean_over_places,
    read_adaptive_pooling,
    read_adaptive_pooling_1d,
    read_average_pooling,
    read_average_pooling_1d,
    read_max_pooling,
    read_max_pooling_1d,
)
from p2pfl.learner.engines.stacked.program import NotStackable, Program, Value
from p2pfl.learner.engines.stacked.shaping import (
    AddParameter,
    MeanOverTokens,
    OneToken,
    Scale,
    Shift,
    Sum,
    add_flatten,
    add_reshape,
    as_image,
    read_flatten,
    read_identity,
    read_unflatten,
)
from p2pfl.learner.engines.stacked.sizes import add_view, size_of
from p2pfl.learner.engines.stacked.softmax import read_log_softmax

READERS: dict[type[nn.Module], Callable[..., Value]] = {
    nn.Linear: read_linear,
    nn.Conv1d: read_convolution_1d,
    nn.Conv2d: read_convolution,
    nn.MaxPool1d: read_max_pooling_1d,
    nn.MaxPool2d: read_max_pooling,
    nn.AvgPool1d: read_average_pooling_1d,
    nn.AvgPool2d: read_average_pooling,
    nn.AdaptiveAvgPool1d: read_adaptive_pooling_1d,
    nn.AdaptiveAvgPool2d: read_adaptive_pooling,
    nn.GroupNorm: read_group_norm,
    nn.BatchNorm1d: read_batch_norm,
    nn.BatchNorm2d: read_batch_norm,
    nn.LayerNorm: read_layer_norm,
    nn.Dropout: read_dropout,
    nn.Dropout1d: read_channel_dropout,
    nn.Dropout2d: read_channel_dropout,
    nn.Embedding: read_embedding,
    nn.TransformerEncoderLayer: read_encoder_layer,
    nn.TransformerEncoder: read_encoder,
    nn.Flatten: read_flatten,
    nn.Unflatten: read_unflatten,
    nn.Identity: read_identity,
    nn.LogSoftmax: read_log_softmax,
    **dict.fromkeys(ACTIVATIONS, read_activation),
}
"""The layers that can be stacked; subclasses of these may do anything, and are not."""

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
        size = size_of(node.target, arguments)
        if size is not None:
            return size
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
        raise NotStackable(f"{name_of(node.target)}() in its forward")

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
        if isinstance(left, Value) and type(right) in (int, float):
            return program.add(Shift(float(right)), left, shape=left.shape, last=left.last)
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
        module = module_of(target, rest, named)
        if module is not None:
            return _read_module(program, "", module, value)
        viewed = add_view(program, target, value, rest, named)
        if viewed is not None:
            return viewed
        if target in (torch.flatten, "flatten"):
            given = dict(zip(("start_dim", "end_dim"), rest, strict=False)) | named
            return add_flatten(program, value, given.get("start_dim", 0), given.get("end_dim", -1))
        if target in (operator.mul, torch.mul, "mul", operator.truediv) and len(rest) == 1:
            if isinstance(rest[0], (int, float)):
                factor = 1 / rest[0] if target is operator.truediv else float(rest[0])
                return program.add(Scale(factor), value, shape=value.shape, last=value.last)
            return None
        if target in (operator.sub, torch.sub, "sub") and len(rest) == 1 and not named:
            if type(rest[0]) in (int, float):
                return program.add(Shift(-rest[0]), value, shape=value.shape, last=value.last)
            return None
        if target in (torch.mean, "mean"):
            return self._mean(value, dict(zip(("dim", "keepdim"), rest, strict=False)) | named)
        tokens = len(value.shape) == 2
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

    def _mean(self, value: Value, given: dict[str, Any]) -> Value | None:
        """Read a mean over tokens, or over the places of each channel."""
        program, axes = self._program, given.pop("dim", None)
        keeps = given.pop("keepdim", False)
        rank = len(value.shape)
        axes = axes if isinstance(axes, (tuple, list)) else (axes,)
        if given or not all(type(it) is int for it in axes):
            return None
        over = sorted(it % (rank + 1) for it in axes)
        if over == [1] and rank == 2 and not keeps:
            value = program.turned(value, last=False)
            return program.add(MeanOverTokens(), value, shape=value.shape[1:], last=False)
        if over != list(range(2, rank + 1)) or rank not in (2, 3):
            return None
        image = as_image(program, value) if rank == 2 else value
        found = add_mean_over_places(program, image)
        return add_reshape(program, found, (value.shape[0], *[1] * (rank - 1))) if keeps else found


class _Attended:
    """What an attention returns: its output, and weights that nobody may use."""

    def __init__(self, value: Value) -> None:
        self.value = value
