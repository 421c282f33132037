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
from p2pfl_simulations.results.none_ended import none_ended
from p2pfl_simulations.results.run import EndedEarly, RunResult
from p2pfl_simulations.scenario import Scenario, find_scenario, load_scenario


def simulate_scenario(
    name_or_path: str,
    settings: Sequence[str],
    *,
    out: Path | None,
    is_checked: bool,
    as_json: bool,
    quiet: bool,
    threads: int | None = None,
) -> int:
    """Simulate a scenario, write its run folder, and show the result; return the exit code.

    Raises:
        BadInput: also where the task's code raised in the midst of it; the folder is there.
    """
    overrides = parse_overrides(settings)
    with input_errors():
        scenario = load_scenario(name_or_path, overrides)
        task_folder = find_scenario(name_or_path).resolve().parent
        folder = claim_folder(out, scenario)
    interrupts = Interrupts()
    run = None
    try:
        with interrupts.watched():
            run = run_scenario(
                scenario, task_folder, is_checked=is_checked, quiet=quiet, threads=threads
            )
            interrupts.held = True
            if run.rounds:
                with input_errors():
                    write_run(run, folder, page=render_report(run), task_folder=task_folder)
    except Violation as violation:
        return show_violation(violation)
    finally:
        if run is None or not run.rounds:
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


def run_scenario(
    scenario: Scenario,
    task_folder: Path | None,
    *,
    is_checked: bool = False,
    quiet: bool,
    threads: int | None = None,
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
            )
    except EndedEarly as error:
        return error.run
