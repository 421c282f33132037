"""From a study to its cells: every condition with every seed, each a scenario of its own."""

import copy
import hashlib
import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from p2pfl.group.documents import put_value
from p2pfl.learner.errors import LearningError
from p2pfl.learner.inputs import data_digests
from p2pfl.learner.learner import read_rows
from p2pfl.learner.settings import LearningSettings
from p2pfl.learner.sources import sources_of
from p2pfl.plugins import PluginError
from p2pfl_simulations.draws import stream
from p2pfl_simulations.environment import versions
from p2pfl_simulations.own_parts import check_plugins, plugin_sources
from p2pfl_simulations.scenario import Scenario, ScenarioError, make_scenario
from p2pfl_simulations.studies.settings import Changes, Choice, Study, StudyError

DIGEST_CHARACTERS = 12
NAME_CHARACTERS_MAX = 60
SINGLE = "all"
"""The name of the only condition of a study that changes nothing but seeds."""


@dataclass(frozen=True)
class Condition:
    """One setting of the axes.

    Attributes:
        axes: axis -> value as text, in the study's order.
        changes: of the scenario, by dotted key.
    """

    axes: Mapping[str, str]
    changes: Changes

    @property
    def name(self) -> str:
        """What tables and curves call it."""
        return ", ".join(
            value if _speaks(value) else f"{axis.rpartition('.')[2]} {value}"
            for axis, value in self.axes.items()
        )


@dataclass(frozen=True)
class Cell:
    """One run of a study.

    Attributes:
        condition: which.
        seed: of the run.
        document: of the scenario, as nested dictionaries.
        scenario: as checked.
        digest: of all that decides the run: settings, seed, the rows of the task, the code of own
            parts and p2pfl's own, and the versions of what computes.
    """

    condition: Condition
    seed: int
    document: Mapping[str, Any]
    scenario: Scenario
    digest: str

    @property
    def name(self) -> str:
        """Name its folder."""
        stem = re.sub(r"[^\w.-]+", "-", self.condition.name).strip("-.")[:NAME_CHARACTERS_MAX]
        return f"{stem}-seed-{self.seed}-{self.digest}"


def plan(study: Study, base: Mapping[str, Any], folder: Path | None) -> list[Cell]:
    """Work the cells out, and check each before any runs; each task's rows are read once.

    Args:
        study: which conditions and seeds.
        base: the scenario's document.
        folder: where own parts are imported from.

    Raises:
        StudyError: a setting of a cell is wrong, or an own part, or data are not there; the line
            names the condition.
    """
    tasks = _Tasks(folder)
    code: dict[str, str] = {}
    computing = versions()
    cells = []
    for condition in conditions(study):
        for seed in study.seeds:
            document = copy.deepcopy(dict(base))
            for key, value in {**study.set, **condition.changes, "seed": seed}.items():
                put_value(document, key, copy.deepcopy(value), StudyError)
            try:
                scenario = make_scenario(document, source=condition.name)
                if seed == study.seeds[0]:
                    check_plugins(scenario, folder)
                    code = {
                        **computing,
                        **tasks.sources_of(scenario.learning),
                        **plugin_sources(scenario, folder),
                    }
            except (ScenarioError, PluginError, LearningError) as error:
                raise StudyError(_blaming(condition, str(error))) from None
            cells.append(
                Cell(condition, seed, document, scenario, _digest(scenario, code, study.check))
            )
    names = [cell.digest for cell in cells]
    if len(set(names)) < len(names):
        twice = next(it for it in cells if names.count(it.digest) > 1)
        raise StudyError(f"{twice.condition.name}, seed {twice.seed} comes twice")
    require_baseline(study)
    return cells


def conditions(study: Study) -> list[Condition]:
    """Return the conditions, in order."""
    if study.list:
        return [Condition({"name": it.name}, it.set) for it in study.list]
    if study.random is not None:
        return [*_drawn(study)]
    if not study.grid:
        return [Condition({"condition": SINGLE}, {})]
    axes = [[(axis, *_value(axis, it)) for it in values] for axis, values in study.grid.items()]
    return [
        Condition(
            {axis: label for axis, label, _ in chosen},
            {key: value for _, _, changes in chosen for key, value in changes.items()},
        )
        for chosen in itertools.product(*axes)
    ]


def baseline_of(study: Study, condition: Condition, among: Sequence[Condition]) -> Condition | None:
    """Return what a condition is held against; None where there is nothing, or it is that itself.

    Axes that the baseline does not name are the condition's own; a name alone tells one condition.
    """
    if not study.baseline:
        return None
    named = {axis: written(value) for axis, value in study.baseline.items()}
    wanted = named if "name" in named else {**condition.axes, **named}
    found = next((it for it in among if wanted.items() <= it.axes.items()), None)
    return None if found is None or found.axes == condition.axes else found


def require_baseline(study: Study) -> None:
    """Raise StudyError if no condition is the baseline."""
    if not study.baseline:
        return
    found = conditions(study)
    known = found[0].axes
    for axis, value in study.baseline.items():
        values = dict.fromkeys(it.axes.get(axis, "") for it in found)
        if axis not in known:
            raise StudyError(f"baseline: there is no axis {axis!r}; there are {', '.join(known)}")
        if written(value) not in values:
            raise StudyError(
                f"baseline: {axis!r} is never {written(value)!r}; it is {', '.join(values)}"
            )


def written(value: Any) -> str:
    """Write a value as tables show it."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return " ".join(f"{key} {written(entry)}" for key, entry in value.items())
    if isinstance(value, (list, tuple)):
        return " ".join(map(written, value))
    return str(value)


def _value(axis: str, value: Any) -> tuple[str, Changes]:
    """Return a value's label and what it changes: a key, or all that a named choice sets."""
    if isinstance(value, Mapping) and "name" in value and set(value) <= {"name", "set"}:
        choice = Choice.model_validate(value)
        return choice.name, choice.set
    return written(value), {axis: value}


def _drawn(study: Study) -> Iterator[Condition]:
    search = study.random
    assert search is not None
    for number in range(search.draws):
        changes: dict[str, Any] = {}
        for key, draw in search.set.items():
            rng = stream(search.seed, f"study/{key}/{number}")
            if draw.choice is not None:
                changes[key] = rng.choice(draw.choice)
                continue
            assert draw.low is not None
            assert draw.high is not None
            low, high = draw.low, draw.high
            if draw.integer and not draw.log:
                changes[key] = rng.randint(math.ceil(low), math.floor(high))
                continue
            found = (
                math.exp(rng.uniform(math.log(low), math.log(high)))
                if draw.log
                else rng.uniform(low, high)
            )
            changes[key] = round(found) if draw.integer else float(f"{found:.6g}")
        axes = {"name": f"draw {number + 1}"}
        axes |= {key: written(value) for key, value in changes.items()}
        yield Condition(axes, changes)


class _Tasks:
    """The tasks of a plan: the rows of each are read once, whatever many conditions have it."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._known: dict[str, dict[str, str]] = {}

    def sources_of(self, learning: LearningSettings) -> dict[str, str]:
        """Return the code of a task, and its rows, by name and digest."""
        of = learning.model_dump_json(include={"task", "options", "data_dir", "metrics"})
        if of not in self._known:
            task, data, _ = read_rows(learning, self._folder)
            code = {it.name: it.version for it in sources_of(task, folder=self._folder)}
            rows = {f"rows: {name}": told for name, told in data_digests(data).items()}
            self._known[of] = {**code, **rows}
        return self._known[of]


def _digest(scenario: Scenario, code: Mapping[str, str], is_checked: bool) -> str:
    same = scenario.model_copy(update={"name": "", "description": ""})
    told = json.dumps([same.model_dump(mode="json"), sorted(code.items()), is_checked])
    return hashlib.sha256(told.encode()).hexdigest()[:DIGEST_CHARACTERS]


def _speaks(value: str) -> bool:
    """Tell whether a value says by itself what it is: a word does, and a number does not."""
    return not re.fullmatch(r"[-+.\deE]+|true|false", value)


def _blaming(condition: Condition, told: str) -> str:
    return "\n".join(
        line if line.startswith(condition.name) else f"{condition.name}: {line}"
        for line in told.splitlines()
    )
