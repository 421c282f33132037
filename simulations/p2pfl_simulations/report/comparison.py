"""Several runs beside each other, as one page; those that differ in their seed alone are one."""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import TypeAlias

from p2pfl.cli.figures import told_figure, told_gain
from p2pfl.cli.quantities import count, data_size, duration, plural, scientific
from p2pfl_simulations.report.comparison_charts import (
    COLOURS,
    common_time,
    compared_rows,
    comparison_drawings,
)
from p2pfl_simulations.report.drawing import Drawing
from p2pfl_simulations.report.page import box, figure, page, pair, section, table
from p2pfl_simulations.report.run_report import settings_rows
from p2pfl_simulations.results.comparability import warnings_of
from p2pfl_simulations.results.contest import Contest
from p2pfl_simulations.results.repetitions import (
    INTERVAL_FROM,
    Repetitions,
    interval_of,
    repetitions_of,
)
from p2pfl_simulations.results.run import RunResult
from p2pfl_simulations.results.summary import Summary, summarise

Figure: TypeAlias = Callable[[Summary], float | None]
Written: TypeAlias = Callable[[float | None], str]


def render_comparison(
    runs: Mapping[str, RunResult], drawings: Mapping[str, Drawing] | None = None
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
    groups, drawn = repetitions_of(runs), drawings or comparison_drawings(runs)
    summaries = {name: summarise(run) for name, run in runs.items()}
    on = compared_rows(groups)
    contest = Contest(groups, summaries, on)
    rows = "each on its own test rows" if on == "own" else "on the common test rows"
    title = groups[0].first.primary.title
    return page(
        "Comparison of p2pfl runs",
        "<header>",
        f'<p class="kicker">{escape(_kicker(groups))}</p>',
        f"<h1>{escape(contest.headline)}</h1>",
        f'<p class="verdict">{escape(contest.detail)}</p>',
        *(f'<p class="warning">{escape(told)}</p>' for told in warnings_of(groups)),
        "</header>",
        section(
            "Figures",
            f"At the end of each run; means and the worst are over peers, {rows}. In bold the"
            f" best.{_of_intervals(groups)}",
            _figures(groups, summaries, contest),
            _every_run(groups, summaries, contest),
        ),
        section(
            f"Mean {title} over rounds",
            f"The mean over the peers, {rows}.{_of_bands(groups)}",
            box(drawn["mean-over-rounds"]),
        ),
        pair(
            figure(
                "Worst peer over rounds",
                f"The worst of all peers, {rows}.",
                drawn["worst-over-rounds"],
            ),
            figure(
                f"Mean {title} over bytes",
                "What the network had to carry for it.",
                drawn["mean-over-bytes"],
            ),
        ),
        pair(
            figure(
                "Agreement",
                "How far the peers' models lie from their mean.",
                drawn["agreement"],
            ),
            figure(
                f"Mean {title} over {common_time(groups)}",
                "How long it takes, or would have taken where it was simulated.",
                drawn["mean-over-time"],
            ),
        ),
        section(
            "What differs", "Settings that are not the same in all runs.", _differences(groups)
        ),
    )


GAIN = "gain"


def _kicker(groups: Sequence[Repetitions]) -> str:
    runs = sum(len(group.runs) for group in groups)
    if runs == len(groups):
        return f"Comparison of {runs} runs"
    return f"Comparison of {plural(len(groups), 'scenario')}, {runs} runs"


def _of_intervals(groups: Sequence[Repetitions]) -> str:
    if max(len(group.runs) for group in groups) < INTERVAL_FROM:
        return ""
    return " ± is half of the 95 % interval of the mean over seeds."


def _of_bands(groups: Sequence[Repetitions]) -> str:
    most = max(len(group.runs) for group in groups)
    if most < 2:
        return ""
    shaded = " Shaded: the 95 % interval of the mean over seeds"
    return (
        f"{shaded}; of two seeds, their range."
        if most >= INTERVAL_FROM
        else (" Shaded: the range of two seeds.")
    )


def _columns(
    contest: Contest, time: str, *, is_full: bool
) -> list[tuple[str, Figure, Written, bool]]:
    """Return the table's columns: heading, figure, how it is written, whether the best is bold.

    Those whose best is bold, and the gain, have an interval over seeds.
    """
    primary, on = contest.primary, contest.on

    def metric(value: float | None) -> str:
        return told_figure(primary, value)

    def of(name: str) -> Figure:
        return lambda summary: getattr(summary, name)

    pooled = "own_pooled_mean" if on == "own" else "common_pooled"
    columns: list[tuple[str, Figure, Written, bool]] = [
        ("mean", of(f"{on}_mean"), metric, True),
        ("worst", of(f"{on}_worst"), metric, True),
        ("local only", of(f"{on}_local_mean"), metric, False),
        ("pooled", of(pooled), metric, False),
        (GAIN, _gain, lambda value: told_gain(primary, value), False),
        ("peers that lose", _losers, _amount, False),
        ("consensus", of("consensus_distance"), scientific, False),
        ("sent per peer", of("bytes_per_peer"), data_size, False),
        ("rounds lost", of("lost"), _amount, False),
        (time, of("virtual_s"), duration, False),
    ]
    if is_full:
        columns.append(("wall time", of("wall_s"), duration, False))
    return columns


def _gain(summary: Summary) -> float | None:
    return None if summary.mean_gain is None else summary.mean_gain.mean


def _losers(summary: Summary) -> float | None:
    return None if summary.mean_gain is None else summary.lost_by_joining


def _amount(value: float | None) -> str:
    """Write a count, or a mean of counts."""
    return count(value) if value is None or value == round(value) else f"{value:,.1f}"


def _figures(
    groups: Sequence[Repetitions], summaries: Mapping[str, Summary], contest: Contest
) -> str:
    is_full = len(groups) == len(summaries)
    columns = _columns(contest, common_time(groups), is_full=is_full)
    found = [
        [interval_of(figure(summaries[name]) for name in group.runs) for group in groups]
        for _, figure, _, _ in columns
    ]
    known = [any(it is not None for it in intervals) for intervals in found]
    rows = []
    for index, group in enumerate(groups):
        cells = [f'<span class="swatch r-{index % COLOURS}"></span>{escape(group.name)}']
        for (head, _, written, is_marked), intervals, is_known in zip(
            columns, found, known, strict=True
        ):
            if not is_known:
                continue
            interval = intervals[index]
            content = escape(written(None if interval is None else interval.mean))
            if is_marked and interval is not None and interval.mean == contest.best(intervals):
                content = f"<b>{content}</b>"
            has_interval = is_marked or head == GAIN
            if has_interval and interval is not None and interval.half is not None:
                content += f" ± {escape(_bare(told_figure(contest.primary, interval.half)))}"
            cells.append(content)
        rows.append(cells)
    heads = [head for (head, *_), is_known in zip(columns, known, strict=True) if is_known]
    return table(["run" if is_full else "scenario", *heads], rows)


def _bare(written: str) -> str:
    return written.removesuffix(" %")


def _every_run(
    groups: Sequence[Repetitions], summaries: Mapping[str, Summary], contest: Contest
) -> str:
    """List the single runs, folded; nothing where no two belong together."""
    if len(groups) == len(summaries):
        return ""
    columns = _columns(contest, common_time(groups), is_full=True)
    rows = [
        [
            f'<span class="swatch r-{index % COLOURS}"></span>{escape(name)}',
            str(run.scenario.seed),
            *(escape(written(figure(summaries[name]))) for _, figure, written, _ in columns),
        ]
        for index, group in enumerate(groups)
        for name, run in group.runs.items()
    ]
    heads = ["run", "seed", *(head for head, *_ in columns)]
    return f"<details><summary>Every run</summary>{table(heads, rows)}</details>"


def _differences(groups: Sequence[Repetitions]) -> str:
    settings = [dict(settings_rows(group.first.scenario)) for group in groups]
    seeds = [", ".join(map(str, sorted(set(group.seeds)))) for group in groups]
    keys = dict.fromkeys(key for entries in settings for key in entries)
    rows = []
    for key in keys:
        values = seeds if key == "seed" else [entries.get(key, "") for entries in settings]
        if len(set(values)) > 1 and key != "name":
            rows.append([f'<span class="key">{escape(key)}</span>', *map(escape, values)])
    if not rows:
        return "<p>None: these are repetitions of one scenario.</p>"
    return table(["setting", *(group.name for group in groups)], rows)
