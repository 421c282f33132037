"""`p2pfl peer check`: whom a peer reaches, and who reaches it; as tables, or JSON."""

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from p2pfl.cli.errors import DIFFERENT, BadInput, peer_errors
from p2pfl.cli.passphrases import read_keys_of
from p2pfl.daemon.config import PeerFolder, read_config
from p2pfl.daemon.control import CHECK_TIMEOUT_S, ask
from p2pfl.daemon.errors import NotRunning
from p2pfl.store.errors import StoreError

PAIRS_SHOWN_MAX = 16
"""Members of whom all pairs are shown; of more the problems are listed only, and JSON has all."""


def check(folder: Path, *, wait_s: float, as_json: bool) -> int:
    """Check whom the peer of a folder reaches; return the exit code."""
    with peer_errors():
        config = read_config(folder)
        try:
            found = ask(PeerFolder(folder).control, {"command": "check"}, CHECK_TIMEOUT_S)
        except NotRunning:
            keys = read_keys_of(folder, config)
            from p2pfl.daemon.checking import check_peer

            try:
                found = check_peer(PeerFolder(folder), config, keys, wait_s=wait_s)
            except StoreError as error:
                raise BadInput(str(error)) from None
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        _show(Console(soft_wrap=True), found)
    return 0 if found["ok"] else DIFFERENT


def _show(console: Console, found: dict[str, Any]) -> None:
    running = "runs" if found["is_running"] else "does not run yet"
    console.print(
        Text.assemble(
            (found["name"], "bold"),
            f" {running}   p2pfl {found['software']}, {found['protocol']}   ",
            (f"group {found['group'][:16]}", "dim"),
        )
    )
    console.print(_members(found))
    if 1 < len(found["members"]) < PAIRS_SHOWN_MAX:
        console.print(_pairs(found))
    for problem in found["problems"]:
        console.print(f"problem: {problem}", style="red", markup=False, highlight=False)
    for note in found["notes"]:
        console.print(f"note: {note}", style="yellow", markup=False, highlight=False)
    if found["ok"]:
        console.print("all members are linked, and agree", style="green", highlight=False)


def _members(found: dict[str, Any]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    headings = ("member", "we dial", "dials us", "link", "round trip", "clock", "runs", "p2pfl")
    for heading in (*headings, "group"):
        table.add_column(heading, no_wrap=True)
    for row in found["members"]:
        cells = [
            row["name"],
            _outcome(row["dial"]),
            _outcome(row["dials_us"]),
            _outcome(row["link"]),
            "" if row["round_trip_ms"] is None else f"{row['round_trip_ms']:.1f} ms",
        ]
        if row["is_heard"]:
            cells += [
                f"{row['clock_ahead_ms']:+.0f} ms",
                "yes" if row["is_running"] else "no",
                row["software"],
                row["group"][:8],
            ]
        table.add_row(*cells)
    return table


def _pairs(found: dict[str, Any]) -> Table:
    """Lay out who has a link to whom, as each row's member says."""
    names = [found["name"], *(row["name"] for row in found["members"])]
    cells = {(pair["from"], pair["to"]): pair for pair in found["pairs"]}
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", title_justify="left")
    table.title = "who says what: can dial / has a link"
    table.add_column("from \\ to")
    for name in names:
        table.add_column(name)
    for one in names:
        row = [Text(one)]
        for two in names:
            pair = cells.get((one, two))
            row.append(Text("-" if one == two else "?", "dim") if pair is None else _cell(pair))
        table.add_row(*row)
    return table


def _cell(pair: dict[str, Any]) -> Text:
    dial = {"ok": "yes", "untried": "?"}.get(pair["dial"], "no")
    link = {"up": "yes", "not_yet": "?"}.get(pair["link"], "no")
    return Text(f"{dial}/{link}", "green" if link == "yes" else "yellow")


def _outcome(word: str) -> Text:
    if word in ("ok", "up"):
        return Text("yes", "green")
    if word in ("untried", "not_yet"):
        return Text("?", "dim")
    return Text(word.replace("_", " "), "yellow")
