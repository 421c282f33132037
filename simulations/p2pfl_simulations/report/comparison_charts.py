"""The charts of several runs beside each other: one line for each scenario, over all its seeds."""

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from p2pfl.cli.quantities import data_size, duration, plural, scientific
from p2pfl_simulations.report.drawing import Cell, Drawing
from p2pfl_simulations.report.figures import Rows
from p2pfl_simulations.report.lines import NARROW, WIDE, Chart, Line, Point
from p2pfl_simulations.report.metric_axis import metric_axis
from p2pfl_simulations.results.repetitions import Interval, Repetitions, interval_of, repetitions_of
from p2pfl_simulations.results.run import RoundRow, RunResult, time_name

COLOURS = 8  # In the style sheet; a ninth line has the first colour again, dashed.
DISTANCE = "distance to the mean model (L2, log scale)"


def comparison_drawings(runs: Mapping[str, RunResult]) -> dict[str, Drawing]:
    """Draw all charts of a comparison, by name, of runs by the names they are shown with."""
    groups = repetitions_of(runs)
    mean, worst = (f"{compared_rows(groups)}_{figure}" for figure in ("mean", "worst"))
    time, sent = common_time(groups), "sent by one peer, on average"
    drawings = (
        _chart("mean-over-rounds", groups, _round, mean, width=WIDE, x_title="round"),
        _chart("worst-over-rounds", groups, _round, worst, x_title="round"),
        _chart("mean-over-bytes", groups, _sent_per_peer, mean, x_title=sent, x_text=data_size),
        _chart("agreement", groups, _round, "consensus_distance", x_title="round"),
        _chart("mean-over-time", groups, _virtual_s, mean, x_title=time, x_text=duration),
    )
    return {it.name.removeprefix("comparison-"): it for it in drawings}


def curves(name: str, groups: Sequence[Repetitions], figure: str) -> Drawing:
    """Draw a figure of rounds: one line for each group, with the interval over its seeds."""
    return _chart(name, groups, _round, figure, width=WIDE, x_title="round")


def compared_rows(groups: Sequence[Repetitions]) -> Rows:
    """Say by which test rows runs are compared: the peers' own, unless a run has none."""
    all_own = all(
        any(row.own_mean is not None for row in run.rounds)
        for group in groups
        for run in group.runs.values()
    )
    return "own" if all_own else "common"


def common_time(groups: Sequence[Repetitions]) -> str:
    """Name the time of all runs: just that where some are simulated and some are not."""
    first, *others = dict.fromkeys(time_name(group.first.world) for group in groups)
    return "time" if others else first


def _round(_: RunResult, row: RoundRow) -> float:
    return row.round + 1.0


def _virtual_s(_: RunResult, row: RoundRow) -> float:
    return row.virtual_s


def _sent_per_peer(run: RunResult, row: RoundRow) -> float:
    return row.bytes_sent / run.scenario.peers


def _chart(
    name: str,
    groups: Sequence[Repetitions],
    x: Callable[[RunResult, RoundRow], float],
    figure: str,
    *,
    x_title: str,
    x_text: Callable[[float], str] | None = None,
    width: int = NARROW,
) -> Drawing:
    log = figure == "consensus_distance"
    axis = metric_axis(groups[0].first.primary)
    lines = [
        _line(group, index, x, figure, is_wide=width == WIDE) for index, group in enumerate(groups)
    ]
    if width == WIDE:
        lines += _common_baselines(groups, figure.partition("_")[0])
    y_title = DISTANCE if log else axis.title
    picture = Chart(
        description=f"{y_title} of {plural(len(groups), 'scenario')} against {x_title}",
        lines=lines,
        x_title=x_title,
        y_title=y_title,
        x_text=x_text or (lambda value: f"{value:,.0f}"),
        y_text=scientific if log else axis.tick,
        y_readout=scientific if log else axis.readout,
        x_readout=x_text or (lambda value: f"round {value:.0f}"),
        width=width,
        height=max(420 if width == WIDE else 320, 120 + 17 * len(lines)),
        x_whole=x_text is None,
        log=log,
        clock=x_text is duration,
        floor=None if log else axis.floor,
        top=None if log else axis.top,
        label_values=width == WIDE,
    ).draw()
    numbers: list[tuple[Cell, ...]] = [
        (group.name, run_name, run.scenario.seed, row.round + 1, x(run, row), value)
        for group in groups
        for run_name, run in group.runs.items()
        for row in run.rounds
        if (value := getattr(row, figure)) is not None
    ]
    columns = ("scenario", "run", "seed", "round", x_title, figure)
    return Drawing(f"comparison-{name}", picture, columns, numbers)


def _line(
    group: Repetitions,
    index: int,
    x: Callable[[RunResult, RoundRow], float],
    figure: str,
    *,
    is_wide: bool,
) -> Line:
    """Draw a scenario: the mean over its seeds, and the interval about it."""
    places, intervals = _over_seeds(group, x, figure)
    return Line(
        _shortened(group.name, 40) if is_wide else _shortened(group.name.partition(" (")[0], 22),
        f"r-{index % COLOURS}",
        [(at, it.mean) for at, it in zip(places, intervals, strict=True)],
        "dashed" if index >= COLOURS else "",
        band=[
            (at, it.low, it.high)
            for at, it in zip(places, intervals, strict=True)
            if it.count > 1 and it.count == len(group.runs)
        ],
    )


def _over_seeds(
    group: Repetitions, x: Callable[[RunResult, RoundRow], float], figure: str
) -> tuple[list[float], list[Interval]]:
    """Return the places on the x axis, means of those of the seeds, and intervals of a figure.

    Rounds that only some of the seeds have measured are left out: a mean over fewer of them
    would jump.
    """
    by_round: dict[int, list[tuple[float, float]]] = {}
    for run in group.runs.values():
        for row in run.rounds:
            value = getattr(row, figure)
            if value is not None and math.isfinite(value):
                by_round.setdefault(row.round, []).append((x(run, row), value))
    most = max(map(len, by_round.values()), default=0)
    places: list[float] = []
    intervals: list[Interval] = []
    for _, measured in sorted(by_round.items()):
        interval = interval_of(value for _, value in measured)
        if len(measured) == most and interval is not None:
            # A laggard may end a round after others ended the next: x never goes back.
            places.append(max([fmean(at for at, _ in measured), *places[-1:]]))
            intervals.append(interval)
    return places, intervals


def _common_baselines(groups: Sequence[Repetitions], on: str) -> list[Line]:
    """Draw the baselines if they are the same for all scenarios, as for the same data and seeds."""
    pooled = "own_pooled_mean" if on == "own" else "common_pooled"
    lines = []
    for name, colour, figure in (
        ("Local only", "c-muted", f"{on}_local_mean"),
        ("Pooled", "c-pooled", pooled),
    ):
        curves: list[list[Point]] = []
        for group in groups:
            places, intervals = _over_seeds(group, _round, figure)
            curves.append([(at, it.mean) for at, it in zip(places, intervals, strict=True)])
        if curves[0] and all(curve == curves[0] for curve in curves):
            lines.append(Line(name, colour, curves[0], "dashed"))
    return lines


def _shortened(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
