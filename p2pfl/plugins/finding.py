"""Finds plug-ins by name, checks their settings, and tells what is wrong with them in one line.

A plug-in is a class. Its name is ``"my_module:MyThing"``, imported from the folder of the scenario,
or that of an entry point of an installed package. A subclass of `Plugin` is a pydantic model: its
fields are its settings. Tasks and liars are plain classes: theirs are arguments of `__init__`.
"""

import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from p2pfl.explaining import explain, one_line
from p2pfl.plugins.files import FOLDER
from p2pfl.plugins.importing import import_own

OWN = "own"
"""The value of a kind or an algorithm that a plug-in stands behind."""

GROUPS_MAX = 32
"""Groups of entry points that are kept: there are nine kinds of plug-ins, in few sets of places."""


class PluginError(Exception):
    """A plug-in that cannot be used; the message is for people, one line."""


class Plugin(BaseModel):
    """An own part whose fields are its settings: a key that is none of them is refused."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)


@dataclass(frozen=True)
class PluginKind:
    """A part of an experiment that people bring themselves.

    Attributes:
        name: for people: ``"averaging rule"``.
        group: of the entry points of installed packages.
        bases: what its classes are subclasses of.
        key: where a scenario names it.
        shipped: name -> ``"module:Class"`` of those that come with us.
        also: further names that are known, for hints.
    """

    name: str
    group: str
    bases: tuple[type, ...]
    key: str
    shipped: Mapping[str, str] = field(default_factory=dict)
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class KnownPlugin:
    """A line of the list of plug-ins: `source` is ours or the package that brings it."""

    kind: str
    name: str
    source: str
    options: str
    description: str


def find_class(kind: PluginKind, name: str, folder: Path | None) -> type[Any]:
    """Return the class of a plug-in.

    Args:
        kind: what it is to be.
        name: ``"my_module:MyThing"``, or that of one which ships or is installed.
        folder: where modules are imported from, before the usual places.

    Raises:
        PluginError: there is none, it cannot be imported, or is something else.
    """
    told = f"{kind.name} {name!r}"
    value, place = _value_of(kind, name), f" from {folder}" if folder and ":" in name else ""
    module_name, _, class_name = value.partition(":")
    try:
        module = import_own(module_name, folder if ":" in name else None)
    except (Exception, SystemExit) as error:  # A script may end itself.
        raise PluginError(
            f"{told} cannot be imported{place}: {type(error).__name__}:"
            f" {one_line(error)}{place_of(error)}"
        ) from error
    found = getattr(module, class_name, None)
    bases = " or ".join(base.__name__ for base in kind.bases)
    if found is None:
        raise PluginError(f"{told}: {class_name} is not there in {module.__file__}")
    if not (inspect.isclass(found) and issubclass(found, kind.bases)):
        raise PluginError(f"{told}: {class_name} is no subclass of {bases} in {module.__file__}")
    abstract: frozenset[str] = getattr(found, "__abstractmethods__", frozenset())
    if abstract:
        missing = ", ".join(sorted(abstract))
        raise PluginError(f"{told} does not define {missing}")
    return found


def make_plugin(
    kind: PluginKind, name: str, options: Mapping[str, Any], folder: Path | None
) -> Any:
    """Make a plug-in: find its class, and check its settings.

    Raises:
        PluginError: there is none, or a setting is wrong; the line names it.
    """
    return maker_of(kind, name, options, folder)()


def maker_of(
    kind: PluginKind, name: str, options: Mapping[str, Any], folder: Path | None
) -> Callable[[], Any]:
    """Return a function that makes a plug-in, anew each time, once its settings have been checked.

    Raises:
        PluginError: there is none, or a setting is wrong; the line names it.
    """
    found = find_class(kind, name, folder)
    if issubclass(found, Plugin):

        def make() -> Any:
            try:
                return found.model_validate(dict(options), context={FOLDER: folder})
            except ValidationError as error:
                source = f"{kind.name} {name!r}"
                told = explain(error, options, found, source=source)
                raise PluginError(told.replace("\n", "; ")) from None
    else:
        _check_arguments(kind, name, found, options)

        def make() -> Any:
            return found(**options)

    def blamed() -> Any:
        with plugin_faults(kind, name):
            return make()

    blamed()
    return blamed


def _check_arguments(
    kind: PluginKind, name: str, found: type[Any], options: Mapping[str, Any]
) -> None:
    try:
        inspect.signature(found).bind(**options)
    except TypeError as error:
        known = ", ".join(inspect.signature(found).parameters) or "none"
        raise PluginError(f"{kind.name} {name!r}: {error}; its arguments are: {known}") from None


@contextmanager
def plugin_faults(kind: PluginKind, name: str) -> Iterator[None]:
    """Turn what a plug-in's own code raises into a PluginError that names it, file and line."""
    try:
        yield
    except PluginError:
        raise
    except (Exception, SystemExit) as error:
        kind_of = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise PluginError(
            f"{kind.name} {name!r}: {kind_of}{one_line(error)}{place_of(error)}"
        ) from error


def place_of(error: BaseException) -> str:
    """Name the deepest line of an exception's way that is in a user's file; empty if none is."""
    ours = str(Path(__file__).parents[1])
    frames = [
        it
        for it in traceback.extract_tb(error.__traceback__)
        if not it.filename.startswith((ours, "<"))
        and not any(part in it.filename for part in ("site-packages", "p2pfl_", "/lib/python"))
    ]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""


def put_own(
    table: Mapping[str, Any], key: str, kind: PluginKind, plugin: str = "plugin"
) -> dict[str, Any]:
    """Write ``algorithm = "my_module:MyRule"`` out: as kind ``"own"``, with the name beside it."""
    name = table.get(key)
    if isinstance(name, str) and plugin not in table and is_plugin(kind, name):
        return {**table, key: OWN, plugin: name}
    return dict(table)


def is_plugin(kind: PluginKind, name: str) -> bool:
    """Tell whether a name is a plug-in's: an own one's, or that of one which ships or is installed.

    It may still be that there is none of an own one's name.
    """
    return ":" in name or name in kind.shipped or name in installed(kind)


def installed(kind: PluginKind) -> Mapping[str, EntryPoint]:
    """Return the entry points of a kind by name; of two of one name, the first by its value."""
    return _installed(kind.group, tuple((it, _changed_ns(it or ".")) for it in sys.path))


@lru_cache(maxsize=GROUPS_MAX)
def _installed(group: str, _places: tuple[tuple[str, int], ...]) -> Mapping[str, EntryPoint]:
    """Read the entry points of a group: all packages' files, so once for the places as they are.

    A sweep checks thousands of scenarios, and each asks whether its algorithm is a plug-in.
    """
    found: dict[str, EntryPoint] = {}
    for point in sorted(entry_points(group=group), key=lambda it: (it.name, it.value)):
        found.setdefault(point.name, point)
    return MappingProxyType(found)


def _changed_ns(place: str) -> int:
    """Tell when something was last put into a folder or taken out of it; 0 if it is not there."""
    try:
        return Path(place).stat().st_mtime_ns
    except OSError:
        return 0


def known_plugins(kind: PluginKind) -> list[KnownPlugin]:
    """List what ships and what is installed of a kind; what cannot be loaded says so."""
    rows = [(name, "p2pfl") for name in kind.shipped]
    rows += [
        (name, point.dist.name if point.dist else "?") for name, point in installed(kind).items()
    ]
    found = []
    for name, source in rows:
        try:
            it = find_class(kind, name, None)
        except PluginError as error:
            found.append(KnownPlugin(kind.name, name, source, "", str(error)))
            continue
        doc = inspect.cleandoc(it.__doc__ or "").partition("\n\n")[0]
        fields = it.model_fields if issubclass(it, Plugin) else inspect.signature(it).parameters
        found.append(KnownPlugin(kind.name, name, source, ", ".join(fields), " ".join(doc.split())))
    return found


def _value_of(kind: PluginKind, name: str) -> str:
    """Return ``module:Class`` of a name."""
    if name.count(":") == 1 and not name.startswith(":") and not name.endswith(":"):
        return name
    if name in kind.shipped:
        return kind.shipped[name]
    points = installed(kind)
    if name in points:
        return points[name].value
    known = sorted((*kind.shipped, *kind.also, *points))
    near = get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}"
    raise PluginError(
        f"there is no {kind.name} {name!r}{hint if known else ''} (an own one is named"
        f" 'my_module:My{kind.bases[0].__name__}')"
    )
