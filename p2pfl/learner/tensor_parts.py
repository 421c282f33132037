"""A model's vector by its tensors: which of them stand out, for people."""

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from p2pfl_gossip.actions import Vector
from p2pfl_gossip.description import Description


class Beyond(NamedTuple):
    """Entries of a tensor beyond a limit: how many, of how many, and the largest magnitude."""

    values: int
    size: int
    largest: float


NAMED_MAX = 4
"""Tensors that one line names; of more their number is told."""


def describe_beyond(tensors: Mapping[str, Beyond]) -> str:
    """Name tensors with entries beyond a limit, as part of a sentence."""
    named = [
        f"{it.values} of {it.size} values of {name} (up to {it.largest:.3g})"
        for name, it in list(tensors.items())[:NAMED_MAX]
    ]
    more = len(tensors) - len(named)
    return ", ".join(named) + (f", and some of {more} tensors more" if more else "")


def count_beyond(description: Description, vector: Vector, limit: float) -> dict[str, Beyond]:
    """Count a model's entries of magnitude above `limit`, by the tensors that have some."""
    found = {}
    for name, part in _parts(description, vector):
        magnitudes = np.abs(part)
        count = int(np.count_nonzero(magnitudes > limit))
        if count:
            found[name] = Beyond(count, len(part), float(magnitudes.max()))
    return found


def largest_part(description: Description, update: Vector) -> tuple[str, float]:
    """Name the tensor with the largest norm in an update, and its share of the whole norm."""
    norms = [
        (float(np.linalg.norm(part.astype(np.float64))), name)
        for name, part in _parts(description, update)
    ]
    whole = math.sqrt(sum(norm**2 for norm, _ in norms))
    largest, name = max(norms, key=lambda it: it[0])
    return name, largest / whole if whole else 0.0


def _parts(description: Description, vector: Vector) -> Iterator[tuple[str, Vector]]:
    """Yield each tensor's entries, by name."""
    start = 0
    for tensor in description.tensors:
        size = math.prod(tensor.shape)
        yield tensor.name, vector[start : start + size]
        start += size
