"""A federated mean and variance: the constants of a schema, by one masked sum over all members.

Every member must standardise by the same constants before training begins, and none should show
its own. So a first, short run has this task in place of ``tabular``: a member's 'model' is the
means of its own training rows, and the average of all models is what all rows have together. It
travels as any model does: where sums are masked only the sum is seen, and where members count by
their rows the result is that of the pooled rows. The ranges of the schema bound every entry.

Departure from summing counts, sums and squares as such: each entry is a mean over a member's rows
in [-1, 1], shrunk so that the whole has a norm of at most 1, well below the clip of an update.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from p2pfl.learner.errors import LearningError
from p2pfl.learner.tabular.schema import BooleanColumn, CategoryColumn, NumberColumn, Schema
from p2pfl.learner.tabular.task import agreed_schema, read_sites
from p2pfl.learner.tabular.values import AnyColumn, Numbers, Values
from p2pfl.learner.tasks.base import Array, Data, Floats, NumpyTask

WHOLE_SHARE = 0.25
"""Of a site's rows, at least, in the one step: the others may be held out."""


class TabularConstants(NumpyTask):
    """Means, deviations and shares of all members' training rows.

    Args:
        schema: every number in it has a range.
        agreed_files: files that all members must have alike.
    """

    description = "a schema's constants, by one sum over all members"

    def __init__(self, schema: Schema, agreed_files: Sequence[Path] = ()) -> None:
        self.schema = schema
        self.agreed_files = tuple(agreed_files)
        for name, column in schema.columns.items():
            if isinstance(column, NumberColumn) and column.range is None:
                raise LearningError(
                    f"columns.{name} has no range, which bounds what one row can do to the sum;"
                    " agree on one"
                )
        self._length = sum(1 for _ in entry_names(schema))

    def data(self, data_dir: Path | None) -> Data:
        """Read the tables: a row is its part in each mean, then the number of rows of its site."""

        def parts(values: Values) -> tuple[Array, Array]:
            parts = np.stack(list(_entries(self.schema, values)), axis=1)
            counts = np.full((len(parts), 1), float(len(parts)))
            inputs = np.concatenate([parts, counts], axis=1).astype(np.float32)
            return inputs, np.zeros(len(inputs), np.float32)

        return read_sites(self.schema, data_dir, parts)

    def initial_vector(self, seed: int) -> Floats:
        """Return zeros."""
        return np.zeros(self._length, np.float32)

    def step(self, vector: Floats, inputs: Array, targets: Array, rate: float) -> float:
        """Put the means of the rows in place of the vector; they must be all rows of a site."""
        rows = float(inputs[:, -1].min())
        if len(inputs) < WHOLE_SHARE * rows:
            raise LearningError(
                f"a step has {len(inputs)} of {rows:.0f} rows, but constants are of all rows: set"
                " training.batch_size to 1000000000, and neither steps nor epochs"
            )
        means = self._means(inputs)
        distance = float(np.abs(vector - means).mean())
        vector[:] = means
        return distance

    def evaluate(self, vector: Floats, inputs: Array, targets: Array) -> dict[str, float]:
        """Return the mean distance to the means of test rows, as loss, and 1 minus it."""
        distance = float(np.abs(vector - self._means(inputs)).mean()) * math.sqrt(self._length)
        return {"accuracy": max(0.0, 1 - distance), "loss": distance}

    def _means(self, inputs: Array) -> Floats:
        means = inputs[:, :-1].mean(axis=0, dtype=np.float64) / math.sqrt(self._length)
        shrunk: Floats = means.astype(np.float32)
        return shrunk


def make_constants(folder: Path | None, /, schema: str | Mapping[str, Any]) -> TabularConstants:
    """Make the task from its option, the schema, as `make_tabular` does."""
    agreed, files = agreed_schema(folder, schema)
    return TabularConstants(agreed, files)


def entry_names(schema: Schema) -> Iterator[tuple[str, str]]:
    """Name the entries of the vector: column, and what of it."""
    for name, column in schema.columns.items():
        if isinstance(column, NumberColumn):
            yield from ((name, what) for what in ("present", "first", "second"))
        elif isinstance(column, CategoryColumn):
            yield from ((name, category) for category in column.categories)
        elif isinstance(column, BooleanColumn):
            yield from ((name, what) for what in ("false", "true"))


def _entries(schema: Schema, values: Values) -> Iterator[Numbers]:
    """Yield each row's part in each entry, in the order of `entry_names`."""
    for name, column in schema.columns.items():
        held = values.columns[name]
        if isinstance(column, NumberColumn):
            middle, half = _scale(column)
            known = ~np.isnan(held)
            scaled = np.where(known, (held - middle) / half, 0.0)
            yield known.astype(np.float64)
            yield scaled
            yield scaled**2
        elif isinstance(column, (CategoryColumn, BooleanColumn)):
            codes = len(column.categories) if isinstance(column, CategoryColumn) else 2
            for code in range(codes):
                yield (held == code).astype(np.float64)


def with_constants(schema: Schema, vector: Floats) -> dict[str, Any]:
    """Return a schema's document with the constants of a vector in it.

    Means and deviations of numbers; where a missing category or boolean is filled in, the most
    frequent one. Other figures are left as they are.

    Raises:
        LearningError: the vector is of another schema, or the rows have no values of a column.
    """
    names = list(entry_names(schema))
    if vector.shape != (len(names),):
        raise LearningError(
            f"the model has {vector.size} entries, but constants of this schema have {len(names)}:"
            " take the model of a run of 'tabular-constants' with this schema"
        )
    found = dict(zip(names, vector.astype(np.float64) * math.sqrt(len(names)), strict=True))
    document: dict[str, Any] = schema.model_dump(mode="python", exclude_defaults=True)
    for name, column in schema.columns.items():
        table = document["columns"][name]
        table["type"] = column.type
        if isinstance(column, NumberColumn):
            present, first, second = (found[name, it] for it in ("present", "first", "second"))
            if present < 1e-6:
                raise LearningError(f"no member has a value of column {name!r}")
            middle, half = _scale(column)
            mean = first / present
            deviation = math.sqrt(max(0.0, second / present - mean**2))
            table["mean"] = float(f"{middle + half * mean:.6g}")
            # One value alone has no deviation: it is the mean then, whatever it is divided by.
            table["deviation"] = float(f"{half * max(deviation, 1e-6):.6g}")
        elif column.missing == "most-frequent":
            table["most_frequent"] = _most_frequent(column, name, found)
    return document


def _most_frequent(column: AnyColumn, name: str, found: dict[tuple[str, str], Any]) -> Any:
    if isinstance(column, CategoryColumn):
        return max(column.categories, key=lambda category: found[name, category])
    return bool(found[name, "true"] > found[name, "false"])


def _scale(column: NumberColumn) -> tuple[float, float]:
    """Return the middle and half the length of a range."""
    assert column.range is not None, "refused where the task is made"
    low, high = column.range
    return (low + high) / 2, (high - low) / 2
