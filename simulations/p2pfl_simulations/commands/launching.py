"""`p2pfl launch`."""

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
from p2pfl_simulations.launch.hastening import hastened
from p2pfl_simulations.launch.launching import launch, require_launchable
from p2pfl_simulations.launch.testbed import left_out
from p2pfl_simulations.report import render_report
from p2pfl_simulations.results.folder import claim_folder, summary_document, write_run
from p2pfl_simulations.results.none_ended import none_ended
from p2pfl_simulations.results.run import PROCESSES, EndedEarly
from p2pfl_simulations.scenario import find_scenario, load_scenario

PEERS = "peers"


def launch_scenario(
    name_or_path: str,
    settings: Sequence[str],
    *,
    faster: float,
    out: Path | None,
    is_checked: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Run a scenario in processes, write its run folder, show the result; return the exit code."""
    overrides = parse_overrides(settings)
    with input_errors():
        scenario = hastened(load_scenario(name_or_path, overrides), faster)
        require_launchable(scenario)
        task_folder = find_scenario(name_or_path).resolve().parent
        folder = claim_folder(out, scenario)
    console = Console(stderr=True)
    if not quiet:
        told = f"Left out, as it is not done to processes: {', '.join(left_out(scenario))}."
        console.print(told, style="dim", highlight=False)
    peers_folder = folder / PEERS
    peers_folder.mkdir()
    interrupts = Interrupts()
    with interrupts.watched(), input_errors():
        try:
            with make_display(scenario, quiet=quiet, world=PROCESSES) as display:
                run = launch(
                    scenario,
                    peers_folder=peers_folder,
                    task_folder=task_folder,
                    progress=display.show,
                    is_checked=is_checked,
                )
        except EndedEarly as error:
            run = error.run
        except Violation as violation:
            return show_violation(violation)
        interrupts.held = True
        if run.rounds:
            page = render_report(run)
            write_run(run, folder, page=page, task_folder=task_folder, is_claimed=True)
    if not run.rounds:
        told = f"{none_ended(run)} The peers' logs are in {peers_folder}."
        console.print(told, soft_wrap=True, highlight=False)
    elif as_json:
        print(json.dumps({"folder": str(folder), **summary_document(run)}, indent=2))
    else:
        show_result(Console(), run, folder)
    if run.failure:
        raise BadInput(f"{run.failure}; the peers' logs are in {peers_folder}")
    return INTERRUPTED if interrupts.came else 0 if run.rounds else NONE_ENDED
