"""Functions and methods in a forward that do what a module does, as that module."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from p2pfl.learner.engines.stacked.program import NotStackable


def _activation(kind: type[nn.Module]) -> Callable[..., nn.Module]:
    def make(inplace: bool = False) -> nn.Module:
        return kind()

    return make


def _leaky_relu(negative_slope: float = 0.01, inplace: bool = False) -> nn.Module:
    return nn.LeakyReLU(negative_slope)


def _dropout(kind: Callable[[float], nn.Module]) -> Callable[..., nn.Module]:
    def make(p: float = 0.5, training: bool = True, inplace: bool = False) -> nn.Module:
        return kind(p) if training else nn.Identity()  # A module is read as it trains.

    return make


def _log_softmax(dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> nn.Module:
    if dtype is not None:
        raise NotStackable("a log_softmax to another type")
    return nn.LogSoftmax(dim)


_MAKERS: dict[Any, Callable[..., nn.Module]] = {
    **dict.fromkeys((torch.relu, functional.relu, "relu"), _activation(nn.ReLU)),
    **dict.fromkeys((torch.tanh, functional.tanh, "tanh"), _activation(nn.Tanh)),
    **dict.fromkeys((torch.sigmoid, functional.sigmoid, "sigmoid"), _activation(nn.Sigmoid)),
    functional.silu: _activation(nn.SiLU),
    functional.gelu: nn.GELU,
    functional.leaky_relu: _leaky_relu,
    functional.max_pool1d: nn.MaxPool1d,
    functional.max_pool2d: nn.MaxPool2d,
    functional.avg_pool1d: nn.AvgPool1d,
    functional.avg_pool2d: nn.AvgPool2d,
    functional.adaptive_avg_pool1d: nn.AdaptiveAvgPool1d,
    functional.adaptive_avg_pool2d: nn.AdaptiveAvgPool2d,
    functional.dropout: _dropout(nn.Dropout),
    functional.dropout1d: _dropout(nn.Dropout1d),
    functional.dropout2d: _dropout(nn.Dropout2d),
    **dict.fromkeys((functional.log_softmax, torch.log_softmax, "log_softmax"), _log_softmax),
}
_POOLING_ARGUMENTS = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
_ORDERS: dict[Any, tuple[str, ...]] = {
    # Where a function takes its arguments in another order than the module.
    functional.max_pool1d: _POOLING_ARGUMENTS,
    functional.max_pool2d: _POOLING_ARGUMENTS,
}


def module_of(target: Any, rest: Sequence[Any], named: Mapping[str, Any]) -> nn.Module | None:
    """Return the module that does what a function does; None where there is none.

    Args:
        target: the function, or the name of a method.
        rest: its arguments behind the value.
        named: those by name.

    Raises:
        NotStackable: its arguments are no constants, or others than the module has.
    """
    make = _MAKERS.get(target)
    if make is None:
        return None
    if not all(_is_constant(it) for it in (*rest, *named.values())):
        raise NotStackable(f"{name_of(target)}() of what is no constant")
    given = dict(zip(_ORDERS[target], rest, strict=False)) if target in _ORDERS else None
    try:
        return make(*rest, **named) if given is None else make(**given, **named)
    except (TypeError, ValueError) as error:
        raise NotStackable(f"{name_of(target)}(): {error}") from None


def _is_constant(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return all(_is_constant(it) for it in value)
    return value is None or isinstance(value, (bool, int, float, str))


def name_of(target: Any) -> str:
    """Name a function or a method for people."""
    return target if isinstance(target, str) else str(target.__name__)
