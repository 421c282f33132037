"""From a table's values to what the model gets, by the schema's constants alone."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from p2pfl.learner.tabular.schema import (
    ONE_HOT_MAX,
    BooleanColumn,
    CategoryColumn,
    NumberColumn,
    Schema,
)
from p2pfl.learner.tabular.values import AnyColumn, Numbers, Values

Floats = npt.NDArray[np.float32]
EMBEDDING_MAX = 32


@dataclass(frozen=True)
class Embedded:
    """A column of many categories: its name, number of codes, and length of the embedding."""

    name: str
    codes: int
    length: int


class Features:
    """What the model gets of each row: plain inputs, then a code for each embedded column.

    Attributes:
        names: of the plain inputs, in order.
        embedded: the columns whose categories the model embeds, in order.
    """

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self.names: list[str] = []
        embedded = []
        for name, column in schema.inputs.items():
            if isinstance(column, CategoryColumn) and is_embedded(column):
                # Half as many as categories: a usual rule, up to a bound.
                length = min(EMBEDDING_MAX, (column.code_count + 1) // 2)
                embedded.append(Embedded(name, column.code_count, length))
            elif isinstance(column, CategoryColumn):
                others = ("other",) if column.unknown == "other" else ()
                self.names += [f"{name} = {it}" for it in (*column.categories, *others)]
            else:
                self.names.append(name)
            if column.indicator:
                self.names.append(f"{name} is missing")
        self.embedded = tuple(embedded)

    @property
    def count(self) -> int:
        """Numbers of a row."""
        return len(self.names) + len(self.embedded)

    def inputs(self, values: Values) -> Floats:
        """Return what the model gets, float32[n, count]; missing values are filled in by rule."""
        plain: list[Numbers] = []
        codes: list[Numbers] = []
        for name, column in self._schema.inputs.items():
            held = values.columns[name]
            lacks = np.isnan(held)
            filled = np.where(lacks, _filler(column), held)
            if isinstance(column, CategoryColumn) and is_embedded(column):
                codes.append(filled)
            elif isinstance(column, CategoryColumn):
                plain += [(filled == code).astype(np.float64) for code in range(column.code_count)]
            elif isinstance(column, BooleanColumn):
                plain.append(filled)
            else:
                mean, deviation = _constants(column)
                plain.append((filled - mean) / deviation)
            if column.indicator:
                plain.append(lacks.astype(np.float64))
        if not plain and not codes:
            return np.zeros((values.row_count, 0), np.float32)
        return np.stack([*plain, *codes], axis=1).astype(np.float32)

    def targets(self, values: Values) -> npt.NDArray[Any]:
        """Return the targets: int64[n] classes, or float32[n], standardised."""
        held = values.columns[self._schema.target]
        column = self._schema.columns[self._schema.target]
        if isinstance(column, NumberColumn):
            mean, deviation = _constants(column)
            return ((held - mean) / deviation).astype(np.float32)
        return held.astype(np.int64)


def is_embedded(column: CategoryColumn) -> bool:
    """Say whether a column has too many categories for an input each."""
    return column.code_count > ONE_HOT_MAX


def _filler(column: AnyColumn) -> float:
    if isinstance(column, CategoryColumn):
        known = column.most_frequent
        return float(column.categories.index(known)) if known is not None else 0.0
    if isinstance(column, BooleanColumn):
        return float(bool(column.most_frequent))
    return _constants(column)[0]


def _constants(column: AnyColumn) -> tuple[float, float]:
    constants = None if isinstance(column, (CategoryColumn, BooleanColumn)) else column.constants()
    assert constants is not None, "the schema refuses numbers without constants"
    return constants
