"""Every place in gossip where a message, a session or a proof is refused, or somebody named.

Found in the source: a new place is found at once, and `refusals.toml` lacks its row. A row names a
test that fails once the place is taken out; `./scripts/bench planted refusal` takes out all.
"""

import ast
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from planting import Fault

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "gossip/p2pfl_gossip"
TABLE: dict[str, str] = tomllib.loads(Path(__file__).with_name("refusals.toml").read_text())
"""By place: a test that fails without it."""

NAMING = {"blame": "blame", "blame_two": "blame", "disconnect": "disconnect"}
"""Methods by which somebody is named, or its link ended."""


@dataclass(frozen=True)
class Place:
    """One statement.

    Attributes:
        name: file, function and reason, and a number where those come twice.
        file: from the project's root.
        start: of the statement, and `end`: offsets in bytes.
    """

    name: str
    file: str
    start: int
    end: int
    line: int


def places() -> list[Place]:
    """Find all of them, in the order of files and lines."""
    found: dict[str, Place] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.name == "action_queue.py":  # Carries out what others ask for.
            continue
        source = path.read_bytes()
        starts = [0]
        for line in source.splitlines(keepends=True):
            starts.append(starts[-1] + len(line))
        inside = path.relative_to(PACKAGE).as_posix()
        for function, statement, reason in _statements(ast.parse(source)):
            assert statement.end_lineno is not None
            assert statement.end_col_offset is not None
            name, number = f"{inside}: {function}: {reason}", 2
            while name in found:
                name, number = f"{inside}: {function}: {reason} ({number})", number + 1
            found[name] = Place(
                name,
                path.relative_to(ROOT).as_posix(),
                starts[statement.lineno - 1] + statement.col_offset,
                starts[statement.end_lineno - 1] + statement.end_col_offset,
                statement.lineno,
            )
    return list(found.values())


def _statements(node: ast.AST, function: str = "") -> Iterator[tuple[str, ast.stmt, str]]:
    """Give each statement with the innermost function around it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr):  # No statement is within one.
            continue
        reason = _reason(child)
        if reason and isinstance(child, ast.stmt):
            yield function, child, reason
        inner = child.name if isinstance(child, ast.FunctionDef) else function
        yield from _statements(child, inner)


def _reason(node: ast.AST) -> str:
    """Return the word of a refusal, a blame or a disconnect; empty for any other statement."""
    call = node.exc if isinstance(node, ast.Raise) else None
    if isinstance(node, ast.Expr):
        call = node.value
    if not isinstance(call, ast.Call):
        return ""
    name = call.func.id if isinstance(call.func, ast.Name) else ""
    if isinstance(call.func, ast.Attribute) and call.func.attr in NAMING:
        name = NAMING[call.func.attr]
    if name not in ("RemoteProtocolError", "Unproven", "Refused", "blame", "disconnect"):
        return ""
    words = [arg.value for arg in call.args if isinstance(arg, ast.Constant)]
    kind = "" if name == "RemoteProtocolError" else f"{name.lower()} "
    return kind + (str(words[0]) if words else "by the reason given")


def as_fault(place: Place, test: str) -> Fault:
    """Take a statement out: nothing stands in its place."""
    source = (ROOT / place.file).read_bytes()
    # With all that is before it, so that the text is there once.
    before = source[: place.start].decode()
    old = before + source[place.start : place.end].decode()
    return Fault(f"refusal {place.name}", place.file, old, before + "pass", test)
