"""Writes the reference of scenario keys in simulate.md from the models that check scenarios.

    python docs/scenario_reference.py            # rewrites simulate.md

A test demands that the page is as this would write it.
"""

import ast
import inspect
import json
import sys
import types
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from p2pfl_simulations.scenario import Scenario
from p2pfl_simulations.world_settings import Distribution

PAGE = Path(__file__).with_name("simulate.md")
DURATIONS = (
    "Wherever a duration is drawn, its distribution stands as a table: `{ mean_s = 5 }`,"
    ' `{ kind = "exponential", mean_s = 60 }`, `{ kind = "uniform", low_s = 1, high_s = 4 }` or'
    ' `{ kind = "lognormal", median_s = 0.02, sigma = 0.4 }`.'
)
BEGIN, END = "<!-- scenario keys: begin -->\n", "<!-- scenario keys: end -->\n"


def reference() -> str:
    """Write every table and key of a scenario, in the order of the models."""
    parts = [
        _table("Top level", Scenario, "The keys above the first table."),
        *_tables("", Scenario),
        _table("Durations", Distribution, DURATIONS),
    ]
    return "\n".join(dict.fromkeys(parts))  # Unions may share a table.


def page_with(reference_: str) -> str:
    """Return the page with the reference in place of the one it has."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{reference_}\n{END}{after}"


def _tables(path: str, model: type[BaseModel]) -> Iterator[str]:
    """Walk the tables below a model; of a union, what all members share, then each by its tag."""
    for name, field in model.model_fields.items():
        members = [member for member in _members(field.annotation) if member is not Distribution]
        here = f"{path}.{name}".lstrip(".")
        heading = f"`[[{here}]]`" if _is_list(field.annotation) else f"`[{here}]`"
        shared: list[str] = []
        if len(members) > 1:
            shared = [
                key
                for key, entry in members[0].model_fields.items()
                if not _is_tag(entry)
                and all(_has_same(member, members[0], key) for member in members)
            ]
            kinds = ", ".join(f"`{_chosen_by(member)}`" for member in members)
            yield _table(heading, members[0], f"One of {kinds}.", only=shared)
        for member in members:
            tag = f" with `{_chosen_by(member)}`" if len(members) > 1 else ""
            yield _table(f"{heading}{tag}", member, _doc(member), without=shared)
        for member in members:
            yield from _tables(here, member)


def _table(
    heading: str,
    model: type[BaseModel],
    doc: str,
    *,
    only: Collection[str] | None = None,
    without: Collection[str] = (),
) -> str:
    rows = [
        f"| `{name}` | {_type(field)} | {_default(field)} | {_field_doc(model, name)} |"
        for name, field in model.model_fields.items()
        if _members(field.annotation) in ([], [Distribution])
        and not _is_tag(field)
        and (only is None or name in only)
        and name not in without
    ]
    lines = [f"#### {heading}", "", doc, ""]
    if rows:
        lines += ["| key | value | default | meaning |", "|---|---|---|---|", *rows, ""]
    return "\n".join(lines)


def _members(annotation: Any) -> list[type[BaseModel]]:
    """Return the models among an annotation's alternatives, in order."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in {Annotated, Union, types.UnionType, tuple, list}:
        return [member for part in get_args(annotation) for member in _members(part)]
    return []


def _has_same(one: type[BaseModel], other: type[BaseModel], name: str) -> bool:
    """Whether a model has another's key, with its meaning and its default."""
    if name not in one.model_fields:
        return False
    told = [(_default(it.model_fields[name]), _field_doc(it, name)) for it in (one, other)]
    return told[0] == told[1]


def _is_list(annotation: Any) -> bool:
    return get_origin(annotation) in {tuple, list}


def _is_tag(field: FieldInfo) -> bool:
    """Whether a field is what chooses a union's member: it can have one value only."""
    return get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1


def _chosen_by(model: type[BaseModel]) -> str:
    return next(
        f'{name} = "{get_args(field.annotation)[0]}"'
        for name, field in model.model_fields.items()
        if _is_tag(field)
    )


def _type(field: FieldInfo) -> str:
    return _written(field.annotation, field.metadata)


def _written(annotation: Any, metadata: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _written(arguments[0], arguments[1:])
    if origin in {Union, types.UnionType}:
        return " or ".join(_written(part, metadata) for part in arguments if part is not type(None))
    if origin is Literal:
        return ", ".join(f"`{json.dumps(value)}`" for value in arguments)
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is not Ellipsis:
            return f"[{', '.join(_written(part, ()) for part in arguments)}]"
        return f"list of {_written(arguments[0], ())}"
    if annotation is Distribution:
        return "duration"
    names = {int: "integer", float: "number", bool: "`true`, `false`", str: "string", Path: "path"}
    return f"{names.get(annotation, 'table')}{_bounds(metadata)}"


def _bounds(metadata: Any) -> str:
    found: dict[str, float] = {}
    for entry in metadata:
        for part in (*getattr(entry, "metadata", ()), entry):
            found |= {
                name: value
                for name in ("ge", "gt", "le", "lt")
                if (value := getattr(part, name, None)) is not None and abs(value) < 1e9
            }
    if "ge" in found and "le" in found:
        return f" {found['ge']:,g} to {found['le']:,.0f}"
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    return "".join(f" {signs[name]} {value:g}" for name, value in found.items())


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "required"
    if value is None:
        return ""
    return f"`{_toml(value)}`"


def _toml(value: Any) -> str:
    if isinstance(value, BaseModel):
        entries = value.model_dump(mode="json", exclude_none=True).items()
        return f"{{ {', '.join(f'{key} = {_toml(entry)}' for key, entry in entries)} }}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(_toml, value))}]"
    return "{}" if value == {} else f"{value:,.15g}".replace(",", "_")


def _doc(model: type[BaseModel]) -> str:
    return " ".join(inspect.cleandoc(model.__doc__ or "").split())


def _field_doc(model: type[BaseModel], name: str) -> str:
    for base in model.__mro__:
        if base is BaseModel:
            break
        if doc := _docs_of(base).get(name):
            return doc
    return ""


@cache
def _docs_of(model: type) -> dict[str, str]:
    """Read the strings that stand below the fields of a class."""
    (definition,) = ast.parse(inspect.getsource(model)).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for statement, below in zip(definition.body, definition.body[1:], strict=False):
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
        ):
            found[statement.target.id] = " ".join(str(below.value.value).replace("``", "`").split())
    return found


if __name__ == "__main__":
    PAGE.write_text(page_with(reference()), encoding="utf-8")
    sys.exit()
