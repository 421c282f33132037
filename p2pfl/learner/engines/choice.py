"""Which engine trains a torch task's model."""

import torch

from p2pfl.learner.engines.base import Engine
from p2pfl.learner.engines.one_by_one import ModuleEngine
from p2pfl.learner.engines.perceptron import PerceptronEngine, perceptron_widths
from p2pfl.learner.engines.threads import Workers, usable_cores
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
) -> tuple[Engine, Floats]:
    """Make a task's model and the fastest engine that can train it.

    Returns:
        the engine, and the model at its start, float32[d].

    Raises:
        LearningError: the tensors that the task names as travelling cannot travel.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = task.model()
    names = list(task.travelling(module))
    layout = VectorLayout(module, names)
    initial = layout.to_vector(module)
    widths = perceptron_widths(module, names)
    if type(task).loss is not Task.loss:
        widths = "a loss of its own"
    if not isinstance(widths, str):
        workers = Workers(threads or usable_cores())
        return PerceptronEngine(
            task,
            widths=widths,
            data=data,
            test=test,
            batch_size=training.batch_size,
            momentum=training.momentum,
            workers=workers,
        ), initial
    engine = ModuleEngine(
        task, module, layout, data=data, test=test, momentum=training.momentum, reason=widths
    )
    return engine, initial
