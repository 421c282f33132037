"""One whole session of a masked sum, all members in this process, over a network in memory.

    python masked_session.py '{"members": 16, "entries": 1000000, "dropped": 2}'

CPU seconds are of all members together, with the encoding of frames and the driver in memory, and
without what a network would take to copy bodies. Members drop out in three phases in turns.
"""

import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "masked_sum"))

from measuring import Clock, give, peak_memory_mb, settle
from session_driver import SessionDriver, make_cohort
from session_faults import CrashIn

from p2pfl_crypto.masks import BLOCK_BYTES, KeyStream
from p2pfl_gossip.masked_sum.phases import Phase

PHASES = (Phase.CHUNK, Phase.AGREE, Phase.VOTE)
CHECKED_ENTRIES_MAX = 2_000_000  # Checking takes as long as encoding, for each set of members.


def bare_rate() -> float:
    """Bytes of bare key stream a CPU second, at this moment."""
    room, stream = memoryview(bytearray(BLOCK_BYTES)), KeyStream(bytes(32), 0)
    started = time.process_time()
    for _ in range(400):
        stream.fill(room)
    return 400 * BLOCK_BYTES / (time.process_time() - started)


def main() -> None:
    """Run one session; print figures as JSON."""
    spec = json.loads(sys.argv[1])
    members, entries, dropped = spec["members"], spec["entries"], spec["dropped"]
    cohort, people = make_cohort(members, entries)
    values = np.random.default_rng(members).normal(0, 1, entries).astype(np.float32)
    victims = [(7 * k + 3) % members for k in range(dropped)]
    crash = CrashIn({rank: (PHASES[k % 3], members + k) for k, rank in enumerate(victims)})
    driver = SessionDriver(
        cohort, people, 1, vectors=[values] * members, keeps_bodies=False, before=crash
    )
    settle()
    before = bare_rate()
    clock = Clock()
    driver.run()
    took = clock.figures()
    outcomes = driver.check_exact() if entries <= CHECKED_ENTRIES_MAX else driver.summed()
    give(
        {
            **took,
            "member_s": took["cpu_s"] / members,
            "bare_gb_s": (before + bare_rate()) / 2e9,
            "sent_mb": statistics.median(driver.sent_bytes.values()) / 1e6,
            "dropped": len(driver.dead),
            "with_mean": len(outcomes),
            "in_mean": max((len(outcome.members) for outcome in outcomes.values()), default=0),
            "kept": max((len(outcome.kept) for outcome in outcomes.values()), default=0),
            "peak_mb": peak_memory_mb(),
        }
    )


if __name__ == "__main__":
    main()
