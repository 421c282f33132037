"""What a peer gains by joining, as it tells its operator."""

import stat
from pathlib import Path

import numpy as np
import pytest

from p2pfl.daemon.errors import ServiceError
from p2pfl.daemon.own_baseline import (
    Baseline,
    OwnGain,
    read_baseline,
    train_baseline,
    write_baseline,
)
from p2pfl.learner.learner import Learner, make_learner
from p2pfl.learner.peer_models import PeerModel
from p2pfl.learner.settings import LearningSettings
from p2pfl_gossip.learning import Evaluate, Evaluated, Train, Trained

ROUNDS = 3


def learner_of(**options: object) -> Learner:
    settings = LearningSettings.model_validate(
        {"task": "digits", "options": options, "training": {"learning_rate": 0.3}}
    )
    return make_learner(settings, peer_count=8, seed=2, folder=None, threads=1)


def figure(learner: Learner, place: int, vector: np.ndarray) -> float:
    (found,) = learner.run([(place, Evaluate(0, vector))])
    assert isinstance(found, Evaluated)
    return found.own["accuracy"]


def test_the_joint_model_is_held_against_the_one_trained_alone(tmp_path: Path) -> None:
    learner, path = learner_of(), tmp_path / "baseline.safetensors"
    told: list[int] = []
    gain = OwnGain(learner, 5, path)
    first = gain.status()
    assert (first["joint"], first["local"], first["baseline_rounds"]) == (None, None, None)
    assert (first["train_rows"], first["test_rows"]) == (
        learner.sample_count(5),
        learner.test_count(5),
    )
    trained = train_baseline(learner, 5, ROUNDS, told.append)
    assert told == [1, 2, 3]
    write_baseline(path, learner, Baseline(trained, ROUNDS))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    joint = learner.initial_vector()
    gain.note(7, PeerModel(joint), {})
    status = gain.status()
    assert status["primary"] == {
        "name": "accuracy",
        "larger_is_better": True,
        "is_share": True,
    }
    assert status["joint"] == figure(learner, 5, joint)
    assert status["local"] == figure(learner, 5, trained.vector) > status["joint"]
    assert status["gain"] == pytest.approx(status["joint"] - status["local"])
    assert status["low"] < status["gain"] < status["high"] < 0
    assert (status["round"], status["baseline_rounds"], status["problem"]) == (7, ROUNDS, "")
    # A newer model, or a newer baseline, is held against the other anew.
    gain.note(8, trained, {})
    assert gain.status()["gain"] == 0
    write_baseline(path, learner, Baseline(PeerModel(joint), 1))
    assert gain.status()["gain"] == pytest.approx(-status["gain"])


def test_it_is_trained_by_the_groups_settings_on_own_rows() -> None:
    learner = learner_of()
    vector = learner.initial_vector()
    for round_number in range(ROUNDS):
        job = Train(round_number, vector, f"4/baseline/train/{round_number}")
        (result,) = learner.run([(4, job)])
        assert isinstance(result, Trained)
        vector = result.vector
    trained = train_baseline(learner, 4, ROUNDS, lambda _: None)
    assert trained.vector.tobytes() == vector.tobytes()


def test_a_baseline_of_another_task_is_none_and_a_broken_one_is_told(tmp_path: Path) -> None:
    learner, path = learner_of(), tmp_path / "baseline.safetensors"
    assert read_baseline(path, learner) is None
    write_baseline(path, learner, Baseline(PeerModel(learner.initial_vector()), 1))
    found = read_baseline(path, learner)
    assert found is not None
    assert found.rounds == 1
    assert found.model.vector.tobytes() == learner.initial_vector().tobytes()
    assert read_baseline(path, learner_of(hidden=[5])) is None
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ServiceError, match=r"baseline.safetensors is broken .*it is made again"):
        read_baseline(path, learner)
    assert "is broken" in OwnGain(learner, 0, path).status()["problem"]


def test_training_that_gives_nothing_is_told() -> None:
    settings = LearningSettings.model_validate(
        {"task": "digits", "training": {"learning_rate": 1e30, "epochs": 3}}
    )
    learner = make_learner(settings, peer_count=8, seed=2, folder=None, threads=1)
    with pytest.raises(ServiceError, match=r"gave no usable model: the .* (is not finite|became)"):
        train_baseline(learner, 0, 2, lambda _: None)
