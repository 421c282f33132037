"""Averages a large model over loopback: whole peers of ours, and hivemind's, in turns.

    ./scripts/bench average                    # 100 MB: plain, masked, a group, and hivemind
    ./scripts/bench average --entries 250e6 --only ours-2   # a model of 1 GB

Each peer is a process of its own. A round's time is the longest that a peer took from having a
trained model to having the average; hivemind's is without the time in which it finds partners.
Memory is the sum of all peers' peaks, with the model and, for hivemind, its helpers; `extra` is
what a peer of ours needed beyond its state before the first round, in models. A group's peers keep
their models in a journal on the disk, as a running peer does; a time ends with a certificate.
"""

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
from pathlib import Path

from measuring import describe, machine

SIDES = Path(__file__).parent / "sides"
HIVEMIND = Path(__file__).parents[1] / ".venvs" / "hivemind" / "bin" / "python"
CONTESTS = {
    "ours-2": ("ours", 2, "plain"),
    "hivemind-2": ("hivemind", 2, ""),
    "ours-4": ("ours", 4, "plain"),
    "hivemind-4": ("hivemind", 4, ""),
    "ours-5-plain": ("ours", 5, "plain"),
    "ours-5-masked": ("ours", 5, "masked"),
    "ours-5-group": ("ours", 5, "group"),
}


def average(side: str, peers: int, mode: str, entries: int, rounds: int) -> list[dict]:
    """Let so many processes average; return what each tells."""
    python = sys.executable if side == "ours" else str(HIVEMIND)
    script = str(SIDES / f"average_{side}.py")
    words = [str(peers), str(entries), str(rounds), *([mode] if mode else [])]
    processes = [
        subprocess.Popen(
            [python, script, str(index), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if os.environ.get("VERBOSE") else subprocess.DEVNULL,
            text=True,
            process_group=0,
        )
        for index in range(peers)
    ]
    try:
        addresses = [process.stdout.readline().strip() for process in processes]
        for process in processes:
            process.stdin.write(json.dumps(addresses) + "\n")
            process.stdin.flush()
        told = []
        for process in processes:
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"a peer of {side} ended early; VERBOSE=1 shows why")
            told.append(json.loads(line))
        for process in processes:
            process.stdin.write("\n")
            process.stdin.flush()
        for process in processes:
            process.wait(30)
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):  # One that has ended may leave helpers.
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    ours = side == "ours"  # Each adds its number to the model, from 1 on.
    expected = rounds * (peers + 1) / 2 if ours else (peers - 1) / 2
    tolerance = 1e-2 if mode == "group" else 1e-5  # One unit of the encoding a round, for its clip.
    for peer in told:
        if peer["contributors"] != peers or abs(peer["values"][-1] - expected) > tolerance:
            raise RuntimeError(f"{side}: not the average of all: {peer}")
    return told


def main() -> None:
    """Run the contests, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--entries", type=lambda text: int(float(text)), default=25_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=CONTESTS, default=list(CONTESTS))
    arguments = parser.parse_args()
    subprocess.run(["./scripts/setup-interop", "--hivemind"], check=True)
    entries, rounds = arguments.entries, arguments.rounds
    seconds: dict[str, list[float]] = {name: [] for name in arguments.only}
    memory: dict[str, list[float]] = {name: [] for name in arguments.only}
    extra: dict[str, list[float]] = {name: [] for name in arguments.only}
    cpu: dict[str, list[float]] = {name: [] for name in arguments.only}
    for _ in range(arguments.repeats):
        for name in arguments.only:
            try:
                told = average(*CONTESTS[name], entries, rounds)
            except RuntimeError as error:
                if name.startswith("ours"):
                    raise
                print(f"{name}: {error}; this run of it does not count", flush=True)
                continue
            # The first round pays for memory and connections; it is part of none that follow.
            seconds[name] += [
                max(times) for times in zip(*(it["seconds"] for it in told), strict=True)
            ][1:]
            memory[name].append(sum(it["peak_kb"] for it in told) / 1e6)
            cpu[name].append(sum(it["cpu_s"] for it in told) / rounds)
            grown = max(it["peak_kb"] - it["before_kb"] for it in told) * 1024
            extra[name].append(grown / (4 * entries))
    print(f"{4 * entries / 1e6:g} MB; {describe(machine())}; load {os.getloadavg()[0]:.1f}\n")
    print("| | a round, s: median (least - most) | CPU s a round, all | GB, all peers | extra |")
    print("|---|---|---|---|---|")
    for name in arguments.only:
        times = seconds[name]
        if not times:
            continue
        print(
            f"| {name} | {statistics.median(times):.2f} ({min(times):.2f} - {max(times):.2f})"
            f" | {statistics.median(cpu[name]):.2f} | {statistics.median(memory[name]):.2f}"
            f" | {f'{max(extra[name]):.2f}' if name.startswith('ours') else '-'} |"
        )


if __name__ == "__main__":
    main()
