"""`p2pfl charter ...`: all that founds a group, changes it, and shows what holds."""

import typer

from p2pfl.cli import charter_changing_commands, charter_founding_commands, charter_reading_commands

app = typer.Typer(
    help="Found a group and change it: keys, drafts, signatures, amendments. All of it works"
    " offline.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

for _part in (charter_founding_commands, charter_reading_commands, charter_changing_commands):
    app.add_typer(_part.app)
