"""The columns that a table has, held against those that the schema asks for."""

import difflib
from collections.abc import Sequence
from pathlib import Path

from p2pfl.learner.errors import LearningError

SITE_FILE = ".site.toml"
NAMES_SHOWN = 12


def own_words(table: Path) -> Path:
    """Return the site file beside a table, whether it is there or not."""
    stem = table.name.removesuffix(SITE_FILE) if table.name.endswith(SITE_FILE) else table.stem
    return table.with_name(stem + SITE_FILE)


def check_header(source: Path, columns: Sequence[str], found: Sequence[str]) -> list[int]:
    """Return the places of `columns` among those that a table has.

    Raises:
        LearningError: one is not there, or is there twice.
    """
    places = []
    for name in columns:
        if found.count(name) > 1:
            raise LearningError(
                f"{source} has {found.count(name)} columns {name!r}; rename or remove all but one"
            )
        if name not in found:
            raise _missing(source, name, found, [it for it in found if it not in columns])
        places.append(found.index(name))
    return places


def _missing(source: Path, wanted: str, found: Sequence[str], free: Sequence[str]) -> LearningError:
    """Say that a column is missing; `free` are those that nobody asks for."""
    lower = {name.lower(): name for name in free}
    near = difflib.get_close_matches(wanted.lower(), lower, n=1, cutoff=0.75)
    if near:
        close = lower[near[0]]
        hint = (
            f"; if it is {close!r}, rename it, or say so in {own_words(source).name}:"
            f' rename = {{ "{close}" = "{wanted}" }}'
        )
    else:
        more = ", ..." if len(found) > NAMES_SHOWN else ""
        hint = (
            f"; it has {', '.join(found[:NAMES_SHOWN])}{more}. Where nobody there knows it, add it"
            " without values"
        )
    return LearningError(f"{source} has no column {wanted!r}{hint}")
