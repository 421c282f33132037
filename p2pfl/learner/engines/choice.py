"""Which engine trains a torch task's model."""

from p2pfl.learner.engines.base import Engine
from p2pfl.learner.engines.one_by_one import ModuleEngine
from p2pfl.learner.engines.perceptron import PerceptronEngine, perceptron_widths
from p2pfl.learner.engines.placement import PLAIN, Placement
from p2pfl.learner.engines.stacked.engine import StackedEngine
from p2pfl.learner.engines.stacked.program import NotStackable
from p2pfl.learner.engines.threads import Workers, usable_cores
from p2pfl.learner.engines.vmap import VmapEngine
from p2pfl.learner.errors import LearningError
from p2pfl.learner.models import Model
from p2pfl.learner.optimisers import Optimiser
from p2pfl.learner.settings import TrainingSettings
from p2pfl.learner.tasks.base import Data, Rows, Task


def choose_engine(
    task: Task,
    model: Model,
    *,
    data: Data,
    test: Rows | None,
    training: TrainingSettings,
    threads: int | None,
    placement: Placement = PLAIN,
) -> Engine:
    """Make the fastest engine that can train a task's model.

    Args:
        task: gives loss and metrics.
        model: checked, and tried.
        data: the rows.
        test: the common test rows, if there are any.
        training: how to train.
        threads: to train on; None for one a core.
        placement: where, and in which numbers.
    """
    module, layout = model.module, model.layout
    if not placement.is_plain:
        alone = ModuleEngine(
            task,
            module,
            layout,
            data=data,
            test=test,
            optimiser=Optimiser(training),
            placement=placement,
        )
        alone.batching = f"one by one: {placement.told}"
        return alone
    widths = perceptron_widths(module, model.names)
    if type(task).loss is not Task.loss:
        widths = "a loss of its own"
    optimiser = Optimiser(training)
    if not optimiser.is_plain and not isinstance(widths, str):
        widths = "an optimiser that its products do not take in"
    workers = Workers(threads or usable_cores())
    if not isinstance(widths, str):
        return PerceptronEngine(
            task,
            widths=widths,
            data=data,
            test=test,
            batch_size=training.batch_size,
            momentum=optimiser.momentum,
            workers=workers,
        )
    alone = ModuleEngine(task, module, layout, data=data, test=test, optimiser=optimiser)
    stacked = (task, module, layout)
    try:
        if optimiser.takes_given:
            raise NotStackable("steps that begin with more than a model")
        return StackedEngine(
            *stacked,
            data=data,
            batch_size=training.batch_size,
            optimiser=optimiser,
            alone=alone,
            workers=workers,
        )
    except NotStackable as missing:
        why = str(missing)
    try:
        return VmapEngine(
            *stacked,
            data=data,
            batch_size=training.batch_size,
            optimiser=optimiser,
            alone=alone,
            workers=workers,
        )
    except LearningError as reason:
        alone.batching = f"one by one: no stacked layers for {why}; {reason}"
        return alone
