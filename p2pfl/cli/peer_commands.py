"""`p2pfl peer ...`: what it accepts. Nothing heavy is imported here (see main.py)."""

from pathlib import Path
from typing import Annotated

import typer

from p2pfl.cli.options import JsonOption

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
        typer.Option(
            "--name", metavar="N", help="What others call it; by default, the folder's name."
        ),
    ] = None,
    listen: Annotated[
        list[str] | None,
        typer.Option(
            "--listen",
            metavar="ADDR",
            help="Where to take connections; by default, /ip4/0.0.0.0/tcp/4001. May be given"
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
    rows: Annotated[
        int | None,
        typer.Option(
            "--rows",
            metavar="N",
            min=1,
            help="How many rows it has: its weight on its card, where members count by their rows,"
            " and then seen by all of them.",
        ),
    ] = None,
    passphrase_file: Annotated[
        Path | None,
        typer.Option(
            "--passphrase-file",
            metavar="FILE",
            help="Encrypt the key with the passphrase in this file.",
        ),
    ] = None,
    passphrase: Annotated[
        bool,
        typer.Option("--passphrase", help="Encrypt the key with a passphrase, which is asked for."),
    ] = False,
) -> None:
    """Make the identity and settings of a new peer."""
    from p2pfl.cli.peer_setup import make_peer_folder

    make_peer_folder(
        folder,
        name=name,
        listen=listen or [],
        addresses=address or [],
        rows=rows,
        passphrase_file=passphrase_file,
        ask=passphrase,
    )


@app.command(
    epilog="Exit codes: 0 all is well; 1 it has found a problem; 2 it cannot run as it is set up."
    "\n\nExample:  [bold]p2pfl peer check berlin[/]"
)
def check(
    folder: PeerDir,
    json: JsonOption = False,
    wait: Annotated[
        float,
        typer.Option(
            "--wait",
            metavar="S",
            min=0,
            max=600,
            help="Seconds to wait for members that cannot be dialled to dial this peer.",
        ),
    ] = 10.0,
) -> None:
    """Show which members reach each other: before the peer is started, or while it runs.

    Each member is dialled, and asked whom it reaches; it has to run, or to run peer check.
    """
    from p2pfl.cli.peer_check import check as check_reach

    raise typer.Exit(check_reach(folder, wait_s=wait, as_json=json))


@app.command(
    epilog="Exit codes: 0 it has left; 2 it cannot run as it is set up; 3 its disk is full, its"
    " journal damaged, or its key runs in another place as well."
    "\n\nExample:  [bold]p2pfl peer run berlin[/]"
)
def run(
    folder: PeerDir,
    until_eof: Annotated[
        bool,
        typer.Option(
            "--until-eof",
            help="Leave when standard input ends, too. For a program that starts peers, so that"
            " they end with it.",
        ),
    ] = False,
    draws: Annotated[
        str | None,
        typer.Option(
            "--draws",
            metavar="NAME",
            hidden=True,  # Not an operator's: p2pfl launch gives it to the peers of a trial.
            help="Name the random streams of training, so that a trial can be repeated; refused"
            " where peer.toml has no [trial].",
        ),
    ] = None,
) -> None:
    """Run a peer in the foreground, until Ctrl-C, SIGTERM or p2pfl peer stop.

    It then ends its round first, if that ends soon. Asked a second time, it leaves at once.
    """
    from p2pfl.cli.peer_running import run_foreground

    raise typer.Exit(run_foreground(folder, until_eof=until_eof, draws=draws))


@app.command(epilog="Example:  [bold]p2pfl peer status berlin --watch[/]")
def status(
    folder: PeerDir,
    json: JsonOption = False,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Show it again each second, until Ctrl-C.")
    ] = False,
) -> None:
    """Show what a running peer is doing, and which members it is linked to."""
    from p2pfl.cli.peer_running import show_status

    show_status(folder, as_json=json, watch=watch)


@app.command(epilog="Example:  [bold]p2pfl peer baseline berlin[/]")
def baseline(folder: PeerDir, json: JsonOption = False) -> None:
    """Train a model on this peer's own rows alone, to see what joining gives it.

    It takes the group's settings and as many rounds, and stays in the peer's folder. The peer may
    run meanwhile; p2pfl peer status then holds the joint model against it.
    """
    from p2pfl.cli.peer_baseline import make_baseline

    make_baseline(folder, as_json=json)


@app.command()
def stop(
    folder: PeerDir,
    now: Annotated[bool, typer.Option("--now", help="Do not end the round first.")] = False,
) -> None:
    """Ask a running peer to leave, and wait until it has."""
    from p2pfl.cli.peer_running import stop_peer

    stop_peer(folder, now=now)


@app.command()
def pause(folder: PeerDir) -> None:
    """Hold a running peer before its next round, until p2pfl peer resume."""
    from p2pfl.cli.peer_running import pause_peer

    pause_peer(folder)


@app.command()
def resume(
    folder: PeerDir,
    once_more: Annotated[
        bool,
        typer.Option(
            "--once-more",
            help="Have a peer that says spent give one more update from the model that rounds"
            " came to nothing from. Each such sum tells the others about as much as one more"
            " round; it is noted in acts.jsonl.",
        ),
    ] = False,
) -> None:
    """Let a paused peer go on; or one that has spent its updates give one more."""
    from p2pfl.cli.peer_running import resume_peer

    resume_peer(folder, once_more=once_more)


@app.command(epilog="Example:  [bold]p2pfl peer logs berlin --follow[/]")
def logs(
    folder: PeerDir,
    lines: Annotated[
        int, typer.Option("--lines", "-n", metavar="N", min=0, help="How many lines, from the end.")
    ] = 50,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print new lines as they come, until Ctrl-C.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Print the end of a peer's log; the peer need not run."""
    from p2pfl.cli.peer_running import show_logs

    show_logs(folder, lines=lines, follow=follow, as_json=json)


@app.command(epilog="Example:  [bold]p2pfl peer export berlin model.safetensors[/]")
def export(
    folder: PeerDir,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file.")],
    without_statistics: Annotated[
        bool,
        typer.Option(
            "--without-statistics",
            help="Leave out running means and variances of normalisation layers, which are worked"
            " out from this peer's training rows.",
        ),
    ] = False,
    newest: Annotated[
        bool, typer.Option("--newest", help="The last round's, whichever was best.")
    ] = False,
) -> None:
    """Write a peer's model as a file that torch loads; the peer may run meanwhile.

    It is of the round that is best on the peer's own rows to choose a model by
    (learning.validation), else of the last.
    """
    from p2pfl.cli.peer_export import export_model

    export_model(folder, file, has_statistics=not without_statistics, is_newest=newest)
