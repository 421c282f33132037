"""The built-in tasks, and tasks imported by name."""

import difflib
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from p2pfl.learner.errors import Blamed, LearningError, one_line
from p2pfl.learner.tasks.base import NumpyTask, Task


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


def built_in_tasks() -> list[TaskSummary]:
    """List the built-in tasks, without loading their data or torch."""
    return [
        TaskSummary(name, _class_of(name).description, rows, features, parameters)
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
        make = _imported(name, folder) if ":" in name else _class_of(name)
    try:
        inspect.signature(make).bind(**options)
    except TypeError as error:
        known = ", ".join(inspect.signature(make).parameters) or "none"
        raise LearningError(f"task {name!r}: {error}; its options are: {known}") from None
    try:
        return make(**options)
    except LearningError as error:
        raise LearningError(f"task {name!r}: {error}") from None


def _class_of(name: str) -> type[Task] | type[NumpyTask]:
    if name not in _BUILT_IN:
        near = difflib.get_close_matches(name, [*_BUILT_IN, *OF_TABLES], n=1)
        known = f"built in are {', '.join([*_BUILT_IN, *OF_TABLES])}"
        hint = f"did you mean {near[0]!r}?" if near else known
        raise LearningError(
            f"there is no task {name!r}; {hint} (an own task is named 'my_module:MyTask')"
        )
    module, class_name, *_ = _BUILT_IN[name]
    found: type[Task] | type[NumpyTask] = getattr(
        importlib.import_module(f"p2pfl.learner.tasks.{module}"), class_name
    )
    return found


def import_own(module_name: str, folder: Path | None) -> ModuleType:
    """Import a module of the user, from a folder before the usual places."""
    if folder is not None:
        # For the whole process: the module may import its neighbours later on.
        first = str(folder.resolve())
        sys.path[:] = [first, *(entry for entry in sys.path if entry != first)]
        importlib.invalidate_caches()
        _forget_namesake(module_name.partition(".")[0], folder.resolve())
    return importlib.import_module(module_name)


def _forget_namesake(module_name: str, folder: Path) -> None:
    """Forget a module from elsewhere whose name a module of this folder has."""
    loaded = sys.modules.get(module_name)
    file = getattr(loaded, "__file__", None)
    is_here = (folder / f"{module_name}.py").is_file() or (folder / module_name).is_dir()
    if file is not None and is_here and not Path(file).resolve().is_relative_to(folder):
        for name in [name for name in sys.modules if name.partition(".")[0] == module_name]:
            del sys.modules[name]


def _imported(name: str, folder: Path | None) -> type[Task] | type[NumpyTask]:
    module_name, _, class_name = name.partition(":")
    place = f" from {folder}" if folder else ""
    try:
        module = import_own(module_name, folder)
    except (Exception, SystemExit) as error:  # A script may end itself.
        told = f"{type(error).__name__}: {one_line(error)}{Blamed(name).place(error)}"
        raise LearningError(f"task {name!r} cannot be imported{place}: {told}") from error
    found = getattr(module, class_name, None)
    if not (inspect.isclass(found) and issubclass(found, (Task, NumpyTask))):
        fault = "is no subclass of Task or NumpyTask" if found is not None else "is not there"
        raise LearningError(f"task {name!r}: {class_name} {fault} in {module.__file__}")
    if inspect.isabstract(found):
        missing = ", ".join(sorted(found.__abstractmethods__))
        raise LearningError(f"task {name!r} does not define {missing}")
    return found
