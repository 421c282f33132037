"""Which round's models count, and when a run ends early: by rows that are nobody's test."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from example_runs import make_example
from scripted import Stage

from p2pfl.learner.errors import LearningError
from p2pfl.learner.metrics import PrimaryMetric
from p2pfl.learner.model_files import read_model
from p2pfl_gossip.events import PeerEvaluated, RoundEnded
from p2pfl_simulations.results.cautions import cautions
from p2pfl_simulations.results.folder import MODEL, read_run, write_run
from p2pfl_simulations.results.recorder import Recorder
from p2pfl_simulations.results.run import RunResult
from p2pfl_simulations.results.summary import counted_rows, summarise
from p2pfl_simulations.running import run as run_scenario
from p2pfl_simulations.scenario import ScenarioError, make_scenario

COUNTING = """
import numpy as np
from p2pfl.learner.metrics import PrimaryMetric
from p2pfl.learner.tasks import Data, NumpyTask, Rows

class Counting(NumpyTask):
    '''A model is one number, 1 more after each round; a row's target is the best such number.'''
    description = "counts"
    primary = PrimaryMetric("distance", larger_is_better=False)

    def __init__(self, test, validation):
        self.test, self.validation = test, validation

    def data(self, data_dir):
        kind = np.arange(120) % 4  # 0 and 1: to train on, 2: test rows, 3: validation rows.
        targets = np.choose(kind, [0.0, 0.0, float(self.test), float(self.validation)])
        rows = Rows(np.zeros((120, 1), np.float32), targets)
        return Data(rows, None, own_test=kind == 2, own_validation=kind == 3)

    def initial_vector(self, seed):
        return np.zeros(1, np.float32)

    def step(self, vector, inputs, targets, rate):
        vector += 1
        return 0.0

    def evaluate(self, vector, inputs, targets):
        return {"distance": float(np.abs(vector[0] - targets).mean())}
"""


def counted(folder: Path, *, test: int, validation: int, **evaluation: Any) -> RunResult:
    """Run three peers whose models are 1, 2 ... after rounds 1, 2 ..., over at most 9 rounds."""
    (folder / "counting.py").write_text(COUNTING)
    document = {
        "peers": 3,
        "rounds": 9,
        "averaging": {"algorithm": "fedavg"},
        "learning": {
            "task": "counting:Counting",
            "options": {"test": test, "validation": validation},
            "training": {"steps": 1},
        },
        "evaluation": evaluation,
    }
    return run_scenario(make_scenario(document), folder=folder, is_checked=True)


@pytest.mark.parametrize("selection", ["own", "common"])
def test_the_round_that_is_best_on_validation_rows_counts_and_is_exported(
    tmp_path: Path, selection: str
) -> None:
    run = counted(tmp_path, test=6, validation=3, selection=selection)
    assert run.require_model().tolist() == [3.0]
    assert run.selected is not None
    assert (run.selected.round, run.selected.figure, run.selected.peers) == (2, 0.0, 3)
    # All three models are of that round, though test rows would have later ones.
    assert [(row.joint, row.local, row.pooled) for row in run.gains] == [(3.0, 3.0, 3.0)] * 3
    assert summarise(run).own_mean == 3.0
    assert (len(run.rounds), run.stopped, run.interrupted) == (9, None, False)
    folder = write_run(run, tmp_path / "run")
    model, told = read_model(folder / MODEL)
    assert model.vector().tolist() == [3.0]
    by = "distance on validation rows, mean of 3 peers"
    assert (told["round"], told["selected_by"], told["selected_figure"]) == ("3", by, "0.0")
    again = read_run(folder)
    assert (again.selected, again.stopped) == (run.selected, None)
    (said,) = cautions(run, summarise(run))
    assert "round 3, the best on rows to choose a model by" in said


def test_test_rows_choose_nothing(tmp_path: Path) -> None:
    """Whatever they say, the round, the end and the model are the same; validation rows matter."""
    found = [
        counted(tmp_path, test=test, validation=3, patience=2, selection=selection)
        for test, selection in ((6, "own"), (1, "own"), (2000, "common"))
    ]
    assert [(it.selected and it.selected.round, it.stopped) for it in found] == [(2, 4)] * 3
    assert {it.require_model().tobytes() for it in found} == {np.float32(3).tobytes()}
    assert [it.gains[0].joint for it in found] == [3.0, 2.0, 1997.0]
    other = counted(tmp_path, test=6, validation=5, patience=2)
    assert (other.selected and other.selected.round, other.stopped) == (4, 6)


def test_a_run_ends_once_patience_is_out_and_so_do_its_baselines(tmp_path: Path) -> None:
    run = counted(tmp_path, test=6, validation=3, patience=2, selection="last")
    assert (run.stopped, run.interrupted, run.unfinished) == (4, False, ())
    assert [row.round for row in run.rounds] == [0, 1, 2, 3, 4]
    assert [(row.ended, row.lost) for row in run.rounds] == [(3, 0)] * 5
    assert max(row.round for row in run.peers) == 4
    # The last is that of the round it ended with, not the best: so it was asked.
    assert (run.require_model().tolist(), run.selected) == ([5.0], None)
    assert [(row.joint, row.local, row.pooled) for row in run.gains] == [(1.0, 1.0, 3.0)] * 3
    # Pooled takes three steps a round: it begins at its best, and rests after 9.
    assert [row.own_local_mean for row in run.rounds] == [5.0, 4.0, 3.0, 2.0, 1.0]
    assert [row.own_pooled_mean for row in run.rounds] == [3.0, 0.0, 3.0, None, None]
    told = cautions(run, summarise(run))
    assert told[0] == (
        "Ended after 5 of 9 rounds: 2 rounds gave no better figure on rows to choose a model by."
    )
    folder = write_run(run, tmp_path / "run")
    assert read_run(folder).stopped == 4
    assert read_model(folder / MODEL)[1]["round"] == "5"
    whole = counted(tmp_path, test=6, validation=3, patience=7)
    assert (whole.stopped, len(whole.rounds)) == (None, 9)


def test_choosing_takes_rows_to_choose_by() -> None:
    for key, value in (("patience", 2), ("selection", "common")):
        document = {
            "peers": 3,
            "rounds": 2,
            "learning": {"task": "integers"},
            "averaging": {"algorithm": "fedavg"},
            "evaluation": {key: value},
        }
        with pytest.raises(LearningError, match=f"evaluation.{key} goes by rows"):
            run_scenario(make_scenario(document))
    with pytest.raises(ScenarioError, match=r"leave evaluation\.patience out"):
        make_scenario(
            {
                "peers": 6,
                "learning": {"task": "digits", "validation": 0.2},
                "averaging": {"algorithm": "group"},
                "privacy": {"epsilon": 8.0},
                "evaluation": {"patience": 3},
            }
        )


def recorded(
    figures: list[list[float | None]], *, late: bool = False, **evaluation: Any
) -> tuple[Recorder, Any]:
    """Have peers end rounds in which their models are [round, peer], with these figures by round.

    Args:
        figures: by round and peer, on validation rows; None where the peer missed the round.
        late: whether the first peer is as far ahead as can be.
        evaluation: settings.
    """
    scenario = make_scenario(
        {
            "peers": len(figures[0]),
            "rounds": len(figures),
            "learning": {"task": "integers"},
            "averaging": {"algorithm": "cohorts", "cohort_size": 3, "masking": "none"},
            "evaluation": evaluation,
        }
    )
    recorder = Recorder(
        scenario, PrimaryMetric(), lambda _round, _vector: 0.0, lambda _row, _measured: None
    )
    world = Stage(hosts=len(figures[0])).world
    recorder.start(world)
    events = [
        (round_ - (late and peer == 0), peer, round_, figure)
        for round_, row in enumerate(figures)
        for peer, figure in enumerate(row)
        if figure is not None
    ]
    for _, peer, round_, figure in sorted(events, key=lambda it: it[:2]):
        assert figure is not None
        host, model = world.hosts[peer], np.array([round_, peer], np.float32)
        recorder.on_report(float(round_), host, RoundEnded(round_, model, 3, 3, True))
        own = {"accuracy": 0.5}
        recorder.on_report(
            float(round_), host, PeerEvaluated(round_, {}, own, {"accuracy": figure})
        )
    return recorder, world


FIGURES: list[list[float | None]] = [
    [0.5, 0.1, 0.2],
    [0.2, None, 0.9],  # The best mean, though one missed it.
    [0.4, 0.6, 0.1],
    [0.1, 0.2, 0.3],
    [0.9, 0.9, 0.9],
]


@pytest.mark.parametrize(
    ("evaluation", "chosen"),
    [
        ({}, {0: 4, 1: 4, 2: 1}),
        ({"patience": 2}, {0: 0, 1: 2, 2: 1}),
        ({"selection": "last"}, {0: 4, 1: 4, 2: 4}),
        ({"selection": "common", "patience": 2}, {0: 1, 1: 0, 2: 1}),
    ],
)
@pytest.mark.parametrize("late", [False, True])
def test_each_peer_has_the_model_that_the_settings_choose(
    evaluation: dict[str, Any], chosen: dict[int, int], late: bool
) -> None:
    recorder, world = recorded(FIGURES, late=late, **evaluation)
    rows = recorder.rows()
    assert {peer: int(it.vector[0]) for peer, it in recorder.models().items()} == chosen
    stops = "patience" in evaluation
    assert (recorder.stopped, len(rows)) == ((3, 4) if stops else (None, 5))
    assert world.is_over == stops
    # The table of peers leads to the same models, so the figures that are told are of these.
    run = make_example(peers=3, rounds=5, cohort_size=3, evaluation=evaluation)
    run.peers, run.selected = recorder.peers, recorder.selected
    assert {row.peer: row.round for row in counted_rows(run)} == chosen
    joint = recorder.joint([np.array([9, 9], np.float32)] * 3)
    assert joint is not None
    if evaluation.get("selection") == "last":
        assert joint.tolist() == [9, 9]
    else:
        best = 1 if stops else 4
        assert recorder.selected is not None
        assert (recorder.selected.round, joint[0]) == (best, best)


def test_a_round_is_judged_once_all_are_past_it_or_half_are_four_rounds_further() -> None:
    falling: list[list[float | None]] = [[0.9 - round_ / 10] * 3 for round_ in range(8)]
    one_missed = [row if it != 1 else [0.8, None, 0.8] for it, row in enumerate(falling)]
    one_gone = [row if it < 1 else [row[0], None, row[2]] for it, row in enumerate(falling)]
    for figures, furthest in ((falling, 1), (one_missed, 2), (one_gone, 5)):
        recorder, _ = recorded(figures, patience=1)
        assert recorder.stopped == 1
        assert max(row.round for row in recorder.peers) == furthest
        assert [row.round for row in recorder.rows()] == [0, 1]
        assert max(row.round for row in recorder.peers) == 1
