"""Scripts in processes of their own that a bench talks with, by lines of JSON."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from measuring import Failed

END_S = 30.0
"""The time that a process has to end by itself, once it is told to."""


class Talker:
    """One process with all that it starts; it is killed at the end of the block.

    Args:
        script: what it runs.
        words: its arguments.
        python: the interpreter; ours if none is given.
        environment: variables beside this process's own.
    """

    def __init__(
        self,
        script: Path,
        words: Sequence[object],
        *,
        python: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._name = script.name
        self._process = subprocess.Popen(
            [str(python or sys.executable), str(script), *map(str, words)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if os.environ.get("VERBOSE") else subprocess.DEVNULL,
            text=True,
            process_group=0,
            env={**os.environ, **(environment or {})},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):  # One that has ended may leave helpers.
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def cpu_s(self) -> float:
        """Return the processor time of all its threads so far; children are not counted."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def hear_line(self) -> str:
        """Wait for the next line.

        Raises:
            Failed: it has ended.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise Failed(f"{self._name} ended early; VERBOSE=1 shows why")
        return line.strip()

    def hear(self) -> Any:
        """Wait for the next line, and read it as JSON.

        Raises:
            Failed: it has ended.
        """
        return json.loads(self.hear_line())

    def tell(self, what: object) -> None:
        """Say something, as a line of JSON."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()

    def end(self) -> None:
        """Wait until it has ended, as it was told to.

        Raises:
            Failed: it goes on.
        """
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self._name} goes on, {END_S:g} s after it was told to end") from None
