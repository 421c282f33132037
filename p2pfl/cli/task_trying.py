"""`p2pfl task try`: everything of a task once, before anybody waits for it."""

import csv
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from p2pfl.charter.bundles import MOCK, Bundle, read_bundle
from p2pfl.charter.first_states import write_first_state
from p2pfl.cli.errors import BadInput, peer_errors
from p2pfl.cli.overrides import parse_overrides
from p2pfl.cli.quantities import count, data_size, duration
from p2pfl.daemon.config import PeerFolder
from p2pfl.daemon.kept import kept_model
from p2pfl.store.errors import StoreError

if TYPE_CHECKING:
    from p2pfl.learner.learner import Learner
    from p2pfl.learner.settings import LearningSettings
    from p2pfl_gossip.actions import Vector

MOCK_ROWS = 500
STEPS = 20
"""Timed, after one that is not: the first makes buffers."""

TENSORS_SHOWN = 20
MASKED_ENTRY_BYTES = 4


def try_once(task: str, *, data: Path | None, options: Sequence[str], as_json: bool) -> None:
    """Make a task, train and measure it once, and print what there is to know."""
    if task.endswith(".bundle"):
        told = _tried_bundle(Path(task), data, parse_overrides(options))
    else:
        told = _tried_loose(task, data, parse_overrides(options))
    if as_json:
        print(json.dumps(told, indent=2))
        return
    _show(told)


def _tried_bundle(path: Path, data: Path | None, options: dict[str, Any]) -> dict[str, Any]:
    with peer_errors():
        return try_bundle(read_bundle(path), path, data=data, options=options)


def try_bundle(
    bundle: Bundle, path: Path, *, data: Path | None, options: dict[str, Any]
) -> dict[str, Any]:
    """Try a bundle on its made-up rows, or on others; return what there is to know.

    Raises:
        LearningError: it does not run.
        BadInput: there are no rows to try it on.
    """
    if data is None and not bundle.has_mock_rows:
        raise BadInput(f"{path} has no made-up rows in {MOCK}/ to try it on; give --data")
    with tempfile.TemporaryDirectory() as folder:
        bundle.unpack(Path(folder))
        rows = Path(folder) / MOCK if data is None else data
        told = _tried(bundle.manifest.task, Path(folder), options, rows)
    if data is None:
        told["rows from"] = f"{path.name}: made-up rows"
    return told


def _tried_loose(task: str, data: Path | None, options: dict[str, Any]) -> dict[str, Any]:
    with peer_errors():
        name, folder, given = _named(task, options)
        if data is None and name == "tabular":
            with tempfile.TemporaryDirectory() as made_up:
                data = Path(made_up) / "mock.csv"
                _mock(folder / given["schema"], data)
                told = _tried(name, folder, given, data)
            told["rows from"] = f"{MOCK_ROWS} made-up rows"
        else:
            told = _tried(name, folder, given, data)
    return told


def write_begin(
    task: str,
    file: Path,
    *,
    data: Path | None,
    options: Sequence[str],
    seed: int,
    model_of: Path | None = None,
) -> None:
    """Write the first state of a task to a new file: new, or the newest model of a peer."""
    with peer_errors(), tempfile.TemporaryDirectory() as made:
        given = parse_overrides(options)
        if task.endswith(".bundle"):
            bundle = read_bundle(Path(task))
            bundle.unpack(Path(made))
            name, folder = bundle.manifest.task, Path(made)
            if data is None and bundle.has_mock_rows:
                data = folder / MOCK
        else:
            name, folder, given = _named(task, given)
            if data is None and name == "tabular":
                data = Path(made) / "mock.csv"
                _mock(folder / given["schema"], data)
        learner = _learner(name, folder, given, data, seed=seed)[0]
        vector = learner.initial_vector()
        if model_of is not None:
            old, vector = vector, _model_of(model_of)
            if len(vector) != len(old):
                raise BadInput(
                    f"the model of {model_of} has {len(vector)} entries, and that of {name}"
                    f" {len(old)}: it is of another task"
                )
        item = write_first_state(file, vector)
    print(f"wrote {file}: {count(item.length)} numbers, {item.digest.hex()}")


def _model_of(peer: Path) -> "Vector":
    try:
        return kept_model(PeerFolder(peer).journal).vector
    except StoreError as error:
        raise BadInput(str(error)) from None


def _named(task: str, options: dict[str, Any]) -> tuple[str, Path, dict[str, Any]]:
    """Return a task's name, the folder that it is read from, and its options."""
    if task.endswith(".toml"):
        path = Path(task)
        return "tabular", path.parent, {"schema": path.name} | options
    file, colon, class_name = task.rpartition(":")
    if not colon or not file.endswith(".py"):
        return task, Path(), options
    path = Path(file)
    if not path.is_file():
        raise BadInput(f"there is no file {path}")
    return f"{path.stem}:{class_name}", path.parent, options


def _mock(schema: Path, table: Path) -> None:
    from p2pfl.learner.tabular.mock import mock_rows
    from p2pfl.learner.tabular.schema import read_schema

    with table.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(mock_rows(read_schema(schema), rows=MOCK_ROWS, seed=1))


def _tried(name: str, folder: Path, options: dict[str, Any], data: Path | None) -> dict[str, Any]:
    return _facts(*_learner(name, folder, options, data, seed=1))


def _learner(
    name: str, folder: Path, options: dict[str, Any], data: Path | None, *, seed: int
) -> "tuple[Learner, LearningSettings]":
    from p2pfl.learner.learner import make_learner
    from p2pfl.learner.settings import LearningSettings, TrainingSettings

    settings = LearningSettings(
        task=name,
        options=options,
        data_dir=None if data is None else data.resolve(),
        training=TrainingSettings(steps=STEPS),
    )
    return make_learner(settings, peer_count=1, seed=seed, folder=folder), settings


def _facts(learner: "Learner", settings: "LearningSettings") -> dict[str, Any]:
    from p2pfl_gossip.learning import Evaluate, Evaluated, Train, Trained, WorkFailed

    initial = learner.initial_vector()
    learner.run([(0, Train(0, initial, "try/0"))])
    began_s = time.perf_counter()
    (trained,) = learner.run([(0, Train(1, initial, "try/1"))])
    step_s = (time.perf_counter() - began_s) / STEPS
    if not isinstance(trained, Trained):
        assert isinstance(trained, WorkFailed)
        raise BadInput(f"task {settings.task!r}: training fails: {trained.reason}")
    (measured,) = learner.run([(0, Evaluate(1, trained.vector))])
    if not isinstance(measured, Evaluated):
        assert isinstance(measured, WorkFailed)
        raise BadInput(f"task {settings.task!r}: measuring fails: {measured.reason}")
    travels = [
        {"tensor": it.name, "shape": list(it.shape), "type": it.dtype}
        for it in learner.description.tensors
    ]
    return {
        "task": settings.task,
        "rows to train on": learner.sample_count(0),
        "travels": travels,
        "entries": learner.vector_length,
        "bytes of an update": MASKED_ENTRY_BYTES * learner.vector_length,
        "bytes a round": 2 * MASKED_ENTRY_BYTES * learner.vector_length,
        "engine": learner.batching,
        "batch size": settings.training.batch_size,
        "seconds a step": step_s,
        f"metrics after {STEPS} steps": dict(measured.own or measured.metrics),
    }


def _show(told: dict[str, Any]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    travels = told["travels"]
    lines = [("task", told["task"])]
    if "rows from" in told:
        lines.append(("rows from", told["rows from"]))
    lines.append(("rows to train on", count(told["rows to train on"])))
    for place, tensor in enumerate(travels[:TENSORS_SHOWN]):
        shape = " x ".join(map(str, tensor["shape"])) or "one number"
        lines.append(("" if place else "travels", f"{tensor['tensor']}  {shape}  {tensor['type']}"))
    if len(travels) > TENSORS_SHOWN:
        lines.append(("", f"and {len(travels) - TENSORS_SHOWN} more tensors"))
    lines += [
        ("together", f"{count(told['entries'])} entries, {data_size(told['bytes of an update'])}"),
        ("a round", f"{data_size(told['bytes a round'])} under masks, sent and received, and keys"),
        ("engine", told["engine"]),
        ("a step", f"{duration(told['seconds a step'])} for {told['batch size']} rows, here"),
    ]
    figures = next(value for key, value in told.items() if key.startswith("metrics"))
    shown = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
    lines.append((f"after {STEPS} steps", shown))
    for key, value in lines:
        console.print(f"  {key:<18}{value}", markup=False)
