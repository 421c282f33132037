"""The learner: does the jobs that peers ask for, on their own rows."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np

from p2pfl.learner.batches import BatchPlan
from p2pfl.learner.binding import ToNamed, bind_task
from p2pfl.learner.engines.base import (
    STATISTICS_ROWS_MIN,
    Engine,
    Evaluation,
    NotMeasurable,
    Readings,
    Training,
)
from p2pfl.learner.errors import Blamed, LearningError
from p2pfl.learner.exclusions import Excluded, without_excluded
from p2pfl.learner.holding_out import HeldOut, hold_out
from p2pfl.learner.inputs import Inputs, inputs_of
from p2pfl.learner.metrics import Float64s, PrimaryMetric
from p2pfl.learner.model_files import NamedModel
from p2pfl.learner.naming import OF_THE_START
from p2pfl.learner.own_metrics import add_metrics
from p2pfl.learner.partitions import count_labels, make_partition, pool
from p2pfl.learner.private.lots import PrivateLots
from p2pfl.learner.private.units import UNIT_COLUMN, units_of
from p2pfl.learner.rows import check_data
from p2pfl.learner.settings import LearningSettings, TrainingSettings
from p2pfl.learner.sources import source_files, sources_of
from p2pfl.learner.streams import Integers
from p2pfl.learner.tasks.base import Array, Data, Floats, NumpyTask, Task
from p2pfl.learner.tasks.registry import make_task
from p2pfl.learner.tensor_parts import count_beyond, describe_beyond
from p2pfl_gossip.actions import Job, Vector
from p2pfl_gossip.description import Description, fingerprint
from p2pfl_gossip.learning import (
    Evaluate,
    Evaluated,
    LotSummed,
    Train,
    Trained,
    TrainPrivately,
    WorkFailed,
)
from p2pfl_gossip.own_state import NOTHING, Arrays

Learned: TypeAlias = Trained | LotSummed | Evaluated | WorkFailed


class Helper(Protocol):
    """Stands between a learner and its jobs: a memory of results, or other machines."""

    def run(self, role: str, jobs: Sequence[tuple[int, Job]], do: "Do") -> list[Learned]:
        """Return the jobs' results, in order; `do` does those that are to be done here.

        Args:
            role: empty, or ``"pooled"`` of the learner of all rows.
            jobs: each with the index of its peer.
            do: the learner's own way.
        """


Do: TypeAlias = Callable[[Sequence[tuple[int, Job]]], list[Learned]]


class Learner:
    """Bound to one task, one partition and one set of hyperparameters; made by `make_learner`.

    It knows every peer's rows; a daemon's has one peer.

    Attributes:
        vector_length: entries of a model, d.
        batching: how models are trained, for people: ``"stacked (bmm by hand)"``,
            ``"stacked (vmap)"`` or ``"one by one: ..."`` with the reason.
        partitioning: who holds how much, for people.
        description: what a group would average; members compare theirs.
        label_counts: each peer's training rows of each label, [peers][labels], or None without
            labels.
        names: of the natural groups that peers hold; None where they hold none.
        primary: the figure by which models are compared.
        has_common: whether there are common test rows.
        lots: what private rounds draw of the peers' rows.
        helper: does jobs elsewhere, or knows their results; None for nobody.
    """

    def __init__(
        self,
        engine: Engine,
        held_out: HeldOut,
        training: TrainingSettings,
        initial: Floats,
        to_named: ToNamed,
        targets: Array,
        description: Description,
        blamed: Blamed,
        primary: PrimaryMetric,
        has_common: bool,
        inputs: Callable[[], Inputs],
        lots: PrivateLots,
    ) -> None:
        partition = held_out.training
        self.lots = lots
        self.names, self.primary, self.has_common = partition.names, primary, has_common
        self.description = description
        self._blamed, self._inputs = blamed, inputs
        self.vector_length = len(initial)
        self.batching = engine.batching
        self.partitioning = partition.summary
        self.label_counts = count_labels(partition, targets)
        self._engine, self._held_out, self._training = engine, held_out, training
        self._partition = partition
        self._initial, self._to_named, self._targets = initial, to_named, targets
        self._plans: dict[tuple[int, int], BatchPlan] = {}
        self._fitted: dict[int, int] = {}  # Steps by peer, where training is fitted to seconds.
        self.helper: Helper | None = None
        self._role = ""

    @property
    def peer_count(self) -> int:
        """Peers whose rows it knows."""
        return len(self._held_out.test)

    def initial_vector(self) -> Vector:
        """Return the common start, float32[d], read-only: the same for the same seed."""
        return self._initial

    def named(self, vector: Vector, peer: int = 0, own: Arrays = NOTHING) -> NamedModel:
        """Return a model's tensors by name, as `load_state_dict` of the task's model takes them.

        Statistics of normalisation layers are those with which the model is measured: of this very
        model on the rows of `peer`. Personal tensors are those in `own`, else those of the start; a
        personal model is in place of the joint one. A task without torch has one tensor,
        ``"model"``.

        Raises:
            LearningError: the task's own code raised.
        """
        with self._blamed.faults():  # It leaves such statistics in the module.
            self._engine.evaluate([self._evaluation(peer, Evaluate(0, vector, own), True)])
        return self._to_named(vector.astype(np.float32), own, self._statistics_of(peer))

    def _statistics_of(self, peer: int) -> str:
        """Tell where statistics are from with which a peer's model is measured."""
        if len(self._trained_on(peer)) < STATISTICS_ROWS_MIN:
            return OF_THE_START
        whose = f"peer {peer}" if self.peer_count > 1 else "the peer"
        return f"worked out from training rows of {whose}"

    def require_start_within(self, clip: float | None) -> None:
        """Refuse a start that masked sums of whole models would cut; None where there are none.

        Raises:
            LearningError: entries of it are of a magnitude above `clip`; the line names tensors.
        """
        beyond = {} if clip is None else count_beyond(self.description, self._initial, clip)
        if beyond:
            raise LearningError(
                f"task {self._blamed.task!r}: masked sums would cut its initial model to"
                f" averaging.clip = {clip:g}: {describe_beyond(beyond)}; scale the model down,"
                " raise averaging.clip, or leave such tensors out of travelling()"
            )

    def sample_count(self, peer: int) -> int:
        """Return how many rows a peer trains on, at least 1."""
        return self._partition.row_count(peer)

    def test_count(self, peer: int) -> int:
        """Return how many test rows of its own a peer has; it never trains on them."""
        return len(self._held_out.test[peer])

    def validation_count(self, peer: int) -> int:
        """Return how many rows a peer has to choose a model by; they are nobody's test rows."""
        return len(self._held_out.validation[peer])

    @property
    def fits_to_seconds(self) -> bool:
        """Whether a round has as many steps as fit into a time: `fit` says how many those are."""
        return self._training.seconds is not None

    def fit(self, peer: int, step_s: float) -> None:
        """Say how long a step takes a peer, in seconds; where training is not fitted, nothing."""
        if self._training.seconds is not None:
            self._fitted[peer] = max(1, int(self._training.seconds / max(step_s, 1e-9)))

    def steps(self, peer: int, job: Train | TrainPrivately) -> int:
        """Return how many steps a job will take on a peer's rows, without doing it."""
        if isinstance(job, TrainPrivately):
            return self.lots.steps(peer, job)
        return self._plan(peer).steps

    def run(self, jobs: Sequence[tuple[int, Job]]) -> list[Learned]:
        """Do jobs, each given with the index of its peer; return the results in the same order.

        A result depends on its job and its peer's rows alone: it is the same, bit for bit,
        whichever jobs are done with it. Result vectors are fresh and read-only.

        Raises:
            ValueError: a vector of another length, or a job that is not of learning.
            LearningError: the task's own code raised; the line names it.
        """
        is_private = any(isinstance(job, TrainPrivately) for _, job in jobs)
        if self.helper is None or is_private:  # What is private is neither kept nor sent.
            return self._run(jobs)
        return self.helper.run(self._role, jobs, self._run)

    def _run(self, jobs: Sequence[tuple[int, Job]]) -> list[Learned]:
        results: list[Learned | None] = [None] * len(jobs)
        trainings: list[tuple[int, Training]] = []
        evaluations: list[tuple[int, int, Evaluate]] = []
        for place, (peer, job) in enumerate(jobs):
            if not isinstance(job, Train | TrainPrivately | Evaluate):
                raise ValueError(f"a learner trains and evaluates, it does no {type(job).__name__}")
            self._require_length(job.vector)
            if isinstance(job, Evaluate):
                evaluations.append((place, peer, job))
            elif isinstance(job, TrainPrivately):
                with self._blamed.faults():
                    results[place] = self.lots.run(peer, job)
            else:
                rate = self._training.rate_at(job.round)
                rows = self._partition.rows_of(peer)
                trainings.append((place, Training(job, rows, self._plan(peer), rate)))
        with self._blamed.faults():
            trained = self._engine.train([training for _, training in trainings])
        for (place, _), result in zip(trainings, trained, strict=True):
            results[place] = result
        evaluated = self.evaluate([(peer, job) for _, peer, job in evaluations])
        for (place, _, _), figures in zip(evaluations, evaluated, strict=True):
            results[place] = figures
        return [result for result in results if result is not None]

    def evaluate(
        self, jobs: Sequence[tuple[int, Evaluate]], *, with_common: bool = True
    ) -> list[Evaluated | WorkFailed]:
        """Measure models, as `run` does; without the common test rows, if these are not wanted."""
        with self._blamed.faults():
            readings = self._engine.evaluate([self._evaluation(*it, with_common) for it in jobs])
            return [
                self._evaluated(peer, reading)
                for (peer, _), reading in zip(jobs, readings, strict=True)
            ]

    def read(self, jobs: Sequence[tuple[int, Evaluate]]) -> list["OwnReadings"]:
        """Run models on their peers' own test rows, for figures of all of them or of some."""
        with self._blamed.faults():
            readings = self._engine.evaluate([self._evaluation(*it, False) for it in jobs])
        return [
            OwnReadings(reading, self.test_count(peer), self._blamed)
            for (peer, _), reading in zip(jobs, readings, strict=True)
        ]

    def _evaluation(self, peer: int, job: Evaluate, with_common: bool) -> Evaluation:
        self._require_length(job.vector)
        held = np.concatenate([self._held_out.test[peer], self._held_out.validation[peer]])
        return Evaluation(job, self._trained_on(peer), held, with_common)

    def _evaluated(self, peer: int, readings: Readings) -> Evaluated | WorkFailed:
        test_count, count = self.test_count(peer), self.validation_count(peer)
        try:
            return Evaluated(
                readings.common(),
                readings.held(np.arange(test_count)) if test_count else {},
                readings.held(test_count + np.arange(count)) if count else {},
            )
        except NotMeasurable as reason:
            return WorkFailed(str(reason))

    def _trained_on(self, peer: int) -> Integers:
        """Return the rows that a model was trained on: where all are pooled, there is one."""
        return self._partition.rows_of(min(peer, len(self._partition.offsets) - 2))

    def _require_length(self, vector: Vector) -> None:
        if vector.shape != (self.vector_length,):
            raise ValueError(f"vector of {vector.shape}, not ({self.vector_length},)")

    def pooled(self) -> "Learner":
        """Return the learner that trains as peer 0 on all rows: the yardstick 'pooled'.

        It measures on each peer's own test rows. It takes as many rows a round as all the peers
        together: with `epochs` by itself, with `steps` or `seconds` by taking as many as all of
        them.
        """
        training = self._training
        if training.seconds is not None:
            steps = sum(self._plan(peer).steps for peer in range(self.peer_count))
            training = training.model_copy(update={"steps": steps, "seconds": None})
        elif training.steps is not None:
            training = training.model_copy(update={"steps": training.steps * self.peer_count})
        made = Learner(
            self._engine.one_at_a_time(),
            replace(self._held_out, training=pool(self._partition)),
            training,
            self._initial,
            self._to_named,
            self._targets,
            self.description,
            self._blamed,
            self.primary,
            self.has_common,
            self._inputs,
            self.lots,
        )
        made.helper, made._role = self.helper, "pooled"
        return made

    def inputs(self) -> Inputs:
        """Tell what it learns from, by digest; this reads all rows."""
        return self._inputs()

    def _plan(self, peer: int) -> BatchPlan:
        row_count = self._partition.row_count(peer)
        steps = self._fitted.get(peer, 0)  # 0: as the settings say.
        if (row_count, steps) not in self._plans:
            training = self._training
            if steps or training.seconds is not None:
                training = training.model_copy(update={"steps": max(1, steps), "seconds": None})
            self._plans[row_count, steps] = BatchPlan(training, row_count)
        return self._plans[row_count, steps]


class OwnReadings:
    """A model that was run on its peer's own test rows."""

    def __init__(self, readings: Readings, count: int, blamed: Blamed) -> None:
        self._readings, self._count, self._blamed = readings, count, blamed

    def figures(self, rows: Integers | None = None) -> dict[str, float]:
        """Return the figures of some rows, by their places, or of all.

        Raises:
            NotMeasurable: the model gives no figures.
        """
        with self._blamed.faults():
            return self._readings.held(np.arange(self._count) if rows is None else rows)

    def values(self, name: str) -> Float64s | None:
        """Return each row's part in a figure that is a mean over rows; None for others."""
        values = self._readings.values(name)
        return None if values is None else values[: self._count]

    def confusion(self) -> list[list[int]] | None:
        """Count rows by class and guess, [class][guess]; None where there are no classes."""
        return self._readings.confusion(np.arange(self._count))


def read_rows(
    settings: LearningSettings, folder: Path | None
) -> tuple[Task | NumpyTask, Data, Blamed]:
    """Make the task of a learner, with its further metrics, and read its rows.

    Args:
        settings: name the task, and where its data are.
        folder: as in `make_learner`.

    Returns:
        the task, its rows as they were checked, and who is blamed for what goes wrong in it.

    Raises:
        LearningError: no such task, data that are not there or of no use.
    """
    data_dir = settings.data_dir
    if data_dir is not None and folder is not None:
        data_dir = folder / data_dir
    blamed = Blamed(settings.task)
    with blamed.faults():
        task = make_task(settings.task, settings.options, folder=folder)
    add_metrics(task, settings.metrics, folder)
    blamed = Blamed(settings.task, source_files(task))
    has_labels = isinstance(task, Task) and type(task).loss is Task.loss
    with blamed.faults():  # Datasets read their rows as they are checked.
        data = check_data(task.data(data_dir), settings.task, has_labels=has_labels)
    return task, data, blamed


def make_learner(
    settings: LearningSettings,
    *,
    peer_count: int,
    seed: int,
    folder: Path | None,
    threads: int | None = None,
    alter: Callable[[Data], Data] | None = None,
    excluded: Excluded | None = None,
) -> Learner:
    """Make a learner: import the task, load its data, split it, and make the common start.

    Args:
        settings: what to learn and how.
        peer_count: peers to split the rows among.
        seed: fixes the split, the start and the evaluation rows.
        folder: where ``"my_module:MyTask"`` is imported from, and what `data_dir` is relative to.
        threads: threads to train on; one for each usable core if not given. Results do not
            depend on it.
        alter: makes other rows of the task's, once these are split: what a liar trains on.
        excluded: whose rows are left out.

    Raises:
        LearningError: no such task, data that are not there, an impossible partition.
    """
    task, data, blamed = read_rows(settings, folder)
    partition = make_partition(
        settings.partition,
        targets=data.train.targets,
        columns=data.columns,
        peer_count=peer_count,
        seed=seed,
        folder=folder,
    )
    if excluded is not None:
        partition = without_excluded(partition, data.columns, excluded, settings.task)
    held_out = hold_out(
        partition,
        data.train.targets,
        test_share=settings.held_out,
        validation_share=settings.validation,
        seed=seed,
        given_test=data.own_test,
        given_validation=data.own_validation,
    )
    if data.test is None and not any(len(rows) for rows in held_out.test):
        raise LearningError(
            f"task {settings.task!r}: there is nothing to measure on: it has no common test rows,"
            " and no peer has test rows of its own; set learning.held_out above 0"
        )
    if alter is not None:
        data = alter(data)
    bound = bind_task(task, data, settings, held_out, blamed, seed=seed, threads=threads)
    targets = data.train.targets
    column = data.columns.get(UNIT_COLUMN)
    sources = sources_of(task, folder=folder)
    description = Description(bound.tensors, fingerprint([bound.initial]), bound.frozen, sources)
    return Learner(
        bound.engine,
        held_out,
        settings.training,
        bound.initial,
        bound.to_named,
        targets,
        description,
        blamed,
        task.primary,
        bound.test is not None,
        partial(inputs_of, bound.data, bound.test, held_out, sources),
        PrivateLots(
            bound.summer,
            lambda peer: units_of(held_out.training.rows_of(peer), column),
            is_by_unit=column is not None,
        ),
    )


__all__ = ["Learner", "Task", "make_learner"]
