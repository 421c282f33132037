"""Reports of odd runs: any metric and direction, one round, one peer, nothing that is finite."""

import math
import re
from typing import Any

import pytest
from example_runs import RunMaker
from test_report import assert_readable

from p2pfl.learner.metrics import PrimaryMetric
from p2pfl_simulations.report import render_comparison, render_report, run_drawings
from p2pfl_simulations.results.run import RoundRow, RunResult

FIGURES = [name for name in RoundRow.__slots__ if name.startswith(("own_", "common_"))]
R2 = PrimaryMetric("r2")
RMSE = PrimaryMetric("rmse", larger_is_better=False)


def with_metric(run: RunResult, primary: PrimaryMetric, scale: float, shift: float) -> RunResult:
    """Measure a run by another metric: each figure is stretched and moved."""

    def moved(value: float | None) -> float | None:
        return None if value is None else value * scale + shift

    run.primary = primary
    for row in run.rounds:
        for name in FIGURES:
            setattr(row, name, moved(getattr(row, name)))
    for peer in run.peers:
        own, common = peer.own.get("accuracy"), peer.common.get("accuracy")
        peer.own = {} if own is None else {primary.name: own * scale + shift}
        peer.common = {} if common is None else {primary.name: common * scale + shift}
    for gain in run.gains:
        for name in ("gain", "gain_low", "gain_high"):
            value = getattr(gain, name)
            setattr(gain, name, None if value is None else value * abs(scale))
    return run


@pytest.mark.parametrize(
    ("primary", "scale", "shift"),
    [
        (R2, 50.0, -45.0),
        (RMSE, -3.0, 4.0),
        (RMSE, 1e-9, 0.0),
        (RMSE, 4e7, 1e8),
        (PrimaryMetric("auroc"), 0.01, 0.5),
        (PrimaryMetric("my_index", is_share=False), 1e-3, 7.0),
    ],
)
def test_charts_are_drawn_by_any_metric(
    make_run: RunMaker, primary: PrimaryMetric, scale: float, shift: float
) -> None:
    runs = {
        name: with_metric(make_run(peers=12, seed=seed), primary, scale, shift)
        for name, seed in (("a", 1), ("b", 2), ("c", 3))
    }
    page = render_report(runs["a"])
    assert_readable(page)
    assert f"{primary.title[0].upper()}{primary.title[1:]} over rounds" in page
    charts = re.findall(r"<svg .*?</svg>", page, re.DOTALL)
    of_figures = [
        it
        for it in charts
        if f'aria-label="{primary.title}' in it and "at its last evaluation" not in it
    ]
    assert len(of_figures) >= 3
    for chart in of_figures:
        ticks = re.findall(r'class="tick end">([^<]+)<', chart)
        assert all(tick.endswith("%") for tick in ticks) == primary.is_percentage
        assert len(set(ticks)) == len(ticks)
    compared = render_comparison(runs)
    assert_readable(compared)
    assert f"Mean {primary.title} over rounds" in compared


def test_where_peers_have_no_test_rows_of_their_own_the_common_ones_are_drawn(
    make_run: RunMaker,
) -> None:
    run = make_run()
    for row in run.rounds:
        for name in FIGURES:
            if name.startswith("own_"):
                setattr(row, name, None)
    for peer in run.peers:
        peer.own = {}
    run.gains, run.mean_gain, run.pooled_gain = [], None, None
    page = render_report(run)
    assert_readable(page)
    assert "on the common test set" in page
    assert "on the peers' own test rows" not in page
    assert "Who gains by joining" not in page
    assert "which accuracy, on the common test rows" in page
    drawn = run_drawings(run)
    assert drawn["peers-at-the-end"]
    assert drawn["figures-over-bytes"]


@pytest.mark.parametrize("odd", [math.nan, math.inf, None])
def test_figures_that_are_no_numbers_leave_gaps(make_run: RunMaker, odd: float | None) -> None:
    some, all_ = make_run(peers=6), make_run(peers=6)
    for name in FIGURES:
        setattr(some.rounds[2], name, odd)
        setattr(some.rounds[-1], name, odd)
        for row in all_.rounds:
            setattr(row, name, odd)
    for peer in all_.peers:
        peer.own = {"accuracy": math.nan if odd is None else odd}
        peer.common = {}
    for run in (some, all_):
        for gain in run.gains[:3] if run is some else run.gains:
            gain.gain = gain.gain_low = gain.gain_high = odd
        page = render_report(run)
        assert_readable(page)
        assert not re.search(r'="[^"]*\b(?:nan|inf)\b', page)
    compared = render_comparison({"some": some, "all": all_, "good": make_run(seed=9)})
    assert_readable(compared)
    assert not re.search(r'="[^"]*\b(?:nan|inf)\b', compared)


@pytest.mark.parametrize(("peers", "rounds"), [(1, 1), (1, 5), (2, 1), (1000, 1)])
def test_the_smallest_runs_can_be_drawn(make_run: RunMaker, peers: int, rounds: int) -> None:
    averaging: dict[str, Any] = {"averaging": {"algorithm": "none"}}
    run = make_run(peers=peers, rounds=rounds, cohort_size=2, **averaging)
    assert_readable(render_report(run))
    other = make_run(peers=peers, rounds=rounds, cohort_size=2, seed=8, **averaging)
    assert_readable(render_comparison({"a": run, "b": other}))


def test_bands_are_drawn_about_lines_of_several_seeds(make_run: RunMaker) -> None:
    def bands(*seeds: int) -> int:
        runs = {f"a-{seed}": make_run(seed=seed) for seed in seeds}
        other = make_run(seed=1, averaging={"algorithm": "dsgd"})
        page = render_comparison({**runs, "other": other})
        assert_readable(page)
        assert ("Shaded" in page) == (len(seeds) > 1)
        return page.count('class="area r-0"')

    assert bands(1) == 0
    assert bands(1, 2) == 5
    assert bands(1, 2, 3, 4) == 5
