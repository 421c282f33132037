"""The results of a study: one table of all runs, means over seeds, and paired comparisons.

What the machine took is in no table: a sweep that was killed and went on gives the same bytes.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa
import pyarrow.parquet as parquet

from p2pfl.learner.metrics import PrimaryMetric
from p2pfl_simulations.results.folder import read_run
from p2pfl_simulations.results.repetitions import Interval, Repetitions, interval_of
from p2pfl_simulations.results.run import RunResult
from p2pfl_simulations.results.summary import Summary, summarise
from p2pfl_simulations.studies.cells import is_whole
from p2pfl_simulations.studies.plan import Cell, Condition, baseline_of
from p2pfl_simulations.studies.running import CELLS
from p2pfl_simulations.studies.settings import Study, StudyError

TABLE = "table.parquet"

Look: TypeAlias = Callable[[Summary], float | None]


def _counted(summary: Summary, peers: int) -> float | None:
    """Return a number of peers; None where no peer's gain is known."""
    return None if summary.mean_gain is None else float(peers)


FIGURES: Mapping[str, Look] = {
    "own_mean": lambda it: it.own_mean,
    "own_worst": lambda it: it.own_worst,
    "own_local_mean": lambda it: it.own_local_mean,
    "own_pooled_mean": lambda it: it.own_pooled_mean,
    "gain": lambda it: None if it.mean_gain is None else it.mean_gain.mean,
    "least_gain": lambda it: None if it.worst is None else it.worst.gain,
    "gained": lambda it: _counted(it, it.gained),
    "lost": lambda it: _counted(it, it.lost_by_joining),
    "even": lambda it: _counted(it, it.even),
    "common_mean": lambda it: it.common_mean,
    "common_worst": lambda it: it.common_worst,
    "common_averaged": lambda it: it.common_averaged,
    "consensus_distance": lambda it: it.consensus_distance,
    "bytes_per_peer": lambda it: it.bytes_per_peer,
    "frames_sent": lambda it: float(it.frames_sent),
    "rounds_lost": lambda it: float(it.lost),
    "virtual_s": lambda it: it.virtual_s,
}
"""Columns of the table that are figures of a run; `own_*` of the task's others follow them."""


@dataclass(frozen=True)
class Results:
    """What a study's folder holds.

    Attributes:
        study: as it was read.
        cells: all of them, in order.
        runs: by the cell's name, those that are whole.
        failures: by the cell's name, one line.
    """

    study: Study
    cells: Sequence[Cell]
    runs: Mapping[str, RunResult]
    failures: Mapping[str, str]

    @property
    def primary(self) -> PrimaryMetric:
        """The metric of the first run."""
        return next(iter(self.runs.values())).primary

    @property
    def conditions(self) -> list[Condition]:
        """All conditions, in order, those without a run too."""
        found = {cell.condition.name: cell.condition for cell in self.cells}
        return list(found.values())

    def runs_of(self, condition: Condition) -> dict[str, RunResult]:
        """Return the runs of a condition that are whole, by the cell's name."""
        return {
            cell.name: self.runs[cell.name]
            for cell in self.cells
            if cell.condition.axes == condition.axes and cell.name in self.runs
        }

    def repetitions(self) -> list[Repetitions]:
        """Return the conditions that have runs, each with all of them."""
        return [
            Repetitions(condition.name, runs)
            for condition in self.conditions
            if (runs := self.runs_of(condition))
        ]

    def mean(self, condition: Condition, figure: str) -> Interval | None:
        """Return a figure's mean over the seeds of a condition."""
        look = FIGURES[figure]
        return interval_of(look(summarise(run)) for run in self.runs_of(condition).values())

    def against_baseline(self, condition: Condition, figure: str) -> Interval | None:
        """Return by how much a figure is above the baseline's, paired by seed.

        None where there is no baseline, or the condition is it.
        """
        other = baseline_of(self.study, condition, self.conditions)
        if other is None:
            return None
        look = FIGURES[figure]
        theirs = {run.scenario.seed: look(summarise(run)) for run in self.runs_of(other).values()}
        differences = []
        for run in self.runs_of(condition).values():
            mine, its = look(summarise(run)), theirs.get(run.scenario.seed)
            if mine is not None and its is not None:
                differences.append(mine - its)
        return interval_of(differences)


def read_results(
    study: Study, cells: Sequence[Cell], folder: Path, failures: Mapping[str, str]
) -> Results:
    """Read the cells of a study's folder that are whole.

    Raises:
        StudyError: there is none.
    """
    runs = {
        cell.name: read_run(folder / CELLS / cell.name)
        for cell in cells
        if is_whole(folder / CELLS / cell.name, cell.digest)
    }
    if not runs:
        raise StudyError(f"no cell of the study is whole: {_why_none(folder / CELLS, failures)}")
    return Results(study, cells, runs, failures)


def _why_none(cells: Path, failures: Mapping[str, str]) -> str:
    if failures:
        name, told = next(iter(failures.items()))
        return f"{name}: {told}"
    others = sum(it.is_dir() for it in cells.iterdir()) if cells.is_dir() else 0
    if not others:
        return "none was run"
    return (
        f"the {others} in {cells} are of other settings, own parts or versions than the study has"
        " now; the sweep runs them anew"
    )


def table_of(results: Results) -> pa.Table:
    """Return one row for each cell: axes, seed, figures, digest, and what failed."""
    cells = results.cells
    summaries = {name: summarise(run) for name, run in results.runs.items()}
    axes = dict.fromkeys(axis for cell in cells for axis in cell.condition.axes)
    columns: dict[str, pa.Array] = {
        axis: pa.array([cell.condition.axes.get(axis) for cell in cells], pa.string())
        for axis in axes
    }
    columns["seed"] = pa.array([cell.seed for cell in cells], pa.int64())
    columns["cell"] = pa.array([cell.name for cell in cells], pa.string())
    found = [summaries.get(cell.name) for cell in cells]
    columns["metric"] = pa.array([it and it.primary.name for it in found], pa.string())
    for name, look in FIGURES.items():
        columns[name] = _figures([None if it is None else look(it) for it in found])
    others = sorted({name for it in found if it is not None for name in it.own_figures})
    for name in others:
        columns[f"own_{name}"] = _figures(
            [None if it is None else it.own_figures.get(name) for it in found]
        )
    columns["run_digest"] = pa.array([it and it.digest for it in found], pa.string())
    columns["failure"] = pa.array([results.failures.get(cell.name) for cell in cells], pa.string())
    return pa.table(columns)


def write_table(results: Results, folder: Path) -> Path:
    """Write the table as Parquet."""
    path = folder / TABLE
    parquet.write_table(table_of(results), path)
    return path


def _figures(values: Sequence[float | None]) -> pa.Array:
    return pa.array(
        [None if it is None or not math.isfinite(it) else it for it in values], pa.float64()
    )
