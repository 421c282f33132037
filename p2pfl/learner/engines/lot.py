"""A lot: the rows of the units that were drawn for one sum."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from p2pfl.learner.streams import Integers

BLOCK_ROWS = 64
UNIT_ROWS_MAX = 16  # A unit is in one block, whole; which of more rows count is chosen once.
LOT_UNITS_MAX = 2048  # For more, errors of float32 were not bounded.

Sums = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Lot:
    """The rows of the units that were drawn.

    Attributes:
        rows: int64[n], numbers of the data; those of one unit are neighbours.
        sizes: rows of each unit, in order; None if each row is one.
    """

    rows: Integers
    sizes: Sequence[int] | None = None

    def __post_init__(self) -> None:
        if self.sizes is None:
            count = len(self.rows)
        else:
            count = len(self.sizes)
            if sum(self.sizes) != len(self.rows):
                raise ValueError(f"units of {sum(self.sizes)} rows, and {len(self.rows)} rows")
            if any(not 0 < size <= UNIT_ROWS_MAX for size in self.sizes):
                raise ValueError(f"a unit has 1 to {UNIT_ROWS_MAX} rows")
        if count > LOT_UNITS_MAX:
            raise ValueError(f"a lot has at most {LOT_UNITS_MAX} units, not {count}")

    def blocks(self) -> Iterator[tuple[Integers, list[int] | None]]:
        """Yield the rows of each block, and the sizes of its units if they have several."""
        if self.sizes is None:
            for start in range(0, len(self.rows), BLOCK_ROWS):
                yield self.rows[start : start + BLOCK_ROWS], None
            return
        start, sizes, taken = 0, list[int](), 0
        for size in self.sizes:
            if taken + size > BLOCK_ROWS:
                yield self.rows[start : start + taken], sizes
                start, sizes, taken = start + taken, [], 0
            sizes.append(size)
            taken += size
        if sizes:
            yield self.rows[start : start + taken], sizes
