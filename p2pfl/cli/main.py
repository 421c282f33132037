"""The entry point of the command line, and what it accepts.

`p2pfl --help` and completion must answer at once, so nothing heavy is imported here: each command
imports its module when it is called.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from p2pfl.cli import peer_commands, roster_commands
from p2pfl.cli.completion import complete_scenarios
from p2pfl.cli.errors import INTERRUPTED, WRONG_INPUT, BadInput

app = typer.Typer(
    name="p2pfl",
    help="Train one model together, without a coordinator: peers average their models by gossip.",
    epilog="Start with  [bold]p2pfl simulate hospitals[/]",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(peer_commands.app, name="peer")
app.add_typer(roster_commands.app, name="roster")

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN_DIR", help="A folder that a run wrote.")]


def main() -> None:
    """Run `p2pfl`: wrong input is one line and exit code 2, Ctrl-C is exit code 130."""
    usage_error = typer.BadParameter.__mro__[2]  # What typer raises for all wrong arguments.
    try:
        code = app(prog_name="p2pfl", standalone_mode=False) or 0
    except BadInput as error:
        _complain(str(error))
        code = WRONG_INPUT
    except (KeyboardInterrupt, typer.Abort):
        _complain("interrupted")
        code = INTERRUPTED
    except Exception as error:
        if not isinstance(error, usage_error):
            raise
        if message := _written(error):  # Without a command the help is shown, and no more said.
            _complain(f"{message} (p2pfl --help tells more)")
        code = WRONG_INPUT
    sys.exit(code)


def _written(error: Exception) -> str:
    """Take one of typer's own messages as one line."""
    message = " ".join(getattr(error, "format_message", lambda: str(error))().split())
    return message[:1].lower() + message[1:].rstrip(".")


def _complain(message: str) -> None:
    for line in message.splitlines():
        print(f"p2pfl: {line}", file=sys.stderr)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"p2pfl {version('p2pfl-peer')}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    del version


@app.command(
    epilog="Examples:\n\n"
    "[bold]p2pfl simulate hospitals[/]\n\n"
    "[bold]p2pfl simulate hospitals --peers 100 --seed 7[/]\n\n"
    "[bold]p2pfl simulate mine.toml --set averaging.cohort_size=16 --out runs/sixteen[/]\n\n"
    "[bold]p2pfl simulate hospitals --set 'averaging={algorithm=\"epidemic\", fanout=7}'[/]\n\n"
    "[bold]p2pfl simulate quick --json --quiet | jq .accuracy_mean[/]"
)
def simulate(
    scenario: Annotated[
        str,
        typer.Argument(
            metavar="SCENARIO",
            help="A TOML file, or the name of a scenario that ships: see p2pfl scenarios.",
            autocompletion=complete_scenarios,
        ),
    ],
    peers: Annotated[
        int | None, typer.Option("--peers", metavar="N", help="How many peers.")
    ] = None,
    rounds: Annotated[
        int | None, typer.Option("--rounds", metavar="N", help="How many rounds.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="S", help="The seed of all that is drawn.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Any setting by its dotted key; the value is TOML, a bare word is a string."
            " May be given several times.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Where to, instead of runs/NAME-SEED."),
    ] = None,
    json: JsonOption = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Show no progress, only the result.")
    ] = False,
) -> None:
    """Simulate a run, and report what it brought against local only and pooled training.

    Ctrl-C ends a run early; what has run by then is kept and reported.
    """
    from p2pfl.cli.simulating import simulate_scenario

    given = [
        f"{key}={value}"
        for key, value in (("peers", peers), ("rounds", rounds), ("seed", seed))
        if value is not None
    ]
    code = simulate_scenario(
        scenario, [*(settings or []), *given], out=out, as_json=json, quiet=quiet
    )
    raise typer.Exit(code)


@app.command(
    epilog="Examples:\n\n"
    "[bold]p2pfl launch hospitals --processes 8[/]\n\n"
    "[bold]p2pfl launch quick --processes 5 --set 'faults={crash={probability=0.1}}'[/]"
)
def launch(
    scenario: Annotated[
        str,
        typer.Argument(
            metavar="SCENARIO",
            help="A TOML file, or the name of a scenario that ships: see p2pfl scenarios.",
            autocompletion=complete_scenarios,
        ),
    ],
    processes: Annotated[
        int | None,
        typer.Option(
            "--processes", "-n", metavar="N", help="How many peers; the scenario's number if not."
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any setting, as in p2pfl simulate."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Where to, instead of runs/NAME-SEED."),
    ] = None,
    json: JsonOption = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Show no progress, only the result.")
    ] = False,
) -> None:
    """Run a scenario in real processes on this machine, each a peer daemon, and report it.

    Crashes, churn and dropouts of the scenario are done to the processes: they are killed, stopped
    and started again. Takes about 0.4 GB of memory a process where the task needs torch.
    """
    from p2pfl.cli.launching import launch_scenario

    given = [] if processes is None else [f"peers={processes}"]
    code = launch_scenario(
        scenario, [*(settings or []), *given], out=out, as_json=json, quiet=quiet
    )
    raise typer.Exit(code)


@app.command(epilog="Example:  [bold]p2pfl replay runs/hospitals-1[/]")
def replay(
    run_dir: RunFolder,
    json: JsonOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Run a run again and compare digests; exit code 1 if they differ.

    The digest is promised per class of machine: what differs of the machine, torch and threads
    is named.
    """
    from p2pfl.cli.replaying import replay_run

    raise typer.Exit(replay_run(run_dir, as_json=json, quiet=quiet))


@app.command(
    epilog="Examples:\n\n"
    "[bold]p2pfl report runs/hospitals-1[/]\n\n"
    "[bold]p2pfl report runs/* --out comparison.html[/]"
)
def report(
    run_dirs: Annotated[
        list[Path], typer.Argument(metavar="RUN_DIR...", help="Folders that runs wrote.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="The page to write, instead of report.html in the run's folder or"
            " comparison.html here.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Write the report of a run again, or compare several runs, on the terminal and as a page."""
    from p2pfl.cli.reporting import report_runs

    report_runs(run_dirs, out=out, as_json=json)


@app.command()
def scenarios(json: JsonOption = False) -> None:
    """List the scenarios that ship."""
    from p2pfl.cli.listing import list_scenarios

    list_scenarios(as_json=json)


@app.command()
def tasks(json: JsonOption = False) -> None:
    """List the built-in tasks."""
    from p2pfl.cli.listing import list_tasks

    list_tasks(as_json=json)


@app.command()
def topologies(json: JsonOption = False) -> None:
    """List the topologies."""
    from p2pfl.cli.listing import list_topologies

    list_topologies(as_json=json)


if __name__ == "__main__":
    main()
