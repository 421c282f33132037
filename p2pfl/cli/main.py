"""The entry point of the command line, and what it accepts.

`p2pfl --help` and completion must answer at once, so nothing heavy is imported here: each command
imports its module when it is called.
"""

import sys
from typing import Annotated

import typer

from p2pfl.cli import (
    charter_commands,
    ledger_commands,
    model_commands,
    peer_commands,
    privacy_commands,
    task_commands,
)
from p2pfl.cli.errors import INTERRUPTED, WRONG_INPUT, BadInput
from p2pfl.cli.options import JsonOption
from p2pfl.cli.plugins import CommandGroup

app = typer.Typer(
    name="p2pfl",
    cls=CommandGroup,
    help="Train one model together, without a coordinator: peers average their models by gossip.",
    epilog="Start with  [bold]p2pfl simulate hospitals[/]",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(peer_commands.app, name="peer")
app.add_typer(charter_commands.app, name="charter")
app.add_typer(ledger_commands.app, name="ledger")
app.add_typer(model_commands.app, name="model")
app.add_typer(task_commands.app, name="task")
app.add_typer(privacy_commands.app, name="privacy")


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
            command = getattr(getattr(error, "ctx", None), "command_path", "p2pfl")
            _complain(f"{message} ({command} --help tells more)")
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
