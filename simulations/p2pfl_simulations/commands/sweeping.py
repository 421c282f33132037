"""`p2pfl sweep`."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from p2pfl.cli.errors import INTERRUPTED, BadInput
from p2pfl.cli.overrides import parse_overrides
from p2pfl_simulations.commands.errors import input_errors
from p2pfl_simulations.commands.interrupts import Interrupts
from p2pfl_simulations.studies.door import try_own_parts
from p2pfl_simulations.studies.gathered import read_results
from p2pfl_simulations.studies.local import run_locally, usable_cores
from p2pfl_simulations.studies.page import write_report
from p2pfl_simulations.studies.plan import plan
from p2pfl_simulations.studies.running import Runner, StudyProgress, read_failures, run_cells
from p2pfl_simulations.studies.settings import load_study
from p2pfl_simulations.studies.tables import markdown, tables_of

FAILED = 1
"""Exit code of a study in which cells failed: the others are whole."""


def sweep_study(
    path: Path,
    settings: Sequence[str],
    *,
    out: Path | None,
    jobs: int | None,
    ray: str | None,
    store: str | None,
    is_plan: bool,
    is_report: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Run a study, or go on with it, and report it; return the exit code.

    Raises:
        BadInput: the study, a cell's settings or its folder are wrong.
    """
    overrides = parse_overrides(settings)
    with input_errors():
        study, base, task_folder = load_study(path, overrides)
        cells = plan(study, base, task_folder)
    if is_plan:
        with input_errors():
            try_own_parts(cells, task_folder)
        for cell in cells:
            print(cell.name)
        return 0
    folder = out or Path("runs") / study.name
    if store is not None and ray is None:
        raise BadInput("--store is for --ray: cells that run here are written to the folder")
    if jobs is not None and jobs < 1:
        raise BadInput("--jobs takes 1 or more")
    interrupts = Interrupts()
    if not is_report:
        try:
            with interrupts.watched(), input_errors(), _shown(len(cells), quiet) as show:
                runner = _runner(jobs, ray, store, task_folder)
                told = run_cells(
                    study, cells, folder, task_folder=task_folder, runner=runner, progress=show
                )
        except KeyboardInterrupt:
            Console(stderr=True).print(
                "Interrupted: finished cells are kept. The same command goes on.", soft_wrap=True
            )
            return INTERRUPTED
        if not quiet and told.kept:
            Console(stderr=True).print(f"{told.kept} finished cells were kept.")
        if not quiet and told.others:
            Console(stderr=True).print(
                f"{told.others} cells in {folder} are of other settings, own parts or versions"
                " than this study has now: they are in no table, and stay.",
                soft_wrap=True,
            )
    with input_errors():
        results = read_results(study, cells, folder, read_failures(folder))
        written = write_report(results, folder)
    if as_json:
        document = {
            "folder": str(folder),
            "cells": len(cells),
            "whole": len(results.runs),
            "failures": dict(results.failures),
            "files": [str(it) for it in written],
        }
        print(json.dumps(document, indent=2))
    else:
        for table in tables_of(results):
            print(f"{table.title}\n\n{markdown(table)}")
        for name, failure in results.failures.items():
            print(f"failed: {name}: {failure}")
        print(f"report  {folder / 'report.html'}")
    return FAILED if results.failures else 0


def _runner(
    jobs: int | None, ray: str | None, store: str | None, task_folder: Path | None
) -> Runner:
    if ray is None:
        return partial(run_locally, processes=jobs or usable_cores())
    from p2pfl_simulations.studies.on_ray import run_on_ray

    return partial(run_on_ray, address=ray, under_way=jobs, store=store, task_folder=task_folder)


class _Shown:
    """A bar on a terminal."""

    def __init__(self, cells: int) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
        )
        self._task = self._progress.add_task("cells", total=cells)

    def __enter__(self) -> "_Shown":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, told: StudyProgress) -> None:
        failed = f", {len(told.failures)} failed" if told.failures else ""
        self._progress.update(
            self._task,
            completed=told.cells - told.left,
            description=f"cells{failed}",
        )


@contextmanager
def _shown(cells: int, quiet: bool) -> Iterator[Callable[[StudyProgress], None]]:
    """Show a bar, where somebody looks."""
    if quiet or not Console(stderr=True).is_terminal:
        yield lambda _: None
        return
    with _Shown(cells) as shown:
        yield shown
