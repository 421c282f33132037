"""Runs as Python code holds them: in a notebook, or in a script."""

import dataclasses
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2pfl.cli.quantities import data_size, duration
from p2pfl_simulations import running
from p2pfl_simulations.commands.live import InPlaceDisplay, make_display
from p2pfl_simulations.progress import OnProgress
from p2pfl_simulations.results import folder as folders
from p2pfl_simulations.results.cautions import cautions
from p2pfl_simulations.results.run import EndedEarly, RunResult, time_name
from p2pfl_simulations.results.summary import Summary, summarise
from p2pfl_simulations.results.tables import TABLES, TableName, table_of
from p2pfl_simulations.results.verdict import headline, verdict
from p2pfl_simulations.scenario import Scenario

if TYPE_CHECKING:
    import pandas


class MissingPandas(ImportError):
    """pandas is not installed; all but `Run.frame` does without."""


class Run(RunResult):
    """The result of a run, with its tables as data frames; a notebook shows it in a few lines."""

    __slots__ = ()

    def frame(self, table: TableName = "rounds") -> "pandas.DataFrame":
        """Return a table as pandas reads it from a run folder; docs/simulate.md has its columns.

        Args:
            table: ``"rounds"``, ``"peers"``, ``"events"`` or ``"population"``.

        Raises:
            MissingPandas: pandas is not installed.
            ValueError: there is no such table.
        """
        if table not in TABLES:
            raise ValueError(f"there is no table {table!r}; there are {', '.join(TABLES)}")
        try:
            import pandas  # noqa: F401 - Arrow's own message would not say what to install
        except ImportError:
            raise MissingPandas("pandas is not installed: pip install pandas") from None
        return table_of(self, table).to_pandas()

    def summary(self) -> Summary:
        """Return the figures that people compare."""
        return summarise(self)

    def _repr_html_(self) -> str:
        """Write the run for a notebook: what it says, and what it took."""
        summary = self.summary()
        facts = {
            "run": f"{summary.name}, seed {summary.seed}",
            "peers": f"{summary.peers:,}, {summary.method}",
            "rounds": f"{summary.rounds_ended:,} of {summary.rounds:,}",
            "sent per peer": data_size(summary.bytes_per_peer),
            time_name(summary.world): duration(summary.virtual_s),
            "wall time": duration(summary.wall_s),
        }
        rows = "".join(
            f'<tr><td style="text-align:left">{escape(name)}</td>'
            f'<td style="text-align:left">{escape(value)}</td></tr>'
            for name, value in facts.items()
        )
        told = [*cautions(self, summary), verdict(summary)]
        return (
            f"<div><strong>{escape(headline(summary))}</strong>"
            f"{''.join(f'<p>{escape(it)}</p>' for it in told)}"
            f"<table><tbody>{rows}</tbody></table></div>"
        )


def run(
    scenario: Scenario,
    *,
    folder: Path | str | None = None,
    threads: int | None = None,
    progress: OnProgress | bool | None = None,
    is_checked: bool = False,
    kept: Path | str | None = None,
    ray: str | None = None,
) -> Run:
    """Simulate a scenario.

    Args:
        scenario: what to simulate; it and its seed determine all but durations.
        folder: where the scenario's own task and liars are imported from.
        threads: threads that train; one for each usable core if not given. No figure and no digest
            depends on it.
        progress: is called now and then; True shows how far the run is, False does not. If not
            given, it is shown in a notebook.
        is_checked: whether checkers watch that what must hold does.
        kept: a file for results of learning: a run that is killed goes on by it.
        ray: the address of a Ray cluster whose machines do the learning.

    Returns:
        The result; partial, and `interrupted`, if KeyboardInterrupt came during the run.

    Raises:
        ClusterError: there is no such cluster.
        EndedEarly: the task's code raised when rounds had ended already: `run` has these.
        KeptResultsError: the file is of another run.
        LearningError: the task, its data or the partition cannot be had.
        ScenarioError: the settings do not fit each other.
        Violation: something that must hold does not.
        ValueError: less than one thread.
    """
    with _shown(scenario, progress) as tell:
        try:
            result = running.run(
                scenario,
                folder=None if folder is None else Path(folder),
                threads=threads,
                progress=tell,
                is_checked=is_checked,
                kept=None if kept is None else Path(kept),
                ray=ray,
            )
        except EndedEarly as error:
            raise EndedEarly(_held(error.run)) from error
    return _held(result)


def read_run(folder: Path | str) -> Run:
    """Read a run from its folder.

    Raises:
        RunFolderError: it is no run folder, or one of its files is missing or broken.
    """
    return _held(folders.read_run(folder))


def _held(record: RunResult) -> Run:
    return Run(**{field.name: getattr(record, field.name) for field in dataclasses.fields(record)})


@contextmanager
def _shown(scenario: Scenario, progress: OnProgress | bool | None) -> Iterator[OnProgress | None]:
    """Choose who is told of progress, and let a display begin and end."""
    if callable(progress):
        yield progress
    elif progress is False or (progress is None and not in_notebook()):
        yield None
    elif in_notebook():
        with InPlaceDisplay(sys.stdout) as display:
            yield display.show
    else:
        with make_display(scenario, quiet=False) as display:
            yield display.show


def in_notebook() -> bool:
    """Tell whether a notebook's kernel runs this code; IPython is never imported for it."""
    ipython: Any = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return hasattr(shell, "kernel")
