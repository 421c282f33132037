"""Charters that wait for a member's own word: told once, and by a command of the operator's own."""

import asyncio
import logging
import os
import shlex
from collections.abc import Iterable, Sequence

from p2pfl.charter.charter_file import CharterFile
from p2pfl.charter.differences import changes
from p2pfl.charter.papers import Papers
from p2pfl.daemon.reporter import Reporter

COMMAND_TIMEOUT_S = 60.0
"""For the operator's own command."""


class WaitingCharters:
    """Tells an operator of proposals.

    Args:
        papers: where they lie.
        reporter: writes the log.
        command: `on_waiting` of peer.toml; None runs nothing.
    """

    def __init__(self, papers: Papers, reporter: Reporter, command: str | None) -> None:
        self._papers, self._reporter = papers, reporter
        self._command = [] if command is None else shlex.split(command)
        self._told: frozenset[bytes] = frozenset()
        self._commands: set[asyncio.Task[None]] = set()

    def tell(self, present: CharterFile | None, waits: Iterable[bytes]) -> None:
        """Tell what waits for this member's own word, and run the operator's command."""
        now = frozenset(waits)
        for digest in sorted(now - self._told):
            file, place = self._papers.files.get(digest), self._papers.place_of(digest)
            if file is None or place is None or present is None:
                continue
            told = "; ".join(changes(present, file)) or "nothing changes"
            self._reporter.tell(
                "charter_waits",
                f"charter {digest.hex()[:16]} waits for this member's word ({place}): {told}",
                level=logging.WARNING,
            )
            if self._command:
                command = [*self._command, digest.hex(), str(place)]
                running = asyncio.get_running_loop().create_task(self._run_command(command))
                self._commands.add(running)
                running.add_done_callback(self._commands.discard)
        self._told = now

    async def _run_command(self, command: Sequence[str]) -> None:
        """Run the operator's own command; it is told of if it fails, and never waited for."""
        told = ""
        try:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL
            )
            try:
                async with asyncio.timeout(COMMAND_TIMEOUT_S):
                    code = await process.wait()
                told = f"failed with exit code {code}" if code else ""
            except TimeoutError:
                process.kill()
                told = f"took longer than {COMMAND_TIMEOUT_S:g} s"
        except OSError as error:
            told = f"cannot be run: {error.strerror or os.strerror(error.errno or 0)}"
        if told:
            self._reporter.tell(
                "on_waiting", f"on_waiting: {command[0]} {told}", level=logging.WARNING
            )
