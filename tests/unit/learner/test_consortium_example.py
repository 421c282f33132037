"""examples/consortium: its files are accepted by our readers, and its task trains a round."""

import configparser
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from p2pfl.charter.form import read_form
from p2pfl.cli.errors import CANNOT_GO_ON, DIFFERENT, WRONG_INPUT
from p2pfl.daemon.config import read_config
from p2pfl.daemon.service import STOP_PATIENCE_S
from p2pfl.learner.errors import LearningError
from p2pfl.learner.learner import Learner, make_learner
from p2pfl.learner.settings import LearningSettings
from p2pfl_gossip.learning import Evaluate, Evaluated, Train, Trained

EXAMPLE = Path(__file__).parents[3] / "examples" / "consortium"


def made_up_rows() -> ModuleType:
    specification = importlib.util.spec_from_file_location("rows", EXAMPLE / "made_up_rows.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def learner_of(data_dir: Path) -> Learner:
    settings = LearningSettings(
        task="readmissions:Readmissions",
        data_dir=data_dir,
        training=read_form(EXAMPLE / "group.toml").training,
    )
    return make_learner(settings, peer_count=1, seed=1, folder=EXAMPLE, threads=1)


def test_a_round_of_the_task_improves_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "rows.csv").write_text("\n".join(made_up_rows().rows(1)))
    learner, place = learner_of(tmp_path), 0
    assert learner.sample_count(place) == 320
    start = learner.initial_vector()
    trained, before = learner.run(
        [(place, Train(round=0, vector=start, stream="1/0/train")), (place, Evaluate(0, start))]
    )
    assert isinstance(trained, Trained)
    assert isinstance(before, Evaluated)
    (after,) = learner.run([(place, Evaluate(0, trained.vector))])
    assert isinstance(after, Evaluated)
    assert after.own["loss"] < before.own["loss"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "rows.csv: No such file"),
        ("age,stay_days,medicines,readmitted\n60,3,x,0\n", "line 2: wants numbers"),
        ("age,medicines,readmitted\n60,3,0\n", "line 2: wants numbers"),
        ("age,stay_days,medicines,readmitted\n60,3,1,0\n", "has 1 rows"),
    ],
)
def test_rows_that_are_wrong_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, told: str
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    if content is not None:
        (tmp_path / "rows.csv").write_text(content)
    with pytest.raises(LearningError, match=told):
        learner_of(tmp_path)


def test_the_settings_are_those_of_a_member() -> None:
    config = read_config(EXAMPLE)
    assert config.name == "berlin"
    assert config.rows == 320


def test_the_service_restarts_after_a_crash_and_not_after_what_people_must_mend() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(EXAMPLE / "p2pfl-peer.service")
    service = unit["Service"]
    codes = {int(code) for code in service["RestartPreventExitStatus"].split()}
    assert codes == {WRONG_INPUT, CANNOT_GO_ON}
    assert DIFFERENT not in codes
    assert float(service["TimeoutStopSec"]) > STOP_PATIENCE_S
