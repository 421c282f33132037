"""What the commands of runs accept. Nothing heavy is imported here (see p2pfl/cli/main.py)."""

from pathlib import Path
from typing import Annotated

import typer

from p2pfl.cli.options import JsonOption
from p2pfl_simulations.commands.completion import complete_scenarios

app = typer.Typer(rich_markup_mode="rich")

RunFolder = Annotated[Path, typer.Argument(metavar="RUN_DIR", help="A folder that a run wrote.")]


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
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Watch that what must hold does; exit code 1 where it does not."
        ),
    ] = False,
    json: JsonOption = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Show no progress, only the result.")
    ] = False,
) -> None:
    """Simulate a run, and report what it brought against local only and pooled training.

    Ctrl-C ends a run early; what has run by then is kept and reported.
    """
    from p2pfl_simulations.commands.simulating import simulate_scenario

    given = [
        f"{key}={value}"
        for key, value in (("peers", peers), ("rounds", rounds), ("seed", seed))
        if value is not None
    ]
    code = simulate_scenario(
        scenario,
        [*(settings or []), *given],
        out=out,
        is_checked=check,
        as_json=json,
        quiet=quiet,
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
    from p2pfl_simulations.commands.launching import launch_scenario

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
    from p2pfl_simulations.commands.replaying import replay_run

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
    from p2pfl_simulations.commands.reporting import report_runs

    report_runs(run_dirs, out=out, as_json=json)


@app.command()
def scenarios(json: JsonOption = False) -> None:
    """List the scenarios that ship."""
    from p2pfl_simulations.commands.listing import list_scenarios

    list_scenarios(as_json=json)
