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
    "[bold]p2pfl simulate quick --json --quiet | jq .mean_gain[/]"
)
def simulate(
    scenario: Annotated[
        str | None,
        typer.Argument(
            metavar="SCENARIO",
            help="A TOML file, or the name of a scenario that ships: see p2pfl scenarios.",
            autocompletion=complete_scenarios,
        ),
    ] = None,
    peers: Annotated[
        int | None, typer.Option("--peers", metavar="N", help="How many peers.")
    ] = None,
    rounds: Annotated[
        int | None, typer.Option("--rounds", metavar="N", help="How many rounds.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="S", help="Decides every random draw.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change any setting, such as averaging.cohort_size=16. The value is TOML; a bare"
            " word is a string. May be given several times.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="The folder to write, instead of runs/NAME-SEED."
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Check the protocol's invariants all along; exit code 1 if one is violated.",
        ),
    ] = False,
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads",
            metavar="N",
            min=1,
            help="Threads that train, instead of one for each core. No figure depends on it.",
        ),
    ] = None,
    resumable: Annotated[
        bool,
        typer.Option(
            "--resumable",
            help="Keep all that is learnt in the run's folder until the run ends, so that it can go"
            " on once it is killed.",
        ),
    ] = False,
    resume: Annotated[
        Path | None,
        typer.Option("--resume", metavar="RUN_DIR", help="Go on with a run that was killed."),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray", metavar="ADDRESS", help="Have the machines of a Ray cluster do the learning."
        ),
    ] = None,
    json: JsonOption = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Show no progress, only the result.")
    ] = False,
) -> None:
    """Simulate a scenario, and compare the result with training alone and with pooled data.

    Ctrl-C ends a run early. The rounds until then are kept and reported.
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
        threads=threads,
        is_resumable=resumable,
        resume=resume,
        ray=ray,
    )
    raise typer.Exit(code)


@app.command(
    epilog="Examples:\n\n"
    "[bold]p2pfl launch hospitals --processes 8[/]\n\n"
    "[bold]p2pfl launch consortium --faster 20[/]\n\n"
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
            "--processes",
            "-n",
            metavar="N",
            help="How many peers, instead of the scenario's number.",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change any setting, as in p2pfl simulate."
        ),
    ] = None,
    faster: Annotated[
        float,
        typer.Option(
            "--faster",
            metavar="K",
            min=1.0,
            help="Divide by K how long slower peers train, and when and how long things go wrong.",
        ),
    ] = 1.0,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="The folder to write, instead of runs/NAME-SEED."
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Check what peers report and leave behind; exit code 1 if wrong."
        ),
    ] = False,
    json: JsonOption = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Show no progress, only the result.")
    ] = False,
) -> None:
    """Run a scenario in real processes on this machine, each a peer, and report it.

    What goes wrong in the scenario happens to the processes: they are killed, frozen, started late
    and again, their links are cut, and slower ones train as long as the scenario says. A process
    takes about 0.4 GB of memory if the task needs torch.
    """
    from p2pfl_simulations.commands.launching import launch_scenario

    given = [] if processes is None else [f"peers={processes}"]
    code = launch_scenario(
        scenario,
        [*(settings or []), *given],
        faster=faster,
        out=out,
        is_checked=check,
        as_json=json,
        quiet=quiet,
    )
    raise typer.Exit(code)


@app.command(epilog="Example:  [bold]p2pfl replay runs/hospitals-1[/]")
def replay(
    run_dir: RunFolder,
    json: JsonOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Repeat a run, and compare the digests; exit code 1 if they differ.

    Another processor or another version of torch may round differently. If the machine is not as
    it was, the command says in what.
    """
    from p2pfl_simulations.commands.replaying import replay_run

    raise typer.Exit(replay_run(run_dir, as_json=json, quiet=quiet))


@app.command(
    epilog="Examples:\n\n"
    "[bold]p2pfl report runs/hospitals-1[/]\n\n"
    "[bold]p2pfl report runs/* --out comparison.html --charts figures[/]"
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
            help="The page to write, instead of report.html in the run's folder, or"
            " comparison.html here for several runs.",
        ),
    ] = None,
    charts: Annotated[
        Path | None,
        typer.Option(
            "--charts",
            metavar="DIR",
            help="Also write every chart, as SVG, and the numbers behind it, as CSV, to this"
            " folder. The page has them too: a link under each chart saves it.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Write the report of a run again, or compare several runs."""
    from p2pfl_simulations.commands.reporting import report_runs

    report_runs(run_dirs, out=out, charts=charts, as_json=json)


@app.command()
def scenarios(json: JsonOption = False) -> None:
    """List the scenarios that ship."""
    from p2pfl_simulations.commands.listing import list_scenarios

    list_scenarios(as_json=json)


@app.command(name="list")
def list_(
    kinds: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KIND]...",
            help="averaging, topologies, partitions, metrics, latencies, availability, faults,"
            " liars or tasks; all if none is given.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """List the parts that a scenario can name: those that ship, and those that are installed."""
    from p2pfl_simulations.commands.listing import list_parts

    list_parts(kinds or [], as_json=json)


@app.command(
    epilog="Examples:\n\n"
    "[bold]p2pfl sweep study.toml[/]\n\n"
    "[bold]p2pfl sweep study.toml --jobs 2 --out runs/second[/]\n\n"
    "[bold]p2pfl sweep study.toml --ray auto --store s3://bucket/study[/]"
)
def sweep(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="A TOML file; docs/studies.md.")],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the study, as seeds=5."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="The study's folder, instead of runs/NAME."),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", "-j", metavar="N", help="Cells at a time; one for each core."),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option("--ray", metavar="ADDRESS", help="Run the cells on a Ray cluster."),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            "--store", metavar="URL", help="With --ray: results come back by a store (fsspec URL)."
        ),
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Check the study, print its cells, and run none.")
    ] = False,
    report: Annotated[
        bool, typer.Option("--report", help="Write the report of what is there; run nothing.")
    ] = False,
    json: JsonOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Run every condition of a study with every seed, and report means, intervals and differences.

    Killed or interrupted, the same command goes on: finished cells are kept.
    """
    from p2pfl_simulations.commands.sweeping import sweep_study

    code = sweep_study(
        study,
        settings or [],
        out=out,
        jobs=jobs,
        ray=ray,
        store=store,
        is_plan=plan,
        is_report=report,
        as_json=json,
        quiet=quiet,
    )
    raise typer.Exit(code)
