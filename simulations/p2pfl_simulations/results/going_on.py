"""A run folder that is not whole yet: what a run that was killed goes on by."""

import json
from dataclasses import dataclass
from pathlib import Path

from p2pfl_simulations.results.folder import (
    SCENARIO,
    SUMMARY,
    RunFolderError,
    read_scenario,
    scenario_toml,
)
from p2pfl_simulations.scenario import Scenario

UNDER_WAY, RESULTS = "under_way.json", "results.kept"


@dataclass(frozen=True)
class UnderWay:
    """A run that has begun.

    Attributes:
        folder: of the run.
        scenario: what is run.
        task_folder: where own parts are imported from.
        is_checked: whether checkers watch.
        is_resumable: whether it can go on once it is killed.
    """

    folder: Path
    scenario: Scenario
    task_folder: Path | None
    is_checked: bool
    is_resumable: bool

    @property
    def results(self) -> Path | None:
        """The file of results of learning; None where none are kept."""
        return self.folder / RESULTS if self.is_resumable else None

    def note(self) -> None:
        """Write what the run goes on by, before it begins."""
        document = {
            "task_folder": None if self.task_folder is None else str(self.task_folder.resolve()),
            "is_checked": self.is_checked,
        }
        try:
            text = scenario_toml(self.scenario, self.task_folder)
            (self.folder / SCENARIO).write_text(text, encoding="utf-8")
            (self.folder / UNDER_WAY).write_text(json.dumps(document) + "\n", encoding="utf-8")
        except OSError as error:
            raise RunFolderError(f"cannot write {self.folder}: {error.strerror}") from None

    def forget(self) -> None:
        """Remove it, once the run is whole."""
        for name in (RESULTS, UNDER_WAY):
            (self.folder / name).unlink(missing_ok=True)


def read_under_way(folder: Path) -> UnderWay:
    """Read what a run that was killed or interrupted goes on by.

    Raises:
        RunFolderError: there is no such run, or it has come to its end.
    """
    try:
        document = json.loads((folder / UNDER_WAY).read_text(encoding="utf-8"))
        task_folder = document["task_folder"]
        is_checked = bool(document["is_checked"])
    except FileNotFoundError:
        why = (
            "the run has come to its end"
            if (folder / SUMMARY).exists()
            else "there is no run that was begun with --resumable"
        )
        raise RunFolderError(f"{folder}: nothing goes on here: {why}") from None
    except (OSError, ValueError, KeyError, TypeError):
        raise RunFolderError(f"{folder / UNDER_WAY} cannot be read") from None
    own = None if task_folder is None else Path(task_folder)
    return UnderWay(folder, read_scenario(folder), own, is_checked, True)
