"""A process that keeps records and dies: `python victim.py FOLDER DIE_AT`.

It persists `WRITES` one after the other, prints a line once each is kept, and kills itself before
the step of number DIE_AT (none if that is negative).
"""

import os
import signal
import sys
from pathlib import Path

import numpy as np

from p2pfl.store.journal import Store
from p2pfl_gossip.actions import Vector

LENGTH = 300


def model(number: int) -> Vector:
    return np.full(LENGTH, number, np.float32) + np.arange(LENGTH, dtype=np.float32)


WRITES: list[dict[str, bytes | Vector | None]] = [
    {"incarnation": b"\1"},
    {"round": b"\1", "model": model(1), "is_trained": b"\0"},
    {"round": b"\2", "model": model(2)},
    {"session/7": b"spent", "model": model(3), "other": np.arange(4, dtype=np.float64)},
    {"session/7": None, "other": None, "model": b"now bytes"},
    {"model": model(5), "never there": None},
]


def states() -> list[dict[str, bytes | Vector]]:
    """Return what is kept after none, one, two, ... of the writes."""
    kept: list[dict[str, bytes | Vector]] = [{}]
    for write in WRITES:
        state = kept[-1] | {key: value for key, value in write.items() if value is not None}
        kept.append({key: value for key, value in state.items() if write.get(key, b"") is not None})
    return kept


def main(folder: Path, die_at: int) -> None:
    steps = 0

    def before_step(_: str) -> None:
        nonlocal steps
        if steps == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        steps += 1

    store = Store.open(folder, before_step=before_step)
    for number, write in enumerate(WRITES, 1):
        store.persist(write)
        print(number, flush=True)
    store.close()
    print("steps", steps)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
