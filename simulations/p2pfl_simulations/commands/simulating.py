"""`p2pfl simulate`."""

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from p2pfl.cli.errors import INTERRUPTED, NONE_ENDED, BadInput
from p2pfl.cli.overrides import parse_overrides
from p2pfl_simulations.checkers import Violation
from p2pfl_simulations.commands.errors import input_errors
from p2pfl_simulations.commands.interrupts import Interrupts
from p2pfl_simulations.commands.live import make_display
from p2pfl_simulations.commands.screens import show_result, show_violation
from p2pfl_simulations.report import render_report
from p2pfl_simulations.results.folder import claim_folder, summary_document, write_run
from p2pfl_simulations.results.going_on import UnderWay, read_under_way
from p2pfl_simulations.results.none_ended import none_ended
from p2pfl_simulations.results.run import EndedEarly, RunResult
from p2pfl_simulations.scenario import Scenario, find_scenario, load_scenario


def simulate_scenario(
    name_or_path: str | None,
    settings: Sequence[str],
    *,
    out: Path | None,
    is_checked: bool,
    as_json: bool,
    quiet: bool,
    threads: int | None = None,
    is_resumable: bool = False,
    resume: Path | None = None,
    ray: str | None = None,
) -> int:
    """Simulate a scenario, write its run folder, and show the result; return the exit code.

    Raises:
        BadInput: also where the task's code raised in the midst of it; the folder is there.
    """
    with input_errors():
        if resume is not None:
            if name_or_path is not None or settings or out is not None:
                raise BadInput("--resume takes the folder alone: the run goes on as it began")
            begun = read_under_way(resume)
        else:
            begun = _begin(name_or_path, settings, out, is_checked, is_resumable)
    folder = begun.folder
    interrupts = Interrupts()
    run = None
    try:
        with interrupts.watched():
            run = run_scenario(
                begun.scenario,
                begun.task_folder,
                is_checked=begun.is_checked,
                quiet=quiet,
                threads=threads,
                kept=begun.results,
                ray=ray,
            )
            interrupts.held = True
            if run.rounds:
                _write(run, begun)
    except Violation as violation:
        return show_violation(violation)
    finally:
        if (run is None or not run.rounds) and not begun.is_resumable:
            folder.rmdir()  # Claimed, and still empty.
    if not run.rounds:
        Console(stderr=True).print(none_ended(run), soft_wrap=True, highlight=False)
    elif as_json:
        print(json.dumps({"folder": str(folder), **summary_document(run)}, indent=2))
    else:
        show_result(Console(), run, folder)
    if run.failure:
        raise BadInput(run.failure)
    return INTERRUPTED if interrupts.came else 0 if run.rounds else NONE_ENDED


def _begin(
    name_or_path: str | None,
    settings: Sequence[str],
    out: Path | None,
    is_checked: bool,
    is_resumable: bool,
) -> UnderWay:
    if name_or_path is None:
        raise BadInput("missing argument 'SCENARIO': p2pfl scenarios lists those that ship")
    scenario = load_scenario(name_or_path, parse_overrides(settings))
    task_folder = find_scenario(name_or_path).resolve().parent
    folder = claim_folder(out, scenario)
    begun = UnderWay(folder, scenario, task_folder, is_checked, is_resumable)
    if is_resumable:
        begun.note()
    return begun


def _write(run: RunResult, begun: UnderWay) -> None:
    """Write a run to its folder; what it could go on by is of no use once it is whole."""
    with input_errors():
        write_run(
            run,
            begun.folder,
            page=render_report(run),
            task_folder=begun.task_folder,
            is_claimed=begun.is_resumable,
        )
        if begun.is_resumable and not (run.interrupted or run.unfinished or run.failure):
            begun.forget()


def run_scenario(
    scenario: Scenario,
    task_folder: Path | None,
    *,
    is_checked: bool = False,
    quiet: bool,
    threads: int | None = None,
    kept: Path | None = None,
    ray: str | None = None,
) -> RunResult:
    """Run a scenario with a live display; what had run, if an error ended it."""
    from p2pfl_simulations.running import run

    try:
        with input_errors(), make_display(scenario, quiet=quiet) as display:
            return run(
                scenario,
                folder=task_folder,
                threads=threads,
                progress=display.show,
                is_checked=is_checked,
                kept=kept,
                ray=ray,
            )
    except EndedEarly as error:
        return error.run
