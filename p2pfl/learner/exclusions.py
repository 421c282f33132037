"""Rows that a peer leaves out of its trainings: those of persons, or other units, that objected.

The list is the peer's own: a text file with one unit a line, as the task's rows name them in one of
`Data.columns`. It is read before each training. What a model has learned before stays in it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from p2pfl.learner.errors import LearningError
from p2pfl.learner.partitions import Partition
from p2pfl.learner.tasks.base import Array

LIST_BYTES_MAX = 64 * 2**20
"""Of a list: some millions of units."""


@dataclass(frozen=True)
class Excluded:
    """Which units are left out.

    Attributes:
        column: of `Data.columns`, which names each row's unit.
        units: as text.
    """

    column: str
    units: frozenset[str]


def read_excluded(path: Path, column: str) -> Excluded:
    """Read a list of units; blank lines, and those that begin with #, say nothing.

    Raises:
        LearningError: it cannot be read: then nothing is to be trained on.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LIST_BYTES_MAX + 1)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise LearningError(
            f"cannot read the excluded units in {path}: {error.strerror}; nothing is trained on"
            " without them (an empty file excludes nobody)"
        ) from None
    except UnicodeDecodeError:
        raise LearningError(f"the excluded units in {path} are no UTF-8 text") from None
    if len(content) > LIST_BYTES_MAX:
        raise LearningError(f"{path} is longer than {LIST_BYTES_MAX} bytes")
    lines = (line.strip() for line in text.splitlines())
    return Excluded(column, frozenset(it for it in lines if it and not it.startswith("#")))


def without_excluded(
    partition: Partition, columns: Mapping[str, Array], excluded: Excluded, task: str
) -> Partition:
    """Return a partition without the rows of excluded units, for training and for measuring.

    Raises:
        LearningError: the task's rows have no such column, or a peer has no rows left.
    """
    if excluded.column not in columns:
        known = ", ".join(sorted(columns)) or "none"
        raise LearningError(
            f"task {task!r} names no column {excluded.column!r} to exclude units by; it has:"
            f" {known}"
        )
    units = np.array([unit_text(it) for it in columns[excluded.column]])
    is_kept = ~np.isin(units, sorted(excluded.units))
    rows = [partition.rows_of(peer) for peer in range(len(partition.offsets) - 1)]
    kept = [it[is_kept[it]] for it in rows]
    if any(len(it) == 0 for it in kept):
        raise LearningError(f"task {task!r}: all rows are those of excluded units")
    offsets = np.cumsum([0, *(len(it) for it in kept)])
    return replace(partition, rows=np.concatenate(kept), offsets=offsets)


def unit_text(unit: Any) -> str:
    """Write a unit as its list has it: whole numbers without a decimal point."""
    value = unit.item() if isinstance(unit, np.generic) else unit
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value.decode() if isinstance(value, bytes) else str(value)
