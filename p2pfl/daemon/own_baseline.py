"""What joining gives this peer: the joint model against one that it has trained alone.

The latter is made on demand (`p2pfl peer baseline`), by the group's settings and for as many
rounds, on the peer's own rows; it stays in the peer's folder, and nobody else learns of it.

    DIR/baseline.safetensors   as in model_files.py; its metadata say of which task, and after how
                               many rounds
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from p2pfl.daemon.chosen import Chosen
from p2pfl.daemon.errors import ServiceError
from p2pfl.daemon.model_files import broken, read_about, read_peer_model, write_peer_model
from p2pfl.learner.gains import Gain, measure_gains
from p2pfl.learner.kept import Kept
from p2pfl.learner.learner import Learner
from p2pfl.learner.peer_models import PeerModel
from p2pfl_gossip.learning import Evaluated, Trained

SEED = 1
"""Of the draws behind intervals: any would do, and the same interval is told each time."""


class Baseline(NamedTuple):
    """A model trained alone, and for how many rounds."""

    model: PeerModel
    rounds: int


def train_baseline(
    learner: Learner, place: int, rounds: int, tell: Callable[[int], None]
) -> PeerModel:
    """Train a peer's model on its own rows alone, with the group's settings.

    It is that of the round that is best on rows to choose a model by, where there are any, as the
    joint model is; else the last.

    Args:
        learner: knows the rows.
        place: the number of the peer's rows in it.
        rounds: of training, as many as the group's.
        tell: is called with each round that is done, from 1.

    Raises:
        ServiceError: no round gave a usable model.
    """
    model, failure, done = PeerModel(learner.initial_vector()), "", 0
    kept: Kept[PeerModel] = Kept(learner.primary)
    for round_number in range(rounds):
        job = model.train(round_number, f"{place}/baseline/train/{round_number}")
        (result,) = learner.run([(place, job)])
        if isinstance(result, Trained):
            model, done = PeerModel(result.vector, result.own), done + 1
            kept.offer(model, _validated(learner, place, model, round_number))
        else:
            failure = getattr(result, "reason", "")
        tell(round_number + 1)
    if not done:
        raise ServiceError(f"training alone gave no usable model: {failure}")
    return model if kept.model is None else kept.model


def _validated(learner: Learner, place: int, model: PeerModel, round_: int) -> float | None:
    """Return a model's figure on the peer's rows to choose a model by; None where it has none."""
    if not learner.validation_count(place):
        return None
    (found,) = learner.evaluate([(place, model.evaluate(round_))], with_common=False)
    figures = found.validation if isinstance(found, Evaluated) else {}
    return figures.get(learner.primary.name)


def write_baseline(path: Path, learner: Learner, baseline: Baseline) -> None:
    """Write a baseline, whole or not at all.

    Raises:
        ServiceError: it cannot be written.
    """
    about = {"task": learner.description.digest.hex(), "rounds": str(baseline.rounds)}
    write_peer_model(path, baseline.model, about)


def read_baseline(path: Path, learner: Learner) -> Baseline | None:
    """Read a baseline; None where there is none, or one of another task.

    Raises:
        ServiceError: the file is broken.
    """
    about = read_about(path)
    if about is None or about.get("task") != learner.description.digest.hex():
        return None
    model, about = read_peer_model(path)
    if model.vector.shape != (learner.vector_length,):
        raise broken(path, "another length")
    try:
        return Baseline(model, int(about["rounds"]))
    except (KeyError, ValueError):
        raise broken(path, "it does not say of how many rounds") from None


class OwnGain:
    """Holds the joint model that counts against the baseline, when somebody asks.

    It is the one that the peer has chosen by rows of its own, else the newest. The driver's threads
    tell it of models, the control server's asks: a lock keeps them apart.

    Args:
        learner: knows the rows.
        place: the number of the peer's rows in it.
        path: of the baseline.
        chosen: keeps the model that is chosen; None where the newest counts.
    """

    def __init__(
        self, learner: Learner, place: int, path: Path, chosen: Chosen | None = None
    ) -> None:
        self._learner, self._place, self._path, self._chosen = learner, place, path, chosen
        self._newest: tuple[int, PeerModel] | None = None
        self._known: tuple[object, dict[str, Any]] | None = None
        self._lock = threading.Lock()

    def note(self, round_number: int, model: PeerModel, validation: dict[str, float]) -> None:
        """Take the joint model that was evaluated last, with its figures to choose it by."""
        self._newest = (round_number, model)
        if self._chosen is not None:
            self._chosen.offer(round_number, model, validation)

    def status(self) -> dict[str, Any]:
        """Return what `p2pfl peer status` shows of own test rows.

        Returns:
            `primary`: name, direction and kind of the metric; `train_rows` and `test_rows`: how
            many; `baseline_rounds`: of training alone, None where no baseline is there; `joint`,
            `local`, `gain`, `low`, `high`: as `Gain`; `problem`: what is wrong with the baseline;
            `round`: of the joint model, from 0; `is_chosen`: whether it is the best of several on
            rows to choose by; `chosen_problem`: why it is not kept.
        """
        with self._lock:
            chosen = None if self._chosen is None else self._chosen.model
            joint, stamp = chosen or self._newest, _stamp(self._path)
            key = (None if joint is None else joint[0], stamp)
            if self._known is None or self._known[0] != key:
                self._known = (key, self._measure(joint))
            problem = "" if self._chosen is None else self._chosen.problem
            told = {"is_chosen": chosen is not None, "chosen_problem": problem}
            return self._known[1] | told

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
