"""Runs a study: what is missing of its cells, here or on a cluster, and then its results."""

import fcntl
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import tomli_w

from p2pfl_simulations.environment import versions
from p2pfl_simulations.studies.cells import PARTIAL, CellEnd, CellJob, is_whole
from p2pfl_simulations.studies.door import try_own_parts
from p2pfl_simulations.studies.plan import Cell
from p2pfl_simulations.studies.settings import Study, StudyError

CELLS, FAILURES, STUDY, LOCK = "cells", "failures.json", "study.toml", ".lock"


class Runner(Protocol):
    """Runs cells somewhere; their folders come to `cells`."""

    def __call__(
        self, jobs: Sequence[CellJob], cells: Path, *, on_end: Callable[[CellEnd], None]
    ) -> None:
        """Run them all; tell of each as it ends."""


@dataclass
class StudyProgress:
    """How far a study is.

    Attributes:
        cells: of the study.
        kept: that were whole already.
        others: folders of cells that are none of this study as it is now.
        done: that were run.
        failures: what went wrong, by cell.
        places: how many were run where.
    """

    cells: int
    kept: int = 0
    others: int = 0
    done: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    places: dict[str, int] = field(default_factory=dict)

    @property
    def left(self) -> int:
        """Cells that have not ended."""
        return self.cells - self.kept - self.done - len(self.failures)


def run_cells(
    study: Study,
    cells: Sequence[Cell],
    folder: Path,
    *,
    task_folder: Path | None,
    runner: Runner,
    progress: Callable[[StudyProgress], None] = lambda _: None,
) -> StudyProgress:
    """Run the cells of a study that its folder lacks.

    A cell whose folder is there, with every file as it was written, is kept; anything else is run
    again. What fails is noted in ``failures.json``, and is tried again the next time.

    Args:
        study: whose cells they are.
        cells: all of them.
        folder: of the study; made if need be.
        task_folder: where own parts are imported from.
        runner: runs them.
        progress: is called as each ends.

    Raises:
        StudyError: the folder cannot be used, another sweep is at work in it, or an own part of a
            cell that is to be run cannot be used.
    """
    place = folder / CELLS
    told = StudyProgress(len(cells))
    with _locked(folder):
        place.mkdir(exist_ok=True)
        for stale in place.glob(f"*{PARTIAL}"):
            shutil.rmtree(stale)
        (folder / STUDY).write_text(_toml(study), encoding="utf-8")
        left = [cell for cell in cells if not is_whole(place / cell.name, cell.digest)]
        told.kept = len(cells) - len(left)
        names = {cell.name for cell in cells}
        told.others = sum(it.name not in names for it in place.iterdir())
        progress(told)

        def on_end(end: CellEnd) -> None:
            if end.failure:
                told.failures[end.name] = end.failure
            else:
                told.done += 1
                told.places[end.place] = told.places.get(end.place, 0) + 1
            _write_failures(folder, told.failures)
            progress(told)

        _write_failures(folder, {})
        if left:
            try_own_parts(left, task_folder)
            computing = versions()
            jobs = [
                CellJob(
                    cell.name,
                    cell.digest,
                    cell.document,
                    None if task_folder is None else str(task_folder),
                    None,
                    study.check,
                    computing,
                )
                for cell in left
            ]
            runner(jobs, place, on_end=on_end)
    return told


def read_failures(folder: Path) -> dict[str, str]:
    """Return the failed cells of a study's folder, each with its line."""
    try:
        found: dict[str, str] = json.loads((folder / FAILURES).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return found


def _write_failures(folder: Path, failures: dict[str, str]) -> None:
    partial = folder / f"{FAILURES}{PARTIAL}"
    partial.write_text(json.dumps(dict(sorted(failures.items())), indent=1) + "\n", "utf-8")
    partial.rename(folder / FAILURES)


def _toml(study: Study) -> str:
    document: dict[str, Any] = study.model_dump(mode="json", exclude_none=True)
    return tomli_w.dumps({key: value for key, value in document.items() if value not in ({}, [])})


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep a second sweep out of a folder: they would run the same cells twice."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("w")
    except OSError as error:
        raise StudyError(f"cannot make {folder}: {error.strerror}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StudyError(f"another sweep is at work in {folder}; wait, or give --out") from None
        yield
