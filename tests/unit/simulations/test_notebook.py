"""Runs as Python code holds them: data frames, what a notebook shows, threads, progress."""

import io
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from example_runs import RunMaker

import p2pfl_simulations
from p2pfl.learner.engines.threads import Workers
from p2pfl.learner.metrics import PrimaryMetric
from p2pfl_simulations import Run, RunProgress, Scenario, make_scenario, read_run, run
from p2pfl_simulations.commands.live import InPlaceDisplay, describe
from p2pfl_simulations.notebook import MissingPandas
from p2pfl_simulations.results.folder import write_run
from p2pfl_simulations.results.tables import TABLES


@pytest.fixture
def held(make_run: RunMaker, tmp_path: Path) -> Run:
    return read_run(write_run(make_run(), tmp_path / "run"))


@pytest.fixture
def scenario() -> Scenario:
    """The smallest run: it needs no torch."""
    return make_scenario(
        {
            "peers": 4,
            "rounds": 3,
            "learning": {"task": "integers"},
            "averaging": {"algorithm": "dsgd"},
            "evaluation": {"baselines": []},
        }
    )


def in_notebook(monkeypatch: pytest.MonkeyPatch, *, kernel: bool = True) -> None:
    """Let the process look as one does that a notebook, or IPython on a terminal, runs in."""
    ipython: Any = ModuleType("IPython")
    shell = SimpleNamespace(kernel=object()) if kernel else SimpleNamespace()
    ipython.get_ipython = lambda: shell
    monkeypatch.setitem(sys.modules, "IPython", ipython)


def test_a_frame_is_what_pandas_reads_from_the_folder(held: Run, tmp_path: Path) -> None:
    held.rounds[2].consensus_distance = None
    folder = write_run(held, tmp_path / "again")
    for table in TABLES:
        pd.testing.assert_frame_equal(
            held.frame(table), pd.read_parquet(folder / f"{table}.parquet")
        )
    assert held.frame().equals(held.frame("rounds"))
    with pytest.raises(ValueError, match="no table 'round'; there are rounds, peers, events"):
        held.frame("round")  # type: ignore[arg-type]


def test_without_pandas_one_line_says_what_to_install(
    held: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingPandas) as raised:
        held.frame()
    assert str(raised.value) == "pandas is not installed: pip install pandas"
    assert held.summary().peers == 16


def test_a_notebook_shows_a_run_in_a_few_safe_lines(make_run: RunMaker, tmp_path: Path) -> None:
    shown = read_run(write_run(make_run(name="<b>&"), tmp_path / "run"))._repr_html_()
    assert len(shown) < 3000
    assert "&lt;b&gt;&amp;, seed 3" in shown
    assert "Of 16 peers 15 gain by joining" in shown
    assert "Worth it" in shown
    for refused in ("<script", "<style", "http", "src=", "<b>"):
        assert refused not in shown
    opened: list[str] = []

    class Balanced(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            opened.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert opened.pop() == tag

    Balanced().feed(shown)
    assert not opened


def test_an_interrupted_run_says_so(make_run: RunMaker, tmp_path: Path) -> None:
    made = make_run()
    made.interrupted = True
    assert "Ended early" in read_run(write_run(made, tmp_path / "run"))._repr_html_()


def test_progress_is_shown_in_a_notebook_and_nowhere_else_unless_asked_for(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def shown(**arguments: Any) -> tuple[str, str]:
        run(scenario, **arguments)
        return capsys.readouterr()

    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert shown() == ("", "")
    assert "round 3 of 3" in shown(progress=True)[1]
    in_notebook(monkeypatch, kernel=False)  # IPython on a terminal.
    assert shown() == ("", "")
    in_notebook(monkeypatch)
    told, errors = shown()
    assert told.startswith("\rgossip: round 1 of 3")
    assert told.endswith("\n")
    assert told.count("\n") == 1
    assert "round 3 of 3" in told
    assert errors == ""
    assert shown(progress=False) == ("", "")
    heard: list[RunProgress] = []
    assert shown(progress=heard.append) == ("", "")
    assert [it.round for it in heard] == [1, 2, 3]
    assert all((it.mean is None) == (it.measured == 0) for it in heard)


def test_a_shorter_line_leaves_nothing_of_a_longer_one() -> None:
    stream = io.StringIO()
    with InPlaceDisplay(stream) as display:
        display.show(RunProgress("gossip", 3, 3, 4, 4, PrimaryMetric(), 0.5, 0.25, 1000, 7.0))
        display.show(RunProgress("pooled", 3, 3, 4, 4, PrimaryMetric(), None, None, 0, 0.0))
    _, longer, shorter = stream.getvalue().removesuffix("\n").split("\r")
    assert len(longer) == len(shorter)
    assert shorter.rstrip() == "pooled: round 3 of 3"


def test_figures_of_a_part_of_the_peers_say_so() -> None:
    half = RunProgress("gossip", 3, 3, 4, 4, PrimaryMetric(), 0.5, 0.25, 1000, 7.0, measured=2)
    assert "accuracy 50.0 % mean, 25.0 % worst of 2 peers so far;" in describe(half)
    assert "so far" not in describe(replace(half, measured=4))
    assert "so far" not in describe(replace(half, mean=None))


def test_threads_reach_the_learner_and_change_no_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []

    class Counted(Workers):
        def __init__(self, count: int) -> None:
            started.append(count)
            super().__init__(count)

    for module in [it for name, it in sys.modules.items() if name.startswith("p2pfl.learner")]:
        if getattr(module, "Workers", None) is Workers:
            monkeypatch.setattr(module, "Workers", Counted)
    small = p2pfl_simulations.load_scenario("quick", {"rounds": 2, "evaluation.baselines": []})
    assert run(small, threads=1).digest == run(small, threads=3).digest
    assert set(started) == {1, 3}
    with pytest.raises(ValueError, match="threads = 0"):
        run(small, threads=0)
