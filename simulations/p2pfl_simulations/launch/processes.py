"""One peer's process: started, watched, struck by faults, and ended."""

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

from p2pfl.daemon.recording import Recording, Sent

ERRORS = "stderr.log"
PEER_COMMAND = (sys.executable, "-m", "p2pfl.cli.main", "peer", "run", ".", "--until-eof")
NOTHING_SENT = Sent(0, 0, {})


class PeerProcess:
    """The process of the peer in a folder.

    Args:
        index: the peer's place among them.
        folder: the peer's.
        draws: names the random streams of its training, so that a simulated run can have the same
            ones. None leaves them to the operating system, as an operator's peer does.

    Attributes:
        index: the peer's place among them.
        is_online: neither frozen nor down.
        life: counts its processes.
        bytes_sent: by all its processes, as far as their events tell.
        frames_sent: the same.
        bytes_by_message: the same, by the name of a message's type.
        recording: what its processes record.
    """

    def __init__(self, index: int, folder: Path, *, draws: str | None = None) -> None:
        self.index, self.folder = index, folder
        self.is_online = True
        self.life = 0
        self.bytes_sent = self.frames_sent = 0
        self.bytes_by_message: Counter[str] = Counter()
        self.recording = Recording(folder)
        self._options = [] if draws is None else ["--draws", draws]
        self._process: subprocess.Popen[bytes] | None = None
        self._sent_before = NOTHING_SENT  # By the present process, at its event before.

    def start(self) -> None:
        """Start it in its own folder, where even a deep path leaves room for its socket's name."""
        with (self.folder / ERRORS).open("ab") as errors:
            self._sent_before = NOTHING_SENT
            self._process = subprocess.Popen(  # noqa: S603  # Our own program.
                [*PEER_COMMAND, *self._options],
                cwd=self.folder,
                stdin=subprocess.PIPE,  # Never written to: it ends when this process does.
                stdout=subprocess.DEVNULL,
                stderr=errors,
                # Ctrl-C on the terminal is ours to hear, and to pass on. In a group of its own, and
                # yet of our session: so one that is frozen does not outlive us either.
                process_group=0,
                env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
            )

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs, or was never started."""
        return None if self._process is None else self._process.poll()

    @property
    def is_running(self) -> bool:
        """Whether it has a process, which may be frozen."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """Its number; None before the first start."""
        return None if self._process is None else self._process.pid

    def freeze(self) -> None:
        """Stop it in the middle of what it does, as a machine that hangs."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once, as a machine that loses its power."""
        self._signal(signal.SIGKILL)
        self._reap()

    def ask_to_leave(self) -> None:
        """Ask it to end in good order."""
        self._signal(signal.SIGTERM)

    def wait(self, timeout_s: float | None) -> bool:
        """Wait for its end, for ever if need be; return whether it came."""
        if self._process is None:
            return True
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        if self._process.stdin is not None:
            self._process.stdin.close()
        return True

    def count(self, sent: Sent) -> tuple[int, int]:
        """Note what its present process has sent; return the frames and bytes that are new."""
        before, self._sent_before = self._sent_before, sent
        frames, size = sent.frames - before.frames, sent.bytes - before.bytes
        self.frames_sent += frames
        self.bytes_sent += size
        self.bytes_by_message.update(sent.bytes_by_message)
        self.bytes_by_message.subtract(before.bytes_by_message)
        return frames, size

    def last_words(self) -> str:
        """Return the last line that it wrote to standard error that is not of its log."""
        try:
            lines = (self.folder / ERRORS).read_text(errors="replace").splitlines()
        except OSError:
            return ""
        return next((line for line in reversed(lines) if line and line[0] != "{"), "")

    def _reap(self) -> None:
        self.wait(None)
        self.life += 1

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self.is_running:
            self._process.send_signal(number)
