"""Tasks: what peers learn. See docs/tasks.md for how to bring one's own.

Importing this imports no torch; making a torch task's model does.
"""

from p2pfl.learner.errors import LearningError
from p2pfl.learner.metrics import (
    PrimaryMetric,
    classification_metrics,
    regression_metrics,
    survival_metrics,
)
from p2pfl.learner.tasks.base import (
    Data,
    NumpyTask,
    RegressionTask,
    Rows,
    SurvivalTask,
    Task,
)
from p2pfl.learner.tasks.datasets import rows_of
from p2pfl.learner.tasks.registry import TaskSummary, built_in_tasks, make_task

__all__ = [
    "Data",
    "LearningError",
    "NumpyTask",
    "PrimaryMetric",
    "RegressionTask",
    "Rows",
    "SurvivalTask",
    "Task",
    "TaskSummary",
    "built_in_tasks",
    "classification_metrics",
    "make_task",
    "regression_metrics",
    "rows_of",
    "survival_metrics",
]
