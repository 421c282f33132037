"""Flips one bit of a peer's journal, thousands of times, and counts what came of it.

    ./scripts/bench journal-damage --flips 10000

Half of the journals were closed, half are as a killed process leaves them. Each flip must be
refused in one line, or lose nothing. In the log of a killed process one thing more can happen, and
is counted apart: the very last transaction is taken for one that a crash cut off.
"""

import argparse
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

from options import natural, positive

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "unit" / "store"))

import flipped_bits


def main() -> int:
    """Flip, count, and print the table; 1 if anything went through silently."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=positive, default=10_000)
    parser.add_argument("--first-seed", type=natural, default=0)
    options = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for is_closed in (True, False):
            outcomes: Counter[str] = Counter()
            whole = Path(folder) / f"whole-{is_closed}"
            flipped_bits.make(whole, is_closed=is_closed)
            half = options.flips // 2
            for seed in range(options.first_seed, options.first_seed + half):
                try:
                    outcomes[flipped_bits.flip(whole, Path(folder) / "flipped", seed)] += 1
                except Exception:
                    traceback.print_exc()
                    outcomes["FAILED"] += 1
            failed += outcomes["FAILED"]
            told = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(outcomes.items()))
            print(f"{'closed' if is_closed else 'killed'}: {half:,} flips: {told}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
