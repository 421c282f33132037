"""Each named limit of tables and their schema: what reaches it is taken, and one more is not."""

import datetime
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from p2pfl.learner.errors import LearningError
from p2pfl.learner.tabular import delimited, describing, schema, sites, sql, values
from p2pfl.learner.tabular.delimited import delimited_columns, delimited_rows
from p2pfl.learner.tabular.describing import describe_tables
from p2pfl.learner.tabular.features import EMBEDDING_MAX, Features
from p2pfl.learner.tabular.schema import Schema, make_schema, read_schema
from p2pfl.learner.tabular.sites import find_sites
from p2pfl.learner.tabular.task import LAYERS_MAX, WIDTH_MAX, make_tabular
from p2pfl.learner.tabular.values import read_values

TEXT = """
target = "y"
[columns.a]
type = "number"
range = [0, 9]
[columns.y]
type = "boolean"
"""
DOCUMENT = tomllib.loads(TEXT)
SCHEMA = make_schema(DOCUMENT, source="schema")
ROW = "1,yes\n"


def with_columns(**more: Any) -> Schema:
    columns = DOCUMENT["columns"] | more
    return make_schema({"target": "y", "columns": columns}, source="schema")


def with_categories(count: int, **more: Any) -> Schema:
    names = [f"k{number:05}" for number in range(count)]
    return with_columns(k={"type": "category", "categories": names} | more)


def test_bytes_of_a_schema(tmp_path: Path) -> None:
    path = tmp_path / "schema.toml"
    text = TEXT + "#"
    path.write_text(text.ljust(schema.SCHEMA_BYTES_MAX, "-"))
    assert read_schema(path) == SCHEMA
    path.write_text(text.ljust(schema.SCHEMA_BYTES_MAX + 1, "-"))
    with pytest.raises(LearningError, match="longer than 4194304 bytes, too long for the schema"):
        read_schema(path)


def test_columns_of_a_schema() -> None:
    boolean = {"type": "boolean"}
    more = {f"b{number}": boolean for number in range(schema.COLUMNS_MAX - 2)}
    assert len(with_columns(**more).columns) == schema.COLUMNS_MAX
    with pytest.raises(LearningError, match="columns") as caught:
        with_columns(**more, last=boolean)
    assert "\n" not in str(caught.value)
    assert f"{schema.COLUMNS_MAX}" in str(caught.value)


def test_categories_of_a_column() -> None:
    column: Any = with_categories(schema.CATEGORIES_MAX).columns["k"]
    assert len(column.categories) == schema.CATEGORIES_MAX
    with pytest.raises(LearningError, match=r"columns\.k.*categories") as caught:
        with_categories(schema.CATEGORIES_MAX + 1)
    assert f"{schema.CATEGORIES_MAX}" in str(caught.value)


def test_categories_with_an_input_each() -> None:
    few = Features(with_categories(schema.ONE_HOT_MAX))
    assert (few.embedded, few.count) == ((), 1 + schema.ONE_HOT_MAX)
    many = Features(with_categories(schema.ONE_HOT_MAX + 1))
    assert [it.codes for it in many.embedded] == [schema.ONE_HOT_MAX + 1]
    other = Features(with_categories(schema.ONE_HOT_MAX, unknown="other"))
    assert [it.codes for it in other.embedded] == [schema.ONE_HOT_MAX + 1]


def test_length_of_an_embedding() -> None:
    lengths = [
        Features(with_categories(2 * length)).embedded[0].length
        for length in (EMBEDDING_MAX - 1, EMBEDDING_MAX, EMBEDDING_MAX + 1)
    ]
    assert lengths == [EMBEDDING_MAX - 1, EMBEDDING_MAX, EMBEDDING_MAX]


def test_layers_and_their_widths() -> None:
    assert make_tabular(None, schema=DOCUMENT, hidden=[1] * LAYERS_MAX)
    with pytest.raises(LearningError, match=f"at most {LAYERS_MAX}"):
        make_tabular(None, schema=DOCUMENT, hidden=[1] * (LAYERS_MAX + 1))
    assert make_tabular(None, schema=DOCUMENT, hidden=[WIDTH_MAX])
    with pytest.raises(LearningError, match=f"from 1 to {WIDTH_MAX}, not {WIDTH_MAX + 1}"):
        make_tabular(None, schema=DOCUMENT, hidden=[WIDTH_MAX + 1])


def test_characters_of_a_first_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "berlin.csv"
    path.write_text("ä,y\n" + ROW * 20)
    chosen: dict[str, Any] = {"delimiter": None, "encoding": "utf-8"}
    monkeypatch.setattr(delimited, "HEADER_CHARACTERS_MAX", 4)
    assert delimited_columns(path, **chosen) == ["ä", "y"]
    assert len(list(delimited_rows(path, ["y"], **chosen))) == 20
    path.write_text("äb,y\n" + ROW)
    for delimiter in (None, ","):
        with pytest.raises(LearningError, match=r"berlin\.csv: its first line has more than 4 ch"):
            delimited_columns(path, **(chosen | {"delimiter": delimiter}))


def test_categories_that_are_drafted(tmp_path: Path) -> None:
    path = tmp_path / "berlin.csv"

    def drafted(count: int) -> str:
        rows = [f"text{number},{'yes' if number % 2 else 'no'}\n" for number in range(count)]
        path.write_text("k,y\n" + "".join(rows))
        return describe_tables(find_sites(path), target="y")

    text = drafted(describing.CATEGORIES_DRAFTED_MAX)
    column = tomllib.loads(text)["columns"]["k"]
    assert len(column["categories"]) == describing.CATEGORIES_DRAFTED_MAX
    assert "# k is left out" in drafted(describing.CATEGORIES_DRAFTED_MAX + 1)


def test_texts_that_are_kept_for_a_draft_bound_no_range(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of more days than texts are kept, the last still belongs to the range."""
    monkeypatch.setattr(describing, "CATEGORIES_MAX", 2)
    path = tmp_path / "berlin.csv"
    days = [f"2024-01-{day:02}" for day in (9, 8, 7, 6, 31, 1, 5)]
    path.write_text("d,y\n" + "".join(f"{day},{'yes' if '3' in day else 'no'}\n" for day in days))
    column = tomllib.loads(describe_tables(find_sites(path), target="y"))["columns"]["d"]
    assert column["range"] == [datetime.date(2024, 1, 1), datetime.date(2024, 1, 31)]


def test_tables_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sites, "SITES_MAX", 2)
    for name in ("berlin", "oslo"):
        (tmp_path / f"{name}.csv").touch()
    assert [it.name for it in find_sites(tmp_path)] == ["berlin", "oslo"]
    (tmp_path / "rome.csv").touch()
    with pytest.raises(LearningError, match="has 3 tables; at most 2 are read"):
        find_sites(tmp_path)


def test_bytes_of_a_query(tmp_path: Path) -> None:
    path = tmp_path / "berlin.sql"
    query = "SELECT 1".ljust(sql.QUERY_BYTES_MAX)
    path.write_text(query)
    assert sql.read_query(path) == query
    path.write_text(query + " ")
    with pytest.raises(LearningError, match="longer than 1048576 bytes, and no query"):
        sql.read_query(path)


def test_rows_of_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "ROWS_MAX", 3)
    path = tmp_path / "berlin.csv"
    path.write_text("a,y\n" + ROW * 3)
    (site,) = find_sites(path)
    assert read_values(site, SCHEMA).row_count == 3
    path.write_text("a,y\n" + ROW * 4)
    with pytest.raises(LearningError, match=r"berlin\.csv has more than 3 rows"):
        read_values(site, SCHEMA)


def test_days_that_are_known_by_heart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []

    class Watched(datetime.datetime):
        @classmethod
        def strptime(cls, text: str, form: str, /) -> Any:
            parsed.append(text)
            return datetime.datetime.strptime(text, form)

    monkeypatch.setattr(values, "datetime", SimpleNamespace(datetime=Watched, date=datetime.date))
    monkeypatch.setattr(values, "DAYS_MAX", 2)
    days = [f"2024-01-0{day}" for day in (1, 2, 3)]
    path = tmp_path / "berlin.csv"
    path.write_text("a,d,y\n" + "".join(f"1,{day},yes\n" for day in days * 2))
    (site,) = find_sites(path)
    dated = with_columns(d={"type": "date", "range": ["2024-01-01", "2024-12-31"]})
    found = read_values(site, dated).columns["d"]
    assert (found - found[0]).tolist() == [0, 1, 2, 0, 1, 2]
    assert parsed == [*days, days[-1]]


def test_a_row_of_a_table_is_of_bounded_length(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One line without end, and lines without end that quotes make one row of."""
    monkeypatch.setattr(delimited, "ROW_CHARACTERS_MAX", 12)
    file = tmp_path / "berlin.csv"

    def read(text: str) -> list[tuple[int, Any]]:
        file.write_text(text)
        return list(delimited.delimited_rows(file, ["a", "b"], delimiter=None, encoding="utf-8"))

    assert read("a,b\n" + "1,123456789\n" * 9)[-1] == (10, ["1", "123456789"])
    assert read('a,b\n1,"2\n3\n4"\n')[0] == (2, ["1", "2\n3\n4"])
    too_long = r"berlin\.csv, line {}: a row has more than 12 characters; each row is to be"
    with pytest.raises(LearningError, match=too_long.format(3)):
        read("a,b\n1,2\n1,1234567890\n")
    with pytest.raises(LearningError, match=too_long.format(10)):
        read('a,b\n1,"2' + "\n" * 100)


def test_a_list_of_a_schema_is_in_one_line_where_that_is_not_too_long() -> None:
    limit = describing.LINE_CHARACTERS_MAX
    fits = ["x" * (limit - len('names = [""]'))]
    assert describing.written({"names": fits}).splitlines() == [f'names = ["{fits[0]}"]']
    assert len(describing.written({"names": [f"{fits[0]}x"]}).splitlines()) == 3
