"""Groups of peers in folders of one machine, as an operator has them, and their processes."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from forked_peers import ForkedPeer

from p2pfl.charter.charter_file import read_file, write_file
from p2pfl.charter.form import make_form
from p2pfl.charter.making import form_of
from p2pfl.daemon.config import read_config
from p2pfl.learner.learner import make_learner
from p2pfl.store.keys import read_keys
from p2pfl_simulations.launch.charters import FIRST_STATE, signed_by_all
from p2pfl_simulations.launch.folders import make_folders
from p2pfl_simulations.scenario import make_scenario

TIMEOUT_S = 120.0
"""For a peer's next line: it looks at its links every few seconds, whatever goes on."""

UNTIL_TIMEOUT_S = 300.0
"""For an event, while other lines come; generous, as machines may be busy."""

CHARTER = "group.charter"
COMMAND = ("-m", "p2pfl.cli.main", "peer", "run", ".")

FRAIL_TASK = '''
"""Integers, but for what each member's data folder says is to go wrong."""
import os, signal, threading
from p2pfl.learner.tasks import Data, Rows
from p2pfl.learner.tasks.integers import Integers


class Frail(Integers):
    def data(self, data_dir):
        self.fault = (data_dir / "fault").read_text() if data_dir else ""
        if self.fault == "no data":
            raise ValueError("row 7 has a comma too many")
        if self.fault == "stop while loading":
            os.kill(os.getpid(), signal.SIGTERM)
        data = super().data(None)
        if self.fault == "half as wide":
            return Data(*(Rows(it.inputs[:, :32], it.targets) for it in (data.train, data.test)))
        return data

    def initial_vector(self, seed):
        return super().initial_vector(seed)[: 32 if self.fault == "half as wide" else None]

    def step(self, vector, inputs, targets, rate):
        is_trial = rate == 0  # Before anything runs.
        if self.fault == "raise at once" or (self.fault == "raise" and not is_trial):
            raise ZeroDivisionError("no rows of class 1")
        if self.fault == "stop, and train for ever" and not is_trial:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)
            threading.Event().wait()
        return super().step(vector, inputs, targets, rate)
'''


def make_group(
    folder: Path,
    count: int = 2,
    *,
    task: str = "integers",
    averaging: dict[str, Any] | None = None,
    **more: Any,
) -> list[Path]:
    """Make folders of a group that trains integers; members' data lie in `data` of each folder.

    It averages in one plain cohort, if `averaging` names no algorithm.
    """
    plain = {"algorithm": "cohorts", "cohort_size": count, "masking": "none", "deadline_s": 5.0}
    averaging = averaging or {}
    scenario = make_scenario(
        {
            "peers": count,
            "rounds": 3,
            "learning": {"task": task},
            "averaging": averaging if "algorithm" in averaging else plain | averaging,
            **more,
        }
    )
    (folder / "frail.py").write_text(FRAIL_TASK)
    task_folder = folder if ":" in task else None
    learner = make_learner(
        scenario.learning, peer_count=count, seed=scenario.seed, folder=task_folder
    )
    sys.modules.pop("frail", None)  # Peers in this process import it anew, as others do.
    return make_folders(scenario, folder, task_folder, learner)


def sign_anew(*members: Path, **changes: Any) -> None:
    """Give members the charter of another group of theirs, signed by all of its keys."""
    charters = members[0] / "charters"
    document = form_of(read_file(charters / CHARTER)).model_dump(by_alias=True, exclude_none=True)
    task = document["task"] | {"first_state": charters / FIRST_STATE}
    form = make_form(document | {"task": task, "members": []} | changes, source="test")
    peers = [(read_config(it), read_keys(it / "key")) for it in members]
    signed = signed_by_all(form, peers, [1.0] * len(peers))
    for member in members:
        write_file(member / "charters" / CHARTER, signed, erases=True)


def set_fault(member: Path, fault: str) -> None:
    """Have the task `frail:Frail` of a member go wrong."""
    data = member / "data"
    data.mkdir()
    (data / "fault").write_text(fault)
    add_setting(member, 'data_dir = "data"')


def add_setting(member: Path, line: str) -> None:
    """Put a line above what a member's settings have: tables are at their end."""
    settings = member / "peer.toml"
    settings.write_text(f"{line}\n{settings.read_text()}")


class PeerProcess:
    """`p2pfl peer run` in a folder, watched by the lines that it writes to standard error.

    A thread takes the lines as they come: a peer whose pipe is full could not go on, so it would
    seem dead to the others while the test waits for one of them.
    """

    def __init__(
        self, folder: Path, *, anew: bool = False, alone_on: Sequence[Path] = (), **more: Any
    ) -> None:
        """Start it.

        Args:
            folder: the peer's.
            anew: its program is read and loaded again, as a command's is.
            alone_on: modules are found in these folders and nowhere else.
            more: further arguments of a process that begins anew.
        """
        self.lines: list[str] = []
        """Those that were waited for so far; all of them after `end`."""
        self.process: subprocess.Popen[str] | ForkedPeer
        if anew or alone_on or more:
            self.process = subprocess.Popen(
                [sys.executable, *(["-S"] if alone_on else []), *COMMAND],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, alone_on or sys.path))},
                **more,
            )
        else:
            self.process = ForkedPeer(folder)
        self._coming: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stream:
            for line in stream:
                self._coming.put(line)
        self._coming.put(None)

    def _next(self) -> str | None:
        """Return its next line; None once it has ended."""
        try:
            line = self._coming.get(timeout=TIMEOUT_S)
        except queue.Empty:
            raise AssertionError(f"no line for {TIMEOUT_S} s after {self.lines[-20:]}") from None
        if line is None:
            self._coming.put(None)
        else:
            self.lines.append(line)
        return line

    def until(self, event: str) -> dict[str, Any]:
        """Wait for the next line of an event; return it."""
        deadline_s = time.monotonic() + UNTIL_TIMEOUT_S
        while (line := self._next()) is not None:
            if line.startswith("{") and json.loads(line)["event"] == event:
                entry: dict[str, Any] = json.loads(line)
                return entry
            assert time.monotonic() < deadline_s, f"{event} did not come: {self.lines[-20:]}"
        raise AssertionError(f"{event} did not come: {self.lines}")

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def end(self) -> int:
        """Wait for the end, and read what is left; return the exit code."""
        while self._next() is not None:
            pass
        return self.process.wait(TIMEOUT_S)

    def entries(self, event: str) -> list[dict[str, Any]]:
        """Return the lines of an event among those that were waited for."""
        entries = (json.loads(line) for line in self.lines if line.startswith("{"))
        return [it for it in entries if it["event"] == event]

    def events(self) -> list[str]:
        return [json.loads(line)["event"] for line in self.lines if line.startswith("{")]

    def plain_lines(self) -> list[str]:
        """What it wrote beside its log: what a person is told."""
        return [line.rstrip("\n") for line in self.lines if not line.startswith("{")]


@contextmanager
def running(*folders: Path, **more: Any) -> Iterator[list[PeerProcess]]:
    """Run peers; none is left behind."""
    peers = [PeerProcess(folder, **more) for folder in folders]
    try:
        yield peers
    finally:
        for peer in peers:
            if peer.process.poll() is None:
                peer.process.kill()
                peer.process.wait()
