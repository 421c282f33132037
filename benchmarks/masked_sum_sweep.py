"""Runs thousands of masked sums with a fault in each, and counts how they ended.

    ./scripts/bench masked-sum-sweep --sessions 10000 --first-seed 0 --processes 2

Each seed draws a session of 5 to 9 members and one fault that begins in one phase; after each
session it is checked that nobody hung, that every mean is exact, that no honest member said two
things where it may say one, and that for no member both secrets were revealed. A seed that fails is
printed with the command that replays it, and the exit code is 1.

A fault may find nothing to strike, as the crash of a member that ended before its turn; such
sessions are counted apart, and do not count for their cell.
"""

import argparse
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from options import natural, positive

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "masked_sum"))

from group_driver import GroupDriver, make_epoch, outcome_of_group
from session_faults import FAULTS, PHASES, draw, outcome_of

OUTCOMES = ("exact", "chunks kept", "exact for some", "aborted", "FAILED")
NOT_STRUCK = "not struck"
CELL_SESSIONS_MIN = 50

Run = tuple[int, str, str, str, float, str]


def run(seed: int, *, of_group: bool) -> Run:
    """Run one seed; its phase, fault, outcome, CPU seconds and what went wrong."""
    started = time.process_time()
    phase, fault, driver = draw(seed, make_epoch, GroupDriver) if of_group else draw(seed)
    try:
        driver.run()
        outcome, error = outcome_of_group(driver) if of_group else outcome_of(driver), ""
        if not driver.strikes:
            outcome = NOT_STRUCK
    except Exception:
        outcome, error = "FAILED", traceback.format_exc()
    return seed, phase.name, fault, outcome, time.process_time() - started, error


def run_all(seeds: range, processes: int, *, of_group: bool) -> Iterable[Run]:
    """Run seeds in order, on a few processes or in this one."""
    one = partial(run, of_group=of_group)
    if processes == 1:
        yield from map(one, seeds)
        return
    with ProcessPoolExecutor(processes) as pool:
        yield from pool.map(one, seeds, chunksize=20)


def main() -> int:
    """Run the sweep and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=positive, default=10_000)
    parser.add_argument("--first-seed", type=natural, default=0)
    parser.add_argument("--processes", type=positive, default=2)
    parser.add_argument("--nice", type=natural, default=10, help="how far to give way to others")
    parser.add_argument("--group", action="store_true", help="a group's sessions, not a cohort's")
    arguments = parser.parse_args()
    os.nice(arguments.nice)
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.sessions)
    counts: Counter[tuple[str, str, str]] = Counter()
    failed, cpu_s = 0, 0.0
    for seed, phase, fault, outcome, seconds, error in run_all(
        seeds, arguments.processes, of_group=arguments.group
    ):
        counts[phase, fault, outcome] += 1
        cpu_s += seconds
        if error:
            failed += 1
            print(f"{error}replay: ./scripts/bench masked-sum-sweep --sessions 1", end=" ")
            print(f"--first-seed {seed} --processes 1{' --group' * arguments.group}", flush=True)
        done = seed - seeds.start + 1
        if not done % 1000 or done == len(seeds):
            print(f"seeds {seeds.start} to {seed}; {cpu_s:.0f} CPU seconds; {failed} failed")
            print_table(counts)
    return 1 if failed else 0


def print_table(counts: Counter[tuple[str, str, str]]) -> None:
    """Print what came of each phase and fault, and which were struck too seldom."""
    print("| from phase | fault | struck | " + " | ".join((*OUTCOMES, NOT_STRUCK)) + " |")
    print("|---|---|" + "---:|" * (len(OUTCOMES) + 2))
    few = []
    for phase_ in PHASES:
        for fault in FAULTS:
            cells = [counts[phase_.name, fault, outcome] for outcome in (*OUTCOMES, NOT_STRUCK)]
            struck = sum(cells) - cells[-1]
            row = " | ".join(str(cell) for cell in cells)
            print(f"| {phase_.name} | {fault} | {struck} | {row} |")
            if struck < CELL_SESSIONS_MIN:
                few.append(f"{phase_.name}, {fault}: {struck}")
    print(f"cells with fewer than {CELL_SESSIONS_MIN}: {'; '.join(few) or 'none'}\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
