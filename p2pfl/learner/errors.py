"""What goes wrong with tasks, data and settings, told to people."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_OURS = str(Path(__file__).parents[1])


class LearningError(Exception):
    """Learning cannot begin: one clear line that names the thing and the remedy."""


@contextmanager
def faults_of_task(task: str) -> Iterator[None]:
    """Turn what a task's own code raises into a LearningError that names the task and its line."""
    try:
        yield
    except LearningError:
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        # The first line that is not ours called whatever raised.
        at = next((it for it in frames if not it.filename.startswith(_OURS)), frames[-1])
        told = " ".join(str(error).split())
        raise LearningError(
            f"task {task!r}: {type(error).__name__}: {told} ({at.filename}, line {at.lineno})"
        ) from error
