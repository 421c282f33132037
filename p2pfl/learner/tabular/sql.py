"""Rows by a query in SQL: of files, by DuckDB; of a database, by SQLAlchemy.

Both are extras. A URL may hold a password: it never comes into a message.
"""

import importlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from p2pfl.learner.errors import LearningError
from p2pfl.learner.tabular.headers import check_header

BATCH_ROWS = 10_000
"""Held in memory at a time."""

QUERY_BYTES_MAX = 1024 * 1024
FROM_ENVIRONMENT = "env:"


def read_query(path: Path) -> str:
    """Read a query from a file.

    Raises:
        LearningError: it cannot be read, or is no text.
    """
    try:
        content = path.read_bytes()
        if len(content) > QUERY_BYTES_MAX:
            raise LearningError(f"{path} is longer than {QUERY_BYTES_MAX} bytes, and no query")
        return content.decode("utf-8-sig")
    except OSError as error:
        raise LearningError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise LearningError(f"{path} is no query: it is no UTF-8 text") from None


def query_columns(query: str, url: str | None, *, source: Path) -> list[str]:
    """Return the names of a query's columns; see `query_rows`."""
    rows = _duckdb(query, source) if url is None else _database(query, url, source)
    return [str(name) for name in next(rows)]


def query_rows(
    query: str, url: str | None, columns: Sequence[str], *, source: Path
) -> Iterator[tuple[int, Sequence[Any]]]:
    """Yield the rows that a query gives, each with its number from 1 and the values of `columns`.

    Args:
        query: SELECT. DuckDB finds files by their names beside `source`.
        url: a database, as SQLAlchemy names it, or ``env:NAME``; None asks DuckDB.
        columns: names in the result.
        source: the file that has the query.

    Raises:
        LearningError: what is needed is not installed, or the query cannot be answered.
    """
    rows = _duckdb(query, source) if url is None else _database(query, url, source)
    found = next(rows)
    places = check_header(source, columns, [str(name) for name in found])
    number = 0
    for number, values in enumerate(rows, start=1):
        yield number, [values[place] for place in places]
    if not number:
        raise LearningError(f"{source}: its query gives no rows")


def _duckdb(query: str, source: Path) -> Iterator[Sequence[Any]]:
    """Yield the names of a result's columns, then its rows."""
    duckdb = _imported("duckdb", source)
    try:
        with duckdb.connect(":memory:") as connection:
            folder = str(source.parent.resolve()).replace("'", "''")
            connection.execute(f"SET file_search_path = '{folder}'")
            result = connection.execute(query)
            if not result.description:
                raise LearningError(f"{source}: its query gives no result; it is to be a SELECT")
            yield [column[0] for column in result.description]
            while batch := result.fetchmany(BATCH_ROWS):
                yield from batch
    except duckdb.Error as error:
        raise LearningError(f"{source}: DuckDB: {_first_line(error)}") from None


def _database(query: str, url: str, source: Path) -> Iterator[Sequence[Any]]:
    """Yield the names of a result's columns, then its rows."""
    sqlalchemy = _imported("sqlalchemy", source)
    if url.startswith(FROM_ENVIRONMENT):
        name = url.removeprefix(FROM_ENVIRONMENT)
        if name not in os.environ:
            raise LearningError(f"{source}: the environment has no {name} with the database's URL")
        url = os.environ[name]
    try:
        address = sqlalchemy.make_url(url)
    except sqlalchemy.exc.ArgumentError:
        raise LearningError(
            f"{source}: url is no database's URL; it is dialect+driver://user:password@host/name"
        ) from None
    try:
        engine = sqlalchemy.create_engine(address)
    except ImportError as error:
        raise LearningError(
            f"{source}: {address.drivername} needs a driver that is not installed: {error}"
        ) from None
    except sqlalchemy.exc.ArgumentError as error:
        raise LearningError(f"{source}: {_hidden(error, address)}") from None
    try:
        with engine.connect() as connection:
            result = connection.execution_options(stream_results=True).execute(
                sqlalchemy.text(query)
            )
            if not result.returns_rows:
                raise LearningError(f"{source}: its query gives no result; it is to be a SELECT")
            yield list(result.keys())
            for part in result.partitions(BATCH_ROWS):
                yield from part
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise LearningError(f"{source}: {_hidden(error, address)}") from None
    finally:
        engine.dispose()


def _imported(package: str, source: Path) -> Any:
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError:
        raise LearningError(
            f"{source} needs {package}, which is not installed: pip install 'p2pfl-peer[tabular]'"
        ) from None


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _hidden(error: Exception, address: Any) -> str:
    """Return an error's first line, without the password that it may quote."""
    told = _first_line(getattr(error, "orig", None) or error)
    password = address.password
    return told.replace(str(password), "***") if password else told
