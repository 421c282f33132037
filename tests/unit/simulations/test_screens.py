"""The screen at a run's end, as wide as a terminal is."""

import io
from pathlib import Path

import pytest
from example_runs import RunMaker
from rich.console import Console

from p2pfl.learner.metrics import PrimaryMetric
from p2pfl_simulations.commands.screens import show_result
from p2pfl_simulations.results.run import GainRow, RunResult


def screen(run: RunResult, width: int) -> list[str]:
    shown = io.StringIO()
    show_result(Console(file=shown, width=width), run, Path("runs/by-hand"))
    return shown.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("primary", [PrimaryMetric(), PrimaryMetric("rmse", False)])
def test_a_peer_that_gains_or_loses_takes_one_line(
    make_run: RunMaker, width: int, primary: PrimaryMetric
) -> None:
    run = make_run(peers=6, rounds=1, cohort_size=2)
    run.primary = primary
    for peer in run.peers:
        peer.own = {primary.name: 0.9}
    figures = (0.9231, 0.1234, 1.0)
    run.gains = [
        GainRow(peer, f"peer-10{peer}", 1200, 1000, *figures, gain, gain - 0.1001, gain + 0.1001)
        for peer, gain in enumerate([-0.2512, -0.1, 0.0, 0.1, 0.2, 0.7997])
    ]
    lines = screen(run, width)
    assert max(map(len, lines)) <= width
    (heading,) = [it for it in lines if "95% interval" in it]
    assert heading.split()[:6] == ["peer", "trained", "tested", "together", "alone", "pooled"]
    for row in run.gains:
        (line,) = [it for it in lines if it.split()[:1] == [row.name]]
        assert line.split()[1:3] == ["1,200", "1,000"]
        assert " to " in line


def test_other_figures_stand_below_each_other_each_by_its_name(make_run: RunMaker) -> None:
    run = make_run(peers=2, rounds=1, cohort_size=2)
    own = {"accuracy": 0.9, "brier": 0.1264, "calibration_error": 0.154}
    for row in run.peers:
        row.own.clear()
        row.own.update(own, auroc=float("nan") if row.peer else 0.75)
    lines = [it.split() for it in screen(run, 80)]
    assert ["Brier", "score", "0.126"] in lines
    assert ["calibration", "error", "15.4", "%"] in lines
    assert ["AUROC", "75.0", "%", "not", "defined", "for", "1", "peer"] in lines
