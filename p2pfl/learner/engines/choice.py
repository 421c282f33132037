"""Which engine trains a torch task's model.

The choice goes by layers and shapes, never by a stopwatch: bits, and so digests, depend on it. What
it gains is measured by `./scripts/bench learner`, see docs/benchmarks.md.
"""

from collections.abc import Sequence

from p2pfl.learner.batches import BatchPlan
from p2pfl.learner.engines.base import Engine
from p2pfl.learner.engines.chunks import full_share, mean_block, padded
from p2pfl.learner.engines.one_by_one import ModuleEngine
from p2pfl.learner.engines.perceptron import PerceptronEngine, perceptron_widths
from p2pfl.learner.engines.placement import PLAIN, Placement
from p2pfl.learner.engines.stacked.engine import StackedEngine
from p2pfl.learner.engines.stacked.program import NotStackable
from p2pfl.learner.engines.threads import Workers, usable_cores
from p2pfl.learner.engines.vmap import VmapEngine, stack_peers
from p2pfl.learner.errors import LearningError
from p2pfl.learner.models import Model
from p2pfl.learner.optimisers import Optimiser
from p2pfl.learner.settings import TrainingSettings
from p2pfl.learner.tasks.base import Data, Rows, Task

STACK_FULL_MIN = 0.75
"""Of the rows of a stack by vmap, whose batches are all padded alike: with fewer, what a stack
gains, 1.2 to 1.6 times, goes into rows that count for nothing."""

STACK_MEAN_MIN = 3.0
"""Models that take a step at once, in the mean, from which on a stack by vmap gains. Measured, in
CPU time of a plain loop over the stack's: 0.5 to 0.8 for 1, 0.8 to 1.05 for 2, 1.1 to 1.3 for 3,
1.25 to 1.6 for 4. One by one is 1.0 to 1.1."""


def choose_engine(
    task: Task,
    model: Model,
    *,
    data: Data,
    test: Rows | None,
    training: TrainingSettings,
    row_counts: Sequence[int],
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
        row_counts: of each peer, what it trains on.
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
        _require_stacks(training, row_counts, stack_peers(layout.length))
        return VmapEngine(
            *stacked,
            data=data,
            batch_size=min(training.batch_size, max(row_counts)),
            optimiser=optimiser,
            alone=alone,
            workers=workers,
        )
    except LearningError as reason:
        alone.batching = f"one by one: no stacked layers for {why}; {reason}"
        return alone


def _require_stacks(training: TrainingSettings, row_counts: Sequence[int], peers_max: int) -> None:
    """Refuse to stack models that would mostly take their steps by themselves.

    Peers do so where they are few, where their numbers of rows differ much, and where models are
    large.
    """
    made = {count: BatchPlan(training, count) for count in set(row_counts)}
    plans = [made[count] for count in row_counts]
    mean = mean_block(plans, peers_max)
    if mean < STACK_MEAN_MIN:
        raise LearningError(f"stacks of {mean:.1f} models in the mean gain nothing")
    share = full_share(plans, padded(max(size for plan in plans for size in plan.sizes)))
    if share < STACK_FULL_MIN:
        raise LearningError(f"stacks of batches that are {share:.0%} full gain nothing")
