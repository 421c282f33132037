"""`p2pfl privacy ...`: what it accepts. Nothing heavy is imported here (see main.py)."""

from pathlib import Path
from typing import Annotated

import typer

from p2pfl.cli.options import JsonOption

app = typer.Typer(
    help="Plan differential privacy and keep budgets of data.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command(
    epilog="Examples:\n\n"
    "[bold]p2pfl privacy plan --members 16 --rows 16000 --rate 1/16 --rounds 200 --epsilon 2"
    " --drops .02[/]\n\n"
    "[bold]p2pfl privacy plan --members 16 --rows 16000 --rate 1/16 --rounds 200 --noise 1.5[/]"
    "  which epsilon?\n\n"
    "[bold]p2pfl privacy plan --members 16 --rows 16000 --rate 1/16 --noise 1.5 --epsilon 4[/]"
    "  how many rounds?"
)
def plan(
    members: Annotated[int, typer.Option(help="Members of the group, 5 to 128.")],
    rows: Annotated[int | None, typer.Option(help="Rows of all members together.")] = None,
    rate: Annotated[
        str, typer.Option(metavar="P", help="Chance of each row to be in a round's lot: 1/16.")
    ] = "1",
    rounds: Annotated[
        int | None, typer.Option(help="Rounds, with those that come to nothing.")
    ] = None,
    epsilon: Annotated[float | None, typer.Option(help="What may be claimed.")] = None,
    noise: Annotated[float | None, typer.Option(help="Deviation of the noise, in clips.")] = None,
    delta: Annotated[
        float | None, typer.Option(help="Of epsilon: at most 1 in 10 times the rows; 1e-5 or less.")
    ] = None,
    drops: Annotated[float, typer.Option(help="Chance of a member to be away in a round.")] = 0.0,
    least: Annotated[
        int | None, typer.Option(help="Members that must be in a sum; worked out from drops.")
    ] = None,
    colluding: Annotated[
        int | None, typer.Option(help="Members that may collude; all that may lie.")
    ] = None,
    parameters: Annotated[int | None, typer.Option(help="Of the model.")] = None,
    unit: Annotated[str, typer.Option(help="What is protected: record or member.")] = "record",
    trust: Annotated[
        str, typer.Option(help="coalition: all but those that collude add noise; or nobody.")
    ] = "coalition",
    steps: Annotated[int, typer.Option(help="Local steps a round, if nobody is trusted.")] = 1,
    json: JsonOption = False,
) -> None:
    """Work out a plan: give two of --epsilon, --noise and --rounds; the third is found.

    It says what each adversary can learn, in figures and in words.
    """
    from p2pfl.cli.privacy_plans import show_plan

    show_plan(
        {
            "members": members,
            "rows": rows,
            "rate": rate,
            "rounds": rounds,
            "epsilon": epsilon,
            "noise": noise,
            "delta": delta,
            "drops": drops,
            "least": least,
            "colluding": colluding,
            "entries": parameters,
            "unit": unit,
            "trust": trust,
            "steps": steps,
        },
        as_json=json,
    )


LedgerPath = Annotated[
    Path, typer.Argument(metavar="LEDGER", help="The data set's ledger: a file beside the data.")
]
AnchorPath = Annotated[
    Path,
    typer.Option(
        "--anchor",
        metavar="FILE",
        help="What tells a restored ledger: a file that no backup of the data takes.",
    ),
]


@app.command(
    name="open",
    epilog="Example:  [bold]p2pfl privacy open data/budget --anchor /var/lib/p2pfl/wards.anchor"
    " --dataset wards --epsilon 4[/]",
)
def open_budget(
    path: LedgerPath,
    anchor: AnchorPath,
    dataset: Annotated[str, typer.Option(help="What it is of, for people.")],
    epsilon: Annotated[float, typer.Option(help="What all groups together may cost.")],
    delta: Annotated[float, typer.Option(help="Of epsilon.")] = 1e-5,
) -> None:
    """Open a data set's budget: what its owner allows, over all groups that it joins."""
    from p2pfl.cli.privacy_budgets import open_budget as make

    make(path, anchor, dataset=dataset, epsilon=epsilon, delta=delta)


@app.command()
def ledger(path: LedgerPath, json: JsonOption = False) -> None:
    """Show all records of a data set's budget; the chain is checked first."""
    from p2pfl.cli.privacy_budgets import show_records

    show_records(path, as_json=json)


@app.command(
    epilog="Exit codes: 0 it is where its anchor says; 1 it is not, so nothing can be spent;"
    " 2 there is none."
)
def status(path: LedgerPath, anchor: AnchorPath, json: JsonOption = False) -> None:
    """Show what is reserved, spent and left of a data set's budget."""
    from p2pfl.cli.privacy_budgets import show_status

    raise typer.Exit(show_status(path, anchor, as_json=json))


@app.command()
def forfeit(
    path: LedgerPath,
    anchor: AnchorPath,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Count every charter ever joined in full, after a ledger was restored from a backup.

    No charter goes on; what is left of the budget is for new ones. Without an anchor nothing is.
    """
    from p2pfl.cli.privacy_budgets import forfeit_budget

    forfeit_budget(path, anchor, is_sure=yes)


@app.command(
    epilog="Examples:\n\n"
    "[bold]p2pfl privacy audit --members 5 --rate 1/4 --rounds 20 --epsilon 1[/]\n\n"
    "[bold]p2pfl privacy audit --members 5 --rate 1/4 --rounds 20 --epsilon 1 --plant"
    " unclipped-row[/]  is it found?\n\n"
    "Exit codes: 0 nothing refutes the claim; 1 something does; 2 no such audit."
)
def audit(
    members: Annotated[int, typer.Option(help="Members of the group, 5 to 128.")],
    rounds: Annotated[int, typer.Option(help="Rounds that are attacked together.")],
    epsilon: Annotated[float, typer.Option(help="What is claimed.")],
    rate: Annotated[
        str, typer.Option(metavar="P", help="Chance of each row to be in a round's lot: 1/4.")
    ] = "1",
    least: Annotated[
        int | None, typer.Option(help="Members that must be in a sum; all if not given.")
    ] = None,
    colluding: Annotated[
        int | None, typer.Option(help="Members that may collude; all that may lie.")
    ] = None,
    runs: Annotated[int, typer.Option(help="Attacks with the row, and as many without.")] = 4000,
    plant: Annotated[
        str,
        typer.Option(
            metavar="FAULT",
            help="half-the-noise, missing-share, unclipped-row, reused-noise or public-lots: what"
            " this audit is to find.",
        ),
    ] = "none",
    json: JsonOption = False,
) -> None:
    """Attack this machine's lots, noise and integers as colluding members would.

    What they prove of epsilon stands beside what the plan claims.
    """
    from p2pfl.cli.privacy_audits import show_audit

    asked = {"members": members, "rounds": rounds, "epsilon": epsilon, "rate": rate}
    asked |= {"least": least, "colluding": colluding}
    raise typer.Exit(show_audit(asked, runs=runs, plant=plant, as_json=json))
