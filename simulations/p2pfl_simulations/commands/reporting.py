"""`p2pfl report`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from p2pfl.cli.errors import BadInput
from p2pfl_simulations.commands.errors import input_errors
from p2pfl_simulations.commands.screens import show_comparison, show_repetitions, show_result
from p2pfl_simulations.report import (
    Drawing,
    compared_rows,
    comparison_drawings,
    render_comparison,
    render_report,
    run_drawings,
    save_drawings,
)
from p2pfl_simulations.results.comparability import warnings_of
from p2pfl_simulations.results.contest import Contest
from p2pfl_simulations.results.folder import REPORT, read_run, summary_document
from p2pfl_simulations.results.repetitions import repetitions_of
from p2pfl_simulations.results.run import RunResult
from p2pfl_simulations.results.summary import method_name, summarise


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
    if len(runs) == 1:
        _report_one(folders[0], runs[0], out or folders[0] / REPORT, charts=charts, as_json=as_json)
    else:
        _compare(folders, runs, out or Path("comparison.html"), charts=charts, as_json=as_json)


def _report_one(
    folder: Path, run: RunResult, page: Path, *, charts: Path | None, as_json: bool
) -> None:
    drawings = run_drawings(run)
    _write(page, render_report(run, drawings))
    _save(drawings, charts)
    if as_json:
        print(json.dumps(_documents([folder], [run]), indent=2))
    else:
        show_result(Console(), run, folder)


def _compare(
    folders: Sequence[Path],
    runs: Sequence[RunResult],
    page: Path,
    *,
    charts: Path | None,
    as_json: bool,
) -> None:
    named = dict(zip(_names(folders), runs, strict=True))
    drawings, groups = comparison_drawings(named), repetitions_of(named)
    _write(page, render_comparison(named, drawings))
    _save(drawings, charts)
    warnings = warnings_of(groups)
    if as_json:
        print(json.dumps(_documents(folders, runs), indent=2))
        for warning in warnings:
            Console(stderr=True).print(f"warning: {warning}", soft_wrap=True, markup=False)
        return
    console, summaries = Console(), {name: summarise(run) for name, run in named.items()}
    contest = Contest(groups, summaries, compared_rows(groups))
    console.print(Text(contest.headline, style="bold"))
    show_comparison(console, _with_methods(named), list(summaries.values()))
    show_repetitions(console, groups, summaries)
    for warning in warnings:
        console.print(Padding(Text(warning, style="yellow"), (0, 0, 1, 2)))
    console.print(f"  comparison  [bold]{page}[/]", soft_wrap=True, highlight=False)


def _documents(folders: Sequence[Path], runs: Sequence[RunResult]) -> list[dict[str, object]]:
    return [
        {"folder": str(folder), **summary_document(run)}
        for folder, run in zip(folders, runs, strict=True)
    ]


def _names(folders: Sequence[Path]) -> list[str]:
    """Call each run by its folder, by the whole path where two end alike."""
    names = [folder.resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def _with_methods(runs: Mapping[str, RunResult]) -> Sequence[str]:
    """Call each run first by how it averaged, where that differs throughout."""
    methods = [method_name(run.scenario) for run in runs.values()]
    if len(set(methods)) < len(methods):
        return list(runs)
    return [f"{method} ({name})" for method, name in zip(methods, runs, strict=True)]


def _save(drawings: Mapping[str, Drawing], folder: Path | None) -> None:
    if folder is None:
        return
    try:
        save_drawings(drawings.values(), folder)
    except OSError as error:
        raise BadInput(f"cannot write {folder}: {error.strerror}") from None


def _write(path: Path, page: str) -> None:
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror}") from None
