"""Runs thousands of masked sums with a fault in each, and counts how they ended.

    ./scripts/bench masked-sum-sweep --sessions 10000 --first-seed 0 --processes 2

Each seed draws a session of 5 to 9 members and one fault in one phase; after each session it is
checked that nobody hung, that every mean is exact, that no honest member said two things where it
may say one, and that for no member both secrets were revealed. A seed that fails is printed with
the command that replays it, and the exit code is 1.
"""

import argparse
import sys
import time
import traceback
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "masked_sum"))

from session_faults import FAULTS, PHASES, draw, outcome_of

OUTCOMES = ("exact", "chunks kept", "exact for some", "aborted")


def run(seed: int) -> tuple[str, str, str, float, str]:
    """Run one seed; its phase, fault, outcome, CPU seconds and what went wrong."""
    started = time.process_time()
    phase, fault, driver = draw(seed)
    try:
        outcome, error = outcome_of(driver.run()), ""
    except Exception:
        outcome, error = "FAILED", traceback.format_exc()
    return phase.name, fault, outcome, time.process_time() - started, error


def main() -> int:
    """Run the sweep and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.sessions)
    counts: Counter[tuple[str, str, str]] = Counter()
    failed, cpu_s = 0, 0.0
    with ProcessPoolExecutor(arguments.processes) as pool:
        for seed, (phase, fault, outcome, seconds, error) in zip(
            seeds, pool.map(run, seeds, chunksize=20), strict=True
        ):
            counts[phase, fault, outcome] += 1
            cpu_s += seconds
            if error:
                failed += 1
                print(f"{error}replay: ./scripts/bench masked-sum-sweep --sessions 1", end=" ")
                print(f"--first-seed {seed} --processes 1", flush=True)
    print(f"seeds {seeds.start} to {seeds.stop - 1}; {cpu_s:.0f} CPU seconds; {failed} failed")
    print("| phase | fault | sessions | " + " | ".join(OUTCOMES) + " |")
    print("|---|---|---|" + "---|" * len(OUTCOMES))
    for phase in PHASES:
        for fault in FAULTS:
            cells = [counts[phase.name, fault, outcome] for outcome in OUTCOMES]
            row = " | ".join(str(cell) for cell in cells)
            print(f"| {phase.name} | {fault} | {sum(cells)} | {row} |")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
