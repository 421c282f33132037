"""Units: the rows that are drawn together, because they are of one person.

Without a column of that name each row is a unit of its own, and all that is said of privacy is per
row: whoever has several rows is then protected less.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from p2pfl.learner.engines.lot import LOT_UNITS_MAX, UNIT_ROWS_MAX, Lot
from p2pfl.learner.errors import LearningError
from p2pfl.learner.streams import Integers
from p2pfl.learner.tasks.base import Array
from p2pfl_crypto.private_streams import LEFT_OUT_CHANCE, PrivateStream

UNIT_COLUMN = "unit"
"""Of a task's columns: says whose a row is."""


@dataclass(frozen=True)
class Units:
    """The units of one peer.

    Attributes:
        rows: int64, numbers of the data; those of one unit are neighbours.
        sizes: rows of each unit, in order; None if each row is one.
    """

    rows: Integers
    sizes: npt.NDArray[np.int64] | None = None

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.rows) if self.sizes is None else len(self.sizes)

    def draw(self, stream: PrivateStream, rate_units: int) -> Lot:
        """Draw a lot: each unit by its own 32 bits, whatever the others'."""
        drawn = np.flatnonzero(stream.words32(self.count).astype(np.uint64) < rate_units)
        drawn = drawn[:LOT_UNITS_MAX]
        if self.sizes is None:
            return Lot(self.rows[drawn])
        ends = np.cumsum(self.sizes)
        parts = [self.rows[ends[it] - self.sizes[it] : ends[it]] for it in drawn]
        rows = np.concatenate(parts) if parts else self.rows[:0]
        return Lot(rows, [int(self.sizes[it]) for it in drawn])


def units_of(rows: Integers, column: Array | None) -> Units:
    """Sort a peer's rows into units; of one with many rows the first few count.

    Args:
        rows: int64, numbers of the data.
        column: of all the data's rows: whose each is; None if each row is a unit.
    """
    if column is None:
        return Units(np.asarray(rows, np.int64))
    of = np.unique(column[rows], return_inverse=True)[1]
    order = np.argsort(of, kind="stable")
    counts = np.bincount(of)
    starts = np.cumsum(counts) - counts
    kept = np.minimum(counts, UNIT_ROWS_MAX)
    parts = [rows[order[start : start + size]] for start, size in zip(starts, kept, strict=True)]
    return Units(np.concatenate(parts).astype(np.int64), kept.astype(np.int64))


def require_room(count: int, rate: float) -> None:
    """Refuse lots that may be larger than is summed, but for `LEFT_OUT_CHANCE`.

    By Chernoff's bound: P(X >= k) <= exp(-L + k - k ln(k / L)) for a mean of L below k.

    Raises:
        LearningError: they may be.
    """
    if count <= LOT_UNITS_MAX:
        return
    mean, most = count * rate, float(LOT_UNITS_MAX + 1)
    chance = 1.0
    if mean < most:
        chance = math.exp(-mean + most - most * math.log(most / mean))
    if chance > LEFT_OUT_CHANCE:
        raise LearningError(
            f"lots of {mean:.0f} units of {count:,} in the mean: {LOT_UNITS_MAX} are summed at"
            " most; take a smaller privacy.rate"
        )
