"""What is wrong with a file of settings, in lines for people: where, what, and the nearest key."""

import difflib
import textwrap
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

MESSAGE_CHARACTERS_MAX = 400
"""Of what others' code raises: torch lists every tensor that does not fit."""


def one_line(error: BaseException) -> str:
    """Return what an exception says, as one line of bounded length."""
    try:
        told = " ".join(str(error).split())
    except Exception:  # An exception's own __str__ may raise.
        told = ""
    return textwrap.shorten(told, MESSAGE_CHARACTERS_MAX, placeholder=" ...") or "no message"


def explain(
    error: ValidationError, document: Mapping[str, Any], model: type[BaseModel], *, source: str
) -> str:
    """Tell every fault that pydantic found in a document, one line each.

    Args:
        error: what `model.model_validate(document)` raised.
        document: nested dictionaries, as read from TOML.
        model: what the document was to be.
        source: begins each line: the file's name.
    """
    return "\n".join(f"{source}: {_explain(fault, document, model)}" for fault in error.errors())


def _explain(fault: Any, document: Mapping[str, Any], model: type[BaseModel]) -> str:
    """Turn one of pydantic's errors into one line: where, what, and the nearest known key."""
    keys, tags = _place(fault["loc"], document)
    where = ".".join(keys)
    kind, message = fault["type"], str(fault["msg"]).removeprefix("Value error, ")
    if kind == "extra_forbidden":
        known = _known_keys(model)
        if keys[-1] in known and tags:
            return f"{where} is not a key of {tags[-1]!r}"
        return f"{where} is not a known key{_hint(keys[-1], known)}"
    if kind in {"union_tag_invalid", "union_tag_not_found"}:
        key = f"{where}.{fault['ctx']['discriminator'].strip(chr(39))}"
        if kind == "union_tag_not_found":
            return f"{key} is missing"
        known = {tag.strip("'") for tag in fault["ctx"]["expected_tags"].split(", ")}
        hint = _hint(fault["ctx"]["tag"], known) or f"; there are {', '.join(sorted(known))}"
        return f"{key}: there is no {fault['ctx']['tag']!r}{hint}"
    if kind == "missing":
        return f"{where} is missing"
    if kind == "value_error":
        return f"{where}: {message}" if where else message
    return f"{where}: {message}, not {fault['input']!r}"


def _place(location: tuple[int | str, ...], document: Any) -> tuple[list[str], list[str]]:
    """Part a fault's location into the keys of the document and the tags of unions on the way."""
    keys, tags = [], []
    for index, part in enumerate(location):
        last = index == len(location) - 1
        if isinstance(document, Mapping) and part in document:
            document = document[str(part)]
        elif isinstance(document, (list, tuple)) and isinstance(part, int):
            document = document[part]
        elif not last:
            tags.append(str(part))
            continue
        keys.append(str(part))
    return keys, tags


def _hint(word: str, known: set[str]) -> str:
    near = difflib.get_close_matches(word, sorted(known - {word}), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _known_keys(model: type[BaseModel]) -> set[str]:
    """Collect every key of every table below a model."""
    keys: set[str] = set()
    tables = [model.model_json_schema()]
    while tables:
        for name, part in tables.pop().items():
            if name in {"properties", "$defs"}:
                keys.update(part if name == "properties" else ())
                tables.extend(entry for entry in part.values() if isinstance(entry, dict))
    return keys
