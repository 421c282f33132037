"""The screen at a run's end, as wide as a terminal is."""

import io
from itertools import pairwise
from pathlib import Path

import pytest
from example_runs import RunMaker
from rich.console import Console

from p2pfl.learner.metrics import PrimaryMetric
from p2pfl_simulations.commands.screens import COMMON, show_repetitions, show_result
from p2pfl_simulations.results.repetitions import repetitions_of
from p2pfl_simulations.results.run import GainRow, MeanGain, RunResult
from p2pfl_simulations.results.summary import summarise


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


@pytest.mark.parametrize("width", [80, 120])
def test_parts_of_the_screen_are_one_blank_line_apart(make_run: RunMaker, width: int) -> None:
    lines = [it.strip() for it in screen(make_run(peers=6, rounds=2, cohort_size=2), width)]
    assert any(it.startswith("accuracy, own test rows     mean   worst peer") for it in lines)
    headings = ("accuracy, own test rows", "who gains", COMMON, "other figures", "others saw")
    for heading in headings:
        (at,) = [place for place, it in enumerate(lines) if it.startswith(heading)]
        assert lines[at - 1] == ""
        assert lines[at - 2] != ""
    assert not any(one == other == "" for one, other in pairwise(lines))


def test_several_seeds_have_an_interval_and_two_have_both_figures(make_run: RunMaker) -> None:
    def seeded(seed: int, own: float, cohort_size: int) -> RunResult:
        run = make_run(peers=6, rounds=2, seed=seed, cohort_size=cohort_size)
        run.mean_gain = MeanGain(own - 0.8, None, None)
        for row in run.peers:
            row.own = {"accuracy": own}
        return run

    three = {f"three-{seed}": seeded(seed, own, 3) for seed, own in enumerate([0.88, 0.9, 0.92])}
    two = {f"two-{seed}": seeded(seed, own, 2) for seed, own in enumerate([0.75, 0.85])}
    shown = io.StringIO()
    runs = three | two
    summaries = {name: summarise(run) for name, run in runs.items()}
    groups = repetitions_of(runs)
    show_repetitions(Console(file=shown, width=80), groups, summaries)
    # Student's t at 0.975 for two degrees, 4.303, times 0.02 over the root of 3: 5.0 points.
    assert "3   +10.0 ± 5.0   90.0 ± 5.0   90.0 ± 5.0" in shown.getvalue()
    assert "2    −5.0, +5.0   75.0, 85.0   75.0, 85.0" in shown.getvalue()
    assert max(map(len, shown.getvalue().splitlines())) <= 80
    single = io.StringIO()
    show_repetitions(Console(file=single), repetitions_of({"a": three["three-0"]}), summaries)
    assert single.getvalue() == ""
