"""`p2pfl report`."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console

from p2pfl.cli.errors import BadInput
from p2pfl_simulations.commands.errors import input_errors
from p2pfl_simulations.commands.screens import show_comparison, show_result
from p2pfl_simulations.report import (
    Drawing,
    comparison_drawings,
    render_comparison,
    render_report,
    run_drawings,
    save_drawings,
)
from p2pfl_simulations.results.folder import REPORT, read_run, summary_document
from p2pfl_simulations.results.run import Run
from p2pfl_simulations.results.summary import summarise


def report_runs(
    folders: Sequence[Path], *, out: Path | None, charts: Path | None, as_json: bool
) -> None:
    """Write the report of one run again, or a comparison of several, and show the figures.

    Raises:
        BadInput: a folder is no run folder, or the page or the charts cannot be written.
    """
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise BadInput("a run is given twice")
    with input_errors():
        runs = [read_run(folder) for folder in folders]
    names = _names(folders, [summarise(run).method for run in runs])
    if len(runs) == 1:
        page = out or folders[0] / REPORT
        drawings = run_drawings(runs[0])
        _write(page, render_report(runs[0], drawings))
    else:
        page = out or Path("comparison.html")
        named = dict(zip(names, runs, strict=True))
        drawings = comparison_drawings(named)
        _write(page, render_comparison(named, drawings))
    if charts is not None:
        _save(drawings.values(), charts)
    if as_json:
        print(json.dumps(_documents(folders, runs), indent=2))
    elif len(runs) == 1:
        show_result(Console(), runs[0], folders[0])
    else:
        console = Console()
        show_comparison(console, names, [summarise(run) for run in runs])
        console.print(f"  comparison  [bold]{page}[/]", soft_wrap=True, highlight=False)


def _documents(folders: Sequence[Path], runs: Sequence[Run]) -> list[dict[str, object]]:
    return [
        {"folder": str(folder), **summary_document(run)}
        for folder, run in zip(folders, runs, strict=True)
    ]


def _names(folders: Sequence[Path], methods: Sequence[str]) -> list[str]:
    """Call each run by its folder, and first by how it averaged where that differs throughout."""
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        names = [str(folder) for folder in folders]
    if len(set(methods)) < len(methods):
        return names
    return [f"{method} ({name})" for method, name in zip(methods, names, strict=True)]


def _save(drawings: Iterable[Drawing], folder: Path) -> None:
    try:
        save_drawings(drawings, folder)
    except OSError as error:
        raise BadInput(f"cannot write {folder}: {error.strerror}") from None


def _write(path: Path, page: str) -> None:
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror}") from None
