"""The task `integers` whose steps take time, as training does, and no processor."""

import time

from p2pfl.learner.tasks.base import Array, Floats
from p2pfl.learner.tasks.integers import Integers


class PacedIntegers(Integers):
    """Trains as `integers` does; a step of all rows sleeps `pace_s` first.

    On two cores, rounds without a pause end faster than a process starts: most of a run would
    pass before a peer that was killed is back.
    """

    def __init__(self, pace_s: float) -> None:
        self._pace_s = pace_s

    def step(self, vector: Floats, inputs: Array, targets: Array, rate: float) -> float:
        time.sleep(self._pace_s)
        return super().step(vector, inputs, targets, rate)
