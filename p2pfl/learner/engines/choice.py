"""Which engine trains a torch task's model."""

from collections.abc import Iterator
from typing import NamedTuple

import torch

from p2pfl.learner.engines.base import Engine
from p2pfl.learner.engines.one_by_one import ModuleEngine
from p2pfl.learner.engines.perceptron import PerceptronEngine, perceptron_widths
from p2pfl.learner.engines.threads import Workers, usable_cores
from p2pfl.learner.engines.vmap import VmapEngine
from p2pfl.learner.errors import LearningError, faults_of_task
from p2pfl.learner.settings import TrainingSettings
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
) -> Chosen:
    """Make a task's model and the fastest engine that can train it.

    Raises:
        LearningError: the tensors that the task names as travelling cannot travel.
    """
    with torch.random.fork_rng(devices=[]), faults_of_task(type(task).__name__):
        torch.manual_seed(seed)
        module = task.model()
    names = list(task.travelling(module))
    layout = VectorLayout(module, names)
    initial = layout.to_vector(module)
    tensors, frozen = _described(module, layout)
    widths = perceptron_widths(module, names)
    if type(task).loss is not Task.loss:
        widths = "a loss of its own"
    workers = Workers(threads or usable_cores())
    if not isinstance(widths, str):
        engine: Engine = PerceptronEngine(
            task,
            widths=widths,
            data=data,
            test=test,
            batch_size=training.batch_size,
            momentum=training.momentum,
            workers=workers,
        )
        return Chosen(engine, layout, initial, tensors, frozen)
    alone = ModuleEngine(task, module, layout, data=data, test=test, momentum=training.momentum)
    try:
        engine = VmapEngine(
            task,
            module,
            layout,
            data=data,
            batch_size=training.batch_size,
            momentum=training.momentum,
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

    def others() -> Iterator[Floats]:
        for tensor in tensors.values():
            if id(tensor) not in seen:
                seen.add(id(tensor))
                yield tensor.detach().to(torch.float32).cpu().numpy()

    return travelling, fingerprint(others())
