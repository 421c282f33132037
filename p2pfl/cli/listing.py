"""`p2pfl tasks` and `p2pfl topologies`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table


def list_tasks(*, as_json: bool) -> None:
    """List the built-in tasks."""
    from p2pfl.learner.tasks import built_in_tasks

    rows = []
    for task in built_in_tasks():
        row = asdict(task)
        rows.append({"task": row.pop("name"), **row, "description": row.pop("description")})
    show_rows(rows, as_json=as_json)
    if not as_json:
        Console().print(
            '  Bring your own tables with  task = "tabular"\n'
            '  Bring your own model with   task = "my_module:MyTask"',
            highlight=False,
            markup=False,
        )


def list_topologies(*, as_json: bool) -> None:
    """List the topologies."""
    from p2pfl_gossip.topology import TOPOLOGIES

    rows = [
        {"topology": kind.name, "takes": kind.parameter, "description": kind.description}
        for kind in TOPOLOGIES.values()
    ]
    show_rows(rows, as_json=as_json)


def show_rows(
    rows: Sequence[Mapping[str, Any]], *, as_json: bool, first_sentence: bool = False
) -> None:
    """Print rows as a table, or as JSON; with `first_sentence`, descriptions are cut to it."""
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    for index, key in enumerate(rows[0]):
        style = "bold" if index == 0 else ""
        if isinstance(rows[0][key], int):
            table.add_column(key, style=style, justify="right", no_wrap=True)
        else:
            table.add_column(key, style=style)
    for row in rows:
        table.add_row(*(_cell(key, value, first_sentence) for key, value in row.items()))
    Console().print(table)


def _cell(key: str, value: Any, first_sentence: bool) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    if key == "description" and first_sentence:
        return " ".join(str(value).split()).partition(". ")[0].rstrip(".")
    return "" if value is None else str(value)
