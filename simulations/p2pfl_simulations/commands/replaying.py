"""`p2pfl replay`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from p2pfl.cli.errors import DIFFERENT, INTERRUPTED, BadInput
from p2pfl_simulations.commands.errors import input_errors
from p2pfl_simulations.commands.interrupts import Interrupts
from p2pfl_simulations.commands.simulating import run_scenario
from p2pfl_simulations.results.folder import SCENARIO, read_run, read_task_folder
from p2pfl_simulations.results.run import SIMULATED, RunResult
from p2pfl_simulations.results.summary import Summary, summarise, without_baselines

MEASURED = ("wall_s", "cpu_s")  # Of the machine, not of the result.


def replay_run(folder: Path, *, as_json: bool, quiet: bool) -> int:
    """Run a run folder's scenario again and compare; return the exit code.

    Raises:
        BadInput: it is no run folder, or its run was interrupted, or of real processes.
    """
    with input_errors():
        before = read_run(folder)
        task_folder = read_task_folder(folder)
    if before.world != SIMULATED:
        raise BadInput(
            f"{folder} is of real processes, and no two such runs are alike: p2pfl simulate"
            f" {folder / SCENARIO} runs its scenario in the simulated world"
        )
    if before.failure:
        raise BadInput(
            f"{folder} was ended by an error ({before.failure}): mend it, and simulate"
            f" {folder / SCENARIO} again"
        )
    if before.interrupted and before.virtual_s < before.scenario.time_limit_s:
        raise BadInput(
            f"{folder} was interrupted: its digest covers what had run by then, which a replay"
            " cannot stop at"
        )
    interrupts = Interrupts()
    with interrupts.watched():
        after = run_scenario(before.scenario, task_folder, quiet=quiet)
    if interrupts.came:
        Console(stderr=True).print("Interrupted: nothing was compared.")
        return INTERRUPTED
    if after.failure:
        raise BadInput(after.failure)
    same = before.digest == after.digest
    figures = different_figures(before, after)
    machine = different_entries(before.environment, after.environment)
    if as_json:
        document = {
            "same": same and not figures,
            "digest_before": before.digest,
            "digest_after": after.digest,
            "figures": figures,
            "environment": machine,
        }
        print(json.dumps(document, indent=2))
    else:
        _show(Console(), before, after, figures, machine)
    return 0 if same and not figures else DIFFERENT


def different_figures(before: RunResult, after: RunResult) -> dict[str, tuple[Any, Any]]:
    """Return the figures of the summary that differ, without how long the machine took.

    Baselines that were cut off are not compared.
    """
    runs = (before, after)
    if before.unfinished:
        runs = (without_baselines(before), without_baselines(after))
    left_out = {*MEASURED, "digest"}
    summaries = [summarise(run) for run in runs]
    names = [name for name in Summary.__slots__ if name not in left_out]
    return different_entries(*({name: getattr(it, name) for name in names} for it in summaries))


def different_entries(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
    """Return the entries that differ, as (before, after); None stands for none."""
    return {
        key: (before.get(key), after.get(key))
        for key in (*before, *(key for key in after if key not in before))
        if before.get(key) != after.get(key)
    }


def _show(
    console: Console,
    before: RunResult,
    after: RunResult,
    figures: Mapping[str, tuple[Any, Any]],
    machine: Mapping[str, tuple[Any, Any]],
) -> None:
    def line(text: str, style: str = "") -> None:
        console.print(text, style=style, highlight=False, markup=False, soft_wrap=True)

    if before.digest == after.digest:
        line(f"The digests are the same: {after.digest}", "green")
    else:
        line("The digests differ.", "bold red")
        line(f"  before  {before.digest}")
        line(f"  now     {after.digest}")
    for name, (old, new) in figures.items():
        line(f"  {name}: {old} before, {new} now")
    if machine:
        line("This machine is not as it was:")
        for name, (old, new) in machine.items():
            line(f"  {name}: {old} before, {new} now")
    elif before.digest != after.digest:
        line("Nothing that is recorded of the machine differs: the code itself may have changed.")
