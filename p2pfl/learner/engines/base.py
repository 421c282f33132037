"""What engines share: jobs with their rows, and how a job ends."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from p2pfl.learner.batches import BatchPlan
from p2pfl.learner.errors import LearningError
from p2pfl.learner.streams import Integers
from p2pfl_gossip.actions import Vector
from p2pfl_gossip.learning import Evaluate, Evaluated, Train, Trained, WorkFailed


@dataclass(frozen=True)
class Training:
    """A `Train` job with what its peer's data and the settings make of it.

    Attributes:
        job: the job.
        rows: int64 row numbers of the peer's data.
        plan: its steps.
        rate: its learning rate.
    """

    job: Train
    rows: Integers
    plan: BatchPlan
    rate: float


@dataclass(frozen=True)
class Evaluation:
    """An `Evaluate` job, and int64 row numbers of its peer's data."""

    job: Evaluate
    rows: Integers


class Engine(Protocol):
    """Does jobs; a job's result is the same, bit for bit, whoever shares the call."""

    batching: str
    """One line for people."""

    def train(self, trainings: Sequence[Training]) -> list[Trained | WorkFailed]:
        """Train, and return the results in the same order."""

    def evaluate(self, evaluations: Sequence[Evaluation]) -> list[Evaluated | WorkFailed]:
        """Measure on the evaluation rows, and return the results in the same order."""


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


def evaluation(
    job: Evaluate, measure: Callable[[Vector], dict[str, float]]
) -> Evaluated | WorkFailed:
    """Measure one model, or say that its figures are of no use."""
    with np.errstate(all="ignore"):
        metrics = check_metrics(measure(job.vector))
    for name, value in metrics.items():
        if not np.isfinite(value):
            return WorkFailed(f"{name} is {value:g} after round {job.round}")
    return Evaluated(metrics)


def check_metrics(found: Any, task: str = "") -> dict[str, float]:
    """Check the figures that a task's `metrics` or `evaluate` returned.

    Raises:
        LearningError: they are no figures by name, or accuracy or loss is not among them.
    """
    whose = f"task {task!r}: its" if task else "a task's"
    if not isinstance(found, Mapping):
        raise LearningError(
            f"{whose} metrics are of type {type(found).__name__}; return figures by name, among"
            " them 'accuracy' and 'loss'"
        )
    if not found.keys() >= {"accuracy", "loss"}:
        names = ", ".join(map(str, found)) or "none"
        raise LearningError(f"{whose} metrics include 'accuracy' and 'loss'; found {names}")
    try:
        return {str(name): float(value) for name, value in found.items()}
    except (TypeError, ValueError) as error:
        raise LearningError(f"{whose} metrics are numbers by name; {error}") from error
