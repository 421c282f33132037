"""Which engine trains a torch task's model."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from p2pfl.learner.engines.base import Engine
from p2pfl.learner.engines.one_by_one import ModuleEngine
from p2pfl.learner.engines.perceptron import PerceptronEngine, perceptron_widths
from p2pfl.learner.engines.threads import Workers, usable_cores
from p2pfl.learner.engines.trial import check_module, check_start, try_task
from p2pfl.learner.engines.vmap import VmapEngine
from p2pfl.learner.errors import Blamed, LearningError
from p2pfl.learner.optimisers import Optimiser
from p2pfl.learner.settings import TrainingSettings
from p2pfl.learner.statistics import statistics_of
from p2pfl.learner.tasks.base import Data, Floats, Rows, Task
from p2pfl.learner.vectors import VectorLayout, module_tensors
from p2pfl_gossip.description import Fingerprint, Tensor, describe_tensor, fingerprint


class Chosen(NamedTuple):
    """A task's model, and how it is trained.

    Attributes:
        engine: trains it.
        layout: where tensors lie in a vector.
        initial: float32[d], the model at its start.
        tensors: those that travel.
        frozen: of the values that do not travel, and must be the same for all.
    """

    engine: Engine
    layout: VectorLayout
    initial: Floats
    tensors: tuple[Tensor, ...]
    frozen: Fingerprint


def choose_engine(
    task: Task,
    *,
    data: Data,
    test: Rows,
    training: TrainingSettings,
    seed: int,
    threads: int | None,
    sizes: Sequence[int],
    blamed: Blamed,
) -> Chosen:
    """Make a task's model, try it, and make the fastest engine that can train it.

    Args:
        task: gives model, loss and metrics.
        data: the rows.
        test: the rows to measure on.
        training: how to train.
        seed: of the start.
        threads: to train on; None for one a core.
        sizes: of batches that peers will take, the usual one first.
        blamed: whose code the task is.

    Raises:
        LearningError: the tensors that the task names as travelling cannot travel; or rows, model,
            loss and metrics do not fit each other.
    """
    with torch.random.fork_rng(devices=[]), blamed.faults():
        torch.manual_seed(seed)
        module = check_module(task.model(), blamed.task)
    with blamed.faults():
        names = list(task.travelling(module))
    layout = VectorLayout(module, names)
    check_start(module, layout, blamed.task)
    initial = layout.to_vector(module)
    tensors, frozen = _described(module, layout)
    try_task(task, module, layout, data=data, test=test, sizes=sizes, blamed=blamed)
    widths = perceptron_widths(module, names)
    if type(task).loss is not Task.loss:
        widths = "a loss of its own"
    optimiser = Optimiser(training)
    if not optimiser.is_plain and not isinstance(widths, str):
        widths = "an optimiser that its products do not take in"
    workers = Workers(threads or usable_cores())
    if not isinstance(widths, str):
        engine: Engine = PerceptronEngine(
            task,
            widths=widths,
            data=data,
            test=test,
            batch_size=training.batch_size,
            momentum=optimiser.momentum,
            workers=workers,
        )
        return Chosen(engine, layout, initial, tensors, frozen)
    alone = ModuleEngine(task, module, layout, data=data, test=test, optimiser=optimiser)
    try:
        engine = VmapEngine(
            task,
            module,
            layout,
            data=data,
            batch_size=training.batch_size,
            optimiser=optimiser,
            alone=alone,
            workers=workers,
        )
    except LearningError as reason:
        alone.batching = f"one by one: {reason}"
        engine = alone
    return Chosen(engine, layout, initial, tensors, frozen)


def _described(
    module: torch.nn.Module, layout: VectorLayout
) -> tuple[tuple[Tensor, ...], Fingerprint]:
    """Say what of a model travels, and take the fingerprint of what does not."""
    tensors = module_tensors(module)
    travelling = tuple(
        describe_tensor(
            entry.name, entry.shape, str(tensors[entry.name].dtype).removeprefix("torch.")
        )
        for entry in layout.entries
    )
    seen = {id(tensors[entry.name]) for entry in layout.entries}
    seen |= {id(tensors[name]) for name in statistics_of(module)}  # Those are each peer's own.

    def others() -> Iterator[Floats]:
        for tensor in tensors.values():
            if id(tensor) not in seen:
                seen.add(id(tensor))
                yield tensor.detach().to(torch.float32).cpu().numpy()

    return travelling, fingerprint(others())
