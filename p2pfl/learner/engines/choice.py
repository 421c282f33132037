"""Which engine trains a torch task's model."""

import torch

from p2pfl.learner.engines.base import Engine
from p2pfl.learner.engines.one_by_one import ModuleEngine
from p2pfl.learner.engines.perceptron import PerceptronEngine, perceptron_widths
from p2pfl.learner.engines.threads import Workers, usable_cores
from p2pfl.learner.engines.vmap import VmapEngine
from p2pfl.learner.errors import LearningError, faults_of_task
from p2pfl.learner.settings import TrainingSettings
from p2pfl.learner.tasks.base import Data, Floats, Rows, Task
from p2pfl.learner.vectors import VectorLayout


def choose_engine(
    task: Task,
    *,
    data: Data,
    test: Rows,
    training: TrainingSettings,
    seed: int,
    threads: int | None,
) -> tuple[Engine, VectorLayout, Floats]:
    """Make a task's model and the fastest engine that can train it.

    Returns:
        the engine, where tensors lie in a vector, and the model at its start, float32[d].

    Raises:
        LearningError: the tensors that the task names as travelling cannot travel.
    """
    with torch.random.fork_rng(devices=[]), faults_of_task(type(task).__name__):
        torch.manual_seed(seed)
        module = task.model()
    names = list(task.travelling(module))
    layout = VectorLayout(module, names)
    initial = layout.to_vector(module)
    widths = perceptron_widths(module, names)
    if type(task).loss is not Task.loss:
        widths = "a loss of its own"
    workers = Workers(threads or usable_cores())
    if not isinstance(widths, str):
        return (
            PerceptronEngine(
                task,
                widths=widths,
                data=data,
                test=test,
                batch_size=training.batch_size,
                momentum=training.momentum,
                workers=workers,
            ),
            layout,
            initial,
        )
    alone = ModuleEngine(task, module, layout, data=data, test=test, momentum=training.momentum)
    try:
        return (
            VmapEngine(
                task,
                module,
                layout,
                data=data,
                batch_size=training.batch_size,
                momentum=training.momentum,
                alone=alone,
                workers=workers,
            ),
            layout,
            initial,
        )
    except LearningError as reason:
        alone.batching = f"one by one: {reason}"
        return alone, layout, initial
