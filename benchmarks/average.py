"""Averages a large model over loopback: whole peers of ours, and hivemind's, in turns.

    ./scripts/bench average                    # 100 MB: plain, masked, a group, and hivemind
    ./scripts/bench average --entries 250e6 --only ours-2   # a model of 1 GB
    ./scripts/bench average --before COMMIT    # ours as it was in turns, too, and ratios

Each peer is a process of its own. A round's time is the longest that a peer took from having a
trained model to having the average; hivemind's is without the time in which it finds partners.
Memory is the sum of all peers' peaks, with the model and, for hivemind, its helpers; `extra` is
what a peer of ours needed beyond its state before the first round, in models. A group's peers keep
their models in a journal on the disk, as a running peer does; a time ends with a certificate.
"""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from earlier import Earlier, add_before, earlier_code, ratios
from measuring import ROOT, Failed, Figures, describe, machine, median, take_turns
from options import at_least, positive
from talking import Talker

SIDES = Path(__file__).parent / "sides"
HIVEMIND = ROOT / ".venvs" / "hivemind" / "bin" / "python"
CONTESTS = {
    "ours-2": ("ours", 2, "plain"),
    "hivemind-2": ("hivemind", 2, ""),
    "ours-4": ("ours", 4, "plain"),
    "hivemind-4": ("hivemind", 4, ""),
    "ours-5-plain": ("ours", 5, "plain"),
    "ours-5-masked": ("ours", 5, "masked"),
    "ours-5-group": ("ours", 5, "group"),
}
COMPARED = {
    "rounds_cpu_s": "CPU seconds without starts",
    "cpu_s": "with them",
    "memory_gb": "memory",
}


def average(
    side: str, peers: int, mode: str, entries: int, rounds: int, earlier: Earlier | None = None
) -> Figures:
    """Let so many processes average, of the code as it is or as it was; return their figures.

    Raises:
        Failed: one of them ended early, or what came is not the average of all.
    """
    is_ours, script = side == "ours", SIDES / f"average_{side}.py"
    words = [peers, entries, rounds, *([mode] if mode else [])]
    make = partial(Talker, script, python=None if is_ours else HIVEMIND)
    if earlier is not None:
        was = earlier.script(f"sides/{script.name}")
        if mode == "group" and "|group" not in was.read_text():
            raise Failed(f"{earlier.commit} has no groups")
        make = partial(Talker, was, environment=earlier.environment)
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(make([index, *words])) for index in range(peers)]
        addresses = [process.hear_line() for process in processes]
        start_cpu_s = sum(process.cpu_s() for process in processes)
        for process in processes:
            process.tell(addresses)
        told = [process.hear() for process in processes]
        for process in processes:
            process.tell("all have finished")
        for process in processes:
            process.end()
    # Each of ours adds its number to the model, from 1 on; earlier code may have added another.
    expected = rounds * (peers + 1) / 2 if is_ours else (peers - 1) / 2
    if earlier is not None:
        expected = told[0]["values"][-1]
    tolerance = 1e-2 if mode == "group" else 1e-5  # One unit of the encoding a round, for its clip.
    for peer in told:
        if peer["contributors"] != peers or abs(peer["values"][-1] - expected) > tolerance:
            raise Failed(f"{side}: not the average of all: {peer}")
    grown_kb = max(it["peak_kb"] - it["before_kb"] for it in told)
    return {
        # The first round pays for memory and connections; it is part of none that follow.
        "seconds": [max(times) for times in zip(*(it["seconds"] for it in told), strict=True)][1:],
        "memory_gb": sum(it["peak_kb"] for it in told) / 1e6,
        "cpu_s": sum(it["cpu_s"] for it in told) / rounds,
        "rounds_cpu_s": (sum(it["cpu_s"] for it in told) - start_cpu_s) / rounds,
        "extra": grown_kb * 1024 / (4 * entries),
    }


def main() -> None:
    """Run the contests, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--entries", type=positive, default=25_000_000)
    parser.add_argument("--rounds", type=at_least(2), default=5)
    parser.add_argument("--repeats", type=positive, default=3)
    parser.add_argument("--only", nargs="+", choices=CONTESTS, default=list(CONTESTS))
    add_before(parser)
    arguments = parser.parse_args()
    if any(name.startswith("hivemind") for name in arguments.only):
        subprocess.run([str(ROOT / "scripts" / "setup-interop"), "--hivemind"], check=True)
    entries, rounds = arguments.entries, arguments.rounds
    with earlier_code(arguments.before) as earlier:
        contestants: dict[str, Callable[[], Figures]] = {}
        for name in arguments.only:
            contestants[name] = partial(average, *CONTESTS[name], entries, rounds)
            if earlier is not None and name.startswith("ours"):
                was = partial(average, *CONTESTS[name], entries, rounds, earlier)
                contestants[earlier.label(name)] = was
        taken = take_turns(contestants, arguments.repeats)
    print(f"{4 * entries / 1e6:g} MB; {describe(machine())}; load {os.getloadavg()[0]:.1f}\n")
    print("| | a round, s: median (least - most) | CPU s a round, all | GB, all peers | extra |")
    print("|---|---|---|---|---|")
    for name, runs in taken.items():
        times = [seconds for run in runs for seconds in run["seconds"]]
        extra = f"{max(run['extra'] for run in runs):.2f}" if name.startswith("ours") else "-"
        print(
            f"| {name} | {statistics.median(times):.2f} ({min(times):.2f} - {max(times):.2f})"
            f" | {median(runs, 'cpu_s'):.2f} | {median(runs, 'memory_gb'):.2f} | {extra} |"
        )
    if earlier is not None:
        print("\n" + ratios(taken, earlier, COMPARED))
    lost = [name for name in arguments.only if name not in taken]
    if lost:
        sys.exit(f"without figures: {', '.join(lost)}")


if __name__ == "__main__":
    main()
