"""Files that a plug-in reads: their paths in its options are relative to the scenario's folder."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, ValidationInfo

FOLDER = "folder"
"""Where the validation's context has the scenario's folder."""


def _resolved(path: Path, info: ValidationInfo) -> Path:
    folder = (info.context or {}).get(FOLDER)
    found = path if folder is None else folder / path
    if not found.is_file():
        raise ValueError(f"there is no file {found}")
    return found


InputFile = Annotated[Path, AfterValidator(_resolved)]
"""A field of a plug-in: the path of a file that must be there, relative to the scenario's file."""
