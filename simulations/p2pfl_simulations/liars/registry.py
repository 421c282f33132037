"""The strategies by name, and own ones, imported by name."""

import difflib
import importlib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from p2pfl.learner.tasks.registry import import_own
from p2pfl_simulations.liars.liar import Liar

_SHIPPED = {  # name: class; the module is named as the strategy is.
    "corrupt-reveal": "CorruptReveal",
    "double-signer": "DoubleSigner",
    "false-progress": "FalseProgress",
    "false-receipts": "FalseReceipts",
    "false-status": "FalseStatus",
    "false-sum": "FalseSum",
    "far-ahead": "FarAhead",
    "flipped-weight": "FlippedWeight",
    "flood": "Flood",
    "forged-fields": "ForgedFields",
    "garbage-body": "GarbageBody",
    "lying-leader": "LyingLeader",
    "old-head": "OldHead",
    "poisoned-vector": "PoisonedVector",
    "replay": "Replay",
    "silence": "Silence",
    "slow": "Slow",
    "two-versions": "TwoVersions",
    "withheld-shares": "WithheldShares",
}


class LiarError(Exception):
    """A strategy that cannot be had; the message is for people, one line."""


def shipped_liars() -> dict[str, type[Liar]]:
    """Return the strategies that ship, by name."""
    return {name: _class_of(name) for name in _SHIPPED}


def liar_maker(
    name: str, arguments: Mapping[str, Any], *, folder: Path | None
) -> Callable[[], Liar]:
    """Return a function that makes a liar, for its start or restart.

    Args:
        name: a strategy that ships, or ``"my_module:MyLiar"``.
        arguments: keyword arguments of the class.
        folder: where modules are imported from, before the usual places.

    Raises:
        LiarError: there is no such strategy, it cannot be imported, or takes no such arguments.
    """
    liar_class = _imported(name, folder) if ":" in name else _class_of(name)
    try:
        inspect.signature(liar_class).bind(**arguments)
    except TypeError as error:
        known = ", ".join(inspect.signature(liar_class).parameters) or "none"
        raise LiarError(f"liar {name!r}: {error}; its arguments are: {known}") from None
    try:
        liar_class(**arguments)
    except (TypeError, ValueError) as error:
        raise LiarError(f"liar {name!r}: {error}") from None
    return lambda: liar_class(**arguments)


def _class_of(name: str) -> type[Liar]:
    if name not in _SHIPPED:
        near = difflib.get_close_matches(name, _SHIPPED, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(_SHIPPED)}"
        raise LiarError(
            f"there is no liar {name!r}; {hint} (an own one is named 'my_module:MyLiar')"
        )
    module = f"p2pfl_simulations.liars.strategies.{name.replace('-', '_')}"
    found: type[Liar] = getattr(importlib.import_module(module), _SHIPPED[name])
    return found


def _imported(name: str, folder: Path | None) -> type[Liar]:
    module_name, _, class_name = name.partition(":")
    try:
        module = import_own(module_name, folder)
    except Exception as error:
        place = f" from {folder}" if folder else ""
        raise LiarError(
            f"liar {name!r} cannot be imported{place}: {type(error).__name__}: {error}"
        ) from error
    found = getattr(module, class_name, None)
    if not (inspect.isclass(found) and issubclass(found, Liar)):
        fault = "is no subclass of Liar" if found is not None else "is not there"
        raise LiarError(f"liar {name!r}: {class_name} {fault} in {module.__file__}")
    return found
