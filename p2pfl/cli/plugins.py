"""Commands that other packages bring: entry points, loaded when they are asked for.

A package adds commands to `p2pfl` by an entry point of the group `p2pfl.commands` that names a
`typer.Typer`. Its module should import nothing heavy: `p2pfl --help` loads it.
"""

import sys
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeAlias

import typer
from typer.core import TyperGroup

from p2pfl.cli.errors import BadInput

COMMANDS = "p2pfl.commands"

Context: TypeAlias = Any
Command: TypeAlias = Any
"""Click's, which typer takes from a package of that name or brings itself, by its version."""


class BrokenPlugin(Exception):
    """An entry point that cannot be used; the message is for people."""


class CommandGroup(TyperGroup):
    """Our own commands, then those of plug-ins; ours are found without a look at these."""

    def get_command(self, ctx: Context, cmd_name: str) -> Command:
        """Find a command by its name; None if there is none."""
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        found, errors = plugin_commands()
        if cmd_name not in found and errors:
            raise BadInput(f"no command {cmd_name!r} here; {'; '.join(errors)}")
        return found.get(cmd_name)

    def list_commands(self, ctx: Context) -> list[str]:
        """Name all commands, and tell of plug-ins that cannot be loaded."""
        own = super().list_commands(ctx)
        found, errors = plugin_commands()
        for error in errors:
            print(f"p2pfl: {error}", file=sys.stderr)
        return [*own, *(name for name in found if name not in own)]


@cache
def plugin_commands() -> tuple[dict[str, Command], list[str]]:
    """Load the commands of all plug-ins; return them by name, and a line for each that failed.

    Of two commands of one name, that of the plug-in that comes first in the alphabet is taken.
    """
    found: dict[str, Command] = {}
    errors = []
    for point in _points(COMMANDS):
        try:
            app = _load(point)
            if not isinstance(app, typer.Typer):
                raise BrokenPlugin(_broken(point, f"{point.value} is no typer.Typer"))
            group = typer.main.get_group(app)
        except BrokenPlugin as error:
            errors.append(str(error))
            continue
        for name, command in group.commands.items():
            found.setdefault(name, command)
    return found, errors


def _points(group: str) -> list[EntryPoint]:
    return sorted(entry_points(group=group), key=lambda point: (point.name, point.value))


def _load(point: EntryPoint) -> Any:
    try:
        return point.load()
    except Exception as error:  # A plug-in's module may raise anything.
        raise BrokenPlugin(_broken(point, str(error) or type(error).__name__)) from error


def _broken(point: EntryPoint, reason: str) -> str:
    package = point.dist.name if point.dist else "an unknown package"
    reason = " ".join(reason.split())
    return (
        f"the plug-in {point.name!r} of {package} cannot be loaded: {reason};"
        f" install {package} again, or remove it"
    )
