"""The built-in tasks, and tasks imported by name."""

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from p2pfl.learner.errors import LearningError
from p2pfl.learner.tasks.base import NumpyTask, Task
from p2pfl.plugins import PluginError, PluginKind, find_class


@dataclass(frozen=True)
class TaskSummary:
    """A built-in task as listings show it: rows to train on, inputs a row, default parameters."""

    name: str
    description: str
    rows: int
    features: int
    parameters: int


_BUILT_IN = {  # name: module, class, rows, features, parameters
    "breast-cancer": ("perceptrons", "BreastCancer", 456, 30, 530),
    "digits": ("perceptrons", "Digits", 1442, 64, 2410),
    "fashion-mnist": ("perceptrons", "FashionMnist", 60000, 784, 101770),
    "integers": ("integers", "Integers", 2048, 64, 64),
}


OF_TABLES = {
    "tabular": ("task", "make_tabular"),
    "tabular-constants": ("constants", "make_constants"),
}
"""Tasks of own tables, by module and maker: they have no rows of their own to list."""


TASKS = PluginKind(
    "task",
    "p2pfl.tasks",
    (Task, NumpyTask),
    "learning.task",
    {
        name: f"p2pfl.learner.tasks.{module}:{found}"
        for name, (module, found, *_) in _BUILT_IN.items()
    },
    tuple(OF_TABLES),
)


def built_in_tasks() -> list[TaskSummary]:
    """List the built-in tasks, without loading their data or torch."""
    return [
        TaskSummary(name, _imported(name, None).description, rows, features, parameters)
        for name, (_, _, rows, features, parameters) in _BUILT_IN.items()
    ]


def make_task(name: str, options: Mapping[str, Any], *, folder: Path | None) -> Task | NumpyTask:
    """Make a task from its name and options.

    Args:
        name: a built-in task, one of tables, or ``"my_module:MyTask"``.
        options: keyword arguments of the class.
        folder: where modules and schemas are read from, before the usual places.

    Raises:
        LearningError: there is no such task, it cannot be imported, or takes no such options.
    """
    make: Callable[..., Task | NumpyTask]
    if name in OF_TABLES:
        module, maker = OF_TABLES[name]
        of_tables = importlib.import_module(f"p2pfl.learner.tabular.{module}")
        make = partial(getattr(of_tables, maker), folder)
    else:
        make = _imported(name, folder)
    try:
        inspect.signature(make).bind(**options)
    except TypeError as error:
        known = ", ".join(inspect.signature(make).parameters) or "none"
        raise LearningError(f"task {name!r}: {error}; its options are: {known}") from None
    try:
        return make(**options)
    except LearningError as error:
        raise LearningError(f"task {name!r}: {error}") from None


def _imported(name: str, folder: Path | None) -> type[Task] | type[NumpyTask]:
    try:
        found: type[Task] | type[NumpyTask] = find_class(TASKS, name, folder)
    except PluginError as error:
        raise LearningError(str(error)) from error
    return found
