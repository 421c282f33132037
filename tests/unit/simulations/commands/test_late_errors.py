"""A task's code that raises late: what had run by then is kept, and why it ended is told."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from calling import P2pfl

from p2pfl.learner.errors import LearningError
from p2pfl_simulations import EndedEarly, Run, load_scenario, run
from p2pfl_simulations.results.folder import read_run

TASK = """
import numpy as np
from p2pfl.learner.tasks import Data, NumpyTask, Rows

class Late(NumpyTask):
    # Entry 0 counts rounds; which call raises is an option.
    def __init__(self, step=0.0, evaluate=0.0, average=0.0, single=False):
        self.at, self.single = (step, evaluate, average), single
    def data(self, data_dir):
        x = np.ones((180, 1), np.float32)
        return Data(Rows(x, np.arange(180) % 2), Rows(x[:4], np.zeros(4, np.int64)))
    def initial_vector(self, seed):
        return np.zeros(8, np.float32)
    def step(self, vector, inputs, targets, rate):
        vector += 1
        if self.at[0] and vector[0] > self.at[0]:
            raise ValueError("late in a step")
        return 1.0
    def evaluate(self, vector, inputs, targets):
        if self.at[1] and vector[0] > self.at[1] and len(targets) > 4:
            raise ValueError("late in figures")
        if self.at[2] and vector[0] > self.at[2] and len(targets) == 4:
            raise ValueError("late on common rows")
        if self.single and len(set(targets.tolist())) == 1 and len(targets) != 4:
            raise ValueError("one class only")
        return {"accuracy": float(vector[0]) / 100}
"""
SCENARIO = """
peers = 6
rounds = 5
[learning]
task = "late_task:Late"
training = { steps = 1 }
[averaging]
algorithm = "cohorts"
cohort_size = 6
masking = "none"
"""


@pytest.fixture
def late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("late_task.py").write_text(TASK)
    Path("late.toml").write_text(SCENARIO)
    return tmp_path


@pytest.mark.parametrize(
    ("options", "said", "figures"),
    [
        # The figures of round 3 are worked out in one batch with the step that raises.
        ({"step": 3}, "late in a step", 2),
        ({"evaluate": 3}, "late in figures", 3),
        ({"average": 3}, "late on common rows", 3),
    ],
)
def test_what_had_run_before_a_late_error_is_in_the_folder(
    late: Path, p2pfl: P2pfl, options: dict[str, float], said: str, figures: int
) -> None:
    settings = [f"--set=learning.options.{name}={value}" for name, value in options.items()]
    ended = p2pfl("simulate", "late.toml", "-q", "--out", "run", *settings)
    assert ended.code == 2
    line = f"task 'late_task:Late': ValueError: {said} ({late / 'late_task.py'}, line "
    assert ended.err.startswith(f"p2pfl: {line}")
    assert len(ended.err.splitlines()) == 1
    found = read_run("run")
    assert found.interrupted
    assert found.failure.startswith(line)
    assert found.unfinished == ("local", "pooled")
    measured = [row.own_mean for row in found.rounds if row.own_mean is not None]
    assert measured == [(round_ + 1) / 100 for round_ in range(figures)]
    assert {row.peer for row in found.peers if row.round < figures} == set(range(6))
    assert "Ended early, after" in " ".join(ended.out.split())
    assert said in Path("run/report.html").read_text()
    assert json.loads(Path("run/summary.json").read_text())["failure"] == found.failure
    replayed = p2pfl("replay", "run")
    assert replayed.code == 2
    assert "was ended by an error (task" in replayed.err
    assert "simulate run/scenario.toml again" in replayed.err


@pytest.mark.usefixtures("late")
def test_as_json_the_figures_come_all_the_same(p2pfl: P2pfl) -> None:
    ended = p2pfl("simulate", "late.toml", "-q", "--json", "--set", "learning.options.step=3")
    assert ended.code == 2
    assert json.loads(ended.out)["rounds_ended"] == 3


@pytest.mark.usefixtures("late")
def test_an_error_before_any_round_has_ended_leaves_no_folder(p2pfl: P2pfl) -> None:
    ended = p2pfl("simulate", "late.toml", "-q", "--out", "run", "--set=learning.options.step=0.5")
    assert ended.code == 2
    assert "late in a step" in ended.err
    assert not Path("run").exists()


def _run(folder: Path, **settings: Any) -> Run:
    return run(load_scenario("late.toml", settings), folder=folder, threads=1)


def test_python_gets_an_exception_that_has_the_run(late: Path) -> None:
    with pytest.raises(EndedEarly, match="late in a step") as caught:
        _run(late, **{"learning.options.step": 3})
    found = caught.value.run
    assert isinstance(found, Run)
    assert "late in a step" in found._repr_html_()
    assert found.summary().rounds_ended == 3
    assert np.asarray(found.model)[0] >= 3
    with pytest.raises(LearningError, match="late in a step"):
        _run(late, **{"learning.options.step": 0.5})


def test_a_baseline_that_raises_costs_no_round_of_the_peers(
    late: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the pooled one: what local only says stays, gains with it."""
    from p2pfl_simulations import completing

    def fails(*_: Any) -> None:
        raise LearningError("no room for all rows")

    monkeypatch.setattr(completing, "pooled", fails)
    with pytest.raises(EndedEarly, match="no room for all rows") as caught:
        _run(late)
    found = caught.value.run
    assert not found.interrupted
    assert found.unfinished == ("pooled",)
    assert found.rounds[-1].own_local_mean == pytest.approx(0.05)
    assert [row.gain for row in found.gains] == [0.0] * 6
    monkeypatch.setattr(completing, "local_only", fails)
    with pytest.raises(EndedEarly) as caught:
        _run(late)
    assert caught.value.run.unfinished == ("local", "pooled")
    assert caught.value.run.gains == []


def test_draws_of_rows_that_metrics_refuse_say_nothing_and_end_nothing(late: Path) -> None:
    """Six test rows of two classes: one draw in 32 has one class only."""
    found = _run(late, **{"learning.options.single": True})
    assert [row.gain for row in found.gains] == [0.0] * 6
    assert all(row.gain_low == row.gain_high == 0.0 for row in found.gains)
