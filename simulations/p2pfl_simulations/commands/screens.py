"""What a person sees at the end: the result of a run, and several beside each other."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from p2pfl.cli.figures import told_figure, told_gain, told_interval
from p2pfl.cli.quantities import count, data_size, duration, percent, plural, scientific
from p2pfl.learner.metrics import PrimaryMetric
from p2pfl_simulations.checkers import Violation
from p2pfl_simulations.commands.errors import VIOLATED
from p2pfl_simulations.results.cautions import cautions
from p2pfl_simulations.results.claims import claim_sentence
from p2pfl_simulations.results.masked_sums import MaskedSums
from p2pfl_simulations.results.participation import overdue_sentence
from p2pfl_simulations.results.privacy import NOT_PRIVATE, told_epsilon, told_found
from p2pfl_simulations.results.repetitions import Interval, Repetitions, interval_of
from p2pfl_simulations.results.run import GAINS, LOSES, GainRow, RunResult, time_name
from p2pfl_simulations.results.summary import Summary, summarise
from p2pfl_simulations.results.verdict import headline, verdict

SHARE_SHOWN = 0.9
"""Members in a smaller share of the models are shown one by one."""

ROWS_SHOWN = 8
"""Of them, at most."""

LEAST_SHOWN, MOST_SHOWN = 4, 2
"""Peers that gain least, and most, one by one."""

COMMON = "one common test set, no peer's own mix"


def show_violation(violation: Violation) -> int:
    """Say in one line what did not hold; return the exit code."""
    told = Text(f"Violated: {violation}", style="bold red")
    Console(stderr=True).print(told, soft_wrap=True)
    return VIOLATED


def show_result(console: Console, run: RunResult, folder: Path) -> None:
    """Show what a run reached, against both baselines, what it cost, and where its report is."""
    summary = summarise(run)
    console.print()
    console.print(Text(headline(summary), style="bold"))
    console.print(Text(verdict(summary)))
    for told in cautions(run, summary):
        console.print(Text(told, style="yellow"))
    if summary.own_mean is not None:
        console.print(_own_figures(summary))
        _show_gains(console, run)
    if summary.common_mean is not None:
        console.print(_common_figures(summary))
    if others := _others(summary):
        console.print(_part(others))
    console.print(_costs(summary))
    _show_participation(console, run)
    if claim := claim_sentence(run.scenario):
        console.print(Padding(Text(claim, style="dim"), (1, 0, 0, 2)))
    _show_privacy(console, run)
    console.print()
    for name, value in (("training", run.batching), ("digest", summary.digest[:32])):
        if value:  # Processes have no digest.
            console.print(Text.assemble((f"  {name:<20}", "dim"), value))
    console.print()
    # soft_wrap: a path that is broken in two lines is of no use to anybody.
    console.print(
        Text.assemble(("  report  ", "dim"), (str(folder / "report.html"), "bold")), soft_wrap=True
    )


def _show_privacy(console: Console, run: RunResult) -> None:
    """Show who could learn how much of a record; one line where nothing bounds that."""
    privacy = run.privacy
    if privacy is None:
        console.print(Padding(Text(NOT_PRIVATE, style="dim"), (1, 0, 0, 2)))
        return
    table = _table()
    for heading in ("who looks", "noise left", "epsilon", "finds at most", ""):
        table.add_column(heading, justify="left" if heading == "who looks" else "right")
    for row in privacy.claims:
        table.add_row(
            row.adversary,
            plural(row.shares, "share"),
            told_epsilon(row.epsilon),
            told_found(row.found),
            "the claim" if row.is_the_claim else "",
            style="bold" if row.is_the_claim else None,
        )
    console.print(_part(table))
    for told in (privacy.caption(), *privacy.sentences()):
        console.print(Padding(Text(told, style="dim"), (0, 0, 0, 2)))


def _show_participation(console: Console, run: RunResult) -> None:
    """Show who is in few of a group's models; one line where all are in nearly all."""
    rows = run.participation
    if not rows:
        return
    low = sorted(
        (row for row in rows if row.share < SHARE_SHOWN), key=lambda row: (row.share, row.peer)
    )
    least = min(row.share for row in rows)
    least_text = f"every member is in {percent(least)} of {count(rows[0].heights)} models or more"
    if not low:
        console.print(
            Padding(Text.assemble(("took part           ", "dim"), least_text), (0, 0, 0, 2))
        )
        return
    table = _table()
    for heading in ("took part", "models", "share", "last in", "why out, last"):
        table.add_column(heading, justify="left" if heading == "took part" else "right")
    for row in low[:ROWS_SHOWN]:
        last = count(row.last_height) if row.last_height else "never"
        models = f"{count(row.heights_in)} of {count(row.heights)}"
        table.add_row(row.name, models, percent(row.share), last, row.cause.replace("_", " "))
    others = len(rows) - min(len(low), ROWS_SHOWN)
    if others:
        table.add_row(Text(f"{count(others)} others", style="dim"), "", "", "", "")
    console.print(_part(table))
    warning = overdue_sentence(rows)
    if warning:
        console.print(Padding(Text(warning, style="yellow"), (1, 0, 0, 2)))


def _own_figures(summary: Summary) -> Padding:
    """Show the primary metric, each peer on its own test rows."""
    table, primary = _table(), summary.primary
    table.add_column(f"{primary.title}, own test rows{_direction(primary)}")
    table.add_column("mean", justify="right")
    table.add_column("worst peer", justify="right")
    rows = [(summary.method, summary.own_mean, summary.own_worst, "bold")]
    if summary.own_local_mean is not None:
        rows.append(("local only", summary.own_local_mean, summary.own_local_worst, ""))
    if summary.own_pooled_mean is not None:
        rows.append(("pooled", summary.own_pooled_mean, None, ""))
    for name, mean, worst, style in rows:
        shown = "" if worst is None else told_figure(primary, worst)
        table.add_row(name, told_figure(primary, mean), shown, style=style)
    return _part(table)


def _show_gains(console: Console, run: RunResult) -> None:
    """Show who gains and who loses: those that gain least first; the others stay in the page."""
    known = [row for row in run.gains if row.gain is not None]
    if not known:
        return
    primary = run.primary
    order = sorted(known, key=lambda row: (row.gain or 0.0, row.peer))
    shown = order[:LEAST_SHOWN]
    most = order[max(LEAST_SHOWN, len(order) - MOST_SHOWN) :]
    unit = " in %" if primary.is_percentage else ""
    # Eight columns: two spaces between them, in place of three, leave room for names in 80.
    table = _table(padding=(0, 1, 0, 0))
    table.add_column("peer", overflow="fold", min_width=8)
    for heading in ("trained", "tested", "together", "alone", "pooled", "gain", "95% interval"):
        table.add_column(heading, justify="right", no_wrap=True)
    styles = {LOSES: "red", GAINS: "green"}

    def add(row: GainRow) -> None:
        models = row.joint, row.local, row.pooled
        figures = (told_figure(primary, it).removesuffix(" %") for it in models)
        style = styles.get(row.outcome, "")
        gain = Text(told_gain(primary, row.gain).removesuffix(" points"), style=style)
        interval = told_interval(primary, row.gain_low, row.gain_high)
        counts = count(row.train_rows), count(row.test_rows)
        table.add_row(row.name, *counts, *figures, gain, interval)

    for row in shown:
        add(row)
    between = len(order) - len(shown) - len(most)
    if between:
        table.add_row(Text(f"{plural(between, 'other')}", style="dim"), *[""] * 7)
    for row in most:
        add(row)
    told = f"who gains, {primary.title}{unit}{_direction(primary)}; own rows trained and tested on"
    console.print(Padding(Text(told, style="dim"), (1, 0, 0, 2)))
    console.print(_part(table))


def _common_figures(summary: Summary) -> Padding:
    """Show the primary metric on the common test rows, for what they are."""
    table, primary = _table(), summary.primary
    table.add_column(COMMON)
    table.add_column("mean", justify="right")
    table.add_column("worst peer", justify="right")
    rows = [
        (summary.method, summary.common_mean, summary.common_worst),
        ("  averaged model", summary.common_averaged, None),
        ("local only", summary.common_local_mean, summary.common_local_worst),
        ("pooled", summary.common_pooled, None),
    ]
    for name, mean, worst in rows:
        if mean is not None:
            shown = "" if worst is None else told_figure(primary, worst)
            table.add_row(name, told_figure(primary, mean), shown)
    return _part(table)


def _others(summary: Summary) -> Table | None:
    """Show the other figures: the mean over peers, each on its own test rows."""
    names = [name for name in summary.own_figures if name != summary.primary.name]
    if not names:
        return None
    table = _table()
    table.add_column("other figures, own test rows")
    table.add_column("mean", justify="right")
    table.add_column("", style="dim")
    for name in names:
        metric = PrimaryMetric(name)
        lacking = summary.own_undefined.get(name, 0)
        note = f"not defined for {plural(lacking, 'peer')}" if lacking else ""
        table.add_row(metric.title, told_figure(metric, summary.own_figures[name]), note)
    return table


def _table(padding: tuple[int, int, int, int] = (0, 1, 0, 1)) -> Table:
    return Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        header_style="dim",
        padding=padding,
    )


def _part(shown: Table) -> Padding:
    """Set a part of the screen off by one blank line."""
    return Padding(shown, (1, 0, 0, 3))


def _direction(primary: PrimaryMetric) -> str:
    return "" if primary.larger_is_better else " (less is better)"


def _costs(summary: Summary) -> Padding:
    grid = Table.grid(padding=(0, 3))
    lost = percent(summary.lost / summary.peer_rounds) if summary.peer_rounds else percent(0)
    rows = [
        ("others saw", summary.seen),
        ("consensus distance", scientific(summary.consensus_distance)),
        ("sent per peer", data_size(summary.bytes_per_peer)),
        ("peers online", f"{count(summary.online)} of {count(summary.peers)}"),
        ("rounds lost", f"{count(summary.lost)} of {count(summary.peer_rounds)} ({lost})"),
        (time_name(summary.world), duration(summary.virtual_s)),
        ("wall time", duration(summary.wall_s)),
    ]
    if summary.masked_sums is not None:
        rows.insert(1, ("masked sums", _masked_sums(summary.masked_sums)))
    for name, value in rows:
        grid.add_row(Text(f"{name:<17}", style="dim"), value)
    return Padding(grid, (1, 0, 0, 2))


def _masked_sums(sums: MaskedSums) -> str:
    ended = f"{count(sums.summed)} of {count(sums.formed)} sessions"
    notes = [f"{count(sums.recovered)} in spite of dropouts"] if sums.recovered else []
    if sums.blamed:
        notes.append(f"{count(sum(sums.blamed.values()))} members blamed")
    if sums.weights_capped:
        notes.append(f"{count(sums.weights_capped)} weights capped")
    return f"{ended} ({', '.join(notes)})" if notes else ended


def show_comparison(console: Console, names: Sequence[str], summaries: Sequence[Summary]) -> None:
    """Show runs as rows of one table; the best of each figure is bold."""
    best = {name: _best(summaries, name) for name in ("own_mean", "own_worst", "common_mean")}
    columns: list[tuple[str, Callable[[Summary], Text | str], bool]] = [
        ("gain", _mean_gain, True),
        ("lose", lambda s: count(s.lost_by_joining), True),
        ("mean", lambda s: _marked(s, "own_mean", best), True),
        ("worst", lambda s: _marked(s, "own_worst", best), True),
        ("local", lambda s: told_figure(s.primary, s.own_local_mean), True),
        ("pooled", lambda s: told_figure(s.primary, s.own_pooled_mean), False),
        ("common", lambda s: _marked(s, "common_mean", best), True),
        ("averaged", lambda s: told_figure(s.primary, s.common_averaged), False),
        ("consensus", lambda s: scientific(s.consensus_distance), False),
        ("sent/peer", lambda s: data_size(s.bytes_per_peer), False),
        ("lost", lambda s: percent(s.lost / s.peer_rounds if s.peer_rounds else None), False),
        (_common_time(summaries), lambda s: duration(s.virtual_s), False),
    ]
    # A narrow terminal has room for the names only if some figures stay in the page.
    shown = [entry for entry in columns if entry[2] or console.width >= 120]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    table.add_column("run", overflow="fold", min_width=16)
    for heading, _, _ in shown:
        table.add_column(heading, justify="right", no_wrap=True)
    for name, summary in zip(names, summaries, strict=True):
        table.add_row(name, *(cell(summary) for _, cell, _ in shown))
    console.print(table)


def show_repetitions(
    console: Console, groups: Sequence[Repetitions], summaries: Mapping[str, Summary]
) -> None:
    """Show scenarios that were run with several seeds: means over seeds, and how sure they are."""
    if all(len(group.runs) == 1 for group in groups):
        return
    columns: list[tuple[str, Callable[[Summary], float | None], bool]] = [
        ("gain", lambda s: None if s.mean_gain is None else s.mean_gain.mean, True),
        ("mean", lambda s: s.own_mean, False),
        ("worst", lambda s: s.own_worst, False),
        ("common", lambda s: s.common_mean, False),
    ]
    table = _table()
    table.add_column("over seeds", overflow="fold", min_width=16)
    for heading in ("seeds", *(heading for heading, *_ in columns)):
        table.add_column(heading, justify="right", no_wrap=True)
    for group in groups:
        found = (
            interval_of(look(summaries[name]) for name in group.runs) for _, look, _ in columns
        )
        cells = [
            told_over_seeds(group.first.primary, interval, is_gain=is_gain)
            for interval, (_, _, is_gain) in zip(found, columns, strict=True)
        ]
        table.add_row(group.name, count(len(set(group.seeds))), *cells)
    console.print(_part(table))
    told = "± is half of the 95% interval of the mean over seeds; of two seeds, both figures."
    console.print(Padding(Text(told, style="dim"), (0, 0, 1, 3)))


def told_over_seeds(primary: PrimaryMetric, interval: Interval | None, *, is_gain: bool) -> str:
    """Write a mean over seeds with its interval; of two seeds, the two figures."""
    if interval is None:
        return "–"

    def told(value: float) -> str:
        text = told_gain(primary, value) if is_gain else told_figure(primary, value)
        return text.removesuffix(" points").removesuffix(" %")

    if interval.half is not None:
        half = told_figure(primary, interval.half).removesuffix(" %")
        return f"{told(interval.mean)} ± {half}"
    if interval.count == 1:
        return told(interval.mean)
    return f"{told(interval.low)}, {told(interval.high)}"


def _common_time(summaries: Sequence[Summary]) -> str:
    names = {time_name(summary.world) for summary in summaries}
    return names.pop() if len(names) == 1 else "time"


def _mean_gain(summary: Summary) -> str:
    return "–" if summary.mean_gain is None else told_gain(summary.primary, summary.mean_gain.mean)


def _best(summaries: Sequence[Summary], name: str) -> float | None:
    """Return the best of a figure; None where runs are measured by different metrics."""
    primaries = {summary.primary for summary in summaries}
    found: list[float] = [
        value for summary in summaries if (value := getattr(summary, name)) is not None
    ]
    if len(primaries) != 1 or not found:
        return None
    return max(found) if primaries.pop().larger_is_better else min(found)


def _marked(summary: Summary, name: str, best: Mapping[str, float | None]) -> Text:
    value: float | None = getattr(summary, name)
    style = "bold green" if value is not None and value == best[name] else ""
    return Text(told_figure(summary.primary, value), style=style)
