"""Binds a task and its rows to what trains and measures: an engine, tried out, with its start."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from p2pfl.learner.batches import BatchPlan
from p2pfl.learner.engines.base import Engine
from p2pfl.learner.errors import Blamed, LearningError
from p2pfl.learner.holding_out import HeldOut
from p2pfl.learner.model_files import NamedModel
from p2pfl.learner.naming import name_tensors
from p2pfl.learner.private.lots import LotSummer
from p2pfl.learner.settings import LearningSettings, TrainingSettings
from p2pfl.learner.streams import permutation, seed_of
from p2pfl.learner.tasks.base import Data, Floats, NumpyTask, Rows, Task
from p2pfl_gossip.description import Fingerprint, Tensor, describe_tensor, fingerprint
from p2pfl_gossip.own_state import Arrays

if TYPE_CHECKING:
    from p2pfl.learner.models import Model

ToNamed: TypeAlias = Callable[[Floats, Arrays, str], NamedModel]


@dataclass(frozen=True)
class Bound:
    """A task that was tried out, and what trains and measures it.

    Attributes:
        engine: does so.
        initial: the common start, float32[d], read-only.
        tensors: of a vector, in order.
        frozen: the digest of what all must share and nobody trains.
        to_named: takes a vector, own state and where statistics are from.
        summer: makes what sums the lots of private rounds.
        data: the task's rows, as the model takes them.
        test: the common test rows that are measured; None where there are none.
    """

    engine: Engine
    initial: Floats
    tensors: tuple[Tensor, ...]
    frozen: Fingerprint
    to_named: ToNamed
    summer: Callable[[], LotSummer]
    data: Data
    test: Rows | None


def bind_task(
    task: Task | NumpyTask,
    data: Data,
    settings: LearningSettings,
    held_out: HeldOut,
    blamed: Blamed,
    *,
    seed: int,
    threads: int | None,
) -> Bound:
    """Try a task on its rows, and choose the engine.

    Args:
        task: what is learned.
        data: its rows.
        settings: how.
        held_out: which rows a peer trains on.
        blamed: for what goes wrong in the task's code.
        seed: fixes the start, and the common test rows that are measured.
        threads: threads to train on; one for each usable core if None.

    Raises:
        LearningError: the task's code raised, or the settings are not for such a task.
    """
    if isinstance(task, NumpyTask):
        bound = _bind_numpy(task, data, settings, held_out, blamed, seed)
    else:
        bound = _bind_torch(task, data, settings, held_out, blamed, seed, threads)
    bound.initial.flags.writeable = False
    return bound


def _bind_numpy(
    task: NumpyTask,
    data: Data,
    settings: LearningSettings,
    held_out: HeldOut,
    blamed: Blamed,
    seed: int,
) -> Bound:
    from p2pfl.learner.engines.numpy_steps import NumpyEngine, make_initial, try_numpy_task

    if settings.device not in ("cpu", "auto") or settings.dtype != "float32":
        raise LearningError(
            f"task {settings.task!r} does without torch: it trains on the CPU in float32; leave"
            " device and dtype out"
        )
    _require_plain(settings.training, settings.task)
    test = _test_rows(data, settings, seed)
    initial = make_initial(task, _start_seed(seed), blamed)
    # Rows of one peer, as its steps will have: a step may go by whose they are.
    batches = _batches_to_try(settings.training, held_out)
    tried = [np.resize(held_out.training.rows_of(peer), size) for size, peer in batches.items()]
    try_numpy_task(task, initial, data=data, test=test, batches=tried, blamed=blamed)

    def summer() -> LotSummer:
        raise LearningError(
            f"task {settings.task!r} is in NumPy, which gives no gradient of a row: private"
            " rounds of records take a torch task"
        )

    return Bound(
        engine=NumpyEngine(task, data, test),
        initial=initial,
        tensors=(describe_tensor("model", initial.shape, "float32"),),
        frozen=fingerprint(()),
        to_named=_without_names,
        summer=summer,
        data=data,
        test=test,
    )


def _bind_torch(
    task: Task,
    data: Data,
    settings: LearningSettings,
    held_out: HeldOut,
    blamed: Blamed,
    seed: int,
    threads: int | None,
) -> Bound:
    from p2pfl.learner.engines.choice import choose_engine
    from p2pfl.learner.engines.own_parts import own_parts
    from p2pfl.learner.engines.placement import find_placement
    from p2pfl.learner.engines.trial import fit_inputs, try_task
    from p2pfl.learner.models import make_model

    placement = find_placement(settings.device, settings.dtype)
    model = make_model(task, seed=_start_seed(seed), blamed=blamed)
    data = fit_inputs(model.module, data)
    test = _test_rows(data, settings, seed)
    batches = _batches_to_try(settings.training, held_out)
    try_task(task, model, data=data, test=test, sizes=list(batches), blamed=blamed)
    engine: Engine = choose_engine(
        task,
        model,
        data=data,
        test=test,
        training=settings.training,
        row_counts=[held_out.training.row_count(peer) for peer in range(len(held_out.test))],
        threads=threads,
        placement=placement,
    )
    initial, tensors = model.initial, model.tensors
    parts = own_parts(engine, initial, model.travelling.length, settings.training)
    if parts is not None:
        engine, initial, tensors = parts, parts.initial(), parts.described(tensors)
    return Bound(
        engine=engine,
        initial=initial,
        tensors=tensors,
        frozen=model.frozen,
        to_named=partial(name_tensors, model),
        summer=partial(_make_summer, task, model, data, settings),
        data=data,
        test=test,
    )


def _start_seed(seed: int) -> int:
    return seed_of(f"{seed}/initial")


def _test_rows(data: Data, settings: LearningSettings, seed: int) -> Rows | None:
    """Return the common test rows, or a sample of them."""
    rows, count = data.test, settings.evaluation_rows
    if rows is None or count is None or count >= len(rows.inputs):
        return rows
    chosen = np.sort(permutation(f"{seed}/evaluation", len(rows.inputs))[:count])
    return Rows(rows.inputs[chosen], rows.targets[chosen])


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


def _batches_to_try(training: TrainingSettings, held_out: HeldOut) -> dict[int, int]:
    """Return the largest batch that peers will take, and the smallest if it is another.

    Returns:
        size -> the first peer that takes such a batch, the largest first.
    """
    first_with: dict[int, int] = {}
    for peer in range(len(held_out.test)):
        first_with.setdefault(held_out.training.row_count(peer), peer)
    taking: dict[int, int] = {}
    for count, peer in first_with.items():
        for size in BatchPlan(training, count).sizes:
            taking.setdefault(size, peer)
    return {size: taking[size] for size in (max(taking), min(taking))}
