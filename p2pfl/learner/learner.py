"""The learner: does the jobs that peers ask for, on their own rows."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

import numpy as np

from p2pfl.learner.batches import BatchPlan
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
from p2pfl.learner.naming import OF_THE_START, name_tensors
from p2pfl.learner.own_metrics import add_metrics
from p2pfl.learner.partitions import Partition, count_labels, make_partition, pool
from p2pfl.learner.private.lots import LotSummer, PrivateLots
from p2pfl.learner.private.units import UNIT_COLUMN, units_of
from p2pfl.learner.rows import check_data
from p2pfl.learner.settings import LearningSettings, TrainingSettings
from p2pfl.learner.sources import source_files, sources_of
from p2pfl.learner.streams import Integers, permutation, seed_of
from p2pfl.learner.tasks.base import Array, Data, Floats, NumpyTask, Rows, Task
from p2pfl.learner.tasks.registry import make_task
from p2pfl_gossip.actions import Job, Vector
from p2pfl_gossip.description import Description, Tensor, describe_tensor, fingerprint
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

if TYPE_CHECKING:
    from p2pfl.learner.models import Model


class Beyond(NamedTuple):
    """Entries of a tensor beyond a limit: how many, of how many, and the largest magnitude."""

    values: int
    size: int
    largest: float


NAMED_MAX = 4
"""Tensors that one line names; of more their number is told."""


def describe_beyond(tensors: Mapping[str, Beyond]) -> str:
    """Name tensors with entries beyond a limit, as part of a sentence."""
    named = [
        f"{it.values} of {it.size} values of {name} (up to {it.largest:.3g})"
        for name, it in list(tensors.items())[:NAMED_MAX]
    ]
    more = len(tensors) - len(named)
    return ", ".join(named) + (f", and some of {more} tensors more" if more else "")


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
        to_named: Callable[[Floats, Arrays, str], NamedModel],
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

    def count_beyond(self, vector: Vector, limit: float) -> dict[str, Beyond]:
        """Count a model's entries of magnitude above `limit`, by the tensors that have some."""
        found = {}
        for name, part in self._parts(vector):
            magnitudes = np.abs(part)
            count = int(np.count_nonzero(magnitudes > limit))
            if count:
                found[name] = Beyond(count, len(part), float(magnitudes.max()))
        return found

    def largest_part(self, update: Vector) -> tuple[str, float]:
        """Name the tensor with the largest norm in an update, and its share of the whole norm."""
        norms = [
            (float(np.linalg.norm(part.astype(np.float64))), name)
            for name, part in self._parts(update)
        ]
        whole = math.sqrt(sum(norm**2 for norm, _ in norms))
        largest, name = max(norms, key=lambda it: it[0])
        return name, largest / whole if whole else 0.0

    def _parts(self, vector: Vector) -> Iterator[tuple[str, Vector]]:
        """Yield each tensor's entries, by name."""
        start = 0
        for tensor in self.description.tensors:
            size = math.prod(tensor.shape)
            yield tensor.name, vector[start : start + size]
            start += size

    def require_start_within(self, clip: float | None) -> None:
        """Refuse a start that masked sums of whole models would cut; None where there are none.

        Raises:
            LearningError: entries of it are of a magnitude above `clip`; the line names tensors.
        """
        beyond = {} if clip is None else self.count_beyond(self._initial, clip)
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
    test = None if data.test is None else _sample(data.test, settings.evaluation_rows, seed)
    batches = _batches_to_try(settings.training, held_out.training, peer_count)
    start_seed = seed_of(f"{seed}/initial")
    engine: Engine
    if isinstance(task, NumpyTask):
        from p2pfl.learner.engines.numpy_steps import NumpyEngine, make_initial, try_numpy_task

        if settings.device not in ("cpu", "auto") or settings.dtype != "float32":
            raise LearningError(
                f"task {settings.task!r} does without torch: it trains on the CPU in float32; leave"
                " device and dtype out"
            )

        _require_plain(settings.training, settings.task)
        initial = make_initial(task, start_seed, blamed)
        # Rows of one peer, as its steps will have: a step may go by whose they are.
        tried = [np.resize(held_out.training.rows_of(peer), size) for size, peer in batches.items()]
        try_numpy_task(task, initial, data=data, test=test, batches=tried, blamed=blamed)
        engine = NumpyEngine(task, data, test)
        tensors: tuple[Tensor, ...] = (describe_tensor("model", initial.shape, "float32"),)
        frozen = fingerprint(())
        to_named: Callable[[Floats, Arrays, str], NamedModel] = _without_names

        def summer() -> LotSummer:
            raise LearningError(
                f"task {settings.task!r} is in NumPy, which gives no gradient of a row: private"
                " rounds of records take a torch task"
            )
    else:
        from p2pfl.learner.engines.choice import choose_engine
        from p2pfl.learner.engines.own_parts import own_parts
        from p2pfl.learner.engines.placement import find_placement
        from p2pfl.learner.engines.trial import fit_inputs, try_task
        from p2pfl.learner.models import make_model

        placement = find_placement(settings.device, settings.dtype)
        model = make_model(task, seed=start_seed, blamed=blamed)
        data = fit_inputs(model.module, data)
        test = None if data.test is None else _sample(data.test, settings.evaluation_rows, seed)
        try_task(task, model, data=data, test=test, sizes=list(batches), blamed=blamed)
        engine = choose_engine(
            task,
            model,
            data=data,
            test=test,
            training=settings.training,
            row_counts=[held_out.training.row_count(peer) for peer in range(peer_count)],
            threads=threads,
            placement=placement,
        )
        initial, tensors, frozen = model.initial, model.tensors, model.frozen
        to_named = partial(name_tensors, model)
        summer = partial(_make_summer, task, model, data, settings)
        parts = own_parts(engine, initial, model.travelling.length, settings.training)
        if parts is not None:
            engine, initial, tensors = parts, parts.initial(), parts.described(tensors)
    initial.flags.writeable = False
    targets = data.train.targets
    column = data.columns.get(UNIT_COLUMN)
    sources = sources_of(task, folder=folder)
    description = Description(tensors, fingerprint([initial]), frozen, sources)
    return Learner(
        engine,
        held_out,
        settings.training,
        initial,
        to_named,
        targets,
        description,
        blamed,
        task.primary,
        test is not None,
        partial(inputs_of, data, test, held_out, sources),
        PrivateLots(
            summer,
            lambda peer: units_of(held_out.training.rows_of(peer), column),
            is_by_unit=column is not None,
        ),
    )


def _make_summer(task: Task, model: "Model", data: Data, settings: LearningSettings) -> LotSummer:
    """Choose what sums lots, by the model's layers alone."""
    from p2pfl.learner.engines.perceptron import perceptron_widths
    from p2pfl.learner.private.module_sums import ModuleSums
    from p2pfl.learner.private.perceptron_sums import PerceptronSums

    if settings.device not in ("cpu", "auto") or settings.dtype != "float32":
        raise LearningError(
            f"task {settings.task!r}: private rounds train on the CPU in float32; leave device and"
            " dtype out"
        )
    if model.travelling.length != model.layout.length:
        raise LearningError(
            f"task {settings.task!r}: personal tensors train without noise; private rounds of"
            " records take none"
        )
    if type(task).loss is Task.loss:
        widths = perceptron_widths(model.module, model.names)
        if not isinstance(widths, str):
            return PerceptronSums(widths, data)
    return ModuleSums(task, model.module, model.layout, data)


def _without_names(vector: Floats, _own: Arrays, _statistics: str) -> NamedModel:
    return NamedModel.of_vector(vector)


def _require_plain(training: TrainingSettings, task: str) -> None:
    """Refuse settings of gradients for a task whose steps are its own."""
    plain = TrainingSettings()
    for key in ("optimiser", "clip_norm", "local", "keep_moments", "outer"):
        if getattr(training, key) != getattr(plain, key):
            raise LearningError(
                f"task {task!r} is in NumPy, and its step() is its own: training.{key} plays no"
                " part in it; remove it, or make it a torch task"
            )


def _batches_to_try(training: TrainingSettings, partition: Partition, peers: int) -> dict[int, int]:
    """Return the largest batch that peers will take, and the smallest if it is another.

    Returns:
        size -> the first peer that takes such a batch, the largest first.
    """
    first_with: dict[int, int] = {}
    for peer in range(peers):
        first_with.setdefault(partition.row_count(peer), peer)
    taking: dict[int, int] = {}
    for count, peer in first_with.items():
        for size in BatchPlan(training, count).sizes:
            taking.setdefault(size, peer)
    return {size: taking[size] for size in (max(taking), min(taking))}


def _sample(rows: Rows, count: int | None, seed: int) -> Rows:
    if count is None or count >= len(rows.inputs):
        return rows
    chosen = np.sort(permutation(f"{seed}/evaluation", len(rows.inputs))[:count])
    return Rows(rows.inputs[chosen], rows.targets[chosen])


__all__ = ["Learner", "Task", "make_learner"]
