"""What goes wrong with tasks, data and settings, told to people."""

import importlib
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from p2pfl.explaining import one_line

_OURS = str(Path(__file__).parents[1])
_IMPORTLIB = str(Path(importlib.__file__).parent)


class LearningError(Exception):
    """Learning cannot begin: one clear line that names the thing and the remedy."""


@dataclass(frozen=True)
class Blamed:
    """Whose code runs: a task's.

    Attributes:
        task: its name.
        files: those that it is made of; empty while they are not known.
    """

    task: str
    files: frozenset[Path] = frozenset()

    @contextmanager
    def faults(self, where: str = "") -> Iterator[None]:
        """Turn what the task's own code raises into a LearningError that names task and line.

        `where` follows what was raised: the rows it happened on, and a remedy.
        """
        try:
            yield
        except LearningError as error:
            if "\n" in str(error):  # Of the task, or of a library that it asks.
                raise LearningError(one_line(error)) from error
            raise
        except (Exception, SystemExit) as error:
            told = f"{type(error).__name__}: {one_line(error)}{self.place(error)}"
            raise LearningError(f"task {self.task!r}: {told}{where}") from error

    def place(self, error: BaseException) -> str:
        """Name the task's file and line that an exception went through; empty if there is none.

        The deepest in its files; while these are not known, the first that is not ours.
        """
        frames = [
            it
            for it in traceback.extract_tb(error.__traceback__)
            if not it.filename.startswith((_OURS, _IMPORTLIB, "<frozen"))
        ]
        if self.files:
            at = next((it for it in reversed(frames) if _path(it.filename) in self.files), None)
        else:
            at = frames[0] if frames else None
        return "" if at is None else f" ({at.filename}, line {at.lineno})"


def _path(name: str) -> Path:
    return Path(name).resolve()
