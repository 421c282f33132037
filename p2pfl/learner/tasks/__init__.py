"""Tasks: what peers learn. See docs/tasks.md for how to bring one's own.

Importing this imports no torch; making a torch task's model does.
"""

from p2pfl.learner.errors import LearningError
from p2pfl.learner.tasks.base import Data, NumpyTask, Rows, Task, classification_metrics
from p2pfl.learner.tasks.datasets import rows_of
from p2pfl.learner.tasks.registry import TaskSummary, built_in_tasks, make_task

__all__ = [
    "Data",
    "LearningError",
    "NumpyTask",
    "Rows",
    "Task",
    "TaskSummary",
    "built_in_tasks",
    "classification_metrics",
    "make_task",
    "rows_of",
]
