"""Study files: which scenario, what is changed in it, and with which seeds."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from p2pfl.group.documents import check_document, put_value, read_toml
from p2pfl.learner.settings import SettingsTable
from p2pfl_simulations.scenario import ScenarioError, find_scenario

SEEDS_MAX = 1000
DRAWS_MAX = 10_000

Name = Annotated[str, Field(min_length=1, max_length=80)]
Changes = Mapping[str, Any]
"""Values by dotted key of a scenario, ``{"averaging.cohort_size": 16}``."""


class StudyError(Exception):
    """A study that cannot be run; the message is for people, one line a fault."""


class Choice(SettingsTable):
    """One of several: settings that go together, under a name."""

    name: Name
    """What tables and curves call it."""
    set: Mapping[str, Any] = {}
    """Values by dotted key of a scenario; a value may be a table."""


class Draw(SettingsTable):
    """What a random draw takes for a key: a number from an interval, or one of some values."""

    low: float | None = None
    """The least number."""
    high: float | None = None
    """The largest."""
    log: bool = False
    """Whether the logarithm is drawn uniformly."""
    integer: bool = False
    """Whether whole numbers are drawn."""
    choice: Annotated[tuple[Any, ...], Field(min_length=1)] | None = None
    """Values to choose from, in place of an interval."""

    @model_validator(mode="after")
    def _says_from_what(self) -> "Draw":
        if (self.choice is None) == (self.low is None and self.high is None):
            raise ValueError("give either low and high, or choice")
        if self.choice is None:
            if self.low is None or self.high is None or self.low > self.high:
                raise ValueError("low and high are both needed, low below high")
            if self.log and self.low <= 0:
                raise ValueError("a logarithm needs low above 0")
        return self


class RandomSearch(SettingsTable):
    """Conditions that are drawn at random."""

    draws: Annotated[int, Field(ge=1, le=DRAWS_MAX)]
    """How many."""
    seed: Annotated[int, Field(ge=0)] = 1
    """Of the draws; not of the runs."""
    set: Annotated[Mapping[str, Draw], Field(min_length=1)]
    """What is drawn, by dotted key."""


class Study(SettingsTable):
    """A study: conditions of one scenario, each run with all the seeds."""

    name: Annotated[str, Field(pattern=r"^[\w.-]{1,80}$")] = "study"
    """Names the study's folder; the file's name if not given."""
    description: str = ""
    """Shown in the report."""
    scenario: str = "quick"
    """A TOML file, relative to this one, or the name of a scenario that ships."""
    set: Mapping[str, Any] = {}
    """Settings of all runs, by dotted key, in place of the scenario's."""
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**63)], ...] = (1, 2, 3)
    """Of the runs; `seeds = 5` is short for 1 to 5. All conditions have the same ones."""
    grid: Mapping[str, tuple[Any, ...]] = {}
    """Axes: by dotted key, its values; or by any name, tables with `name` and `set`. Every
    combination is a condition."""
    list: tuple[Choice, ...] = ()
    """Conditions one by one, in place of a grid."""
    random: RandomSearch | None = None
    """Conditions drawn at random, in place of a grid."""
    baseline: Mapping[str, Any] = {}
    """What other conditions are held against, seed by seed, ``{ topology = "ring" }``.
    Axes that are not named stay the condition's own. Of a list or a draw, ``{ name = "..." }``."""
    check: bool = False
    """Whether the protocol's invariants are checked all along."""

    @field_validator("seeds", mode="before")
    @classmethod
    def _counted(cls, value: Any) -> Any:
        if isinstance(value, int) and not isinstance(value, bool):
            if not 1 <= value <= SEEDS_MAX:
                raise ValueError(f"seeds are 1 to {SEEDS_MAX}")
            return tuple(range(1, value + 1))
        return value

    @model_validator(mode="after")
    def _is_of_one_kind(self) -> "Study":
        given = [it for it in ("grid", "list", "random") if getattr(self, it)]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude each other; give one of them")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ValueError("seeds: at least one, and each once")
        for axis, values in self.grid.items():
            if not values:
                raise ValueError(f"grid: {axis!r} has no values")
        return self


def load_study(path: Path, overrides: Changes | None = None) -> tuple[Study, dict[str, Any], Path]:
    """Read a study file.

    Args:
        path: the file.
        overrides: values by dotted key in place of the file's.

    Returns:
        the study, the document of its scenario before any change, and the folder where own parts
        are imported from: the scenario's, or the study's where the scenario ships.

    Raises:
        StudyError: the study file is wrong; each fault is named.
        ScenarioError: there is no such scenario.
    """
    document = read_toml(path, StudyError)
    document.setdefault("name", path.stem)
    for key, value in (overrides or {}).items():
        put_value(document, key, value, StudyError)
    study = check_document(document, Study, StudyError, source=str(path))
    beside = path.parent / study.scenario
    found = beside if beside.is_file() else find_scenario(study.scenario)
    base = read_toml(found, ScenarioError)
    base.setdefault("name", found.stem)
    folder = (found if beside.is_file() else path).resolve().parent
    return study, base, folder


def parsed(text: str) -> dict[str, Any]:
    """Read TOML that we wrote ourselves."""
    return tomllib.loads(text)
