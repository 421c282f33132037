"""Cases of a sweep: a sample in every run of the tests, all of them with `--long`.

A sweep says the same of many seeds, sizes or moments. What only one case shows belongs in each run:
then it has a test of its own, or is in the sample.
"""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def without(slow: Collection[Any], cases: Iterable[Any]) -> list[Any]:
    """Mark those cases as long that are slow."""
    return [pytest.param(it, marks=pytest.mark.long) if it in slow else it for it in cases]


def sampled(cases: Iterable[Any], every: int) -> list[Any]:
    """Mark all cases but each `every`-th, from the first on, as long."""
    return [
        case if place % every == 0 else pytest.param(case, marks=pytest.mark.long)
        for place, case in enumerate(cases)
    ]
