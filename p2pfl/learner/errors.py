"""What goes wrong with tasks, data and settings, told to people."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_OURS = str(Path(__file__).parents[1])


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
        except LearningError:
            raise
        except (Exception, SystemExit) as error:
            at = self._line(traceback.extract_tb(error.__traceback__))
            told = " ".join(str(error).split()) or "no message"
            place = "" if at is None else f" ({at.filename}, line {at.lineno})"
            raise LearningError(
                f"task {self.task!r}: {type(error).__name__}: {told}{place}{where}"
            ) from error

    def _line(self, frames: traceback.StackSummary) -> traceback.FrameSummary | None:
        """Find the task's line: the deepest in its files, if there is one.

        While its files are not known, the first that is not ours.
        """
        if self.files:
            own = [it for it in frames if Path(it.filename).resolve() in self.files]
            return own[-1] if own else None
        return next((it for it in frames if not it.filename.startswith(_OURS)), frames[-1])
