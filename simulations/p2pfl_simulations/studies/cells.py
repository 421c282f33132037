"""One cell: run, written to a folder of its own, whole or not at all, and verified by digest."""

import hashlib
import io
import json
import shutil
import tarfile
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from p2pfl.explaining import one_line
from p2pfl.learner.errors import LearningError
from p2pfl.plugins import PluginError
from p2pfl_simulations.checkers import Violation
from p2pfl_simulations.environment import first_difference, versions
from p2pfl_simulations.results.folder import write_run
from p2pfl_simulations.results.run import EndedEarly
from p2pfl_simulations.running import run
from p2pfl_simulations.scenario import ScenarioError, make_scenario

RECORD = "cell.json"
PARTIAL = ".partial"


@dataclass(frozen=True)
class CellJob:
    """What a worker needs to run a cell; it travels between processes and machines.

    Attributes:
        name: of the cell's folder.
        digest: of the cell.
        document: of its scenario.
        folder: where own parts are imported from.
        threads: that train; None for one for each core.
        is_checked: whether checkers watch.
        versions: of what computes, as the cell's digest has them.
    """

    name: str
    digest: str
    document: Mapping[str, Any]
    folder: str | None
    threads: int | None
    is_checked: bool
    versions: Mapping[str, str]


@dataclass(frozen=True)
class CellEnd:
    """How a cell ended: `failure` is one line, empty if it is whole; `place` says where it ran."""

    name: str
    failure: str = ""
    place: str = ""


def run_cell(job: CellJob, cells: str) -> CellEnd:
    """Run a cell, and put its folder among the others; what fails is told, never raised."""
    folder = Path(cells)
    partial = folder / f"{job.name}{PARTIAL}"
    failure = run_into(job, partial)
    if failure:
        shutil.rmtree(partial, ignore_errors=True)
    else:
        shutil.rmtree(folder / job.name, ignore_errors=True)
        partial.rename(folder / job.name)
    return CellEnd(job.name, failure)


def run_into(job: CellJob, folder: Path) -> str:
    """Run a cell into a new folder; return what went wrong, one line, empty if nothing did."""
    task_folder = None if job.folder is None else Path(job.folder)
    shutil.rmtree(folder, ignore_errors=True)
    other = first_difference(job.versions, versions())
    if other:  # Another machine, or an update while the sweep ran: one table, one version.
        return f"where it was to run, {other}, as where the sweep began"
    try:
        scenario = make_scenario(job.document, source=job.name)
        result = run(scenario, folder=task_folder, threads=job.threads, is_checked=job.is_checked)
        write_run(result, folder, task_folder=task_folder)
        write_record(folder, job.digest, result.digest)
    except (EndedEarly, LearningError, PluginError, ScenarioError) as error:
        return " ".join(str(error).split())
    except Violation as error:
        return f"an invariant does not hold: {one_line(error)}"
    except Exception as error:  # A cell's fault is no other cell's.
        at = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {one_line(error)} ({at.filename}, line {at.lineno})"
    return ""


def write_record(folder: Path, digest: str, of_run: str) -> None:
    """Note a cell's digest and those of its files: the last file that is written."""
    files = {it.relative_to(folder).as_posix(): _sha256(it) for it in _files(folder)}
    record = {"cell": digest, "run": of_run, "files": files}
    (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def is_whole(folder: Path, digest: str) -> bool:
    """Tell whether a folder holds a finished cell of this digest, with every file as written."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        if record["cell"] != digest:
            return False
        return all(_sha256(folder / name) == told for name, told in record["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def pack(folder: Path) -> bytes:
    """Pack a cell's folder into one file."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path in [*_files(folder), folder / RECORD]:
            archive.add(path, path.relative_to(folder).as_posix())
    return packed.getvalue()


def unpack(packed: bytes, folder: Path) -> None:
    """Lay a packed cell in a new folder; paths that lead out of it are refused."""
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")


def _files(folder: Path) -> list[Path]:
    return [it for it in sorted(folder.rglob("*")) if it.is_file() and it.name != RECORD]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
