"""Schemas drafted from tables, and made-up rows of a schema."""

import csv
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from p2pfl.learner.errors import LearningError
from p2pfl.learner.tabular.describing import describe_tables
from p2pfl.learner.tabular.mock import mock_rows
from p2pfl.learner.tabular.schema import make_schema
from p2pfl.learner.tabular.sites import find_sites
from p2pfl.learner.tabular.values import read_values

TABLE = """\
id,age,"first name",ward,admitted,smoker,note,died
p1,61.25,Ann,a,2024-01-01,yes,x,0
p2,,Bob,b,2024-02-01,no,x,1
p3,80,Cay,a,2023-06-30,yes,x,1
"""


def test_a_drafted_schema_reads_the_tables_that_it_was_drafted_from(tmp_path: Path) -> None:
    (tmp_path / "berlin.csv").write_text(TABLE)
    (tmp_path / "oslo.csv").write_text(TABLE.replace("61.25", "33.123456789"))
    sites = find_sites(tmp_path)
    text = describe_tables(sites, target="died")
    schema = make_schema(tomllib.loads(text), source="drafted")
    assert schema.target == "died"
    assert [it.type for it in schema.columns.values()] == [
        "category", "number", "category", "category", "date", "boolean", "boolean",
    ]  # fmt: skip
    assert "# note is left out: one value alone" in text
    age: Any = schema.columns["age"]
    assert age.range == (33.123456789, 80)
    assert "range = [33.123456789, 80.0]\n" in text
    assert age.missing == "mean"
    known = np.array([61.25, 80, 33.123456789, 80])
    assert age.mean == pytest.approx(known.mean(), rel=1e-5)
    assert age.deviation == pytest.approx(known.std(), rel=1e-5)
    assert "[columns.age]  # 4 values, 2 missing" in text
    for site in sites:
        assert read_values(site, schema).row_count == 3


def test_a_target_that_is_not_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "berlin.csv").write_text(TABLE)
    with pytest.raises(LearningError, match=r"no column 'dead' to predict; it has id, age"):
        describe_tables(find_sites(tmp_path), target="dead")
    with pytest.raises(LearningError, match="column 'note' cannot be predicted"):
        describe_tables(find_sites(tmp_path), target="note")


COMMAS = """\
age;seen;died
61,5;03.01.2024;yes
40;04.02.2024;no
"""


def test_a_site_is_described_as_its_site_file_says(tmp_path: Path) -> None:
    (tmp_path / "lyon.csv").write_text(COMMAS)
    (tmp_path / "lyon.site.toml").write_text(
        'file = "lyon.csv"\ndecimal = ","\ndate_format = "%d.%m.%Y"\n'
    )
    (tmp_path / "oslo.csv").write_text("age,seen,died\n30.5,2024-01-01,no\n50,2024-05-01,yes\n")
    schema = make_schema(
        tomllib.loads(describe_tables(find_sites(tmp_path), target="died")), source="drafted"
    )
    age: Any = schema.columns["age"]
    assert age.range == (30.5, 61.5)
    assert [it.type for it in schema.columns.values()] == ["number", "date", "boolean"]


def test_decimal_commas_that_no_site_file_tells_are_no_texts(tmp_path: Path) -> None:
    (tmp_path / "lyon.csv").write_text(COMMAS)
    with pytest.raises(LearningError, match=r"lyon\.csv, line 2, column 'age': .*NAME\.site\.toml"):
        describe_tables(find_sites(tmp_path), target="died")


SCHEMA = make_schema(
    {
        "target": "y",
        "split": "part",
        "columns": {
            "a": {"type": "number", "mean": 5, "deviation": 2, "range": [0, 9], "missing": "mean"},
            "k": {"type": "category", "categories": ["p", "q", "r"]},
            "d": {"type": "date", "range": ["2020-01-01", "2020-12-31"]},
            "b": {"type": "boolean"},
            "y": {"type": "category", "categories": ["low", "mid", "high"]},
        },
    },
    source="schema",
)


def test_made_up_rows_are_read_by_their_schema(tmp_path: Path) -> None:
    path = tmp_path / "mock.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(mock_rows(SCHEMA, rows=1000, seed=1))
    (site,) = find_sites(path)
    values = read_values(site, SCHEMA)
    assert values.row_count == 1000
    assert values.is_test is not None
    assert int(values.is_test.sum()) == 200
    ages = values.columns["a"]
    assert 20 < int(np.isnan(ages).sum()) < 90
    assert np.nanmean(ages) == pytest.approx(5, abs=0.3)
    assert np.bincount(values.columns["k"].astype(int)).min() > 250
    assert np.bincount(values.columns["y"].astype(int)).min() > 200


def test_a_seed_gives_the_same_rows_and_another_seed_others_of_the_same_problem() -> None:
    first, again, other = (list(mock_rows(SCHEMA, rows=400, seed=it)) for it in (1, 1, 2))
    assert first == again
    assert first[0] == other[0] == ["a", "k", "d", "b", "y", "part"]
    assert first[1:] != other[1:]
    table = np.array(first[1:] + other[1:])
    known = table[:, 0] != ""
    a, y = table[known, 0].astype(float), (table[known, 4] == "high") * 1.0
    half = int(known[:400].sum())
    ours, theirs = (
        np.corrcoef(a[part], y[part])[0, 1] for part in (slice(half), slice(half, None))
    )
    assert abs(ours - theirs) < 0.15
    assert abs(ours) > 0.1
