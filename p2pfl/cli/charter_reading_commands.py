"""`p2pfl charter show | diff | erase | status | verify | dossier`: what they accept.

Nothing heavy is imported here (see main.py).
"""

from pathlib import Path
from typing import Annotated

import typer

from p2pfl.cli.charter_options import (
    FileArgument,
    FolderArgument,
    PredecessorOption,
    UnderOption,
)
from p2pfl.cli.options import JsonOption

app = typer.Typer()


@app.command(epilog="Example:  [bold]p2pfl charter show group.charter --toml > next.toml[/]")
def show(
    file: FileArgument,
    toml: Annotated[
        bool, typer.Option("--toml", help="Only its TOML: where an amendment begins.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Show all that a charter says, its phrase, and who has signed."""
    from p2pfl.cli.charters import show_charter

    show_charter(file, as_toml=toml, as_json=json)


@app.command(epilog="Example:  [bold]p2pfl charter diff group.charter next.charter[/]")
def diff(
    before: Annotated[Path, typer.Argument(metavar="BEFORE", help="A charter file.")],
    after: Annotated[Path, typer.Argument(metavar="AFTER", help="Another one.")],
) -> None:
    """Say in words what changes, which class of change it is, and who must still sign."""
    from p2pfl.cli.charters import diff_charters

    diff_charters(before, after)


@app.command(epilog="Example:  [bold]p2pfl charter erase group.charter[/]")
def erase(file: FileArgument) -> None:
    """Take free texts and contacts out of a charter file; the charter stays the same."""
    from p2pfl.cli.charters import erase_texts

    erase_texts(file)


@app.command(epilog="Example:  [bold]p2pfl charter status charters --member berlin[/]")
def status(
    folder: FolderArgument,
    member: Annotated[
        str | None, typer.Option("--member", metavar="NAME", help="Say what waits for this one.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Show the charter in force, what waits for whose approval, and dates that come near."""
    from p2pfl.cli.amendments import show_status

    show_status(folder, name=member, as_json=json)


@app.command(epilog="Example:  [bold]p2pfl charter verify charters[/]")
def verify(
    paths: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Charter files, or folders of them.")
    ],
    study: Annotated[
        list[Path] | None,
        typer.Option(
            "--study",
            metavar="FILE",
            help="Another group of some of the same members: warn if their models can be compared.",
        ),
    ] = None,
    under: UnderOption = None,
    predecessor: PredecessorOption = None,
) -> None:
    """Check charters from the founding on, offline; name the first fault (exit code 2)."""
    from p2pfl.cli.amendments import verify_charters

    verify_charters(paths, study or (), predecessor, under)


@app.command(epilog="Example:  [bold]p2pfl charter dossier charters > dossier.md[/]")
def dossier(
    folder: FolderArgument,
) -> None:
    """Print the facts for a record of processing, an impact assessment, a technical file."""
    from p2pfl.cli.dossiers import print_dossier

    print_dossier(folder)
