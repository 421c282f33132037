"""Random scenarios by seed: faults and liars, then the network heals, and all must finish.

    ./scripts/bench sweep --seeds 1000 [--from K] [--jobs 2] [--ledger | --honest] [--plant NAME]

For each seed it draws an algorithm, sizes, links, faults and liars, runs the peers, and heals the
network after a drawn time. What `p2pfl_simulations/checkers` states must hold all the while, and
every honest peer must finish within the time that deadlines add up to. With `--ledger`, all seeds
are groups, which certify their models; with `--honest`, audited groups in which nothing goes wrong,
and no round may be void.

A violation prints one line, with the command that replays it; the exit code is then 1. With
`--plant`, a fault is planted in the product, which the sweep is to find: it ends at the first
violation with exit code 0, and with 1 if it finds none. `--plants` lists them.
"""

import argparse
import gc
import os
import sys
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from options import natural, positive
from sweep_ledger_plants import GROUP_PLANTS
from sweep_plants import PLANTS
from sweep_run import Outcome, run_seed

from p2pfl_simulations.liars.registry import shipped_liars

REPORT_EVERY = 1000
GARBAGE_EVERY = 50_000


def run_all(
    seeds: range, jobs: int, plant: str, *, ledger: bool, honest: bool = False
) -> Iterable[Outcome]:
    """Run seeds in order, on a few processes or in this one."""
    run = partial(run_seed, plant=plant, ledger=ledger, honest=honest)
    if jobs == 1:
        yield from map(run, seeds)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(run, seeds, chunksize=8)


def find_planted(seeds: range, jobs: int, plant: str, *, ledger: bool) -> int:
    """Run seeds until the planted fault is found: by a seed that is right without it."""
    for outcome in run_all(seeds, jobs, plant, ledger=ledger):
        if outcome.violation and not run_seed(outcome.seed, ledger=ledger).violation:
            print(
                f"{plant} found after {outcome.seed - seeds.start + 1} seeds: {outcome.violation}"
            )
            return 0
    print(f"{plant} was not found in {len(seeds)} seeds")
    return 1


def main() -> int:
    """Run the sweep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=positive, default=100, help="how many")
    parser.add_argument("--from", type=natural, default=0, dest="first", help="the first seed")
    parser.add_argument("--jobs", type=positive, default=1, help="processes")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--ledger", action="store_true", help="groups, which keep a ledger")
    what.add_argument("--honest", action="store_true", help="audited groups without any fault")
    parser.add_argument(
        "--plant", choices=[*PLANTS, *GROUP_PLANTS], default="", metavar="NAME", help="see --plants"
    )
    parser.add_argument("--plants", action="store_true", help="list what can be planted")
    parser.add_argument("--nice", type=natural, default=10, help="how far to give way to others")
    arguments = parser.parse_args()
    if arguments.plants:
        for name, plant in (GROUP_PLANTS if arguments.ledger else PLANTS).items():
            print(f"{name}: {' '.join((plant.__doc__ or '').split())}")
        return 0
    if arguments.plant and arguments.plant not in (GROUP_PLANTS if arguments.ledger else PLANTS):
        parser.error(
            f"{arguments.plant} is planted {'without' if arguments.ledger else 'with'} --ledger"
        )
    os.nice(arguments.nice)
    # Worlds are full of cycles, and live for a moment: looking for garbage often is a tenth of all.
    gc.set_threshold(GARBAGE_EVERY)
    shipped_liars()  # Imports them all, so that a long sweep is of the code that it began with.
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    if arguments.plant:
        return find_planted(seeds, arguments.jobs, arguments.plant, ledger=arguments.ledger)
    return sweep(seeds, arguments.jobs, ledger=arguments.ledger, honest=arguments.honest)


def sweep(seeds: range, jobs: int, *, ledger: bool, honest: bool) -> int:
    """Run all seeds, and report now and then."""
    kinds: Counter[str] = Counter()
    failed, events, sessions, cpu_s = 0, 0, 0, 0.0
    for outcome in run_all(seeds, jobs, "", ledger=ledger, honest=honest):
        kinds += outcome.kinds
        events += outcome.events
        sessions += outcome.sessions
        cpu_s += outcome.cpu_s
        if outcome.violation:
            failed += 1
            print(outcome.violation, flush=True)
        done = outcome.seed - seeds.start + 1
        if not done % REPORT_EVERY or done == len(seeds):
            print(
                f"{done} seeds from {seeds.start} on, {failed} with a violation;"
                f" {cpu_s:.0f} CPU seconds, {3600 * done / cpu_s:,.0f} seeds a CPU hour,"
                f" {events:,} events, {sessions:,} sessions of masked sums",
                flush=True,
            )
    width = max(map(len, kinds), default=0)
    for kind in sorted(kinds):
        print(f"  {kind:{width}} {kinds[kind]:7}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
