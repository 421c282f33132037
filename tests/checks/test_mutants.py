"""A few mutants of a small module, drawn by a seed; `./scripts/bench mutants` takes all of them."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from mutants import PARTS, Survivor

ROOT = Path(__file__).parents[2]
PLACES = {
    f"p2pfl_{name}": ROOT / folder
    for name, folder in [("crypto", "crypto"), ("gossip", "gossip"), ("simulations", "simulations")]
}
SAMPLE = (
    *("crypto", "--only", "sealing*", "--tests", "tests/unit/crypto/test_sealing.py"),
    *("--sample", "6", "--seed", "1"),
)


def test_each_part_has_its_files_and_its_tests() -> None:
    for part in PARTS.values():
        assert part.is_there()
        assert all((ROOT / test).exists() for test in part.tests)


def test_a_test_fails_for_each_of_some_mutants() -> None:
    ended = subprocess.run(
        [sys.executable, "benchmarks/mutants.py", *SAMPLE, "--children", "2"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.startswith("crypto: 6 mutants: 6 killed"), ended.stdout


@pytest.mark.parametrize(
    ("before", "after", "is_known"),
    [
        ('execute("PRAGMA user_version")', 'execute("pragma user_version")', True),
        ('"SELECT a FROM b", (key,)', '"SELECT A FROM B", (key,)', True),
        ('"SELECT a FROM b", (key,)', '"SELECT a FROM b", (None,)', False),
        ('"SELECT a FROM b"', '"XXSELECT a FROM bXX"', False),
        ('hash_parts(b"selected")', 'hash_parts(b"SELECTED")', False),
        ('where = "begins"', 'where = "BEGINS"', False),
    ],
)
def test_sql_in_another_case_is_the_same(before: str, after: str, is_known: bool) -> None:
    assert Survivor("module.function", before, after).is_known([]) is is_known


def test_each_equivalent_mutant_has_a_reason_and_names_a_line_that_stands() -> None:
    known = tomllib.loads((ROOT / "benchmarks" / "mutants_equivalent.toml").read_text())
    for it in known["equivalent"]:
        assert it.keys() == {"function", "before", "after", "reason"}, it
        assert it["reason"].strip(), it
        package, *modules = it["function"].split(".")
        parent = PLACES.get(package, ROOT)
        while not (file := (parent / package).joinpath(*modules).with_suffix(".py")).is_file():
            modules.pop()
            assert modules, it["function"]
        lines = " ".join(line.strip() for line in file.read_text().splitlines())
        assert it["before"] in lines, it
