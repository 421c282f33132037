"""What a person sees at the end: the result of a run, and several beside each other."""

from collections.abc import Callable, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from p2pfl.cli.quantities import count, data_size, duration, percent, scientific
from p2pfl_simulations.checkers import Violation
from p2pfl_simulations.commands.errors import VIOLATED
from p2pfl_simulations.results.claims import claim_sentence
from p2pfl_simulations.results.masked_sums import MaskedSums
from p2pfl_simulations.results.participation import overdue_sentence
from p2pfl_simulations.results.run import Run, time_name
from p2pfl_simulations.results.summary import (
    Summary,
    headline,
    loss_sentences,
    summarise,
    unfinished_sentence,
    verdict,
)

SHARE_SHOWN = 0.9
"""Members in a smaller share of the models are shown one by one."""

ROWS_SHOWN = 8
"""Of them, at most."""


def show_violation(violation: Violation) -> int:
    """Say in one line what did not hold; return the exit code."""
    told = Text(f"Violated: {violation}", style="bold red")
    Console(stderr=True).print(told, soft_wrap=True)
    return VIOLATED


def show_result(console: Console, run: Run, folder: Path) -> None:
    """Show what a run reached, against both baselines, what it cost, and where its report is."""
    summary = summarise(run)
    console.print()
    console.print(Text(headline(summary), style="bold"))
    console.print(Text(verdict(summary)))
    if summary.interrupted:
        ended = f"Ended early, after {summary.rounds_ended} of {summary.rounds} rounds."
        console.print(Text(ended, style="yellow"))
    elif summary.unfinished:
        console.print(Text(unfinished_sentence(summary), style="yellow"))
    if summary.failed:
        named = sorted({event.peer for event in run.events if event.kind == "training_failed"})
        peers = ", ".join(map(str, named[:12])) + (" ..." if len(named) > 12 else "")
        failed = f"Training gave no usable model {summary.failed} times (peers {peers})."
        console.print(Text(failed, style="yellow"))
    for told in loss_sentences(summary.losses):
        console.print(Text(told, style="yellow"))
    console.print(_accuracies(summary))
    console.print(_costs(summary))
    _show_participation(console, run)
    console.print(Padding(Text(claim_sentence(run.scenario), style="dim"), (0, 0, 1, 2)))
    for name, value in (("training", run.batching), ("digest", summary.digest[:32])):
        if value:  # Processes have no digest.
            console.print(Text.assemble((f"  {name:<20}", "dim"), value))
    console.print()
    # soft_wrap: a path that is broken in two lines is of no use to anybody.
    console.print(
        Text.assemble(("  report  ", "dim"), (str(folder / "report.html"), "bold")), soft_wrap=True
    )


def _show_participation(console: Console, run: Run) -> None:
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
            Padding(Text.assemble(("took part         ", "dim"), least_text), (0, 0, 1, 2))
        )
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    for heading in ("took part", "models", "share", "last in", "why out, last"):
        table.add_column(heading, justify="left" if heading == "took part" else "right")
    for row in low[:ROWS_SHOWN]:
        last = count(row.last_height) if row.last_height else "never"
        models = f"{count(row.heights_in)} of {count(row.heights)}"
        table.add_row(row.name, models, percent(row.share), last, row.cause.replace("_", " "))
    others = len(rows) - min(len(low), ROWS_SHOWN)
    if others:
        table.add_row(Text(f"{count(others)} others", style="dim"), "", "", "", "")
    console.print(Padding(table, (0, 0, 0, 2)))
    warning = overdue_sentence(rows)
    if warning:
        console.print(Padding(Text(warning, style="yellow"), (0, 0, 1, 2)))


def _accuracies(summary: Summary) -> Padding:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    table.add_column("accuracy")
    table.add_column("mean", justify="right")
    table.add_column("worst peer", justify="right")
    table.add_row(
        summary.method,
        percent(summary.accuracy_mean),
        percent(summary.accuracy_worst),
        style="bold",
    )
    table.add_row("  averaged model", percent(summary.accuracy_averaged), "")
    if summary.local_mean is not None:
        table.add_row("local only", percent(summary.local_mean), percent(summary.local_worst))
    if summary.pooled is not None:
        table.add_row("pooled", percent(summary.pooled), "")
    return Padding(table, (0, 0, 0, 2))


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
    return Padding(grid, (0, 0, 0, 2))


def _masked_sums(sums: MaskedSums) -> str:
    ended = f"{count(sums.summed)} of {count(sums.formed)} sessions"
    notes = [f"{count(sums.recovered)} in spite of dropouts"] if sums.recovered else []
    if sums.blamed:
        notes.append(f"{count(sum(sums.blamed.values()))} members blamed")
    if sums.weights_capped:
        notes.append(f"{count(sums.weights_capped)} weights capped")
    return f"{ended} ({', '.join(notes)})" if notes else ended


def show_comparison(console: Console, names: Sequence[str], summaries: Sequence[Summary]) -> None:
    """Show runs as rows of one table; the best of each accuracy is bold."""
    best_mean = _best([summary.accuracy_mean for summary in summaries])
    best_worst = _best([summary.accuracy_worst for summary in summaries])
    columns: list[tuple[str, Callable[[Summary], Text | str], bool]] = [
        ("mean", lambda s: _marked(s.accuracy_mean, best_mean), True),
        ("worst", lambda s: _marked(s.accuracy_worst, best_worst), True),
        ("averaged", lambda s: percent(s.accuracy_averaged), False),
        ("local", lambda s: percent(s.local_mean), True),
        ("pooled", lambda s: percent(s.pooled), True),
        ("consensus", lambda s: scientific(s.consensus_distance), False),
        ("sent/peer", lambda s: data_size(s.bytes_per_peer), True),
        ("lost", lambda s: percent(s.lost / s.peer_rounds if s.peer_rounds else None), True),
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


def _common_time(summaries: Sequence[Summary]) -> str:
    names = {time_name(summary.world) for summary in summaries}
    return names.pop() if len(names) == 1 else "time"


def _best(values: Sequence[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _marked(value: float | None, best: float | None) -> Text:
    return Text(percent(value), style="bold green" if value is not None and value == best else "")
