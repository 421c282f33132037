"""Where a site's rows are: a file, or a query. What is written otherwise there, a site file says.

A folder has one table a site: ``berlin.csv``, ``oslo.parquet``. Where a table needs words of its
own, ``berlin.site.toml`` beside it says them: its delimiter, its decimal comma, other names of
columns, or a database in place of a file.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from p2pfl.explaining import explain
from p2pfl.learner.errors import LearningError
from p2pfl.learner.settings import SettingsTable
from p2pfl.learner.tabular.delimited import delimited_columns, delimited_rows
from p2pfl.learner.tabular.headers import SITE_FILE, own_words
from p2pfl.learner.tabular.parquet import parquet_columns, parquet_rows
from p2pfl.learner.tabular.schema import read_toml
from p2pfl.learner.tabular.sql import query_columns, query_rows, read_query

SUFFIXES = (".csv", ".tsv", ".parquet", ".sql")
SITES_MAX = 100_000


class SiteFile(SettingsTable):
    """A site's own words, ``NAME.site.toml``: nothing here changes what other members compute."""

    file: Path | None = None
    """Its table, beside this file: CSV, Parquet, or a query in SQL."""
    url: str | None = None
    """A database, as SQLAlchemy names it; ``"env:NAME"`` takes it from an environment variable, so
    that no password stands in a file. Without it, DuckDB answers the query."""
    query: str | None = None
    """What to ask the database; SELECT."""
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """Of a CSV file; if not given, that of comma, semicolon and tab which parts its first line."""
    decimal: Annotated[str, Field(pattern=r"^[.,]$")] = "."
    """The mark in its numbers."""
    encoding: str = "utf-8"
    """Of a CSV file's letters, as Python names it."""
    date_format: str = "%Y-%m-%d"
    """How it writes days, as Python's strptime has it."""
    rename: Mapping[str, str] = Field(default_factory=dict)
    """Its own name of a column -> the schema's."""
    values: Mapping[str, Mapping[str, str]] = Field(default_factory=dict)
    """By the schema's name of a column: its own value -> the schema's."""

    @model_validator(mode="after")
    def _names_one_source(self) -> "SiteFile":
        if (self.file is None) == (self.query is None):
            raise ValueError('give either file or query, such as file = "berlin.csv"')
        if self.url is not None and self.query is None:
            raise ValueError("url takes a query")
        if len(set(self.rename.values())) < len(self.rename):
            raise ValueError("rename gives two columns the same name")
        return self


@dataclass(frozen=True)
class Site:
    """One site's table.

    Attributes:
        name: for people.
        table: its file, or the site file that has the query.
        words: how it is written.
        unit: what rows are counted in: lines of a file, or rows of a result.
    """

    name: str
    table: Path
    words: SiteFile = field(default_factory=lambda: SiteFile(file=Path()))

    @property
    def unit(self) -> str:
        """What its rows are counted in: lines of a text, or rows."""
        return "line" if self.words.query is None and self.table.suffix in _TEXT else "row"

    def columns(self) -> list[str]:
        """Return the names of its columns, its own ones in the schema's words.

        Raises:
            LearningError: it cannot be read.
        """
        words, table = self.words, self.table
        if words.query is not None:
            own = query_columns(words.query, words.url, source=table)
        elif table.suffix == ".sql":
            own = query_columns(read_query(table), None, source=table)
        elif table.suffix == ".parquet":
            own = parquet_columns(table)
        else:
            own = delimited_columns(table, delimiter=words.delimiter, encoding=words.encoding)
        return [words.rename.get(name, name) for name in own]

    def rows(self, columns: Sequence[str]) -> Iterator[tuple[int, Sequence[Any]]]:
        """Yield its rows, each with its number from 1 and the values of `columns`, in order.

        A text's values are strings. Those of Parquet and SQL are Python's own, None if missing.

        Raises:
            LearningError: it cannot be read, or lacks a column; one line that names the place.
        """
        theirs = {schema: own for own, schema in self.words.rename.items()}
        wanted = [theirs.get(name, name) for name in columns]
        translated = [
            (place, self.words.values[name])
            for place, name in enumerate(columns)
            if name in self.words.values
        ]
        for number, found in self._source(wanted):
            if not translated:
                yield number, found
                continue
            values = list(found)
            for place, translation in translated:
                values[place] = translation.get(str(values[place]), values[place])
            yield number, values

    def _source(self, columns: Sequence[str]) -> Iterator[tuple[int, Sequence[Any]]]:
        words = self.words
        if words.query is not None:
            return query_rows(words.query, words.url, columns, source=self.table)
        if self.table.suffix == ".sql":
            return query_rows(read_query(self.table), None, columns, source=self.table)
        if self.table.suffix == ".parquet":
            return parquet_rows(self.table, columns)
        return delimited_rows(
            self.table, columns, delimiter=words.delimiter, encoding=words.encoding
        )


_TEXT = (".csv", ".tsv")


def find_sites(place: Path) -> list[Site]:
    """Find the tables at a place: one, if it is a file; those of a folder, in order of their names.

    Raises:
        LearningError: there is none, or a site file is wrong.
    """
    if place.is_file():
        return [_site(place)]
    try:
        files = sorted(path for path in place.iterdir() if path.is_file())
    except OSError as error:
        raise LearningError(f"cannot read the data in {place}: {error.strerror}") from None
    described = [_described(path) for path in files if path.name.endswith(SITE_FILE)]
    covered = {site.table for site in described}
    plain = [_site(path) for path in files if path.suffix in SUFFIXES and path not in covered]
    sites = sorted(described + plain, key=lambda site: site.name)
    if not sites:
        raise LearningError(
            f"there is no table in {place}: put one file a site there ({', '.join(SUFFIXES)}), or a"
            f" NAME{SITE_FILE} with a query"
        )
    if len(sites) > SITES_MAX:
        raise LearningError(f"{place} has {len(sites)} tables; at most {SITES_MAX} are read")
    names = [site.name for site in sites]
    for earlier, later in pairwise(names):
        if earlier == later:
            raise LearningError(f"{place} has two tables of the name {earlier}; rename one")
    return sites


def _site(path: Path) -> Site:
    if path.name.endswith(SITE_FILE):
        return _described(path)
    if path.suffix not in SUFFIXES:
        raise LearningError(
            f"{path} is no table that can be read; known are {', '.join(SUFFIXES)}, and a site"
            f" file NAME{SITE_FILE}"
        )
    beside = own_words(path)
    if beside.is_file():
        site = _described(beside)
        if site.table == path:
            return site
    return Site(path.stem, path)


def _described(path: Path) -> Site:
    document = read_toml(path, "the site file")
    try:
        words = SiteFile.model_validate(document)
    except ValidationError as error:
        lines = explain(error, document, SiteFile, source=str(path)).splitlines()
        raise LearningError(lines[0]) from None
    table = path if words.file is None else path.parent / words.file
    if words.file is not None and table.suffix not in SUFFIXES:
        raise LearningError(f"{path}: file names {table.name}; known are {', '.join(SUFFIXES)}")
    return Site(path.name.removesuffix(SITE_FILE), table, words)
