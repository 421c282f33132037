"""Kinds of numbers that benches take; a wrong one is refused in one line, with exit code 2."""

import argparse
import math
from collections.abc import Callable


def at_least(least: int) -> Callable[[str], int]:
    """Return what reads a whole number that is not smaller; `25e6` is one, too."""

    def read(text: str) -> int:
        number = _real(
            text, lambda it: it >= least and it.is_integer(), f"no whole number from {least} on"
        )
        return int(number)

    return read


positive = at_least(1)
"""Reads how many."""

natural = at_least(0)
"""Reads a number that may be nought, as a seed."""


def positive_real(text: str) -> float:
    """Read a number of seconds, or of another unit, that is above zero; it may be infinite."""
    return _real(text, lambda number: number > 0, "no number above 0")


def non_negative(text: str) -> float:
    """Read a number that is zero or above."""
    return _real(text, lambda number: number >= 0, "no number from 0 on")


def fraction(text: str) -> float:
    """Read a share, from 0 to 1."""
    return _real(text, lambda number: 0 <= number <= 1, "no share, from 0 to 1")


def _real(text: str, is_right: Callable[[float], bool], wrong: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not is_right(number):  # NaN never is.
        raise argparse.ArgumentTypeError(f"{text!r} is {wrong}")
    return number
