"""`p2pfl ledger ...`: what it accepts. Nothing heavy is imported here (see main.py)."""

from pathlib import Path
from typing import Annotated

import typer

from p2pfl.cli.options import JsonOption

app = typer.Typer(
    help="Look at a group's ledger: which model follows from which, and who signed it.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

LedgerPath = Annotated[
    Path,
    typer.Argument(
        metavar="PATH", help="The folder of a run or of a peer, or the file of a record."
    ),
]


@app.command(
    epilog="Examples:\n\n[bold]p2pfl ledger show runs/hospitals-0[/]\n\n"
    "[bold]p2pfl ledger show berlin --json[/]"
)
def show(
    path: LedgerPath,
    json: JsonOption = False,
    last: Annotated[
        int | None,
        typer.Option("--last", metavar="N", min=1, help="Show only the last N entries."),
    ] = None,
) -> None:
    """Show the certified history: who was in each model, who signed it, and who was left out.

    All of it is checked before anything is shown.
    """
    from p2pfl.cli.ledgers import show_ledger

    show_ledger(path, as_json=json, last=last)


@app.command(
    epilog="Exit codes: 0 the record is whole; 1 it is not, and the entry is named; 2 there is"
    " none.\n\nExample:  [bold]p2pfl ledger verify runs/hospitals-0[/]"
)
def verify(path: LedgerPath, json: JsonOption = False) -> None:
    """Check a record from its founding on: every signature, base, height, charter and proof.

    It takes no network and trusts nobody. What it cannot know is whether the founding charter is
    the one that you mean: compare the group's name that it prints with the one that you were told.
    """
    from p2pfl.cli.ledgers import verify_ledger

    raise typer.Exit(verify_ledger(path, as_json=json))


@app.command(epilog="Example:  [bold]p2pfl ledger export berlin > record.jsonl[/]")
def export(path: LedgerPath) -> None:
    """Print a record as JSON Lines: charters, entries, who took part. It is checked first."""
    from p2pfl.cli.exporting import export_ledger

    export_ledger(path)


@app.command(
    epilog="Examples:\n\n[bold]p2pfl ledger anchor berlin --service https://tsa.example[/]\n\n"
    "[bold]p2pfl ledger anchor berlin[/], and with the answer: "
    "[bold]p2pfl ledger anchor berlin --answer answer.tsr[/]"
)
def anchor(
    peer: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a peer.")],
    service: Annotated[
        str | None,
        typer.Option("--service", metavar="URL", help="A time-stamp service (RFC 3161)."),
    ] = None,
    answer: Annotated[
        Path | None,
        typer.Option("--answer", metavar="FILE", help="The answer of one, taken by hand."),
    ] = None,
) -> None:
    """Have the newest entry and the operator's acts time-stamped; without options: a request."""
    from p2pfl.cli.anchoring import anchor_ledger

    anchor_ledger(peer, service=service, answer=answer)


@app.command(epilog="Example:  [bold]p2pfl ledger anchors berlin --root tsa-root.pem[/]")
def anchors(
    peer: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a peer.")],
    root: Annotated[
        Path,
        typer.Option("--root", metavar="FILE", help="The service's root certificates, PEM."),
    ],
) -> None:
    """Check all time stamps of a record: when it was there at the latest (exit code 1 if not)."""
    from p2pfl.cli.anchoring import show_anchors

    raise typer.Exit(show_anchors(peer, root))
