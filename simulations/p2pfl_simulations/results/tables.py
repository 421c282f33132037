"""A run's tables as Arrow tables: its folder keeps them as Parquet, pandas is given the same."""

from collections.abc import Sequence
from dataclasses import MISSING, fields
from typing import Literal, TypeAlias, TypeVar, get_args, get_type_hints

import pyarrow as pa

from p2pfl_simulations.results.run import EventRow, PeerRow, RoundRow, Run

TableName: TypeAlias = Literal["rounds", "peers", "events", "population"]
TABLES: tuple[TableName, ...] = get_args(TableName)

RowT = TypeVar("RowT", RoundRow, PeerRow, EventRow)

_ARROW_TYPES = {int: pa.int64(), float: pa.float64(), str: pa.string()}


def table_of(run: Run, name: TableName) -> pa.Table:
    """Return one of a run's tables; docs/simulate.md tells of its columns."""
    if name == "rounds":
        return _table(RoundRow, run.rounds)
    if name == "peers":
        return _table(PeerRow, run.peers)
    if name == "events":
        return _table(EventRow, run.events)
    return _population(run)


def rows_of(row: type[RowT], table: pa.Table) -> list[RowT]:
    """Return a table's rows; a column that came later takes its default in an older folder.

    Raises:
        ValueError: it has other columns than this version writes.
    """
    names = table.schema.names
    needed = [column.name for column in fields(row) if column.default is MISSING]
    known = [column.name for column in fields(row)]
    if [name for name in known if name in names] != names or not set(needed) <= set(names):
        raise ValueError(f"its table of {row.__name__} has other columns than this version writes")
    return [
        row(**dict(zip(names, values, strict=True)))
        for values in zip(*(table[name].to_pylist() for name in names), strict=True)
    ]


def _table(row: type[RowT], rows: Sequence[RowT]) -> pa.Table:
    schema = _schema(row)
    columns = [
        pa.array([getattr(r, name) for r in rows], schema.field(name).type) for name in schema.names
    ]
    return pa.table(columns, schema=schema)


def _schema(row: type[RowT]) -> pa.Schema:
    """Derive a table's columns from its row: a figure that may be None is a nullable float."""
    hints = get_type_hints(row)
    columns = []
    for column in fields(row):
        hint = hints[column.name]
        nullable = hint not in _ARROW_TYPES
        columns.append(
            pa.field(column.name, pa.float64() if nullable else _ARROW_TYPES[hint], nullable)
        )
    return pa.schema(columns)


def _population(run: Run) -> pa.Table:
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
