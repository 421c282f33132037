"""What is tried of a study before its first cell runs: own parts, each once."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from p2pfl.learner.errors import LearningError
from p2pfl.learner.learner import make_learner
from p2pfl.learner.tasks.registry import TASKS
from p2pfl.plugins import PluginError
from p2pfl_simulations.own_parts import plugins_of
from p2pfl_simulations.scenario import Scenario, ScenarioError
from p2pfl_simulations.simulation import Simulation
from p2pfl_simulations.studies.plan import Cell
from p2pfl_simulations.studies.settings import StudyError


def try_own_parts(cells: Sequence[Cell], folder: Path | None) -> None:
    """Make the first cell with each own part, as a run does before it begins.

    So a rule averages three small models, a graph is drawn, rows are split, before any cell has
    run. What else is wrong with a cell, as more peers than rows, costs that cell alone.

    Args:
        cells: of a study, those that are to be run.
        folder: where own parts are imported from.

    Raises:
        StudyError: an own part cannot be used; the line names the condition.
    """
    tried: set[str] = set()
    for cell in cells:
        parts = set(_own_parts(cell.scenario))
        if parts <= tried:
            continue
        tried |= parts
        try:
            _make(cell.scenario, folder)
        except PluginError as error:
            raise StudyError(f"{cell.condition.name}: {error}") from None
        except LearningError as error:
            if str(error).startswith(f"task {cell.scenario.learning.task!r}"):
                raise StudyError(f"{cell.condition.name}: {error}") from None
        except ScenarioError:
            continue


def _own_parts(scenario: Scenario) -> Iterator[str]:
    """Name the parts that do not ship, with their settings."""
    for kind, name, options in plugins_of(scenario):
        if name not in kind.shipped:
            yield json.dumps([kind.name, name, options], default=str, sort_keys=True)
    learning = scenario.learning
    if learning.task not in (*TASKS.shipped, *TASKS.also):
        yield json.dumps([TASKS.name, learning.task, learning.options], default=str, sort_keys=True)


def _make(scenario: Scenario, folder: Path | None) -> None:
    learner = make_learner(
        scenario.learning, peer_count=scenario.peers, seed=scenario.seed, folder=folder, threads=1
    )
    Simulation(scenario, learner, lambda _: None, folder=folder)
