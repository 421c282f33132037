"""docs/simulate.md says what is so."""

import re
import sys
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from p2pfl_simulations import load_scenario, make_scenario, run
from p2pfl_simulations.report import render_report
from p2pfl_simulations.results.folder import write_run
from p2pfl_simulations.results.run import EventRow, PeerRow, RoundRow
from p2pfl_simulations.scenario import shipped_scenarios

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "simulate.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Return the code blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def section(heading: str) -> str:
    """Return what stands below a heading, up to the next."""
    return PAGE.partition(f"### {heading}\n")[2].partition("\n### ")[0]


def test_the_scenario_keys_are_those_of_the_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(DOCS)
    sys.modules.pop("scenario_reference", None)
    from scenario_reference import page_with, reference

    assert page_with(reference()) == PAGE, "run: python docs/scenario_reference.py"
    # Every key says what it is for; a default of its own is all that some need.
    undocumented = re.findall(r"^\| `(\w+)` \|.*\|  \|$", PAGE, re.MULTILINE)
    assert set(undocumented) <= {"alpha", "learning_rate"}


@pytest.mark.parametrize(
    ("file", "row"),
    [("rounds", RoundRow), ("peers", PeerRow), ("events", EventRow)],
)
def test_every_column_is_explained(file: str, row: type) -> None:
    cells = re.findall(r"^\| (`.*?) \|", section(f"{file}.parquet"), re.MULTILINE)
    named = [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(named) == sorted(column.name for column in fields(row))


def test_every_file_of_a_run_folder_is_listed(tmp_path: Path) -> None:
    result = run(load_scenario("quick", {"rounds": 1}))
    folder = write_run(result, tmp_path / "run", page=render_report(result))
    written = {path.name for path in folder.iterdir()}
    listed = PAGE.partition("## The run folder")[2].partition("###")[0]
    assert set(re.findall(r"^\| `([\w.]+)` \|", listed, re.MULTILINE)) == written


def test_the_python_examples_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    simulate, *readers = blocks("python")
    assert len(readers) == 2
    names: dict[str, object] = {}
    exec(simulate, names)
    accuracy, digest = capsys.readouterr().out.split()
    assert 0.5 < float(accuracy) <= 1
    result = names["result"]
    assert digest == getattr(result, "digest", None)
    write_run(result, "my-run")  # type: ignore[arg-type]
    for reader in readers:
        exec(reader, {})
    assert "dropout" in capsys.readouterr().out


def test_the_example_scenario_is_one() -> None:
    (example,) = blocks("toml")
    assert make_scenario(tomllib.loads(example)).peers == 64


def test_every_scenario_that_ships_is_valid_and_named() -> None:
    for name in shipped_scenarios():
        scenario = load_scenario(name)
        assert scenario.name == name
        assert scenario.description
        assert f"scenarios/{name}.toml" in PAGE
