"""What privacy costs in processor time, training aside.

    ./scripts/bench private-cost [--members 16] [--entries 1000000]

Draws a member's noise, accounts for 1,000 rounds, and runs a whole group twice in this process:
plain masked sums, and private ones. Members train nothing there, so what is compared is all the
rest: encoding, noise, masks, certificates, models. The two rounds after the first of each run
count. Fails if noise for 1M entries takes more than 0.5 s, accounting 1 s, or a private round more
than 1.6 times a plain one. One thread, processor time.
"""

import argparse
import sys
import time
from fractions import Fraction
from pathlib import Path

from options import at_least, positive

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import torch
from ledger_world import LedgerWorld
from measuring import say, table
from private_group import PrivateWorld

from p2pfl.privacy.accounting import account
from p2pfl.privacy.releases import RATE_UNITS, Releases
from p2pfl_crypto.discrete_gaussian import draw_noise, width_for
from p2pfl_crypto.private_streams import NOISE, private_stream

NOISE_MOST_S, ACCOUNT_MOST_S, ROUND_MOST = 0.5, 1.0, 1.6
ROUNDS = 1000
STEP_S = 0.05


def noise_s(members: int, entries: int) -> float:
    """Return the least processor time of a member's noise."""
    found = []
    for _ in range(5):
        start = time.process_time()
        draw_noise(private_stream(bytes(32), NOISE), width_for(members), entries)
        found.append(time.process_time() - start)
    return min(found)


def accounting_s() -> float:
    """Return the processor time of what a plan or a reservation asks, once the engine is loaded."""
    releases = Releases(int(Fraction(1, 16) * RATE_UNITS), 3.0, ROUNDS)
    account([Releases(RATE_UNITS, 5.0, 1)], 1e-5)
    start = time.process_time()
    account([releases], 1e-5)
    return time.process_time() - start


def rounds_s(world: LedgerWorld, heights: int) -> float:
    """Return the processor time of a round, over those after the first."""
    world.start()
    until_s, began_s = 0.0, 0.0
    while world.member(0).history.height < heights:
        until_s += STEP_S
        world.run(until_s)
        if not began_s and world.member(0).history.height:
            began_s = time.process_time()
    return (time.process_time() - began_s) / (heights - 1)


def main() -> int:
    """Measure; return 1 if something takes more than it may."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=at_least(5), default=16)
    parser.add_argument("--entries", type=positive, default=1_000_000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    members, entries = arguments.members, arguments.entries
    draw = noise_s(members, entries)
    say(f"noise: {draw:.3f} s")
    paid = accounting_s()
    say(f"accounting: {paid:.3f} s")
    plain = rounds_s(LedgerWorld(members, entries=entries, rounds=3), 3)
    say(f"a plain round: {plain:.2f} s")
    private = rounds_s(PrivateWorld(members, entries=entries, rounds=3), 3)
    say(f"a private round: {private:.2f} s")
    rows = [
        (f"a member's noise, {entries:,} entries", f"{draw:.3f} s", f"{NOISE_MOST_S:g} s"),
        (f"accounting of {ROUNDS:,} rounds", f"{paid:.2f} s", f"{ACCOUNT_MOST_S:g} s"),
        (f"a plain round of {members} members", f"{plain:.2f} s", ""),
        (f"a private round of {members} members", f"{private:.2f} s", ""),
        ("private over plain", f"{private / plain:.2f}", f"{ROUND_MOST:g}"),
    ]
    print(table(("", "takes", "at most"), rows))
    return int(draw > NOISE_MOST_S or paid > ACCOUNT_MOST_S or private / plain > ROUND_MOST)


if __name__ == "__main__":
    sys.exit(main())
