"""Parquet files, row by row, by pyarrow."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from p2pfl.learner.errors import LearningError
from p2pfl.learner.tabular.headers import check_header

BATCH_ROWS = 10_000
"""Held in memory at a time."""


def parquet_columns(path: Path) -> list[str]:
    """Return the names of a Parquet file's columns; see `parquet_rows`."""
    with _opened(path) as file:
        return list(file.schema_arrow.names)


def parquet_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, Sequence[Any]]]:
    """Yield rows of a Parquet file, each with its number from 1 and the values of `columns`.

    Raises:
        LearningError: it cannot be read, lacks a column, or has no rows.
    """
    number = 0
    with _opened(path) as file:
        check_header(path, columns, file.schema_arrow.names)
        for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=list(columns)):
            lists = [batch.column(name).to_pylist() for name in columns]
            for values in zip(*lists, strict=True):
                number += 1
                yield number, values
    if not number:
        raise LearningError(f"{path} has no rows")


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            yield file
    except OSError as error:
        raise LearningError(f"cannot read {path}: {_one_line(error)}") from None
    except pa.ArrowException as error:
        raise LearningError(f"{path} is no Parquet file: {_one_line(error)}") from None


def _one_line(error: Exception) -> str:
    return getattr(error, "strerror", None) or " ".join(str(error).split())
