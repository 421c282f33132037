"""Tables as people have them: what is read, and what is refused with file, line and column."""

import datetime
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from p2pfl.learner.errors import LearningError
from p2pfl.learner.tabular.features import Features
from p2pfl.learner.tabular.schema import Schema, make_schema, read_schema
from p2pfl.learner.tabular.sites import find_sites
from p2pfl.learner.tabular.values import Values, read_values

SCHEMA = """
target = "died"

[columns.age]
type = "number"
range = [0, 120]
mean = 60
deviation = 20
missing = "mean"
indicator = true

[columns.sex]
type = "category"
categories = ["f", "m"]

[columns.admitted]
type = "date"
range = [2020-01-01, 2026-12-31]

[columns.smoker]
type = "boolean"
missing = "most-frequent"
most_frequent = false

[columns.died]
type = "boolean"
"""
HEADER = "age,sex,admitted,smoker,died"
ROW = "70,f,2021-03-04,no,1"


def schema(folder: Path) -> Schema:
    path = folder / "schema.toml"
    path.write_text(SCHEMA)
    return read_schema(path)


def read(folder: Path, content: str | bytes, words: str = "", name: str = "berlin.csv") -> Values:
    (folder / "sites").mkdir()
    raw = content.encode() if isinstance(content, str) else content
    (folder / "sites" / name).write_bytes(raw)
    if words:
        (folder / "sites" / "berlin.site.toml").write_text(words)
    (site,) = find_sites(folder / "sites")
    return read_values(site, schema(folder))


def one(values: Values) -> list[float]:
    return [float(column[0]) for column in values.columns.values()]


DAYS = (datetime.date(2021, 3, 4) - datetime.date(1970, 1, 1)).days
EXPECTED = [70.0, 0.0, DAYS, 0.0, 1.0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (f"{HEADER}\n{ROW}\n", ""),
        (f"{HEADER}\r\n{ROW}\r\n\r\n", ""),
        ("\ufeff" + f"{HEADER}\n{ROW}", ""),
        ("id, age ,sex,admitted,smoker,died\n9, 70,f ,2021-03-04,FALSE,Yes\n", ""),
        (f"{HEADER}\n{ROW}\n".replace(",", ";"), ""),
        (f"{HEADER}\n{ROW}\n".replace(",", "\t"), ""),
        (f'{HEADER}\n"70",f,2021-03-04,"no",1\n', ""),
        (f"{HEADER}\n70,f,04.03.2021,no,1\n", 'file = "berlin.csv"\ndate_format = "%d.%m.%Y"'),
        (
            "Alter;sex;admitted;smoker;died\n70,0;w;2021-03-04;no;1\n",
            'file = "berlin.csv"\ndecimal = ","\nrename = { Alter = "age" }\nvalues.sex.w = "f"',
        ),
        (f"{HEADER}\n{ROW}\n".encode("utf-16"), 'file = "berlin.csv"\nencoding = "utf-16"'),
    ],
)
def test_one_row_is_the_same_however_it_is_written(
    tmp_path: Path, content: str | bytes, words: str
) -> None:
    assert one(read(tmp_path, content, words)) == EXPECTED


@pytest.mark.parametrize(
    ("content", "words", "says"),
    [
        ("", "", r"berlin\.csv is empty: its first line has no names"),
        (f"{HEADER}\n", "", r"berlin\.csv has a first line, but no rows"),
        (
            "age,sex,admitted,smoker\n70,f,2021-03-04,no\n",
            "",
            "smoker. Where nobody there knows it, add it",
        ),
        (f"Age{HEADER[3:]}\n{ROW}\n", "", r'berlin\.site\.toml: rename = \{ "Age" = "age" \}'),
        (f"{HEADER},age\n{ROW},7\n", "", "has 2 columns 'age'; rename or remove"),
        (f"{HEADER}\n{ROW}\n{ROW},8\n", "", r"berlin\.csv, line 3: 6 values, but .* 5 columns"),
        (f"{HEADER}\n{ROW}\nold,f,2021-03-04,no,1\n", "", "line 3, column 'age': 'old' is no num"),
        (f"{HEADER}\n1_0,f,2021-03-04,no,1\n", "", "line 2, column 'age': '1_0' is no number"),
        (f"{HEADER}\ninf,f,2021-03-04,no,1\n", "", "line 2, column 'age': 'inf' is not finite"),
        (f"{HEADER}\n700,f,2021-03-04,no,1\n", "", "'700' is outside the range 0 to 120"),
        (
            f"{HEADER}\n{ROW}\n".replace(",", ";").replace("70", "70,5"),
            "",
            r"line 2, column 'age': '70,5' is no number; if it has a decimal comma, say decimal",
        ),
        (
            f"{HEADER}\n{ROW}\n".replace(",", ";").replace("70", "1.070,5"),
            'file = "berlin.csv"\ndecimal = ","',
            "has a point, but this site's decimal mark is a comma",
        ),
        (f"{HEADER}\n70,x,2021-03-04,no,1\n", "", "'x' is none of the categories f, m"),
        (f"{HEADER}\n70,,2021-03-04,no,1\n", "", "column 'sex': the value is missing; fill it in"),
        (f"{HEADER}\n70,f,2021-13-04,no,1\n", "", "column 'admitted': '2021-13-04' is no day"),
        (f"{HEADER}\n70,f,1921-03-04,no,1\n", "", "1921-03-04 is outside the range 2020-01-01"),
        (f"{HEADER}\n70,f,2021-03-04,no,2\n", "", "column 'died': '2' is no boolean"),
        (f"{HEADER}\n70,f,2021-03-04,no,\n", "", "column 'died': the target is missing"),
        (f'{HEADER}\n70,f,2021-03-04,"no"x,1\n', "", r"berlin\.csv, line 2: "),
        (f"{HEADER}\n{ROW}\n70,f\xe9,2021-03-04,no,1\n".encode("latin-1"), "", "line 3: its lett"),
        (f"{HEADER}\n{ROW}\n".encode("utf-16"), "", r'is UTF-16, .* say encoding = "utf-16"'),
        (b"PK\x03\x04....", "", "is a spreadsheet or archive"),
        (ROW, 'file = "berlin.csv"\nencoding = "klingon"', "there is no encoding 'klingon'"),
        (ROW, 'file = "berlin.csv"\ndecimals = ","', "decimals is not a known key; did you mean"),
        (ROW, 'file = "berlin.csv"\nquery = "SELECT 1"', "give either file or query"),
        (ROW, 'decimal = ","', 'file or query, such as file = "berlin.csv"'),
    ],
)
def test_bad_tables_are_refused_in_one_line(
    tmp_path: Path, content: str | bytes, words: str, says: str
) -> None:
    with pytest.raises(LearningError, match=says) as caught:
        read(tmp_path, content, words)
    assert "\n" not in str(caught.value)


def test_lines_are_counted_through_quotes_and_blank_lines(tmp_path: Path) -> None:
    content = f'note,{HEADER}\n"two\nlines",{ROW}\n\nx,70,f,2021-03-04,no,maybe\n'
    with pytest.raises(LearningError, match="line 5, column 'died'"):
        read(tmp_path, content)


def test_missing_values_are_filled_in_by_the_agreed_rules(tmp_path: Path) -> None:
    content = f"{HEADER}\nNA,m,2026-12-31,,0\n90,f,2020-01-01,yes,1\n"
    values = read(tmp_path, content)
    assert math.isnan(values.columns["age"][0])
    features = Features(schema(tmp_path))
    assert features.names == ["age", "age is missing", "sex = f", "sex = m", "admitted", "smoker"]
    inputs = features.inputs(values)
    assert inputs.dtype == np.float32
    assert inputs[:, :4].tolist() == [[0, 1, 0, 1], [1.5, 0, 1, 0]]
    assert inputs[0, 4] == pytest.approx(math.sqrt(3), abs=1e-3)  # The end of even days.
    assert inputs[:, 5].tolist() == [0, 1]
    assert features.targets(values).tolist() == [0, 1]


def test_parquet_gives_the_same_as_text(tmp_path: Path) -> None:
    table = pa.table(
        {
            "died": [True],
            "age": pa.array([70], pa.int32()),
            "sex": ["f"],
            "admitted": [datetime.date(2021, 3, 4)],
            "smoker": [False],
        }
    )
    (tmp_path / "sites").mkdir()
    path = tmp_path / "sites" / "berlin.parquet"
    pyarrow.parquet.write_table(table, path)
    (site,) = find_sites(tmp_path / "sites")
    assert one(read_values(site, schema(tmp_path))) == EXPECTED
    pyarrow.parquet.write_table(table.drop(["sex"]), path)
    with pytest.raises(LearningError, match=r"berlin\.parquet has no column 'sex'"):
        read_values(site, schema(tmp_path))
    pyarrow.parquet.write_table(table.set_column(0, "died", pa.array([None], pa.bool_())), path)
    with pytest.raises(LearningError, match="row 1, column 'died': the target is missing"):
        read_values(site, schema(tmp_path))
    path.write_bytes(b"no parquet")
    with pytest.raises(LearningError, match=r"berlin\.parquet is no Parquet file"):
        read_values(site, schema(tmp_path))


def test_a_folder_without_tables_and_two_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LearningError, match="cannot read the data in"):
        find_sites(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(LearningError, match="there is no table in"):
        find_sites(tmp_path)
    with pytest.raises(LearningError, match="no table that can be read"):
        find_sites(tmp_path / "notes.txt")
    for name in ("berlin.csv", "berlin.tsv"):
        (tmp_path / name).write_text("")
    with pytest.raises(LearningError, match="two tables of the name berlin"):
        find_sites(tmp_path)


def number(**more: Any) -> dict[str, Any]:
    return {"type": "number", "mean": 0, "deviation": 1} | more


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"target": "z"}, "the target 'z' is none of the columns"),
        ({"columns": {"x": {"type": "number"}, "y": number()}}, "columns.x has neither mean and"),
        ({"columns": {"x": {"type": "text"}, "y": number()}}, "there is no 'text'"),
        ({"columns": {"x": number(mea=1), "y": number()}}, "did you mean 'mean'"),
        ({"columns": {"x": number(deviation=0), "y": number()}}, "greater than 0"),
        ({"columns": {"x": number(), "y": number(missing="mean")}}, "a missing target is refused"),
        ({"split": "x"}, "one of the columns"),
        ({"unit": "x"}, "it tells whose a row is, by a column that the model does not see"),
        ({"unit": "site"}, "or 'site'"),
        ({"split": "part", "unit": "part"}, "split"),
        (
            {"columns": {"x": {"type": "category", "categories": ["a", "a"]}, "y": number()}},
            "category 'a' comes twice",
        ),
        (
            {
                "columns": {
                    "x": {"type": "category", "categories": ["a", "b"], "most_frequent": "c"},
                    "y": number(),
                }
            },
            "go together",
        ),
    ],
)
def test_bad_schemas_are_refused_in_one_line(document: dict[str, Any], says: str) -> None:
    good = {"target": "y", "columns": {"x": number(), "y": number()}}
    assert make_schema(good, source="s").target == "y"
    with pytest.raises(LearningError, match=says) as caught:
        make_schema(good | document, source="s")
    assert "\n" not in str(caught.value)
