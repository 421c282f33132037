"""docs/simulate.md says what is so."""

import inspect
import re
import sys
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from p2pfl_simulations import load_scenario, make_scenario, run
from p2pfl_simulations.checkers import all_checkers
from p2pfl_simulations.checkers.accounting import BytesAsFormula, CountedOnce
from p2pfl_simulations.checkers.certified import EndsAsCertified
from p2pfl_simulations.checkers.progress import AllFinish
from p2pfl_simulations.liars.registry import shipped_liars
from p2pfl_simulations.report import render_report
from p2pfl_simulations.results.folder import write_run
from p2pfl_simulations.results.run import EventRow, GainRow, PeerRow, RoundRow
from p2pfl_simulations.results.tables import OPEN
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
    [("rounds", RoundRow), ("peers", PeerRow), ("events", EventRow), ("gains", GainRow)],
)
def test_every_column_is_explained(file: str, row: type) -> None:
    cells = re.findall(r"^\| (`.*?) \|", section(f"{file}.parquet"), re.MULTILINE)
    named = [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(named) == sorted(it.name for it in fields(row) if it.name not in OPEN)


def test_every_file_of_a_run_folder_is_listed(tmp_path: Path) -> None:
    group = {"rounds": 1, "averaging": {"algorithm": "group"}, "faults": {}}
    result = run(load_scenario("quick", group))
    folder = write_run(result, tmp_path / "run", page=render_report(result))
    written = {path.name for path in folder.iterdir()}
    listed = PAGE.partition("## The run folder")[2].partition("###")[0]
    assert set(re.findall(r"^\| `([\w.]+)` \|", listed, re.MULTILINE)) == written


def test_the_python_examples_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    simulate, *readers = (it for it in blocks("python") if "class " not in it)
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
    (example,) = [it for it in blocks("toml") if "peers = " in it and "strategy" not in it]
    assert make_scenario(tomllib.loads(example)).peers == 64


def test_every_scenario_that_ships_is_valid_and_named() -> None:
    for name in shipped_scenarios():
        scenario = load_scenario(name)
        assert scenario.name == name
        assert scenario.description
        assert f"scenarios/{name}.toml" in PAGE


def first_words(of: type) -> str:
    """Return the first paragraph of a docstring, in one line."""
    return " ".join((inspect.getdoc(of) or "").split("\n\n")[0].split())


def test_every_liar_and_its_arguments_are_listed() -> None:
    for name, liar in shipped_liars().items():
        arguments = ", ".join(f"`{it}`" for it in inspect.signature(liar).parameters)
        assert f"| `{name}` | {first_words(liar)} | {arguments} |" in PAGE


def test_every_checker_is_listed() -> None:
    asked_later = (AllFinish, CountedOnce, BytesAsFormula, EndsAsCertified)
    for checker in (*(type(it) for it in all_checkers()), *asked_later):
        assert f"| `{checker.__name__}` | {first_words(checker)} |" in PAGE


def test_the_liar_of_the_page_lies(tmp_path: Path) -> None:
    (block,) = [it for it in blocks("python") if "class Boaster" in it]
    (tmp_path / "boasting.py").write_text(block)
    settings = {
        "peers": 6,
        "rounds": 2,
        "learning": {"task": "integers"},
        "averaging": {"algorithm": "cohorts", "cohort_size": 6, "clip": 65536.0},
        "faults": {"liars": {"strategy": "boasting:Boaster", "peers": [1]}},
        "evaluation": {"baselines": []},
    }
    result = run(make_scenario(settings), folder=tmp_path, is_checked=True)
    assert [event.detail for event in result.events if event.kind == "liar"] == ["boasting:Boaster"]
