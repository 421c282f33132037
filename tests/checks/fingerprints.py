"""What a machine remembers, as text: equal before and after an input that must change nothing.

Walks all that hangs on an object, whatever its parts are called. Order counts, as machines go
through their dicts in order. Functions count by name only.
"""

import hashlib
from collections import deque
from collections.abc import Mapping
from enum import Enum
from itertools import count
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import msgspec
import numpy as np

MEMOS = ("_owned", "_first_of", "_reached_by", "_sorted_rounds")
"""Attributes that keep what was worked out from others: of a session's chunks, and of adverts."""

PLAIN = (type(None), bool, int, float, str, bytes, bytearray, Enum)
FUNCTIONS = (FunctionType, BuiltinFunctionType, MethodType, type)


def fingerprint(thing: Any) -> str:
    """Digest all that is reachable from an object."""
    seen: dict[int, int] = {}
    stack = [thing]
    texts: list[str] = []
    while stack:
        one = stack.pop()
        text, parts = _look_at(one, seen)
        texts.append(text)
        stack.extend(reversed(parts))
    digest = hashlib.blake2b("\0".join(texts).encode(), digest_size=16)
    return digest.hexdigest()


def _look_at(one: Any, seen: dict[int, int]) -> tuple[str, list[Any]]:
    """Return an object's own text, and what it refers to."""
    if isinstance(one, PLAIN):
        return repr(one), []
    if id(one) in seen:
        return f"again {seen[id(one)]}", []
    seen[id(one)] = len(seen)
    name = type(one).__name__
    if isinstance(one, np.ndarray):
        return f"{one.dtype}{one.shape}{hashlib.blake2b(one.tobytes()).hexdigest()}", []
    if isinstance(one, FUNCTIONS):
        return getattr(one, "__qualname__", name), []
    if isinstance(one, count):
        return repr(one), []
    parts = _parts_of(one)
    return f"{name} {len(parts)}", parts


def _parts_of(one: Any) -> list[Any]:
    if isinstance(one, Mapping):
        return [part for item in one.items() for part in item]
    if isinstance(one, (set, frozenset)):
        return sorted(one, key=repr)
    if isinstance(one, (list, tuple, deque)):
        return list(one)
    if isinstance(one, msgspec.Struct):
        return [getattr(one, field) for field in one.__struct_fields__]
    fields = dict(getattr(one, "__dict__", {}))
    for kind in type(one).__mro__:
        for slot in getattr(kind, "__slots__", ()):
            if hasattr(one, slot):
                fields[slot] = getattr(one, slot)
    return [part for name, part in fields.items() if name not in MEMOS]
