"""Tasks without torch, model after model."""

from collections.abc import Sequence

import numpy as np

from p2pfl.learner.arrays import as_numbers
from p2pfl.learner.engines.base import (
    Evaluation,
    NotMeasurable,
    Training,
    draw_rows,
    failed_training,
)
from p2pfl.learner.errors import Blamed, LearningError
from p2pfl.learner.metrics import Float64s, check_metrics
from p2pfl.learner.streams import Integers
from p2pfl.learner.tasks.base import Array, Data, Floats, NumpyTask, Rows
from p2pfl_gossip.learning import Trained, WorkFailed


class VectorReadings:
    """A `NumpyTask`'s model: it is measured whenever figures are asked for."""

    def __init__(
        self, task: NumpyTask, data: Data, test: Rows | None, evaluation: Evaluation
    ) -> None:
        self._task, self._data, self._test, self._evaluation = task, data, test, evaluation
        self._vector = evaluation.job.vector.astype(np.float32, copy=False)

    def common(self) -> dict[str, float]:
        """See `Readings`."""
        if self._test is None or not self._evaluation.with_common:
            return {}
        return self._measure(self._test.inputs, self._test.targets)

    def held(self, places: Integers) -> dict[str, float]:
        """See `Readings`."""
        rows, train = self._evaluation.held[places], self._data.train
        return self._measure(train.inputs[rows], train.targets[rows])

    def values(self, name: str) -> Float64s | None:
        """Return None: what a row adds is not known."""
        return None

    def confusion(self, places: Integers) -> list[list[int]] | None:
        """Return None: what is guessed is not known."""
        return None

    def _measure(self, inputs: Array, targets: Array) -> dict[str, float]:
        primary, round_number = self._task.primary.name, self._evaluation.job.round
        if not np.isfinite(self._vector).all():
            raise NotMeasurable(f"the model is not finite after round {round_number}")
        with np.errstate(all="ignore"):
            return check_metrics(self._task.evaluate(self._vector, inputs, targets), primary)


class NumpyEngine:
    """Trains the flat vector of a `NumpyTask`, step by step."""

    batching = "one by one: a task in NumPy"

    def __init__(self, task: NumpyTask, data: Data, test: Rows | None) -> None:
        self._task, self._data, self._test = task, data, test

    def train(self, trainings: Sequence[Training]) -> list[Trained | WorkFailed]:
        """Train model after model."""
        with np.errstate(all="ignore"):  # What is not finite is told as such.
            return [self._train(training) for training in trainings]

    def one_at_a_time(self) -> "NumpyEngine":
        """See `Engine`."""
        return self

    def evaluate(self, evaluations: Sequence[Evaluation]) -> list[VectorReadings]:
        """Return models, to be measured."""
        return [VectorReadings(self._task, self._data, self._test, it) for it in evaluations]

    def _train(self, training: Training) -> Trained | WorkFailed:
        vector = training.job.vector.astype(np.float32)
        losses, taken, rows = [], 0, draw_rows([training])[0].rows[0]
        train = self._data.train
        for size in training.plan.sizes:
            batch = rows[taken : taken + size]
            losses.append(
                self._task.step(vector, train.inputs[batch], train.targets[batch], training.rate)
            )
            taken += size
        loss = float(sum(losses) / len(losses))
        if not (np.isfinite(loss) and np.isfinite(vector).all()):
            return failed_training(training, losses)
        vector.flags.writeable = False
        return Trained(vector, len(training.rows), loss)


def make_initial(task: NumpyTask, seed: int, blamed: Blamed) -> Floats:
    """Return the common start, float32[d].

    Raises:
        LearningError: the task gives none.
    """
    with blamed.faults():
        given = task.initial_vector(seed)
    which, remedy = f"task {blamed.task!r}: its initial_vector", "return finite float32[d]"
    if given is None or isinstance(given, (str, bytes)):
        kind = "nothing" if given is None else f"of type {type(given).__name__}"
        raise LearningError(f"{which} is {kind}, no vector; {remedy}")
    initial = as_numbers(given, f"{which}'s entries", remedy).array.astype(np.float32)
    if initial.ndim != 1 or not len(initial):
        raise LearningError(f"{which} has shape {list(initial.shape)}; {remedy}")
    if not np.isfinite(initial).all():
        raise LearningError(f"{which} is not finite; {remedy}")
    return initial


def try_numpy_task(
    task: NumpyTask,
    initial: Floats,
    data: Data,
    test: Rows | None,
    *,
    batches: Sequence[Integers],
    blamed: Blamed,
) -> None:
    """Do a step of a copy on each batch, by its rows, and measure it, before anything runs.

    The rate of these steps is 0.

    Raises:
        LearningError: the task's rows, step or evaluation do not fit each other.
    """
    train = data.train
    for rows in batches:
        size, vector = len(rows), initial.copy()
        where = f" on a batch of {size} row{'s' * (size != 1)}"
        with blamed.faults(where), np.errstate(all="ignore"):
            loss = task.step(vector, train.inputs[rows], train.targets[rows], 0.0)
        if not isinstance(loss, (int, float, np.number)):
            raise LearningError(
                f"task {blamed.task!r}: its step() returned {type(loss).__name__}; return the"
                " batch's loss, a number"
            )
        if not np.isfinite(loss):
            raise LearningError(
                f"task {blamed.task!r}: its step() gives the loss {loss:g} at the start{where}; see"
                " step() for log, division or root of 0, and the scale of the inputs"
            )
        if not np.isfinite(vector).all():
            raise LearningError(
                f"task {blamed.task!r}: its step() at a rate of 0 makes the model"
                f" {vector[~np.isfinite(vector)][0]:g}{where}; see step() for a gradient that is"
                " not finite"
            )
    if test is None:
        test = Rows(train.inputs[:1], train.targets[:1])
    with blamed.faults(" on the test rows"), np.errstate(all="ignore"):
        metrics = task.evaluate(initial.copy(), test.inputs, test.targets)
    check_metrics(metrics, task.primary.name, blamed.task)
