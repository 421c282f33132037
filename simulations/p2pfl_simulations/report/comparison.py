"""Several runs beside each other, as one page."""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import TypeAlias

from p2pfl.cli.quantities import (
    count,
    data_size,
    duration,
    percent,
    plural,
    points,
    scientific,
)
from p2pfl_simulations.report.accuracy import whole_percent
from p2pfl_simulations.report.lines import NARROW, WIDE, Chart, Line, Point, ascending
from p2pfl_simulations.report.page import box, figure, page, pair, section, table
from p2pfl_simulations.report.run_report import settings_rows
from p2pfl_simulations.results.run import RoundRow, Run, time_name
from p2pfl_simulations.results.summary import TIE, Summary, summarise

Figure: TypeAlias = Callable[[Summary], float | None]

COLOURS = 8  # In the style sheet; a ninth run has the first colour again, dashed.


def render_comparison(runs: Mapping[str, Run]) -> str:
    """Write a page that compares runs, given by the names they are shown with.

    Raises:
        ValueError: there are fewer than two.
    """
    if len(runs) < 2:
        raise ValueError("a comparison takes two runs or more")
    summaries = {name: summarise(run) for name, run in runs.items()}
    headline, detail = _findings(summaries)
    return page(
        "Comparison of p2pfl runs",
        "<header>",
        f'<p class="kicker">{escape(f"Comparison of {len(runs)} runs")}</p>',
        f"<h1>{escape(headline)}</h1>",
        f'<p class="verdict">{escape(detail)}</p>',
        "</header>",
        section(
            "Figures", "At the end of each run; in bold the best of each.", _figures(summaries)
        ),
        section(
            "Mean accuracy over rounds",
            "The mean over the peers, on held-out data.",
            box(
                _chart(
                    runs,
                    _round,
                    "accuracy_mean",
                    width=WIDE,
                    x_title="round",
                )
            ),
        ),
        pair(
            figure(
                "Worst peer over rounds",
                "The least accurate peer.",
                _chart(runs, _round, "accuracy_worst", x_title="round"),
            ),
            figure(
                "Mean accuracy over bytes",
                "What the network had to carry for it.",
                _chart(
                    runs,
                    _sent_per_peer,
                    "accuracy_mean",
                    x_title="sent by one peer, on average",
                    x_text=data_size,
                ),
            ),
        ),
        pair(
            figure(
                "Agreement",
                "How far the peers' models lie from their mean.",
                _chart(
                    runs,
                    _round,
                    "consensus_distance",
                    x_title="round",
                    y_title="distance to the mean model (L2, log scale)",
                    log=True,
                ),
            ),
            figure(
                f"Mean accuracy over {_time_of(summaries)}",
                "How long it takes, or would have taken where it was simulated.",
                _chart(
                    runs,
                    _virtual_s,
                    "accuracy_mean",
                    x_title=_time_of(summaries),
                    x_text=duration,
                ),
            ),
        ),
        section("What differs", "Settings that are not the same in all runs.", _differences(runs)),
    )


def _round(_: Run, row: RoundRow) -> float:
    return row.round + 1.0


def _virtual_s(_: Run, row: RoundRow) -> float:
    return row.virtual_s


def _sent_per_peer(run: Run, row: RoundRow) -> float:
    return row.bytes_sent / run.scenario.peers


def _time_of(summaries: Mapping[str, Summary]) -> str:
    """Name the time of all runs: just that where some are simulated and some are not."""
    first, *others = dict.fromkeys(time_name(summary.world) for summary in summaries.values())
    return "time" if others else first


def _findings(summaries: Mapping[str, Summary]) -> tuple[str, str]:
    """Say which run reached the most, and by how much; ties are called ties."""
    measured = [
        (summary.accuracy_mean, name)
        for name, summary in summaries.items()
        if summary.accuracy_mean is not None
    ]
    if not measured:
        return "No accuracy was measured in any of the runs.", ""
    measured.sort(key=lambda entry: -entry[0])
    (best, winner), rest = measured[0], measured[1:]
    worst_name, worst = max(
        ((name, s.accuracy_worst) for name, s in summaries.items() if s.accuracy_worst is not None),
        key=lambda entry: entry[1],
        default=(winner, None),
    )
    fairest = ""
    if worst is not None:
        fairest = f"The worst peer does best with {worst_name}: {percent(worst)}."
    if not rest:
        return f"{winner} reaches {percent(best)}; in no other run accuracy was measured.", fairest
    lead = best - rest[0][0]
    if best - rest[-1][0] < TIE:
        return f"All runs are within a point of each other, at {percent(best)} at most.", fairest
    if lead < TIE:
        tied = [name for figure, name in measured if best - figure < TIE]
        return f"{', '.join(tied[:-1])} and {tied[-1]} lead, at {percent(best)} at most.", fairest
    by = points(lead).removeprefix("+")
    return f"{winner} reaches the most: {percent(best)}, {by} above {rest[0][1]}.", fairest


def _figures(summaries: Mapping[str, Summary]) -> str:
    columns: list[tuple[str, Figure, Callable[[float | None], str], bool]] = [
        ("mean", lambda s: s.accuracy_mean, percent, True),
        ("worst", lambda s: s.accuracy_worst, percent, True),
        ("averaged model", lambda s: s.accuracy_averaged, percent, True),
        ("local only", lambda s: s.local_mean, percent, False),
        ("pooled", lambda s: s.pooled, percent, False),
        ("consensus", lambda s: s.consensus_distance, scientific, False),
        ("sent per peer", lambda s: s.bytes_per_peer, data_size, False),
        ("rounds lost", lambda s: s.lost, count, False),
        (_time_of(summaries), lambda s: s.virtual_s, duration, False),
        ("wall time", lambda s: s.wall_s, duration, False),
    ]
    best = [
        max((v for s in summaries.values() if (v := value(s)) is not None), default=None)
        if marked
        else None
        for _, value, _, marked in columns
    ]
    rows = []
    for index, (name, summary) in enumerate(summaries.items()):
        cells = [f'<span class="swatch r-{index % COLOURS}"></span>{escape(name)}']
        for (_, value, written, _), top in zip(columns, best, strict=True):
            figure_ = value(summary)
            text = escape(written(figure_))
            cells.append(f"<b>{text}</b>" if top is not None and figure_ == top else text)
        rows.append(cells)
    early = [name for name, summary in summaries.items() if summary.interrupted]
    note = f'<p class="warning">Ended early: {escape(", ".join(early))}.</p>' if early else ""
    return table(["run", *(column[0] for column in columns)], rows) + note


def _chart(
    runs: Mapping[str, Run],
    x: Callable[[Run, RoundRow], float],
    figure_name: str,
    *,
    x_title: str,
    x_text: Callable[[float], str] | None = None,
    y_title: str = "test accuracy",
    width: int = NARROW,
    log: bool = False,
) -> str:
    lines = []
    for index, (name, run) in enumerate(runs.items()):
        values = ((x(run, row), getattr(row, figure_name)) for row in run.rounds)
        lines.append(
            Line(
                _shortened(name, 40) if width == WIDE else _shortened(name.partition(" (")[0], 22),
                f"r-{index % COLOURS}",
                ascending([(at, value) for at, value in values if value is not None]),
                "dashed" if index >= COLOURS else "",
            )
        )
    if width == WIDE:
        lines += _common_baselines(list(runs.values()))
    return Chart(
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


def _common_baselines(runs: Sequence[Run]) -> list[Line]:
    """Draw the baselines if they are the same in all runs, as for the same data and seed."""
    lines = []
    for name, colour, attribute in (
        ("Local only", "c-muted", "local_mean"),
        ("Pooled", "c-pooled", "pooled"),
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


def _differences(runs: Mapping[str, Run]) -> str:
    settings = [dict(settings_rows(run.scenario)) for run in runs.values()]
    keys = dict.fromkeys(key for entries in settings for key in entries)
    rows = []
    for key in keys:
        values = [entries.get(key, "") for entries in settings]
        if len(set(values)) > 1 and key != "name":
            rows.append([f'<span class="key">{escape(key)}</span>', *map(escape, values)])
    if not rows:
        return "<p>None: these are repetitions of one scenario.</p>"
    return table(["setting", *runs], rows)


def _shortened(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
