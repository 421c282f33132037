"""`p2pfl peer ...`: what it accepts. Nothing heavy is imported here (see main.py)."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Make a peer, and run it.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

PeerDir = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a peer.")]


@app.command(
    epilog="Examples:\n\n"
    "[bold]p2pfl peer init berlin --address /dns4/berlin.example/tcp/4001[/]\n\n"
    "[bold]p2pfl peer init berlin --listen /ip4/127.0.0.1/tcp/4101 --passphrase[/]"
)
def init(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A new folder, or one that is empty.")
    ],
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="N", help="What others call it; the folder's name if not."),
    ] = None,
    listen: Annotated[
        list[str] | None,
        typer.Option(
            "--listen",
            metavar="ADDR",
            help="Where to take connections; /ip4/0.0.0.0/tcp/4001 if not given. May be given"
            " several times.",
        ),
    ] = None,
    address: Annotated[
        list[str] | None,
        typer.Option(
            "--address",
            metavar="ADDR",
            help="Where others reach it: /ip4|ip6|dns|dns4|dns6/HOST/tcp/PORT. May be given"
            " several times.",
        ),
    ] = None,
    passphrase_file: Annotated[
        Path | None,
        typer.Option(
            "--passphrase-file", metavar="FILE", help="Seal the key by the passphrase in a file."
        ),
    ] = None,
    passphrase: Annotated[
        bool, typer.Option("--passphrase", help="Seal the key by a passphrase that is asked for.")
    ] = False,
) -> None:
    """Make the identity and settings of a new peer, and its card for the group."""
    from p2pfl.cli.peer_setup import make_peer_folder

    make_peer_folder(
        folder,
        name=name,
        listen=listen or [],
        addresses=address or [],
        passphrase_file=passphrase_file,
        ask=passphrase,
    )


@app.command(epilog="Example:  [bold]p2pfl peer card berlin[/]")
def card(folder: PeerDir) -> None:
    """Write the card of a peer again, after name or addresses in peer.toml have changed."""
    from p2pfl.cli.peer_setup import rewrite_card

    rewrite_card(folder)
