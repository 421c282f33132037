"""Scenarios that are well formed and cannot be run: one clear line each. And a loss that is NaN."""

import math
from pathlib import Path
from typing import Any

import pytest

from p2pfl.learner.errors import LearningError
from p2pfl_simulations.running import run
from p2pfl_simulations.scenario import ScenarioError, load_scenario, make_scenario

INTEGERS: dict[str, Any] = {"peers": 8, "rounds": 2, "evaluation": {"baselines": []}}


def _complaint(document: dict[str, Any], folder: Path | None = None) -> str:
    averaging = {"algorithm": "cohorts", "cohort_size": 4, "masking": "none"}
    document = {**INTEGERS, "averaging": averaging, **document}
    document.setdefault("learning", {"task": "integers"})
    with pytest.raises((LearningError, ScenarioError)) as caught:
        run(make_scenario(document), folder=folder)
    said = str(caught.value)
    assert len(said.splitlines()) == 1
    return said


def _partition(**settings: Any) -> dict[str, Any]:
    return {"learning": {"task": "integers", "partition": settings}}


def _graph(**topology: Any) -> dict[str, Any]:
    return {"averaging": {"algorithm": "dsgd", "topology": topology}}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (_partition(kind="iid", rows_per_peer=1000), ["2048", "8000", "reuse"]),
        (_partition(kind="shards", per_peer=1000), ["8000", "2048"]),
        (_partition(kind="quantity", minimum_rows=1000), ["8000", "2048"]),
        (_partition(kind="groups", column="ward"), ["no column 'ward'"]),
        ({"peers": 5000}, ["2048", "5000"]),
        ({"learning": {"task": "digit"}}, ["no task 'digit'", "did you mean 'digits'"]),
        ({"learning": {"task": "zzz"}}, ["no task 'zzz'", "integers", "my_module:MyTask"]),
        ({"learning": {"task": "integers", "options": {"x": 1}}},
         ["'integers'", "options are: none"]),
        ({"peers": 11, "averaging": {"algorithm": "cohorts", "cohort_size": 4, "grid": True,
                                     "masking": "none"}},
         ["11 peers make no grid", "or take 10"]),
        (_graph(kind="rign"), ["did you mean 'ring'"]),
        (_graph(kind="regular", degree=9), ["8 peers", "1 to 7"]),
        (_graph(kind="regular"), ["degree"]),
        (_graph(kind="ring", degree=3), ["degree"]),
        ({"peers": 7, **_graph(kind="regular", degree=3)}, ["3", "7"]),
        ({"averaging": {"algorithm": "push-sum", "topology": {"kind": "epidemic"}}}, ["epidemic"]),
        ({"averaging": {"algorithm": "group", "audit": "void", "retries": 3}},
         ["averaging.retries = 3", "2 members that lie", "give 4 or more, leave it",
          "to 'off'"]),
    ],
)  # fmt: skip
def test_what_cannot_be_run_is_told_in_one_line(document: dict[str, Any], words: list[str]) -> None:
    said = _complaint(document)
    for word in words:
        assert word in said, said


def test_a_data_set_that_is_not_there_is_told_with_how_to_get_it(tmp_path: Path) -> None:
    learning = {"task": "fashion-mnist", "data_dir": str(tmp_path)}
    said = _complaint({"learning": learning})
    assert str(tmp_path) in said
    assert "dataset-fashion-mnist" in said or "data_dir" in said


OWN_TASKS = '''
import numpy as np
from p2pfl.learner.tasks.base import Data, NumpyTask, Rows

PEERS, ROWS = 6, 10


class Task(NumpyTask):
    """Each peer goes towards its number; that of peer 3 sees no number in round 1 and later."""

    def data(self, data_dir):
        group = np.repeat(np.arange(PEERS), ROWS)
        rows = Rows(group[:, None].astype(np.float32), group)
        return Data(rows, rows, {"peer": group})

    def initial_vector(self, seed):
        return np.zeros(4, np.float32)

    def step(self, vector, inputs, targets, rate):
        if (targets == 3).any() and vector[0] > 0:
            vector[0] = np.nan
            return float("nan")
        vector += np.float32(rate) * (inputs.mean() - vector)
        return 1.0

    def evaluate(self, vector, inputs, targets):
        return {"accuracy": float(vector[0]), "loss": 1.0}


class NoTask:
    pass


class HalfATask(NumpyTask):
    def data(self, data_dir):
        return None
'''


@pytest.fixture
def own_tasks(tmp_path: Path) -> Path:
    (tmp_path / "own_tasks_of_a_test.py").write_text(OWN_TASKS)
    (tmp_path / "broken_task_of_a_test.py").write_text("import no_such_module_of_a_test\n")
    return tmp_path


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("no_module_of_a_test:Task", ["cannot be imported", "No module named"]),
        ("broken_task_of_a_test:Task", ["cannot be imported", "no_such_module_of_a_test"]),
        ("own_tasks_of_a_test:Other", ["Other is not there"]),
        ("own_tasks_of_a_test:NoTask", ["no subclass of Task"]),
        ("own_tasks_of_a_test:HalfATask", ["does not define", "step"]),
    ],
)
def test_a_task_that_cannot_be_had_is_named_with_the_reason(
    own_tasks: Path, task: str, words: list[str]
) -> None:
    said = _complaint({"learning": {"task": task}}, folder=own_tasks)
    for word in [repr(task), *words]:
        assert word in said, said


def test_a_loss_that_is_nan_names_its_peer_and_the_run_goes_on_without_its_update(
    own_tasks: Path,
) -> None:
    rounds, failing = 4, 3
    result = run(
        make_scenario(
            {
                "peers": 6,
                "rounds": rounds,
                "learning": {
                    "task": "own_tasks_of_a_test:Task",
                    "partition": {"kind": "groups", "column": "peer"},
                },
                "averaging": {"algorithm": "cohorts", "cohort_size": 3, "masking": "none"},
                "evaluation": {"baselines": []},
            }
        ),
        folder=own_tasks,
    )
    assert [row.ended for row in result.rounds] == [6] * rounds
    assert [row.failed for row in result.rounds] == [0, 1, 1, 1]
    failures = [event for event in result.events if event.kind == "training_failed"]
    assert [(event.round, event.peer) for event in failures] == [
        (round_, failing) for round_ in (1, 2, 3)
    ]
    assert all("loss became nan" in event.detail for event in failures)
    assert not result.interrupted
    assert all(math.isfinite(value) for value in result.require_model().tolist())
    assert len(result.peers) == 6 * rounds


def test_a_scenario_may_begin_with_the_mark_of_an_editor(tmp_path: Path) -> None:
    path = tmp_path / "marked.toml"
    path.write_bytes(
        b'\xef\xbb\xbfpeers = 9\nlearning.task = "integers"\naveraging.algorithm = "cohorts"\n'
    )
    assert load_scenario(str(path)).peers == 9
