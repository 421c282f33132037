"""`p2pfl task ...`: what it accepts. Nothing heavy is imported here (see main.py)."""

from pathlib import Path
from typing import Annotated

import typer

from p2pfl.cli.options import JsonOption

app = typer.Typer(
    help="Prepare what a group learns: describe tables, make up rows, try a task.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command(
    epilog="Examples:\n\n"
    "[bold]p2pfl task describe berlin.csv --target died > patients.toml[/]\n\n"
    "[bold]p2pfl task describe sites --target died[/]"
)
def describe(
    tables: Annotated[
        list[Path], typer.Argument(metavar="TABLE...", help="Tables, or folders of tables.")
    ],
    target: Annotated[
        str, typer.Option("--target", metavar="COLUMN", help="The column to predict.")
    ],
) -> None:
    """Draft a schema from own tables: types, ranges, categories, means and deviations.

    It tells whoever gets it these figures of your rows: read it before you hand it on.
    """
    from p2pfl.cli.task_preparing import describe as describe_tables

    describe_tables(tables, target=target)


@app.command(
    epilog="Example:  [bold]p2pfl task constants patients.toml runs/constants-1/model.safetensors"
    " > agreed.toml[/]"
)
def constants(
    schema: Annotated[Path, typer.Argument(metavar="SCHEMA", help="A schema, in TOML.")],
    model: Annotated[
        Path,
        typer.Argument(metavar="MODEL", help="The model of a run of the task tabular-constants."),
    ],
) -> None:
    """Print a schema with the means, deviations and most frequent categories that a run found."""
    from p2pfl.cli.task_preparing import print_constants

    print_constants(schema, model)


@app.command(epilog="Example:  [bold]p2pfl task mock patients.toml mock.csv --rows 500 --seed 1[/]")
def mock(
    schema: Annotated[Path, typer.Argument(metavar="SCHEMA", help="A schema, in TOML.")],
    table: Annotated[Path, typer.Argument(metavar="FILE", help="A new CSV file.")],
    rows: Annotated[
        int, typer.Option("--rows", metavar="N", min=1, max=10_000_000, help="How many rows.")
    ] = 500,
    seed: Annotated[
        int, typer.Option("--seed", metavar="S", min=0, help="Another seed is another site.")
    ] = 1,
) -> None:
    """Make up rows of a schema, of which none is real."""
    from p2pfl.cli.task_preparing import write_mock_rows

    write_mock_rows(schema, table, rows=rows, seed=seed)


@app.command(
    name="try",
    epilog="Examples:\n\n"
    "[bold]p2pfl task try my_task.py:MyTask[/]\n\n"
    "[bold]p2pfl task try patients.toml --data sites/berlin.csv --set hidden=[32,16][/]\n\n"
    "[bold]p2pfl task try readmissions.bundle[/]",
)
def try_task(
    task: Annotated[
        str,
        typer.Argument(
            metavar="TASK",
            help="my_task.py:MyTask, a schema, a bundle, or the name of a built-in task.",
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="DIR",
            help="Where its data are; if not given, made-up rows of a schema or a bundle.",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            "-s",
            metavar="KEY=VALUE",
            help="An option of the task; may be given several times.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Run everything of a task once, and show what will travel, how large it is, and how fast."""
    from p2pfl.cli.task_trying import try_once

    try_once(task, data=data, options=settings or [], as_json=json)


@app.command(
    epilog="Example:  [bold]p2pfl task begin readmissions.bundle start.safetensors --seed 7[/]"
)
def begin(
    task: Annotated[
        str,
        typer.Argument(
            metavar="TASK",
            help="my_task.py:MyTask, a schema, a bundle, or the name of a built-in task.",
        ),
    ],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file.")],
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="Where its data are, if it needs some."),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", metavar="S", min=0, help="Another seed is another start.")
    ] = 1,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", metavar="KEY=VALUE", help="An option of the task."),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            "--model",
            metavar="PEER",
            help="Begin with the newest model of this peer, of an earlier group.",
        ),
    ] = None,
) -> None:
    """Make the model that a group begins with: once, for all its members."""
    from p2pfl.cli.task_trying import write_begin

    write_begin(task, file, data=data, options=settings or [], seed=seed, model_of=model)


@app.command(
    epilog="Example:  [bold]p2pfl task pack readmissions readmissions.bundle"
    " --task readmissions:Readmissions[/]"
)
def pack(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="Code, schema, mock/ with made-up rows, requirements.txt."
        ),
    ],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file.")],
    task: Annotated[
        str,
        typer.Option("--task", metavar="T", help="my_task:MyTask, or tabular with a schema."),
    ],
) -> None:
    """Pack what a group runs into one file, whose digest its members agree on."""
    from p2pfl.cli.bundles import pack_bundle

    pack_bundle(folder, file, task)


@app.command(epilog="Example:  [bold]p2pfl task show readmissions.bundle --peer berlin[/]")
def show(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle.")],
    peer: Annotated[
        Path | None,
        typer.Option(
            "--peer", metavar="DIR", help="Show what differs from what was approved there before."
        ),
    ] = None,
    file: Annotated[
        str | None, typer.Option("--file", metavar="NAME", help="Print one of its files.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Show what is in a bundle, and what has changed since the last one that was approved."""
    from p2pfl.cli.bundles import show_bundle

    show_bundle(bundle, peer, name=file, as_json=json)


@app.command(epilog="Example:  [bold]p2pfl task approve readmissions.bundle berlin[/]")
def approve(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle.")],
    peer: Annotated[Path, typer.Argument(metavar="DIR", help="A peer's folder.")],
    digest: Annotated[
        str | None,
        typer.Option(
            "--digest",
            metavar="D",
            help="The first 16 digits of its digest, or more, as you have them from the charter;"
            " asked at the terminal if not given.",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            "-s",
            metavar="KEY=VALUE",
            help="An option of the task to try it with; those of the charter in the peer's folder"
            " if not given.",
        ),
    ] = None,
) -> None:
    """Try a bundle on its made-up rows, and note that this peer may run it.

    Read it first: a task runs with the peer's rights and sees your rows.
    """
    from p2pfl.cli.bundles import approve_bundle

    approve_bundle(bundle, peer, digest=digest, options=settings or [])
