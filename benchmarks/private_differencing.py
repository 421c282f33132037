"""Differencing attacks on private sums: which rows come out where a leader chooses who is away.

    ./scripts/bench private-differencing [--runs 50000]

Real masked sums of five members, by tests/masked_sum/differencing_attack.py: the victim is away
every other round, or all are in turn, and a member that colludes takes its own noise away. Prints
which share of rows is found at 1 % false alarms, with bounds of 95 % confidence, beside what
epsilon allows, and the same without noise. Fails if the lower bound is above what is allowed, or if
nothing is found without noise.
"""

import argparse
import sys
from pathlib import Path

from options import at_least

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "masked_sum"))

import differencing_attack as differencing
from measuring import table

from p2pfl.privacy.accounting import account
from p2pfl.privacy.audits import detect

FALSE_ALARMS = 0.01
QUIET = 1000  # Runs without noise: all alike.
ATTACKS = {
    "the victim is away every other round": differencing.every_other,
    "all are away in turn": differencing.in_turn,
}


def main() -> int:
    """Attack, print the table, and return 1 if something is not as it must be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=at_least(100), default=50_000)
    arguments = parser.parse_args()
    allows = account([differencing.releases()], differencing.DELTA)
    rows, ok = [], True
    for name, away in ATTACKS.items():
        seen = detect(*differencing.attack(away, arguments.runs, 1), FALSE_ALARMS)
        quiet = detect(*differencing.attack(away, QUIET, 1, with_noise=False), FALSE_ALARMS)
        low, high = 100 * seen.found_least, 100 * seen.found_most
        rows.append(
            (
                name,
                f"{100 * seen.alarms:.2f} (at most {100 * seen.alarms_most:.2f}) %",
                f"{100 * seen.found:.2f} ({low:.2f} to {high:.2f}) %",
                f"{100 * allows.detection(seen.alarms_most):.2f} %",
                f"{100 * quiet.found:.0f} %",
            )
        )
        ok &= seen.found_least <= allows.detection(seen.alarms_most) and quiet.found > 0.99
    print(f"epsilon {allows.epsilon:.2f} of {differencing.SPENT} rounds of the victim")
    print(table(("", "accused falsely", "found", "allowed at most", "without noise"), rows))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
