"""Own figures beside those of a task."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from p2pfl.learner.errors import LearningError
from p2pfl.learner.metrics import PrimaryMetric
from p2pfl.learner.settings import MetricSettings
from p2pfl.learner.tasks.base import Array, Floats, NumpyTask, Task
from p2pfl.plugins import METRICS, Metric, make_plugin, plugin_faults


def add_metrics(
    task: Task | NumpyTask, wanted: Sequence[MetricSettings], folder: Path | None
) -> None:
    """Have a task return own figures too, and be compared by one of them where that is wanted.

    Raises:
        LearningError: the task gives no outputs, or a name comes twice.
        PluginError: a metric cannot be used.
    """
    if not wanted:
        return
    if isinstance(task, NumpyTask):
        raise LearningError(
            "learning.metrics: a task in NumPy gives no outputs to measure; return the figure from"
            " its evaluate()"
        )
    made: dict[str, tuple[MetricSettings, Metric]] = {}
    for settings in wanted:
        metric: Metric = make_plugin(METRICS, settings.plugin, settings.options, folder)
        name = settings.name or _figure_name(type(metric).__name__)
        if name in made:
            raise LearningError(f"learning.metrics: {name!r} comes twice; give one of them a name")
        made[name] = settings, metric
        if settings.primary:
            primary = PrimaryMetric(name, metric.larger_is_better, metric.is_share)
            if sum(it.primary for it in wanted) > 1:
                raise LearningError("learning.metrics: models are compared by one figure, not two")
            task.primary = primary
    of_task = task.metrics

    def metrics(outputs: Floats, targets: Array) -> dict[str, float]:
        found: dict[str, Any] = dict(of_task(outputs, targets))
        for name, (settings, metric) in made.items():
            if name in found:
                raise LearningError(
                    f"learning.metrics: the task has a figure {name!r} already; give yours a name"
                )
            with plugin_faults(METRICS, settings.plugin):
                value = metric.measure(outputs, targets)
                if np.ndim(value):
                    raise ValueError(f"measure() returned {np.shape(value)}, and a figure is one")
                found[name] = float(value)
        return found

    task.metrics = metrics  # type: ignore[method-assign]


def _figure_name(class_name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", class_name).lower()
