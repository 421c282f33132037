"""Processes of peers that begin with the program loaded: most of a start is reading modules.

One process of this module loads `p2pfl peer run` and forks for each peer. What forks has no thread
and no event loop; a peer has its own folder, standard error and process number, as if started anew.
"""

import atexit
import contextlib
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

PROGRAM = [sys.executable, "-m", "p2pfl.cli.main"]
LOADED = ("p2pfl.cli.peer_running", "p2pfl.daemon.starting", "p2pfl.learner.tasks.integers")
ORDER_BYTES_MAX = 64 * 1024


class Forked:
    """A process of `p2pfl`; of `subprocess.Popen` it has what tests and launched runs ask for.

    Args:
        arguments: of `p2pfl`.
        folder: where it runs.
        stdin: a descriptor that it reads, which it has for itself.
        stderr: a descriptor that it writes to.
    """

    def __init__(self, arguments: Sequence[str], folder: Path, *, stdin: int, stderr: int) -> None:
        self._told = _connect()
        environment = dict(os.environ)
        order = {"arguments": list(arguments), "folder": str(folder.resolve()), "env": environment}
        socket.send_fds(self._told, [json.dumps(order).encode()], [stdin, stderr])
        self._lines = self._told.makefile()
        self.pid = int(self._lines.readline())
        self._code: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; return the exit code, as `subprocess` has it."""
        if self._code is None:
            if not select.select([self._told], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("p2pfl peer run .", timeout or 0.0)
            self._code = os.waitstatus_to_exitcode(int(self._lines.readline()))
            self._lines.close()
            self._told.close()
        return self._code

    def poll(self) -> int | None:
        """Return the exit code; None while it runs."""
        try:
            return self.wait(0.0)
        except subprocess.TimeoutExpired:
            return None

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # It has ended, and nobody has told yet.
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class ForkedPeer(Forked):
    """`p2pfl peer run .` in a folder, whose standard error can be read."""

    def __init__(self, folder: Path) -> None:
        read, write = os.pipe()
        null = os.open(os.devnull, os.O_RDONLY)
        super().__init__(("peer", "run", "."), folder, stdin=null, stderr=write)
        os.close(null)
        os.close(write)
        self.stderr: IO[str] | None = os.fdopen(read, encoding="utf-8")


class LaunchedPeer(Forked):
    """Takes the place of `subprocess.Popen` where a launched run or an example starts peers.

    `command` is one of this Python that runs `p2pfl`. Where standard input is a pipe, it ends with
    the caller.
    """

    def __init__(
        self, command: Sequence[str], *, cwd: Path, stdin: int, stderr: IO[Any], **_: Any
    ) -> None:
        assert command[: len(PROGRAM)] == PROGRAM
        self.stdin: IO[bytes] | None = None
        if stdin == subprocess.PIPE:
            read, write = os.pipe()
            self.stdin = os.fdopen(write, "wb")
        else:
            read = os.open(os.devnull, os.O_RDONLY)
        arguments = command[len(PROGRAM) :]
        super().__init__(arguments, cwd, stdin=read, stderr=stderr.fileno())
        os.close(read)


LAUNCHING = SimpleNamespace(
    Popen=LaunchedPeer,
    PIPE=subprocess.PIPE,
    DEVNULL=subprocess.DEVNULL,
    TimeoutExpired=subprocess.TimeoutExpired,
    run=subprocess.run,
)
"""What they need of `subprocess`."""


def _connect() -> socket.socket:
    told = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    told.connect(_address())
    return told


@cache
def _address() -> str:
    """Start the process that forks, once for this one, with which it ends; return where it is."""
    program = subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    atexit.register(program.communicate)
    assert program.stdout is not None
    return f"\0{program.stdout.readline().strip()}"


def _serve() -> None:
    """Fork a peer for each order, until standard input ends."""
    for name in LOADED:
        importlib.import_module(name)
    place = f"p2pfl-forked-peers-{os.getpid()}"
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(f"\0{place}")
    listening.listen()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # Nobody waits for what keeps a peer.
    print(place, flush=True)
    while True:
        ready, _, _ = select.select([listening, sys.stdin], [], [])
        if sys.stdin in ready:
            return
        told, _ = listening.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listening.close()
            _keep(told)
        told.close()


def _keep(told: socket.socket) -> None:
    """Fork a peer, tell its process number and, when it has ended, how."""
    data, fds, _, _ = socket.recv_fds(told, ORDER_BYTES_MAX, 2)
    pid = os.fork()
    if pid == 0:
        told.close()
        _become(json.loads(data), *fds)
    for descriptor in (*fds, 0):
        os.close(descriptor)
    told.sendall(f"{pid}\n".encode())
    _, status = os.waitpid(pid, 0)
    try:
        told.sendall(f"{status}\n".encode())
    finally:
        os._exit(0)


def _become(order: dict[str, Any], stdin: int, stderr: int) -> None:
    from p2pfl.cli.main import main

    os.setpgid(0, 0)  # Ctrl-C on the terminal is for the tests.
    null = os.open(os.devnull, os.O_WRONLY)
    for own, standard in ((stdin, 0), (null, 1), (stderr, 2)):
        os.dup2(own, standard)
        os.close(own)
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["env"])
    sys.path[0] = order["folder"]  # As `python -m` has it.
    sys.argv = ["p2pfl", *order["arguments"]]
    main()


if __name__ == "__main__":
    _serve()
