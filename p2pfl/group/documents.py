"""TOML files that people write: read, checked by a model, and written whole or not at all."""

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import tomli_w
from pydantic import BaseModel, ValidationError

from p2pfl.explaining import explain
from p2pfl.store.files import SHARED, replace_file

DOCUMENT_BYTES_MAX = 64 * 1024 * 1024  # A hundred thousand members, with room.

Model = TypeVar("Model", bound=BaseModel)
Refusal = Callable[[str], Exception]
"""Makes the exception of a kind of file from its message."""


def read_document(path: Path, model: type[Model], refuse: Refusal) -> Model:
    """Read a file; raise what `refuse` makes, one line a fault, if it is not as the model says."""
    return check_document(read_toml(path, refuse), model, refuse, source=str(path))


def read_toml(path: Path, refuse: Refusal) -> dict[str, Any]:
    """Read a file as nested dictionaries; raise what `refuse` makes if it is no TOML."""
    try:
        with path.open("rb") as file:
            content = file.read(DOCUMENT_BYTES_MAX + 1)
    except OSError as error:
        raise refuse(f"cannot read {path}: {error.strerror}") from None
    if len(content) > DOCUMENT_BYTES_MAX:
        raise refuse(f"{path} is longer than {DOCUMENT_BYTES_MAX} bytes")
    try:
        return tomllib.loads(content.decode("utf-8-sig"))  # Some editors begin with a mark.
    except UnicodeDecodeError:
        raise refuse(f"{path} is not TOML: it is no UTF-8 text") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise refuse(f"{path} is not TOML: {error}") from None


def put_value(document: dict[str, Any], dotted: str, value: Any, refuse: Refusal) -> None:
    """Put a value in place of that of a dotted key, such as ``averaging.cohort_size``."""
    *tables, key = dotted.split(".")
    for table in tables:
        document = document.setdefault(table, {})
        if not isinstance(document, dict):
            raise refuse(f"{dotted}: {table} is a value, not a table")
    document[key] = value


def check_document(
    document: Mapping[str, Any], model: type[Model], refuse: Refusal, *, source: str
) -> Model:
    """Check nested dictionaries as `read_document` does; `source` begins each line."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise refuse(explain(error, document, model, source=source)) from None


def write_document(path: Path, settings: BaseModel, refuse: Refusal, *, mode: int = SHARED) -> None:
    """Write a file with every default spelt out: readers see the old one or the new one."""
    document = settings.model_dump(mode="json", exclude_none=True)
    try:
        replace_file(path, tomli_w.dumps(document).encode(), mode=mode)
    except OSError as error:
        raise refuse(f"cannot write {path}: {error.strerror}") from None
