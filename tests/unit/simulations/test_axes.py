"""Axes: round ticks, and labels that keep apart."""

import math
from itertools import pairwise

from hypothesis import assume, given
from hypothesis import strategies as st

from p2pfl_simulations.report.axes import Linear, Log, TimeAxis, keep_apart, log_span, span
from p2pfl_simulations.report.lines import ascending, sparse, thin_out

finite = st.floats(-1e9, 1e9)


@given(st.lists(st.floats(0, 300), min_size=1, max_size=18))
def test_labels_keep_their_distance_order_and_bounds(wanted: list[float]) -> None:
    placed = keep_apart(wanted, 0, 300, gap=16)
    assert all(-1e-6 <= position <= 300 + 1e-6 for position in placed)
    for one, two in pairwise(sorted(range(len(wanted)), key=lambda index: wanted[index])):
        assert placed[two] - placed[one] >= 16 - 1e-6


def test_labels_with_room_stay_where_they_are() -> None:
    assert keep_apart([200, 10, 100], 0, 300, gap=16) == [200, 10, 100]
    assert keep_apart([100, 100], 0, 300, gap=16) == [92, 108]


@given(st.lists(finite, min_size=1, max_size=9))
def test_a_span_holds_its_values_between_round_ends(values: list[float]) -> None:
    low, high = span(values)
    assert low <= min(values) <= max(values) <= high
    assert low < high


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_a_span_of_shares_stays_within_nothing_and_all(values: list[float]) -> None:
    low, high = span(values, floor=0, top=1)
    assert 0 <= low <= min(values) <= max(values) <= high <= 1 or high - low < 1e-9


@given(finite, st.floats(1e-3, 1e9), st.integers(2, 10))
def test_ticks_are_round_and_on_the_scale(low: float, width: float, wanted: int) -> None:
    assume(low + width > low)
    ticks = Linear(low, low + width, 0, 100).ticks(wanted)
    assert len(ticks) <= wanted + 1
    room = 1e-6 * max(abs(low), width)
    assert all(low - room <= tick <= low + width + room for tick in ticks)


@given(st.floats(1e-12, 1e6), st.floats(1.01, 1e9))
def test_a_log_scale_spans_its_values_and_has_ticks(low: float, ratio: float) -> None:
    start, end = log_span([low, low * ratio])
    assert start <= low * 1.000001
    assert end >= low * ratio * 0.999999
    ticks = Log(start, end, 100, 0).ticks(4)
    assert all(start * 0.999 <= tick <= end * 1.001 for tick in ticks)
    if ratio > 10:
        assert ticks


def test_time_ticks_are_whole_minutes_and_hours() -> None:
    assert TimeAxis(0, 190, 0, 1).ticks(4) == [0, 60, 120, 180]
    assert TimeAxis(0, 9000, 0, 1).ticks(5) == [0, 1800, 3600, 5400, 7200, 9000]
    assert TimeAxis(0, 20, 0, 1).ticks(4) == [0, 5, 10, 15, 20]
    assert math.isclose(TimeAxis(0, 190, 0, 100)(95), 50)


def test_thinning_keeps_ends_and_spikes() -> None:
    points = [(float(x), 1.0) for x in range(5000)]
    points[3210] = (3210.0, 9.0)
    points[1234] = (1234.0, -9.0)
    kept = thin_out(points, 600)
    assert len(kept) <= 602
    assert {points[0], points[-1], points[3210], points[1234]} <= set(kept)
    assert kept == sorted(kept)
    assert thin_out(points[:600], 600) == points[:600]


def test_a_line_never_goes_back() -> None:
    assert ascending([(1, 5.0), (3, 6.0), (2, 7.0), (4, 8.0)]) == [(1, 5), (3, 6), (3, 7), (4, 8)]


def test_sparse_places_keep_both_ends() -> None:
    places = sparse([float(x) for x in range(1000)], 150)
    assert (len(places), places[0], places[-1]) == (150, 0.0, 999.0)


def test_values_that_differ_in_their_last_bit_are_one_value() -> None:
    """Peers of equal accuracy: their mean may be off by a rounding error."""
    value = 0.05234115459651734
    for values in ([value, math.nextafter(value, 1)], [191052386.6406012, 191052386.64060122]):
        low, high = span(values)
        assert low < min(values) <= max(values) < high
        assert 2 < len(Linear(low, high, 0, 100).ticks(5)) < 12
