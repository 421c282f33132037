"""The task that runs is the one in the charter, from the bundle that was approved."""

import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from consortium import amended, founded

from p2pfl.charter.approved_bundles import approve, place_of
from p2pfl.charter.bundles import bundle_of, pack
from p2pfl.charter.charter_file import CharterFile
from p2pfl.daemon.config import Exclusion, PeerConfig, PeerFolder
from p2pfl.daemon.task_in_hand import TaskInHand
from p2pfl_gossip.learning import Train, Trained, WorkFailed

TASK = """
import numpy as np
from p2pfl.learner.tasks import Data, NumpyTask, Rows

class Mine(NumpyTask):
    def data(self, data_dir):
        x = np.ones((8, 1), np.float32)
        y = np.zeros(8, np.int64)
        return Data(Rows(x, y), Rows(x, y), columns={"person": np.arange(8)})
    def initial_vector(self, seed):
        return np.zeros(WIDTH, np.float32)
    def step(self, vector, inputs, targets, rate):
        vector += rate * len(inputs)
        return 0.0
    def evaluate(self, vector, inputs, targets):
        return {"accuracy": 1.0}
"""
NOW = datetime(2026, 12, 1, tzinfo=UTC)


class Place:
    """A peer's folder, the group's charter, and the task in hand."""

    def __init__(self, folder: Path, *, width: int = 4, excluded: bool = False) -> None:
        self.folder = PeerFolder(folder / "berlin")
        self.folder.path.mkdir()
        (folder / "task").mkdir()
        (folder / "task/mine.py").write_text(TASK.replace("WIDTH", str(width)))
        self.bundle = bundle_of(pack(folder / "task", "mine:Mine"))
        task = {"name": "mine:Mine", "bundle": self.bundle.digest, "held_out": 0.25}
        start = {"first_state": str(folder / "start.safetensors")}
        rate = {"learning_rate": 0.25, "batch_size": 64}
        self.group = founded(folder, task=task | start, training=rate)
        self.list = folder / "objected.txt"
        exclusion = Exclusion(file=self.list, column="person") if excluded else None
        config = PeerConfig(name="berlin", addresses=("/ip4/127.0.0.1/tcp/1",), excluded=exclusion)
        self.hand = TaskInHand(self.folder, config)
        self.hand.want(self.group)

    def approve(self) -> None:
        approve(self.folder.path, self.bundle, NOW)

    def train(self) -> float | str:
        """What one training adds to each entry, or why it fails."""
        result = self.hand.work(Train(0, np.zeros(4, np.float32), "streams"))
        if isinstance(result, WorkFailed):
            return result.reason
        assert isinstance(result, Trained)
        return float(result.vector[0])


@pytest.fixture(autouse=True)
def own_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))


def test_nothing_runs_that_was_not_approved_or_was_changed_since(tmp_path: Path) -> None:
    place = Place(tmp_path)
    assert "is not approved here" in place.hand.fault(place.group)
    assert "is not approved here" in str(place.train())
    place.approve()
    assert place.hand.fault(place.group) == ""
    assert place.train() == 1.5  # Six rows of eight, at a rate of a quarter.
    kept = place_of(place.folder.path, place.bundle.digest)
    kept.write_bytes(pack(tmp_path / "task", "mine:Mine")[:-1024])
    assert place.hand.fault(place.group) != ""


def test_another_learning_rate_is_taken_up_without_a_restart(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.approve()
    made: list[object] = []
    place.hand.listeners.append(lambda learner, _place: made.append(learner))
    assert [place.train(), place.train()] == [1.5, 1.5]
    slower = {"learning_rate": 0.125, "batch_size": 64}
    place.hand.want(amended(place.group, training=slower))
    assert place.train() == 0.75
    assert len(made) == 2


def test_without_the_charter_s_texts_and_with_another_model_nothing_is_trained(
    tmp_path: Path,
) -> None:
    place = Place(tmp_path, width=5)
    place.approve()
    assert "has 5 entries here, and the charter's first state 4" in str(place.train())
    place.hand.want(None)
    assert "texts of the charter in force are not here" in str(place.train())


def test_an_own_module_without_a_bundle_is_refused(tmp_path: Path) -> None:
    place = Place(tmp_path)
    start = str(tmp_path / "start.safetensors")
    loose: CharterFile = founded(tmp_path, task={"name": "mine:Mine", "first_state": start})
    assert place.hand.fault(loose) == "the charter names no bundle of the task mine:Mine"


def test_the_list_of_excluded_units_is_read_before_each_training(tmp_path: Path) -> None:
    place = Place(tmp_path, excluded=True)
    place.approve()
    assert "nothing is trained on without them" in str(place.train())
    place.list.write_text("")
    assert place.train() == 1.5
    place.list.write_text("0\n1\n2\n3\n")
    assert place.train() == 0.75  # Four rows are left, and one of them is held out.
