"""Processes of peers that begin with the program loaded: most of a start is reading modules.

One process of this module loads `p2pfl peer run` and forks for each peer. What forks has no thread
and no event loop; a peer has its own folder, standard error and process number, as if started anew.
"""

import array
import atexit
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import IO

LOADED = ("p2pfl.cli.peer_running", "p2pfl.daemon.starting", "p2pfl.learner.tasks.integers")
READY_S = 60.0
ORDER_BYTES_MAX = 64 * 1024


class ForkedPeer:
    """`p2pfl peer run .` in a folder; of `subprocess.Popen` it has what tests of peers call."""

    def __init__(self, folder: Path) -> None:
        self._told = _connect()
        read, write = os.pipe()
        order = json.dumps({"folder": str(folder), "env": dict(os.environ)}).encode()
        fds = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [write]).tobytes())
        self._told.sendmsg([order], [fds])
        os.close(write)
        self.stderr: IO[str] | None = os.fdopen(read, encoding="utf-8")
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
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


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
    data, fds, _, _ = socket.recv_fds(told, ORDER_BYTES_MAX, 1)
    pid = os.fork()
    if pid == 0:
        told.close()
        _become_peer(json.loads(data), fds[0])
    os.close(fds[0])
    told.sendall(f"{pid}\n".encode())
    _, status = os.waitpid(pid, 0)
    try:
        told.sendall(f"{status}\n".encode())
    finally:
        os._exit(0)


def _become_peer(order: dict[str, object], stderr: int) -> None:
    from p2pfl.cli.main import main

    os.dup2(stderr, 2)
    os.close(stderr)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.chdir(str(order["folder"]))
    os.environ.clear()
    os.environ.update(order["env"])  # type: ignore[call-overload]
    sys.path[0] = str(order["folder"])  # As `python -m` has it.
    sys.argv = ["p2pfl", "peer", "run", "."]
    main()


if __name__ == "__main__":
    _serve()
