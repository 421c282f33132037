"""`p2pfl roster ...`: what it accepts. Nothing heavy is imported here (see main.py)."""

from pathlib import Path
from typing import Annotated

import typer

from p2pfl.cli.options import JsonOption
from p2pfl.cli.plugins import SCENARIOS, BrokenPlugin, load_plugin

app = typer.Typer(
    help="Keep the roster of a group: who is in it, and what its members agree on.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _complete_scenarios(incomplete: str) -> list[str]:
    try:
        names: list[str] = load_plugin(SCENARIOS, "names")(incomplete)
    except BrokenPlugin:
        return []
    return names


RosterPath = Annotated[Path, typer.Argument(metavar="FILE", help="A roster.")]


@app.command(
    epilog="Examples:\n\n"
    "[bold]p2pfl roster create roster.toml --name hospitals --task my_task:MyTask[/]\n\n"
    "[bold]p2pfl roster create roster.toml --set averaging.masking=real"
    " --set averaging.cohort_size=5[/]\n\n"
    "[bold]p2pfl roster create trial.toml --from-scenario hospitals --rounds 10[/]"
)
def create(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file.")],
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="N", help="The group's name; by default, the file's."),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option("--task", metavar="T", help="What the group learns: see p2pfl tasks."),
    ] = None,
    rounds: Annotated[
        int | None, typer.Option("--rounds", metavar="N", help="How many rounds.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", metavar="S", help="Decides the model that all start with."),
    ] = None,
    averaging: Annotated[
        str | None,
        typer.Option(
            "--averaging", metavar="A", help="The averaging algorithm; by default, cohorts."
        ),
    ] = None,
    from_scenario: Annotated[
        str | None,
        typer.Option(
            "--from-scenario",
            metavar="SCENARIO",
            help="Make the roster of a trial from a scenario. The members split its data among"
            " them, and all random draws are known.",
            autocompletion=_complete_scenarios,
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Set any key of the roster, such as averaging.cohort_size=5. The value is TOML;"
            " a bare word is a string. May be given several times.",
        ),
    ] = None,
) -> None:
    """Make a roster without members."""
    from p2pfl.cli.rosters import create_roster

    given = {
        "name": name,
        "learning.task": task,
        "rounds": rounds,
        "seed": seed,
        "averaging.algorithm": averaging,
    }
    create_roster(
        file,
        {key: value for key, value in given.items() if value is not None},
        settings or [],
        scenario=from_scenario,
    )


@app.command(epilog="Example:  [bold]p2pfl roster add roster.toml cards/*.toml[/]")
def add(
    file: RosterPath,
    cards: Annotated[
        list[Path], typer.Argument(metavar="CARD...", help="Cards that p2pfl peer init made.")
    ],
) -> None:
    """Admit peers by their cards; the card of a member updates its addresses."""
    from p2pfl.cli.rosters import add_cards

    add_cards(file, cards)


@app.command(epilog="Example:  [bold]p2pfl roster show roster.toml --json | jq .group_id[/]")
def show(
    file: RosterPath,
    json: JsonOption = False,
) -> None:
    """Show the members, the group id, and how well the members' models are protected."""
    from p2pfl.cli.rosters import show_roster

    show_roster(file, as_json=json)


@app.command(epilog="Example:  [bold]p2pfl roster verify roster.toml --peer berlin[/]")
def verify(
    file: RosterPath,
    peer: Annotated[
        Path | None,
        typer.Option(
            "--peer", metavar="DIR", help="Check, too, that the peer in this folder is a member."
        ),
    ] = None,
) -> None:
    """Check that a group can start with a roster; if not, name each fault (exit code 2)."""
    from p2pfl.cli.rosters import verify_roster

    verify_roster(file, peer)
