"""What more cores, and a Ray cluster, make of studies and of one large run.

    ./scripts/bench scaling [--only PART ...] [--peers N] [--rounds R]

Parts: ``sweep`` (8 cells of a study on 1 and 2 cores, and on Ray), ``cells`` (what Ray adds to a
cell), ``batches`` (what it adds to each peer's training of a run), ``large`` (10,000 peers with a
CNN, learning here, and on 1, 2 and 4 workers of a cluster on this machine). Wall seconds want a
machine that has no other work; processor seconds are of all processes, Ray's own among them. Each
digest must be that of the run that learns here.
"""

import argparse
import json
import os
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measuring import ROOT, Clock, Failed, Figures, describe, machine, run_apart, say, table
from options import positive

SIDE = Path(__file__).resolve().parent / "sides" / "scaled.py"
PYTHON = ROOT / ".venvs" / "ray" / "bin" / "python"
LOOK_S = 0.25
PARTS = ("sweep", "cells", "batches", "large")


class TreeClock(threading.Thread):
    """Processor seconds of all processes below this one: looks at them four times a second."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._seen: dict[int, float] = {}
        self._ended = threading.Event()

    def run(self) -> None:
        """Look until `seconds` is asked for."""
        while not self._ended.wait(LOOK_S):
            self._look()

    def seconds(self) -> float:
        """End, and return the sum."""
        self._ended.set()
        self.join()
        return sum(self._seen.values())

    def _look(self) -> None:
        parents, taken = {}, {}
        for place in Path("/proc").iterdir():
            if not place.name.isdigit():
                continue
            try:
                fields = (place / "stat").read_text().rpartition(") ")[2].split()
            except OSError:
                continue
            parents[int(place.name)] = int(fields[1])
            taken[int(place.name)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        for process, seconds in taken.items():
            if process in self._seen or _is_below(process, os.getpid(), parents):
                self._seen[process] = max(seconds, self._seen.get(process, 0.0))


def _is_below(process: int, top: int, parents: dict[int, int]) -> bool:
    while process in parents:
        process = parents[process]
        if process == top:
            return True
    return False


def measure(**spec: Any) -> Figures:
    """Do one thing in a process of its own; return its figures with all processor seconds."""
    say(" ".join(f"{key} {value}" for key, value in spec.items()))
    clock = TreeClock()
    clock.start()
    whole = Clock()
    try:
        found = run_apart(SIDE, [json.dumps(spec)], python=PYTHON, timeout_s=3600)
    finally:
        all_cpu_s = clock.seconds()
    return {**found, "all_wall_s": whole.figures()["wall_s"], "all_cpu_s": all_cpu_s}


def sweep() -> None:
    """Run eight cells, three ways."""
    ways = {
        "`--jobs 1`": {"jobs": 1, "workers": 0},
        "`--jobs 2`": {"jobs": 2, "workers": 0},
        "Ray, 2 workers": {"workers": 2},
    }
    found = {name: measure(kind="study", cells=8, **way) for name, way in ways.items()}
    _require_same(found)
    print(_shown("8 cells of 32 peers x 30 rounds, digits", found), end="\n\n", flush=True)


def cells() -> None:
    """Run few and many cells that do next to nothing: the difference is what a cell costs."""
    few, many = 2, 34
    rows = []
    for name, workers in (("`--jobs 1`", 0), ("Ray, 1 worker", 1)):
        small, large = (
            measure(kind="study", cells=count, small=True, workers=workers) for count in (few, many)
        )
        each = [(large[key] - small[key]) / (many - few) * 1e3 for key in ("wall_s", "all_cpu_s")]
        rows.append((name, f"{small['start_s']:.1f}", f"{each[0]:,.0f}", f"{each[1]:,.0f}"))
    head = ("a cell of 4 peers, 1 round", "Ray's start, s", "each, ms by the clock", "each, CPU ms")
    print(table(head, rows), end="\n\n", flush=True)


def batches(peers: int, rounds: int) -> None:
    """Train perceptrons whose steps are short: what is left is the way to the workers and back."""
    run = {"kind": "run", "task": "digits", "peers": peers, "rounds": rounds}
    found = {"here, 1 thread": measure(**run, workers=0, threads=1)}
    found["Ray, 1 worker"] = measure(**run, workers=1)
    _require_same(found)
    here, there = found.values()
    more = [(there[key] - here[key]) / here["done"] * 1e3 for key in ("wall_s", "cpu_s")]
    print(_shown(f"{peers:,} peers x {rounds} rounds, digits", found))
    print(
        f"\nRay adds {more[0]:.2f} ms a training by the clock, and {more[1]:.2f} CPU ms in the"
        " world's process.\n"
    )


def large(peers: int, rounds: int) -> None:
    """Train CNNs here and on workers."""
    run = {"kind": "run", "task": "cnn", "peers": peers, "rounds": rounds}
    found = {"here, 1 thread": measure(**run, workers=0, threads=1)}
    found["here, 2 threads"] = measure(**run, workers=0, threads=2)
    for workers in (1, 2, 4):
        found[f"Ray, workers: {workers}"] = measure(**run, workers=workers)
    _require_same(found)
    parameters = found["here, 1 thread"]["parameters"]
    title = f"{peers:,} peers x {rounds} rounds, a CNN of {parameters:,} parameters"
    print(_shown(title, found), end="\n\n", flush=True)


def _shown(title: str, found: dict[str, Figures]) -> str:
    head = (title, "wall s", "each, ms", "CPU s of the world's process", "CPU s of all")
    return table(
        head,
        (
            (
                name,
                f"{run['wall_s']:.1f}",
                f"{run['wall_s'] / run['done'] * 1e3:,.2f}",
                f"{run['cpu_s']:.1f}",
                f"{run['all_cpu_s']:.1f}",
            )
            for name, run in found.items()
        ),
    )


def _require_same(found: dict[str, Figures]) -> None:
    first, *others = (run["digest"] for run in found.values())
    if any(other != first for other in others):
        raise SystemExit("digests differ between ways")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(prog="./scripts/bench scaling", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--peers", type=positive, default=10_000, help="of the part 'large'")
    parser.add_argument("--rounds", type=positive, default=2, help="of the part 'large'")
    chosen = parser.parse_args(arguments)
    subprocess.run([str(ROOT / "scripts" / "setup-ray")], check=True)
    print(describe(machine()), end="\n\n", flush=True)
    try:
        for part in chosen.only:
            if part == "sweep":
                sweep()
            elif part == "cells":
                cells()
            elif part == "batches":
                batches(512, 4)
            else:
                large(chosen.peers, chosen.rounds)
    except Failed as failure:
        raise SystemExit(str(failure)) from None


if __name__ == "__main__":
    main()
