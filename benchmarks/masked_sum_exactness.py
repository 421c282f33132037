"""Runs masked sums of 5 to 64 members with random drops; the sum must be exact, bit for bit.

    ./scripts/bench masked-sum-exactness --sessions 1000 --first-seed 0

Each seed draws the cohort, its vectors and weights, how many of at most n - t members drop out, and
in which phases. The mean of every member that is left must equal, in every bit, the plain
fixed-point mean of the vectors that the cohort agreed on; a chunk that lost all owners must hold
the member's own values. Each signature is checked once, not by each of its receivers.
"""

import argparse
import os
import sys
import time
import traceback
from collections import Counter
from functools import lru_cache
from pathlib import Path

from options import natural, positive

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "masked_sum"))

from replacing import replaced
from session_faults import draw_drops

from p2pfl_crypto.statements import verify_statement
from p2pfl_gossip.masked_sum import core

MEMBERS_MAX = 64


def main() -> int:
    """Run the seeds and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=positive, default=1000)
    parser.add_argument("--first-seed", type=natural, default=0)
    parser.add_argument("--nice", type=natural, default=10, help="how far to give way to others")
    arguments = parser.parse_args()
    os.nice(arguments.nice)
    # One that does not verify raises, and is not remembered.
    verify_once = lru_cache(maxsize=100_000)(verify_statement)
    with replaced([(core, "verify_statement", verify_once)]):
        return _run(range(arguments.first_seed, arguments.first_seed + arguments.sessions))


def _run(seeds: range) -> int:
    counts: Counter[str] = Counter()
    sizes: Counter[int] = Counter()
    failed, started = 0, time.process_time()
    for seed in seeds:
        driver = draw_drops(seed, MEMBERS_MAX)
        try:
            driver.run()
            driver.check_safety()
            outcomes = driver.check_exact()
        except Exception:
            failed += 1
            traceback.print_exc(file=sys.stdout)
            print(f"replay: ./scripts/bench masked-sum-exactness --sessions 1 --first-seed {seed}")
            continue
        alive = driver.cohort.size - len(driver.dead)
        sizes[driver.cohort.size] += 1
        counts["sessions"] += 1
        counts["members dropped"] += len(driver.dead)
        counts["members left without a sum"] += alive - len(outcomes)
        counts["means compared"] += len(outcomes)
        chunks = driver.cohort.chunk_count
        kept = sum(len(outcome.kept) for outcome in outcomes.values())
        counts["chunks compared with the fixed-point mean"] += chunks * len(outcomes) - kept
        counts["chunks kept local"] += kept
        if len(outcomes) < alive:
            print(f"seed {seed}: {alive - len(outcomes)} of {alive} without a sum", flush=True)
        if not counts["sessions"] % 100:
            print(dict(counts), file=sys.stderr, flush=True)
    cpu_s = time.process_time() - started
    print(f"seeds {seeds[0]} to {seeds[-1]}; {cpu_s:.0f} CPU seconds; {failed} failed")
    large = sum(count for size, count in sizes.items() if size >= 33)
    print(f"{len(sizes)} sizes, {min(sizes)} to {max(sizes)} members; {large} sessions above 32")
    for name, count in counts.items():
        print(f"- {name}: {count:,}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
