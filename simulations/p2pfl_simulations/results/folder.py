"""Run folders: what a run leaves on disk, and how it is read back.

`summary.json` is written last, by a rename: a folder without it is no run, so one that was cut
off half-way is never taken for a result. docs/simulate.md tells of every file and column.
"""

import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import tomli_w

from p2pfl.cli.quantities import plural
from p2pfl.learner.inputs import Inputs
from p2pfl.learner.metrics import PrimaryMetric
from p2pfl.learner.model_files import ModelFileError, NamedModel, read_model
from p2pfl_simulations.results.masked_sums import MaskedSums
from p2pfl_simulations.results.privacy import read_privacy
from p2pfl_simulations.results.run import (
    EventRow,
    GainRow,
    LossRow,
    MeanGain,
    ParticipationRow,
    PeerRow,
    RoundRow,
    RunResult,
    file_stem,
)
from p2pfl_simulations.results.selecting import Selected
from p2pfl_simulations.results.summary import summarise
from p2pfl_simulations.results.tables import TABLES, TableName, rows_of, table_of
from p2pfl_simulations.scenario import Scenario, ScenarioError, make_scenario

FORMAT = 2
"""Of run folders; raised when an older reader would misread a newer folder."""

MODELS = "models"
"""The folder of peers' own models, where a scenario keeps them."""

SCENARIO, SUMMARY, REPORT, MODEL, LEDGER = (
    "scenario.toml",
    "summary.json",
    "report.html",
    "model.safetensors",
    "ledger.bin",
)


class RunFolderError(Exception):
    """A folder that cannot be written to, or that holds no run; the message is for people."""


def claim_folder(folder: Path | None, scenario: Scenario) -> Path:
    """Make the folder of a run, empty, before the run begins: two runs never share one.

    Args:
        folder: where to; None takes ``runs/NAME-SEED``, or the first free of ``-2``, ``-3`` ...
        scenario: names the folder.

    Raises:
        RunFolderError: it holds something already, or cannot be made.
    """
    try:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()):
                raise RunFolderError(f"{folder} exists and is not empty; give another folder")
            return folder
        stem = file_stem(scenario)
        number = 1
        while True:
            folder = Path("runs") / (stem if number == 1 else f"{stem}-{number}")
            try:
                folder.mkdir(parents=True)
            except FileExistsError:
                number += 1
            else:
                return folder
    except (FileExistsError, NotADirectoryError):
        raise RunFolderError(
            f"{folder} is a file, or lies below one; give another folder"
        ) from None
    except OSError as error:
        raise RunFolderError(f"cannot make {folder}: {error.strerror}") from None


def write_run(
    run: RunResult,
    folder: str | Path,
    *,
    page: str | None = None,
    task_folder: Path | None = None,
    is_claimed: bool = False,
) -> Path:
    """Write a run to a folder that is new or empty, and return it.

    Args:
        run: what to write.
        folder: where to.
        page: the report, as `p2pfl_simulations.report` renders it; `p2pfl report` adds it later.
        task_folder: where the scenario's own task and relative paths are, for replays.
        is_claimed: the folder is this run's, and may hold more of it.

    Raises:
        RunFolderError: the folder holds something already, or cannot be written.
    """
    folder = Path(folder) if is_claimed else claim_folder(Path(folder), run.scenario)
    try:
        (folder / SCENARIO).write_text(scenario_toml(run.scenario, task_folder), encoding="utf-8")
        for name in TABLES:
            parquet.write_table(table_of(run, name), folder / f"{name}.parquet")
        told = {"task": run.scenario.learning.task, "run": run.digest}
        if run.model is not None:
            named = run.named or NamedModel.of_vector(run.model)
            named.write(folder / MODEL, {**told, **_round_of(run)})
        _write_peer_models(run, folder / MODELS, told)
        if run.ledger is not None:
            (folder / LEDGER).write_bytes(run.ledger)
        if page is not None:
            (folder / REPORT).write_text(page, encoding="utf-8")
        partial = folder / f"{SUMMARY}.partial"
        partial.write_text(_summary_json(run, task_folder), encoding="utf-8")
        partial.rename(folder / SUMMARY)
    except OSError as error:
        raise RunFolderError(f"cannot write {folder}: {error.strerror}") from None
    return folder


def _round_of(run: RunResult) -> dict[str, str]:
    """Say which round the joint model is of, from 1, and why that."""
    if run.selected is None:
        return {"round": str(run.rounds[-1].round + 1)} if run.rounds else {}
    chosen = run.selected
    by = f"{run.primary.name} on validation rows, mean of {plural(chosen.peers, 'peer')}"
    return {
        "round": str(chosen.round + 1),
        "selected_by": by,
        "selected_figure": repr(chosen.figure),
    }


def _write_peer_models(run: RunResult, folder: Path, told: Mapping[str, str]) -> None:
    if run.peer_models:
        folder.mkdir(exist_ok=True)
    for index, model in run.peer_models.items():
        model.write(folder / f"peer-{index}.safetensors", {**told, "peer": str(index)})


def read_run(folder: str | Path) -> RunResult:
    """Read a run back from its folder.

    Raises:
        RunFolderError: it is no run folder, or one of its files is missing or broken.
    """
    folder = Path(folder)
    summary = read_summary(folder)
    try:
        population = _read_table(folder, "population").to_pydict()
        labels = population["label_counts"]
        named = read_model(folder / MODEL)[0] if summary.get("has_model", True) else None
        return RunResult(
            scenario=read_scenario(folder),
            primary=PrimaryMetric(**summary["primary"]),
            inputs=Inputs(**summary["inputs"]) if summary.get("inputs") else None,
            rounds=rows_of(RoundRow, _read_table(folder, "rounds")),
            peers=rows_of(PeerRow, _read_table(folder, "peers")),
            events=rows_of(EventRow, _read_table(folder, "events")),
            gains=rows_of(GainRow, _read_table(folder, "gains")),
            mean_gain=_mean(summary["mean_gain"]),
            pooled_gain=_mean(summary["pooled_gain"]),
            confusion=summary["confusion"],
            sample_counts=population["sample_count"],
            label_counts=None if all(row is None for row in labels) else labels,
            neighbours=[tuple(row) for row in population["neighbours"] if row is not None],
            digest=str(summary["digest"]),
            model=None if named is None else named.vector(),
            named=named,
            interrupted=bool(summary["interrupted"]),
            unfinished=tuple(summary.get("unfinished", ())),
            failure=str(summary.get("failure", "")),
            virtual_s=float(summary["virtual_s"]),
            wall_s=float(summary["wall_s"]),
            cpu_s=float(summary["cpu_s"]),
            counters=dict(summary["counters"]),
            batching=str(summary["batching"]),
            environment=dict(summary["environment"]),
            world=str(summary["world"]),
            masked_sums=(
                MaskedSums(**summary["masked_sums"]) if summary.get("masked_sums") else None
            ),
            participation=_participation(summary),
            idle_models=int(summary.get("idle_models", 0)),
            losses=[LossRow(**row) for row in summary.get("losses", ())],
            privacy=read_privacy(summary.get("privacy")),
            selected=Selected(**summary["selected"]) if summary.get("selected") else None,
            stopped=summary.get("stopped"),
            ledger=(folder / LEDGER).read_bytes() if (folder / LEDGER).exists() else None,
        )
    except (
        OSError,
        KeyError,
        TypeError,
        ValueError,
        pa.ArrowException,
        ModelFileError,
    ) as error:
        raise RunFolderError(f"{folder} is broken: {_one_line(error)}") from None


def _read_table(folder: Path, name: TableName) -> pa.Table:
    return parquet.read_table(folder / f"{name}.parquet")


def _mean(found: Mapping[str, Any] | None) -> MeanGain | None:
    return None if found is None else MeanGain(**found)


def _participation(summary: Mapping[str, Any]) -> list[ParticipationRow] | None:
    rows = summary.get("participation")
    return None if rows is None else [ParticipationRow(**row) for row in rows]


def read_summary(folder: str | Path) -> dict[str, Any]:
    """Read `summary.json` of a run folder.

    Raises:
        RunFolderError: it is no run folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise RunFolderError(f"there is no folder {folder}")
    try:
        summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunFolderError(f"{folder} is no run folder: it has no {SUMMARY}") from None
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{folder / SUMMARY} cannot be read: {_one_line(error)}") from None
    if not isinstance(summary, dict) or summary.get("format") != FORMAT:
        raise RunFolderError(f"{folder / SUMMARY} is of no run folder that this version reads")
    return summary


def read_scenario(folder: str | Path) -> Scenario:
    """Read the resolved scenario of a run folder.

    Raises:
        RunFolderError: it is missing or no scenario.
    """
    path = Path(folder) / SCENARIO
    try:
        return make_scenario(tomllib.loads(path.read_text(encoding="utf-8-sig")), source=str(path))
    except (OSError, ValueError, ScenarioError) as error:
        raise RunFolderError(f"{path} cannot be read: {_one_line(error)}") from None


def read_task_folder(folder: str | Path) -> Path | None:
    """Return the folder that a run's own task was imported from, if it was told.

    Raises:
        RunFolderError: it is no run folder.
    """
    task_folder = read_summary(folder).get("task_folder")
    return Path(task_folder) if isinstance(task_folder, str) else None


def scenario_toml(scenario: Scenario, task_folder: Path | None = None) -> str:
    """Write a scenario as TOML, every default spelt out; `load_scenario` reads it again.

    Its data folder becomes absolute: the file is read from another place than it was written for.
    """
    document = scenario.model_dump(mode="json", exclude_none=True)
    data_dir = scenario.learning.data_dir
    if data_dir is not None and task_folder is not None:
        document["learning"]["data_dir"] = str((task_folder / data_dir).resolve())
    return tomli_w.dumps(document)


def summary_document(run: RunResult) -> dict[str, Any]:
    """Return what `summary.json` holds: the figures, the counters and the environment."""
    document = {
        "format": FORMAT,
        **asdict(summarise(run)),
        "batching": run.batching,
        "inputs": None if run.inputs is None else asdict(run.inputs),
        "counters": run.counters,
        "environment": run.environment,
    }
    return {key: _json_value(value) for key, value in document.items()}


def _summary_json(run: RunResult, task_folder: Path | None) -> str:
    document = summary_document(run)
    document["task_folder"] = str(task_folder.resolve()) if task_folder is not None else None
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def _json_value(value: Any) -> Any:
    """Put null in place of what JSON has no number for."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _json_value(entry) for key, entry in value.items()}
    return value


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
