"""Who gains and who loses, drawn: sorted, with intervals, beside the rows that each peer has."""

import csv
import io
import math
from random import Random
from xml.etree import ElementTree

import pytest
from example_runs import RunMaker
from test_report import assert_readable

from p2pfl.learner.metrics import PrimaryMetric
from p2pfl_simulations.report.drawing import Drawing
from p2pfl_simulations.report.gains import gain_against_rows, gain_by_peer
from p2pfl_simulations.report.metric_axis import gain_tick, metric_axis
from p2pfl_simulations.results.run import GainRow, RunResult

ACCURACY = PrimaryMetric()
RMSE = PrimaryMetric("rmse", larger_is_better=False)
R2 = PrimaryMetric("r2")


def gain(peer: int, value: float | None, half: float | None = 0.05, rows: int = 50) -> GainRow:
    ends = (None, None) if value is None or half is None else (value - half, value + half)
    return GainRow(peer, f"peer-{peer}", rows, 10, 0.9, 0.9, 0.9, value, *ends)


def gaining(make_run: RunMaker, *gains: GainRow, primary: PrimaryMetric = ACCURACY) -> RunResult:
    run: RunResult = make_run(peers=max(2, len(gains)), rounds=1, cohort_size=2)
    run.gains, run.primary = list(gains), primary
    return run


def drawn(drawing: Drawing) -> ElementTree.Element:
    assert drawing
    assert_readable(drawing.picture)
    return ElementTree.fromstring(drawing.picture)


def texts(root: ElementTree.Element) -> list[str]:
    return [str(element.text) for element in root.iter("text")]


def test_peers_stand_below_each_other_the_least_gain_first(make_run: RunMaker) -> None:
    run = gaining(make_run, gain(0, 0.2), gain(1, -0.1), gain(2, 0.01), gain(3, None))
    root = drawn(gain_by_peer(run))
    shown = texts(root)
    assert [name for name in shown if name.startswith("peer-")] == ["peer-1", "peer-2", "peer-0"]
    assert "−10.0 (−15.0 to −5.0)" in shown
    assert {"loses: 1", "no clear difference: 1", "gains: 1"} <= set(shown)
    marks = list(root.iter("circle"))
    assert [it.get("class") for it in marks] == [
        "mark c-bad",
        "mark c-muted",
        "mark c-good",
    ]
    places = [float(str(it.get("cx"))) for it in marks]
    assert places == sorted(places)
    (zero,) = [it for it in root.iter("path") if it.get("class") == "zero"]
    at = float(str(zero.get("d"))[1:].split()[0])
    assert places[0] < at < places[1]
    rows = list(csv.DictReader(io.StringIO(gain_by_peer(run).csv())))
    assert [row["peer"] for row in rows] == ["1", "2", "0"]
    assert [row["gain"] for row in rows] == ["-0.1", "0.01", "0.2"]


@pytest.mark.parametrize("primary", [ACCURACY, RMSE, R2])
@pytest.mark.parametrize("count", [1, 2, 50, 51, 1000, 3000])
def test_any_number_of_peers_and_any_metric_can_be_read(
    make_run: RunMaker, count: int, primary: PrimaryMetric
) -> None:
    rng = Random(f"{count}/{primary.name}")
    scale = 100.0 if primary is R2 else 0.05
    gains = [
        gain(peer, rng.gauss(scale / 2, scale), rng.uniform(0, scale), rng.randint(1, 3000))
        for peer in range(count)
    ]
    run = gaining(make_run, *gains[:2], primary=primary)
    run.gains = gains
    root = drawn(gain_by_peer(run))
    assert len(ElementTree.tostring(root)) < 150_000
    assert bool(gain_against_rows(run)) == (count > 1)
    if count > 1:
        drawn(gain_against_rows(run))
    assert len(gain_by_peer(run).rows) == count


def test_what_cannot_be_measured_is_left_out(make_run: RunMaker) -> None:
    assert not gain_by_peer(gaining(make_run, gain(0, None), gain(1, math.nan)))
    assert not gain_by_peer(gaining(make_run))
    one = gaining(make_run, gain(0, 0.1, None), gain(1, math.nan))
    assert "+10.0" in texts(drawn(gain_by_peer(one)))
    drawn(gain_by_peer(gaining(make_run, *(gain(peer, 0.0, 0.0) for peer in range(4)))))


def test_one_wide_interval_does_not_squeeze_all_others(make_run: RunMaker) -> None:
    gains = [gain(peer, peer / 100, 0.02) for peer in range(10)]
    gains.append(gain(10, 0.05, 30.0))
    root = drawn(gain_by_peer(gaining(make_run, *gains)))
    places = [float(str(it.get("cx"))) for it in root.iter("circle")]
    assert max(places) - min(places) > 60


def test_a_share_gains_no_more_than_all_of_it(make_run: RunMaker) -> None:
    gains = [gain(0, 0.5, 0.5), gain(1, -0.2, 0.1), gain(2, 0.1)]
    ticks = {it for it in texts(drawn(gain_by_peer(gaining(make_run, *gains)))) if it[1:].isdigit()}
    assert "+100" in ticks
    assert "+150" not in ticks


def test_axes_are_in_percent_for_shares_alone() -> None:
    assert metric_axis(ACCURACY).tick(0.875) == "87.5 %"
    assert (metric_axis(ACCURACY).floor, metric_axis(ACCURACY).top) == (0, 1)
    axis = metric_axis(RMSE)
    assert axis.title == "RMSE (less is better)"
    assert (axis.floor, axis.top) == (None, None)
    ticks = [axis.tick(it) for it in (0.1 + 0.2, -2.5, 1e-9, 12_500, 3e9, -0.0)]
    assert ticks == ["0.3", "−2.5", "1e−09", "12,500", "3e+09", "0"]
    assert [gain_tick(ACCURACY, it) for it in (0.025, 0.0, -0.1)] == ["+2.5", "0", "−10"]
    assert gain_tick(R2, -40.0) == "−40"
