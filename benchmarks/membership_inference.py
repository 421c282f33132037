"""Membership inference against the plain exchange and against what a coalition sees of the masked.

    ./scripts/bench membership-inference --sessions 200

Prints the area under the curve of the gradient attack of tests/masked_sum/inference_attack.py:
the mean over sessions, and its 95% interval, taken over sessions, since the scores within one
session hang together. Fails unless the plain exchange is at least at 0.7 and both views of the
coalition at most at 0.55, with their whole intervals.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from options import at_least, natural

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "masked_sum"))

import inference_attack as attack
from measuring import table

# Of the lower end, or of the upper.
VIEWS = {
    "the victim's update, in a plain exchange": (attack.of_plain_update, 0.7, 1.0),
    "the victim's masked chunks, less the coalition's masks": (attack.of_masked_chunks, 0.0, 0.55),
    "the sum, less the coalition's updates": (attack.of_sum, 0.0, 0.55),
}


def main() -> int:
    """Run the sessions and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=at_least(2), default=200)
    parser.add_argument("--first-seed", type=natural, default=0)
    arguments = parser.parse_args()
    areas: dict[str, list[float]] = {name: [] for name in VIEWS}
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.sessions):
        session = attack.run_session(seed)
        for name, (view, _, _) in VIEWS.items():
            areas[name].append(attack.auc(*view(session)))
    rows, ok = [], True
    for name, (_, least, most) in VIEWS.items():
        mean = float(np.mean(areas[name]))
        half = 1.96 * float(np.std(areas[name], ddof=1)) / len(areas[name]) ** 0.5
        is_met = least <= mean - half and mean + half <= most
        ok &= is_met
        interval = f"{mean - half:.3f} to {mean + half:.3f}"
        rows.append((name, f"{mean:.3f}", interval, "yes" if is_met else "no"))
    members, liars = attack.MEMBERS, len(attack.coalition())
    print(f"{arguments.sessions} sessions of {members} members, {liars} of them colluding")
    print(table(("what is seen", "AUC", "95% interval", "as wanted"), rows))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
