"""The table of faults and lies of charters names tests that there are."""

import ast
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TABLE: dict[str, list[str]] = tomllib.loads(
    Path(__file__).with_name("charter_faults.toml").read_text()
)


@cache
def names_of(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text())
    return frozenset(it.name for it in tree.body if isinstance(it, ast.FunctionDef))


@pytest.mark.parametrize("fault", TABLE)
def test_a_fault_has_its_tests(fault: str) -> None:
    assert TABLE[fault]
    for named in TABLE[fault]:
        file, _, test = named.partition("::")
        assert test.startswith("test_")
        assert test in names_of(file), named
