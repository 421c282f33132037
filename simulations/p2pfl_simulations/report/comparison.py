"""Several runs beside each other, as one page."""

from collections.abc import Callable, Mapping
from html import escape
from typing import TypeAlias

from p2pfl.cli.quantities import (
    count,
    data_size,
    duration,
    percent,
    points,
    scientific,
)
from p2pfl_simulations.report.comparison_charts import COLOURS, common_time, comparison_drawings
from p2pfl_simulations.report.drawing import Drawing
from p2pfl_simulations.report.page import box, figure, page, pair, section, table
from p2pfl_simulations.report.run_report import settings_rows
from p2pfl_simulations.results.run import Run
from p2pfl_simulations.results.summary import Summary, summarise

Figure: TypeAlias = Callable[[Summary], float | None]


def render_comparison(
    runs: Mapping[str, Run], drawings: Mapping[str, Drawing] | None = None
) -> str:
    """Write a page that compares runs, given by the names they are shown with.

    Args:
        runs: by name.
        drawings: as `comparison_drawings` makes them, where they have been drawn already.

    Raises:
        ValueError: there are fewer than two.
    """
    if len(runs) < 2:
        raise ValueError("a comparison takes two runs or more")
    summaries = {name: summarise(run) for name, run in runs.items()}
    drawn = drawings or comparison_drawings(runs)
    headline, detail = _findings(summaries)
    return page(
        "Comparison of p2pfl runs",
        "<header>",
        f'<p class="kicker">{escape(f"Comparison of {len(runs)} runs")}</p>',
        f"<h1>{escape(headline)}</h1>",
        f'<p class="verdict">{escape(detail)}</p>',
        "</header>",
        section(
            "Figures",
            "At the end of each run; in bold the best of each.",
            _figures(summaries, common_time(runs)),
        ),
        section(
            "Mean accuracy over rounds",
            "The mean over the peers, on held-out data.",
            box(drawn["accuracy-over-rounds"]),
        ),
        pair(
            figure(
                "Worst peer over rounds", "The least accurate peer.", drawn["worst-over-rounds"]
            ),
            figure(
                "Mean accuracy over bytes",
                "What the network had to carry for it.",
                drawn["accuracy-over-bytes"],
            ),
        ),
        pair(
            figure(
                "Agreement",
                "How far the peers' models lie from their mean.",
                drawn["agreement"],
            ),
            figure(
                f"Mean accuracy over {common_time(runs)}",
                "How long it takes, or would have taken where it was simulated.",
                drawn["accuracy-over-time"],
            ),
        ),
        section("What differs", "Settings that are not the same in all runs.", _differences(runs)),
    )


TIE = 0.01
"""Runs whose figures are closer than this are called equal: one seed does not tell them apart."""


def _findings(summaries: Mapping[str, Summary]) -> tuple[str, str]:
    """Say which run reached the most, and by how much; ties are called ties."""
    measured = [
        (summary.own_mean, name)
        for name, summary in summaries.items()
        if summary.own_mean is not None
    ]
    if not measured:
        return "No accuracy was measured in any of the runs.", ""
    measured.sort(key=lambda entry: -entry[0])
    (best, winner), rest = measured[0], measured[1:]
    worst_name, worst = max(
        ((name, s.own_worst) for name, s in summaries.items() if s.own_worst is not None),
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


def _figures(summaries: Mapping[str, Summary], time: str) -> str:
    columns: list[tuple[str, Figure, Callable[[float | None], str], bool]] = [
        ("mean", lambda s: s.own_mean, percent, True),
        ("worst", lambda s: s.own_worst, percent, True),
        ("averaged model", lambda s: s.common_averaged, percent, True),
        ("local only", lambda s: s.own_local_mean, percent, False),
        ("pooled", lambda s: s.own_pooled_mean, percent, False),
        ("consensus", lambda s: s.consensus_distance, scientific, False),
        ("sent per peer", lambda s: s.bytes_per_peer, data_size, False),
        ("rounds lost", lambda s: s.lost, count, False),
        (time, lambda s: s.virtual_s, duration, False),
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
