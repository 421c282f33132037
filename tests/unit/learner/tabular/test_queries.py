"""Rows by SQL: of files by DuckDB, of a database by SQLAlchemy."""

import importlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from p2pfl.learner.errors import LearningError
from p2pfl.learner.tabular.schema import make_schema
from p2pfl.learner.tabular.sites import find_sites
from p2pfl.learner.tabular.values import read_values

SCHEMA = make_schema(
    {
        "target": "y",
        "columns": {"a": {"type": "number", "range": [0, 9]}, "y": {"type": "boolean"}},
    },
    source="schema",
)


def read(folder: Path) -> list[list[float]]:
    (site,) = find_sites(folder)
    return [column.tolist() for column in read_values(site, SCHEMA).columns.values()]


def test_duckdb_finds_files_beside_the_query(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "rows.csv").write_text("b,y\n1,true\n2,false\n20,true\n")
    query = tmp_path / "berlin.sql"
    query.write_text("SELECT b / 2 AS a, y FROM 'raw/rows.csv' WHERE b < 10 ORDER BY b")
    assert read(tmp_path) == [[0.5, 1], [1, 0]]
    query.write_text("SELECT b, y FROM 'raw/rows.csv'")
    with pytest.raises(LearningError, match=r"berlin\.sql has no column 'a'"):
        read(tmp_path)
    query.write_text("SELECT b AS a, y FROM 'raw/rows.csv' ORDER BY b")
    with pytest.raises(LearningError, match=r"berlin\.sql, row 3, column 'a': 20 is outside"):
        read(tmp_path)
    query.write_text("SELECT b AS a, y FROM 'raw/rows.csv' WHERE b > 99")
    with pytest.raises(LearningError, match="its query gives no rows"):
        read(tmp_path)
    query.write_text("SELEKT 1")
    with pytest.raises(LearningError, match=r"berlin\.sql: DuckDB: Parser Error"):
        read(tmp_path)


def database(folder: Path) -> str:
    with sqlite3.connect(folder / "ward.db") as connection:
        connection.execute("CREATE TABLE rows (a REAL, y INTEGER)")
        connection.executemany("INSERT INTO rows VALUES (?, ?)", [(1.5, 1), (3, 0)])
    return f"sqlite:///{folder / 'ward.db'}"


def words(folder: Path, **given: str) -> None:
    text = "".join(f'{key} = "{value}"\n' for key, value in given.items())
    (folder / "berlin.site.toml").write_text(text)


def test_a_database_is_asked_by_its_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = database(tmp_path)
    words(tmp_path, url=url, query="SELECT y, a FROM rows ORDER BY a")
    assert read(tmp_path) == [[1.5, 3], [1, 0]]
    monkeypatch.setenv("WARD", url)
    words(tmp_path, url="env:WARD", query="SELECT y, a FROM rows ORDER BY a")
    assert read(tmp_path) == [[1.5, 3], [1, 0]]
    monkeypatch.delenv("WARD")
    with pytest.raises(LearningError, match="the environment has no WARD"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("url", "query", "says"),
    [
        ("", "SELECT y FROM rows", "has no column 'a'"),
        ("", "SELECT a, y FROM nowhere", "no such table: nowhere"),
        ("", "CREATE TABLE more (a REAL)", "it is to be a SELECT"),
        ("nonsense", "SELECT 1", "url is no database's URL"),
        ("what://me:secret@host/x", "SELECT 1", "what"),
        ("postgresql://me:secret@host/x", "SELECT 1", "needs a driver that is not installed"),
    ],
)
def test_a_database_that_cannot_answer_is_told_in_one_line_without_a_password(
    tmp_path: Path, url: str, query: str, says: str
) -> None:
    words(tmp_path, url=url or database(tmp_path), query=query)
    with pytest.raises(LearningError, match=says) as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_what_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> Any:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", refuse)
    (tmp_path / "berlin.sql").write_text("SELECT 1")
    with pytest.raises(LearningError, match=r"needs duckdb.*pip install 'p2pfl-peer\[tabular\]'"):
        read(tmp_path)
