"""Sizes in a forward, and views by them: `x.view(x.size(0), -1)`."""

import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from p2pfl.learner.engines.stacked.program import NotStackable, Program, Value
from p2pfl.learner.engines.stacked.shaping import add_reshape


class Batch:
    """The number of rows of a batch, which is another from step to step."""


BATCH = Batch()
_ARITHMETIC = (operator.mul, operator.floordiv, operator.add, operator.sub)


def size_of(target: Any, arguments: Sequence[Any]) -> Any:
    """Return what a function says of sizes; None where it is none of that kind."""
    first = arguments[0] if arguments else None
    if isinstance(first, Value):
        sizes = (BATCH, *first.shape)
        if target == "size" or (target is getattr and arguments[1] == "shape"):
            return sizes[arguments[1]] if target == "size" and len(arguments) > 1 else sizes
        if target == "dim" or (target is getattr and arguments[1] == "ndim"):
            return len(sizes)
    elif isinstance(first, tuple) and target is operator.getitem:
        return first[arguments[1]]
    elif target in _ARITHMETIC and all(type(it) is int for it in arguments):
        return target(*arguments)
    return None


def add_view(
    program: Program, target: Any, value: Value, rest: Sequence[Any], named: Mapping[str, Any]
) -> Value | None:
    """Append a view of rows in another shape; None where the function is none of that kind."""
    if target in ("view", "reshape", torch.reshape):
        given = (*rest, *named.values())
        if len(given) == 1 and isinstance(given[0], (tuple, list)):
            given = tuple(given[0])
        return _viewed(program, value, given)
    if target == "contiguous":
        return value
    if target in ("unsqueeze", torch.unsqueeze, "squeeze", torch.squeeze):
        axis = named.get("dim", rest[0] if rest else None)
        if type(axis) is not int:
            raise NotStackable("a squeeze of whichever axes there are")
        if target in ("unsqueeze", torch.unsqueeze):
            axis %= len(value.shape) + 2
            shape = (*value.shape[: axis - 1], 1, *value.shape[axis - 1 :])
        else:
            axis %= len(value.shape) + 1
            is_one = axis > 0 and value.shape[axis - 1] == 1
            shape = (*value.shape[: axis - 1], *value.shape[axis:]) if is_one else value.shape
        if axis < 1:
            raise NotStackable("a squeeze of the batch")
        return add_reshape(program, value, shape)
    return None


def _viewed(program: Program, value: Value, sizes: tuple[Any, ...]) -> Value:
    """View rows by sizes, the first of which is that of the batch."""
    rest = sizes[1:]
    is_batch = bool(sizes) and (sizes[0] is BATCH or (sizes[0] == -1 and -1 not in rest))
    if not is_batch or not all(type(it) is int for it in rest) or rest.count(-1) > 1:
        raise NotStackable("a view across rows of the batch")
    if -1 in rest:
        known = -math.prod(rest)
        if known <= 0 or math.prod(value.shape) % known:
            raise NotStackable(f"a view of rows of {list(value.shape)} as {list(rest)}")
        left = math.prod(value.shape) // known
        rest = tuple(left if it == -1 else it for it in rest)
    return add_reshape(program, value, rest)
