"""Figures as people read them."""

import math

import pytest

from p2pfl.cli.quantities import (
    count,
    data_size,
    duration,
    percent,
    plural,
    points,
    scientific,
)


@pytest.mark.parametrize(
    ("size_bytes", "written"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (999.7, "1 KB"),
        (1_000, "1 KB"),
        (1_536, "1.54 KB"),
        (999_499, "999 KB"),
        (999_999, "1 MB"),
        (4_600_000, "4.6 MB"),
        (2.5e9, "2.5 GB"),
        (3e12, "3 TB"),
    ],
)
def test_sizes_are_decimal_with_three_digits(size_bytes: float, written: str) -> None:
    assert data_size(size_bytes) == written


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0, "0 s"),
        (0.0123, "12.3 ms"),
        (0.9999, "1 s"),
        (1, "1 s"),
        (75.04, "75 s"),
        (119.6, "2 min"),
        (125, "2 min 05 s"),
        (7199.6, "2 h"),
        (9000, "2 h 30 min"),
        (200_000, "2 d 08 h"),
    ],
)
def test_durations_take_the_unit_that_fits(seconds: float, written: str) -> None:
    assert duration(seconds) == written


def test_differences_carry_a_sign_unless_they_round_to_nothing() -> None:
    assert points(0.243) == "+24.3 points"
    assert points(-0.055) == "−5.5 points"
    assert points(0.0001) == points(-0.0001) == "0.0 points"


def test_what_was_not_measured_is_a_dash() -> None:
    for written in (percent, points, data_size, duration, count, scientific):
        assert written(None) == written(math.nan) == "–"


def test_counts_and_small_numbers() -> None:
    assert count(1_234_567) == "1,234,567"
    assert plural(1, "peer") == "1 peer"
    assert plural(1000, "peer") == "1,000 peers"
    assert scientific(0.0619) == "0.0619"
    assert scientific(4.51e-9) == "4.5e-09"
    assert scientific(0.0) == "0"
