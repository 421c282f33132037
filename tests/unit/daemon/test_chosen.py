"""Of all rounds that a peer has seen, the model that is best on its own rows to choose by."""

import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from p2pfl.daemon.building import make_work
from p2pfl.daemon.chosen import Chosen
from p2pfl.daemon.errors import ServiceError
from p2pfl.daemon.kept import KeptModel, chosen_model
from p2pfl.daemon.own_baseline import OwnGain, train_baseline
from p2pfl.learner.learner import Learner, make_learner
from p2pfl.learner.peer_models import PeerModel
from p2pfl.learner.settings import LearningSettings
from p2pfl_gossip.learning import Evaluate, Evaluated
from p2pfl_gossip.own_state import NOTHING

FEATURES = 64


def learner_of(*, seed: int = 2, validation: float = 0.3, batch: int = 32) -> Learner:
    document = {"task": "integers", "validation": validation, "training": {"batch_size": batch}}
    settings = LearningSettings.model_validate(document)
    return make_learner(settings, peer_count=8, seed=seed, folder=None)


def model(entry: float) -> PeerModel:
    return PeerModel(np.full(FEATURES, entry, np.float32), {"head": np.array([entry], np.float32)})


def offered(chosen: Chosen, *figures: float) -> None:
    for round_, figure in enumerate(figures):
        chosen.offer(round_, model(round_), {"accuracy": figure, "loss": -round_})


def test_the_best_is_kept_over_restarts(tmp_path: Path) -> None:
    learner, path = learner_of(), tmp_path / "chosen.safetensors"
    chosen = Chosen(learner, 1, path)
    assert (chosen.model, path.exists()) == (None, False)
    offered(chosen, 0.5, 0.7, 0.7, float("nan"), 0.6)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = Chosen(learner_of(), 1, path)
    for it in (chosen, again):
        assert it.model is not None
        assert (it.model[0], it.model[1].vector[0], it.model[1].own["head"][0]) == (1, 1, 1)
    again.offer(7, model(7), {"accuracy": 0.69})
    again.offer(8, model(8), {"loss": 0.0})
    assert again.model is not None
    assert again.model[0] == 1
    again.offer(9, model(9), {"accuracy": 0.71})
    newest = KeptModel(np.zeros(FEATURES, np.float32), NOTHING, {"round": "12", "entry": "0a"})
    read = chosen_model(path, newest)
    assert read is not None
    assert (read.vector[0], read.own["head"][0]) == (9, 9)
    assert read.metadata == {
        "round": "10",
        "chosen_figure": "0.71",
        "chosen_by": "accuracy on own validation rows",
    }
    assert chosen_model(tmp_path / "nothing", newest) is None
    shorter = KeptModel(np.zeros(3, np.float32), NOTHING, {})
    with pytest.raises(ServiceError, match=r"chosen.safetensors is broken \(another length"):
        chosen_model(path, shorter)


@pytest.mark.parametrize("other", [{"seed": 3}, {"validation": 0.2}, {"validation": 0.0}])
def test_what_was_chosen_by_other_rows_is_no_measure(tmp_path: Path, other: dict[str, Any]) -> None:
    path = tmp_path / "chosen.safetensors"
    offered(Chosen(learner_of(), 1, path), 0.5)
    assert Chosen(learner_of(), 1, path).model is not None
    assert Chosen(learner_of(**other), 1, path).model is None
    assert not path.exists()


def test_a_file_that_is_broken_or_cannot_be_written_is_told(tmp_path: Path) -> None:
    learner, path = learner_of(), tmp_path / "chosen.safetensors"
    offered(Chosen(learner, 1, path), 0.5)
    path.write_bytes(path.read_bytes()[:-8])
    chosen = Chosen(learner, 1, path)
    gain = OwnGain(learner, 1, tmp_path / "baseline.safetensors", chosen)
    assert "chosen.safetensors is broken" in gain.status()["chosen_problem"]
    gain.note(3, model(3), {"accuracy": 0.1})  # It is made again.
    status = gain.status()
    assert (status["chosen_problem"], status["is_chosen"], status["round"]) == ("", True, 3)
    missing = Chosen(learner, 1, tmp_path / "nowhere" / "chosen.safetensors")
    offered(missing, 0.5)
    assert "cannot write" in missing.problem
    assert missing.model is not None


def test_status_is_of_the_chosen_model_and_choosing_goes_by_validation_rows(tmp_path: Path) -> None:
    learner, path = learner_of(), tmp_path / "chosen.safetensors"
    gain = OwnGain(learner, 1, tmp_path / "baseline.safetensors", Chosen(learner, 1, path))
    noted: list[dict[str, float]] = []

    def note(round_: int, model_: PeerModel, validation: dict[str, float]) -> None:
        noted.append(validation)
        gain.note(round_, model_, validation)

    work = make_work(learner, 1, note)
    good = train_baseline(learner, 1, 1, lambda _: None).vector
    for round_, vector in enumerate((np.zeros(FEATURES, np.float32), good, good * 0)):
        found = work(Evaluate(round_, vector))
        assert isinstance(found, Evaluated)
        assert found.validation == noted[-1]
        assert found.own != found.validation
    status = gain.status()
    assert (status["round"], status["is_chosen"]) == (1, True)
    assert status["joint"] > 0.9
    newest = OwnGain(learner, 1, tmp_path / "baseline.safetensors")
    newest.note(2, PeerModel(good * 0), noted[-1])
    assert (newest.status()["is_chosen"], newest.status()["joint"]) == (False, 0.0)


def test_a_baseline_is_chosen_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = learner_of()
    told = iter([0.4, 0.9, 0.2])
    real = Learner.evaluate

    def evaluate(self: Learner, jobs: Any, **kwargs: Any) -> Any:
        found = real(self, jobs, **kwargs)
        for it in found:
            assert isinstance(it, Evaluated)
            it.validation["accuracy"] = next(told)
        return found

    second = train_baseline(learner_of(), 1, 2, lambda _: None).vector
    monkeypatch.setattr(Learner, "evaluate", evaluate)
    assert train_baseline(learner, 1, 3, lambda _: None).vector.tobytes() == second.tobytes()
