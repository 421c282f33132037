"""A run's tables as Arrow tables: its folder keeps them as Parquet, pandas is given the same."""

from collections.abc import Sequence
from dataclasses import MISSING, fields
from typing import Any, Literal, TypeAlias, TypeVar, get_args, get_type_hints

import pyarrow as pa

from p2pfl_simulations.results.run import EventRow, GainRow, PeerRow, RoundRow, RunResult

TableName: TypeAlias = Literal["rounds", "peers", "events", "gains", "population"]
TABLES: tuple[TableName, ...] = get_args(TableName)

OPEN = ("own", "common", "validation")
"""Of a peer's row: figures by name, each of which is a column, ``own_accuracy``."""

RowT = TypeVar("RowT", RoundRow, PeerRow, EventRow, GainRow)

_ARROW_TYPES = {int: pa.int64(), float: pa.float64(), str: pa.string()}


def table_of(run: RunResult, name: TableName) -> pa.Table:
    """Return one of a run's tables; docs/simulate.md tells of its columns."""
    if name == "rounds":
        return _table(RoundRow, run.rounds)
    if name == "peers":
        return _table(PeerRow, run.peers)
    if name == "events":
        return _table(EventRow, run.events)
    if name == "gains":
        return _table(GainRow, run.gains)
    return _population(run)


def rows_of(row: type[RowT], table: pa.Table) -> list[RowT]:
    """Return a table's rows; a column that came later takes its default in an older folder.

    Raises:
        ValueError: it has other columns than this version writes.
    """
    known = [column.name for column in fields(row) if column.name not in OPEN]
    groups = [column.name for column in fields(row) if column.name in OPEN]
    figures = [
        (name, group, name.removeprefix(f"{group}_"))
        for name in table.schema.names
        for group in groups
        if name.startswith(f"{group}_")
    ]
    names = [name for name in table.schema.names if name not in {it[0] for it in figures}]
    needed = [
        column.name
        for column in fields(row)
        if column.default is MISSING and column.default_factory is MISSING
    ]
    if [name for name in known if name in names] != names or not set(needed) <= set(names):
        raise ValueError(f"its table of {row.__name__} has other columns than this version writes")
    found = []
    for values in table.to_pylist():
        cells: dict[str, Any] = {name: values[name] for name in names}
        cells |= {group: {} for group in groups}
        for column, group, name in figures:
            if values[column] is not None:
                cells[group][name] = values[column]
        found.append(row(**cells))
    return found


def _table(row: type[RowT], rows: Sequence[RowT]) -> pa.Table:
    schema = _schema(row)
    columns = [
        pa.array([getattr(r, name) for r in rows], schema.field(name).type) for name in schema.names
    ]
    for group in OPEN:
        opened = [getattr(r, group, {}) for r in rows]
        for name in sorted({name for figures in opened for name in figures}):
            schema = schema.append(pa.field(f"{group}_{name}", pa.float64()))
            columns.append(pa.array([figures.get(name) for figures in opened], pa.float64()))
    return pa.table(columns, schema=schema)


def _schema(row: type[RowT]) -> pa.Schema:
    """Derive a table's columns from its row: a figure that may be None is a nullable float."""
    hints = get_type_hints(row)
    columns = []
    for column in fields(row):
        if column.name in OPEN:
            continue
        hint = hints[column.name]
        nullable = hint not in _ARROW_TYPES
        columns.append(
            pa.field(column.name, pa.float64() if nullable else _ARROW_TYPES[hint], nullable)
        )
    return pa.schema(columns)


def _population(run: RunResult) -> pa.Table:
    peers = len(run.sample_counts)
    absent: list[list[int] | None] = [None] * peers
    neighbours = [list(row) for row in run.neighbours] or absent
    return pa.table(
        {
            "peer": pa.array(range(peers), pa.int64()),
            "sample_count": pa.array(run.sample_counts, pa.int64()),
            "label_counts": pa.array(run.label_counts or absent, pa.list_(pa.int64())),
            "neighbours": pa.array(neighbours, pa.list_(pa.int64())),
        }
    )
