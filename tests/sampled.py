"""Cases of a sweep: a sample in every run of the tests, all of them with `--long`.

A sweep says the same of many seeds, sizes or moments. What only one case shows belongs in each run:
then it has a test of its own, or is in the sample.
"""

from collections.abc import Iterable
from typing import Any

import pytest


def sampled(cases: Iterable[Any], every: int) -> list[Any]:
    """Mark all cases but each `every`-th, from the first on, as long."""
    return [
        case if place % every == 0 else pytest.param(case, marks=pytest.mark.long)
        for place, case in enumerate(cases)
    ]
