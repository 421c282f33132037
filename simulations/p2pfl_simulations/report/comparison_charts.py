"""The charts of several runs beside each other."""

from collections.abc import Callable, Mapping, Sequence

from p2pfl.cli.quantities import data_size, duration, percent, plural, scientific
from p2pfl_simulations.report.accuracy import whole_percent
from p2pfl_simulations.report.drawing import Cell, Drawing
from p2pfl_simulations.report.lines import NARROW, WIDE, Chart, Line, Point, ascending
from p2pfl_simulations.results.run import RoundRow, Run, time_name

COLOURS = 8  # In the style sheet; a ninth run has the first colour again, dashed.


def comparison_drawings(runs: Mapping[str, Run]) -> dict[str, Drawing]:
    """Draw all charts of a comparison, by name, of runs by the names they are shown with."""
    return {
        "accuracy-over-rounds": _chart(
            "accuracy-over-rounds", runs, _round, "own_mean", width=WIDE, x_title="round"
        ),
        "worst-over-rounds": _chart(
            "worst-over-rounds", runs, _round, "own_worst", x_title="round"
        ),
        "accuracy-over-bytes": _chart(
            "accuracy-over-bytes",
            runs,
            _sent_per_peer,
            "own_mean",
            x_title="sent by one peer, on average",
            x_text=data_size,
        ),
        "agreement": _chart(
            "agreement",
            runs,
            _round,
            "consensus_distance",
            x_title="round",
            y_title="distance to the mean model (L2, log scale)",
            log=True,
        ),
        "accuracy-over-time": _chart(
            "accuracy-over-time",
            runs,
            _virtual_s,
            "own_mean",
            x_title=common_time(runs),
            x_text=duration,
        ),
    }


def common_time(runs: Mapping[str, Run]) -> str:
    """Name the time of all runs: just that where some are simulated and some are not."""
    first, *others = dict.fromkeys(time_name(run.world) for run in runs.values())
    return "time" if others else first


def _round(_: Run, row: RoundRow) -> float:
    return row.round + 1.0


def _virtual_s(_: Run, row: RoundRow) -> float:
    return row.virtual_s


def _sent_per_peer(run: Run, row: RoundRow) -> float:
    return row.bytes_sent / run.scenario.peers


def _chart(
    chart: str,
    runs: Mapping[str, Run],
    x: Callable[[Run, RoundRow], float],
    figure_name: str,
    *,
    x_title: str,
    x_text: Callable[[float], str] | None = None,
    y_title: str = "test accuracy",
    width: int = NARROW,
    log: bool = False,
) -> Drawing:
    lines = []
    numbers: list[tuple[Cell, ...]] = []
    for index, (name, run) in enumerate(runs.items()):
        measured = [row for row in run.rounds if getattr(row, figure_name) is not None]
        values = [(x(run, row), getattr(row, figure_name)) for row in measured]
        numbers += [
            (name, row.round + 1, *value) for row, value in zip(measured, values, strict=True)
        ]
        lines.append(
            Line(
                _shortened(name, 40) if width == WIDE else _shortened(name.partition(" (")[0], 22),
                f"r-{index % COLOURS}",
                ascending(values),
                "dashed" if index >= COLOURS else "",
            )
        )
    if width == WIDE:
        lines += _common_baselines(list(runs.values()))
    picture = Chart(
        description=f"{y_title} of {plural(len(runs), 'run')} against {x_title}",
        lines=lines,
        x_title=x_title,
        y_title=y_title,
        x_text=x_text or (lambda value: f"{value:,.0f}"),
        y_text=scientific if log else whole_percent,
        y_readout=scientific if log else percent,
        x_readout=x_text or (lambda value: f"round {value:.0f}"),
        width=width,
        height=max(420 if width == WIDE else 320, 120 + 17 * len(lines)),
        x_whole=x_text is None,
        log=log,
        clock=x_text is duration,
        floor=None if log else 0,
        top=None if log else 1,
        label_values=width == WIDE,
    ).draw()
    return Drawing(f"comparison-{chart}", picture, ("run", "round", x_title, figure_name), numbers)


def _common_baselines(runs: Sequence[Run]) -> list[Line]:
    """Draw the baselines if they are the same in all runs, as for the same data and seed."""
    lines = []
    for name, colour, attribute in (
        ("Local only", "c-muted", "own_local_mean"),
        ("Pooled", "c-pooled", "own_pooled_mean"),
    ):
        curves: list[list[Point]] = [
            [
                (float(row.round + 1), value)
                for row in run.rounds
                if (value := getattr(row, attribute)) is not None
            ]
            for run in runs
        ]
        if curves[0] and all(curve == curves[0] for curve in curves):
            lines.append(Line(name, colour, curves[0], "dashed"))
    return lines


def _shortened(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
