"""The log of a peer: JSON lines in its folder, and on standard error what suits who reads it."""

import contextlib
import json
import logging
import sys
from datetime import UTC, datetime
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from p2pfl.store.files import PRIVATE, end_torn_line

LOG_BYTES_MAX = 16 * 2**20
"""Of one file; a round of a cohort logs some hundred bytes, at level debug some ten kilobytes."""

LOG_FILES_KEPT = 3

LOGGER = "p2pfl.peer"

FAILED = "failed"
"""The event of a peer that cannot go on; the command line tells people why, so the log does not."""


def open_log(path: Path, *, level: str) -> logging.Logger:
    """Log to a file from now on, and to standard error; returns the logger to log to.

    Raises:
        OSError: the file cannot be written.
    """
    logger = logging.getLogger(LOGGER)
    logger.setLevel(level.upper())
    logger.propagate = False
    close_log(logger)
    to_file = _LogFile(path, maxBytes=LOG_BYTES_MAX, backupCount=LOG_FILES_KEPT, encoding="utf-8")
    to_file.setFormatter(JsonLines())
    logger.addHandler(to_file)
    to_people = logging.StreamHandler(sys.stderr)
    to_people.setFormatter(Sentences() if sys.stderr.isatty() else JsonLines())
    to_people.addFilter(lambda record: fields_of(record).get("event") != FAILED)
    logger.addHandler(to_people)
    return logger


def close_log(logger: logging.Logger) -> None:
    """End what `open_log` began."""
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return what was logged beside the sentence: `logger.info("...", extra={"fields": ...})`."""
    fields: dict[str, Any] = getattr(record, "fields", {})
    return fields


class _LogFile(RotatingFileHandler):
    """Only its owner may read it; where it cannot be written, that is said once, in a line."""

    _has_failed = False

    def _open(self) -> TextIOWrapper:
        path = Path(self.baseFilename)
        path.touch(PRIVATE)
        with contextlib.suppress(OSError):  # A full disk is said where a line cannot be written.
            end_torn_line(path)
        return super()._open()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # Its name there.
        """Go on without the log: whether the peer can go on is the journal's to say."""
        if not self._has_failed:
            self._has_failed = True
            print(f"p2pfl: cannot write {self.baseFilename}: {sys.exc_info()[1]}", file=sys.stderr)

    def close(self) -> None:
        """Close it, whether or not what is still buffered can be written."""
        with contextlib.suppress(OSError):
            super().close()


class JsonLines(logging.Formatter):
    """One JSON object a line: `time` (UTC), `level`, `message`, and the fields of the event."""

    def format(self, record: logging.LogRecord) -> str:
        """Format one record."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {
            "time": time,
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **fields_of(record),
        }
        return json.dumps(line, separators=(",", ":"))


class Sentences(logging.Formatter):
    """The local time and the sentence; a word before it where it is no plain news."""

    def format(self, record: logging.LogRecord) -> str:
        """Format one record."""
        time = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        return describe_line(time, record.levelname.lower(), record.getMessage())


def describe_line(time: str, level: str, message: str) -> str:
    """Write a line of the log for people."""
    return f"{time}  {message}" if level in {"info", "debug"} else f"{time}  {level}: {message}"
