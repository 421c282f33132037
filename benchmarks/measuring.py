"""What the benchmarks share: the machine, timings, memory, tables, and where time goes.

Every contestant runs in a process of its own, started from a small parent, so that its peak memory
is its own. Figures are medians over repetitions in which the contestants take turns, so that what
else the machine does falls on all of them alike.
"""

import gc
import json
import os
import platform
import resource
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
SAMPLE_S = 0.001

Figures = dict[str, Any]


# --- the machine --------------------------------------------------------------------------------


def machine() -> dict[str, str]:
    """Return what the figures depend on: processor, cores, memory, and versions."""
    processor = platform.processor() or platform.machine()
    for line in _lines("/proc/cpuinfo"):
        if line.startswith("model name"):
            processor = line.split(":", 1)[1].strip()
            break
    memory = [line.split()[1] for line in _lines("/proc/meminfo") if line.startswith("MemTotal")]
    return {
        "processor": processor,
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{int(memory[0]) / 2**20:.0f} GiB" if memory else "unknown",
        "system": platform.system(),
        "python": platform.python_version(),
    }


def describe(machine: dict[str, str]) -> str:
    """Return one line for people."""
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory']},"
        f" {machine['system']}, Python {machine['python']}"
    )


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


# --- time and memory ----------------------------------------------------------------------------


class Clock:
    """Wall and CPU seconds of this process, since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def figures(self) -> Figures:
        """Return the seconds since the start."""
        return {
            "wall_s": time.perf_counter() - self._wall,
            "cpu_s": time.process_time() - self._cpu,
        }


def peak_memory_mb() -> float:
    """Return the largest resident memory that this process has had, in MB (10**6 bytes).

    The kernel's high-water mark of this program itself: `ru_maxrss` would also count the parent's
    memory at the time of the fork.
    """
    return _status_mb("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def resident_memory_mb() -> float:
    """Return the resident memory of this process now, in MB (10**6 bytes); 0 if unknown."""
    return _status_mb("VmRSS")


def _status_mb(name: str) -> float:
    for line in _lines("/proc/self/status"):
        if line.startswith(name):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


class Sampler:
    """Looks at the stack of the main thread every millisecond of wall time.

    Counts by the innermost frame that `part_of` has a name for. It costs a few per cent, so runs
    that are timed do not use it.

    Args:
        part_of: names the part that a file belongs to, or None if it tells nothing.
    """

    def __init__(self, part_of: Callable[[str], str | None]) -> None:
        self._part_of = part_of
        self._known: dict[str, str | None] = {}
        self.counts: Counter[str] = Counter()

    def __enter__(self) -> "Sampler":
        signal.signal(signal.SIGALRM, self._sample)
        signal.setitimer(signal.ITIMER_REAL, SAMPLE_S, SAMPLE_S)
        return self

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)

    def shares(self) -> dict[str, float]:
        """Return the share of samples in each part, largest first."""
        total = sum(self.counts.values()) or 1
        return {part: count / total for part, count in self.counts.most_common()}

    def _sample(self, _signal: int, frame: FrameType | None) -> None:
        while frame is not None:
            file = frame.f_code.co_filename
            if file not in self._known:
                self._known[file] = self._part_of(file)
            part = self._known[file]
            if part is not None:
                self.counts[part] += 1
                return
            frame = frame.f_back
        self.counts["other"] += 1


# --- contestants in processes of their own --------------------------------------------------------


class Failed(Exception):
    """A contestant that ended without figures; the message is the end of what it wrote."""


def run_apart(
    script: Path,
    arguments: Sequence[str],
    *,
    python: Path | None = None,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = 1800,
) -> Figures:
    """Run a script in a process of its own; return the JSON object on its last line.

    Args:
        script: what to run.
        arguments: its own.
        python: the interpreter; ours if none is given.
        environment: variables beside this process's own.
        timeout_s: the longest that it may take.

    Raises:
        Failed: it ended with an error, or took too long.
    """
    command = [str(python or sys.executable), str(script), *arguments]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"{script.name}: not done after {timeout_s:g} s") from None
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        raise Failed(f"{script.name}, exit code {done.returncode}: {done.stderr[-2000:]}")
    figures: Figures = json.loads(lines[-1])
    return figures


def take_turns(
    contestants: dict[str, Callable[[], Figures]], repetitions: int
) -> dict[str, list[Figures]]:
    """Run all contestants once, then all again, and so on.

    One that fails has no more turns; its runs before count. One without any is not returned.
    """
    taken: dict[str, list[Figures]] = {name: [] for name in contestants}
    still = list(taken)
    for repetition in range(repetitions):
        for name in list(still):
            say(f"{name}, {repetition + 1} of {repetitions}")
            try:
                taken[name].append(contestants[name]())
            except Failed as failure:
                say(f"{name} failed: {failure}")
                still.remove(name)
    return {name: runs for name, runs in taken.items() if runs}


def median(runs: Iterable[Figures], key: str) -> float:
    """Return the median of one figure over runs."""
    return statistics.median(float(run[key]) for run in runs)


def spread(runs: Iterable[Figures], key: str) -> str:
    """Return the median with the smallest and largest of a figure over runs, for people."""
    values = [float(run[key]) for run in runs]
    return f"{statistics.median(values):,.0f} ({min(values):,.0f} to {max(values):,.0f})"


# --- output ---------------------------------------------------------------------------------


def say(text: str) -> None:
    """Tell how far it is, beside the result."""
    print(text, file=sys.stderr, flush=True)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table; the first column to the left, figures to the right."""
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def save(name: str, figures: Figures) -> None:
    """Write figures to ``benchmarks/results/NAME.json``."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), **figures}, indent=1) + "\n")
    say(f"written: {path.relative_to(ROOT)}")


def give(figures: Figures) -> None:
    """Hand the figures of a contestant to `run_apart`."""
    print(json.dumps(figures))


def settle() -> None:
    """Clear away what the preparations left, before a timed part."""
    gc.collect()
