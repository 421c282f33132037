"""The report's table of who took part in a group's models."""

from html import escape

from p2pfl.cli.quantities import count, percent
from p2pfl_simulations.report.page import section, table
from p2pfl_simulations.results.participation import overdue_sentence
from p2pfl_simulations.results.run import ParticipationRow, RunResult


def participation_section(run: RunResult) -> str:
    """Write each member's share of the models; nothing where there is no group."""
    rows = run.participation
    if not rows:
        return ""
    warning = overdue_sentence(rows)
    return section(
        "Who took part",
        "In how many of the certified models each member's update is.",
        f'<p class="warning">{escape(warning)}</p>' if warning else "",
        table(
            ["member", "weight", "in", "share", "last in", "why out, last"],
            [_cells(row) for row in rows],
        ),
    )


def _cells(row: ParticipationRow) -> list[str]:
    return [
        escape(row.name),
        f"{row.weight:g}",
        f"{count(row.heights_in)} of {count(row.heights)}",
        percent(row.share),
        count(row.last_height) if row.last_height else "never",
        escape(row.cause.replace("_", " ")) or "&nbsp;",
    ]
