"""What engines share: jobs with their rows, and how a job ends."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from p2pfl.learner.batches import BatchPlan
from p2pfl.learner.metrics import Float64s, check_metrics, confusion_matrix, row_values
from p2pfl.learner.streams import Integers
from p2pfl.learner.tasks.base import Array, Floats, Task
from p2pfl_gossip.learning import Evaluate, Train, Trained, WorkFailed
from p2pfl_gossip.own_state import Arrays

STATISTICS_ROWS_MIN = 2
"""Fewer have no variance: a model is then measured with the statistics of the start."""


@dataclass(frozen=True)
class Training:
    """A `Train` job with what its peer's data and the settings make of it.

    Attributes:
        job: the job.
        rows: int64 row numbers of the peer's data.
        plan: its steps.
        rate: its learning rate.
        given: what its optimiser begins with, by name (`Optimiser.begin`): float32[d], entry by
            entry as the vector's, or float32[1].
    """

    job: Train
    rows: Integers
    plan: BatchPlan
    rate: float
    given: Arrays = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluation:
    """An `Evaluate` job with its peer's rows, as int64 row numbers of the data.

    Attributes:
        job: the job.
        rows: those that the peer trains on; statistics are worked out from them.
        held: those held out, which the model is measured on.
        with_common: whether it is measured on the common test rows as well.
    """

    job: Evaluate
    rows: Integers
    held: Integers
    with_common: bool = True


class Readings(Protocol):
    """A model that has been run on test rows; figures are of all or of some of them."""

    def common(self) -> dict[str, float]:
        """Return the figures of the common test rows; empty where there are none."""

    def held(self, places: Integers) -> dict[str, float]:
        """Return the figures of some held rows, by their places among `Evaluation.held`."""

    def values(self, name: str) -> Float64s | None:
        """Return each held row's part in a figure that is a mean over rows; None for others."""

    def confusion(self, places: Integers) -> list[list[int]] | None:
        """Count held rows by class and guess; None where there are no classes."""


class Outputs(NamedTuple):
    """What a model gives, float32 [n, ...], and what it should, [n, ...]."""

    outputs: Floats
    targets: Array


class OutputReadings:
    """A torch model's outputs on test rows."""

    def __init__(
        self, task: Task, *, common: Outputs | None, held: Outputs, round_number: int
    ) -> None:
        """Keep outputs.

        Args:
            task: measures them.
            common: of the common test rows, and their targets; None where there are none.
            held: of the rows held out, and their targets.
            round_number: after which round it is, for people.
        """
        self._task, self._common, self._held, self._round = task, common, held, round_number

    def common(self) -> dict[str, float]:
        """See `Readings`."""
        return {} if self._common is None else self._measure(self._common)

    def held(self, places: Integers) -> dict[str, float]:
        """See `Readings`."""
        return self._measure(Outputs(*(part[places] for part in self._held)))

    def values(self, name: str) -> Float64s | None:
        """See `Readings`."""
        return row_values(name, *self._held)

    def confusion(self, places: Integers) -> list[list[int]] | None:
        """See `Readings`."""
        return confusion_matrix(*(part[places] for part in self._held))

    def _measure(self, outputs: Outputs) -> dict[str, float]:
        if not np.isfinite(outputs.outputs).all():
            raise NotMeasurable(f"the model's outputs are not finite after round {self._round}")
        with np.errstate(all="ignore"):
            found = self._task.metrics(*outputs)
        return check_metrics(found, self._task.primary.name)


class NotMeasurable(Exception):
    """A model gives no figures; the message is one line for people."""


class Engine(Protocol):
    """Does jobs; a job's result is the same, bit for bit, whoever shares the call."""

    batching: str
    """One line for people."""

    def train(self, trainings: Sequence[Training]) -> list[Trained | WorkFailed]:
        """Train, and return the results in the same order."""

    def evaluate(self, evaluations: Sequence[Evaluation]) -> Sequence[Readings]:
        """Run models on test rows, and return what they gave in the same order."""

    def one_at_a_time(self) -> "Engine":
        """Return the engine for jobs of which there is never more than one at a time."""


@dataclass(frozen=True)
class JobGroup:
    """Neighbouring jobs of equal plans, with the rows of their steps.

    Attributes:
        first: place of the first job.
        last: place behind the last job.
        plan: the plan that they share.
        rows: int64[last - first, n] row numbers of the data, step after step.
    """

    first: int
    last: int
    plan: BatchPlan
    rows: Integers


def draw_rows(trainings: Sequence[Training]) -> list[JobGroup]:
    """Draw the rows of all jobs; neighbours of equal plans together, which is faster."""
    groups: list[JobGroup] = []
    first = 0
    while first < len(trainings):
        plan, last = trainings[first].plan, first + 1
        while last < len(trainings) and trainings[last].plan is plan:
            last += 1
        some = trainings[first:last]
        local = plan.draw([training.job.stream for training in some])
        held = np.stack([training.rows for training in some])
        groups.append(JobGroup(first, last, plan, np.take_along_axis(held, local, axis=1)))
        first = last
    return groups


def failed_training(training: Training, losses: Sequence[float]) -> WorkFailed:
    """Say where a training job went wrong."""
    round_number, steps = training.job.round, training.plan.steps
    for step, loss in enumerate(losses):
        if not np.isfinite(loss):
            return WorkFailed(
                f"the loss became {loss:g} in step {step + 1} of {steps} of round {round_number};"
                " a lower learning_rate may help"
            )
    return WorkFailed(
        f"the model is not finite after the {steps} steps of round {round_number}; a lower"
        " learning_rate may help"
    )
