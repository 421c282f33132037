"""`p2pfl model ...`: what it accepts. Nothing heavy is imported here (see main.py)."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Take a certified model out of a group, with the proof of what it is.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

CardOption = Annotated[
    Path | None,
    typer.Option("--card", metavar="FILE", help="Its card; by default, beside it: .card.json."),
]


@app.command(epilog="Example:  [bold]p2pfl model export berlin model.safetensors[/]")
def export(
    peer: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a peer in a group.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file.")],
    card: CardOption = None,
) -> None:
    """Write the newest certified model and its card: who trained and signed it, and the proof."""
    from p2pfl.cli.exporting import export_certified

    export_certified(peer, file, card)


@app.command(
    epilog="Exit codes: 0 it is that model; 1 it is not, and why; 2 something is missing.\n\n"
    "Example:  [bold]p2pfl model verify model.safetensors --founding group.charter[/]"
)
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A model.")],
    card: CardOption = None,
    founding: Annotated[
        Path | None,
        typer.Option("--founding", metavar="FILE", help="The founding charter of its group."),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option("--group", metavar="DIGEST", help="The group's name, in place of that."),
    ] = None,
) -> None:
    """Check offline that a model is one that a quorum of a group has signed."""
    from p2pfl.cli.exporting import verify_model

    raise typer.Exit(verify_model(file, card, founding, group))
