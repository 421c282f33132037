"""What joining gives this peer: the joint model against one that it has trained alone.

The latter is made on demand (`p2pfl peer baseline`), by the group's settings and for as many
rounds, on the peer's own rows; it stays in the peer's folder, and nobody else learns of it.

    DIR/baseline.safetensors   the model, a tensor "vector", and what it keeps of its own,
                               tensors "own/..."; its metadata say of which task
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from p2pfl.daemon.errors import ServiceError
from p2pfl.learner.gains import Gain, measure_gains
from p2pfl.learner.learner import Learner
from p2pfl.learner.peer_models import PeerModel
from p2pfl.store.files import PRIVATE
from p2pfl_gossip.learning import Trained

SEED = 1
"""Of the draws behind intervals: any would do, and the same interval is told each time."""

OWN = "own/"
"""Before the names of what a baseline keeps of its own."""


class Baseline(NamedTuple):
    """A model trained alone, and for how many rounds."""

    model: PeerModel
    rounds: int


def train_baseline(
    learner: Learner, place: int, rounds: int, tell: Callable[[int], None]
) -> PeerModel:
    """Train a peer's model on its own rows alone, with the group's settings.

    Args:
        learner: knows the rows.
        place: the number of the peer's rows in it.
        rounds: of training, as many as the group's.
        tell: is called with each round that is done, from 1.

    Raises:
        ServiceError: no round gave a usable model.
    """
    model, failure, done = PeerModel(learner.initial_vector()), "", 0
    for round_number in range(rounds):
        job = model.train(round_number, f"{place}/baseline/train/{round_number}")
        (result,) = learner.run([(place, job)])
        if isinstance(result, Trained):
            model, done = PeerModel(result.vector, result.own), done + 1
        else:
            failure = getattr(result, "reason", "")
        tell(round_number + 1)
    if not done:
        raise ServiceError(f"training alone gave no usable model: {failure}")
    return model


def write_baseline(path: Path, learner: Learner, baseline: Baseline) -> None:
    """Write a baseline, whole or not at all.

    Raises:
        ServiceError: it cannot be written.
    """
    partial = path.with_suffix(".partial")
    about = {"task": learner.description.digest.hex(), "rounds": str(baseline.rounds)}
    try:
        partial.touch(mode=PRIVATE)
        tensors = {"vector": baseline.model.vector}
        tensors |= {f"{OWN}{name}": it for name, it in baseline.model.own.items()}
        arrays = {name: np.asarray(it, order="C") for name, it in tensors.items()}
        save_file(arrays, partial, metadata=about)
        partial.chmod(PRIVATE)
        partial.rename(path)
    except (OSError, SafetensorError) as error:
        raise ServiceError(f"cannot write {path}: {error}") from None


def read_baseline(path: Path, learner: Learner) -> Baseline | None:
    """Read a baseline; None where there is none, or one of another task.

    Raises:
        ServiceError: the file is broken.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, "numpy") as file:
            about = file.metadata() or {}
            if about.get("task") != learner.description.digest.hex():
                return None
            vector = file.get_tensor("vector")
            own = {
                name.removeprefix(OWN): file.get_tensor(name)
                for name in file.keys()  # noqa: SIM118
                if name.startswith(OWN)
            }
            rounds = int(about["rounds"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        told = " ".join(str(error).split())
        raise ServiceError(f"{path} is broken ({told}): remove it, and train it again") from None
    if vector.shape != (learner.vector_length,):
        raise ServiceError(f"{path} is broken (another length): remove it, and train it again")
    return Baseline(PeerModel(vector, own), rounds)


class OwnGain:
    """Holds the newest joint model against the baseline, when somebody asks.

    The driver's threads tell it of models, the control server's asks: a lock keeps them apart.
    """

    def __init__(self, learner: Learner, place: int, path: Path) -> None:
        self._learner, self._place, self._path = learner, place, path
        self._joint: tuple[int, PeerModel] | None = None
        self._known: tuple[object, dict[str, Any]] | None = None
        self._lock = threading.Lock()

    def note(self, round_number: int, model: PeerModel) -> None:
        """Take the joint model that was evaluated last."""
        self._joint = (round_number, model)

    def status(self) -> dict[str, Any]:
        """Return what `p2pfl peer status` shows of own test rows.

        Returns:
            `primary`: name, direction and kind of the metric; `train_rows` and `test_rows`: how
            many; `baseline_rounds`: of training alone, None where no baseline is there; `joint`,
            `local`, `gain`, `low`, `high`: as `Gain`; `problem`: what is wrong with the baseline.
        """
        with self._lock:
            joint, stamp = self._joint, _stamp(self._path)
            key = (None if joint is None else joint[0], stamp)
            if self._known is None or self._known[0] != key:
                self._known = (key, self._measure(joint))
            return dict(self._known[1])

    def _measure(self, joint: tuple[int, PeerModel] | None) -> dict[str, Any]:
        learner, place, problem = self._learner, self._place, ""
        baseline: Baseline | None = None
        try:
            baseline = read_baseline(self._path, learner)
        except ServiceError as error:
            problem = str(error)
        gain = gain_of(learner, place, joint, baseline)
        primary = learner.primary
        return {
            "primary": {
                "name": primary.name,
                "larger_is_better": primary.larger_is_better,
                "is_share": primary.is_percentage,
            },
            "train_rows": learner.sample_count(place),
            "test_rows": learner.test_count(place),
            "round": None if joint is None else joint[0],
            "baseline_rounds": None if baseline is None else baseline.rounds,
            "joint": gain.joint,
            "local": gain.local,
            "gain": gain.gain,
            "low": gain.low,
            "high": gain.high,
            "problem": problem,
        }


def gain_of(
    learner: Learner, place: int, joint: tuple[int, PeerModel] | None, baseline: Baseline | None
) -> Gain:
    """Hold a joint model against a baseline on the peer's own test rows."""
    (gain,) = measure_gains(
        learner,
        [place],
        0 if joint is None else joint[0],
        seed=SEED,
        joint=[None if joint is None else joint[1]],
        local=[None if baseline is None else baseline.model],
        pooled=None,
    )
    return gain


def _stamp(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from a later one of the name; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino
