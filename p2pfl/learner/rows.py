"""What a task gives as rows, checked before anything runs: arrays of finite numbers, and some."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from p2pfl.learner.arrays import MISSING, as_numbers, first_place
from p2pfl.learner.errors import LearningError
from p2pfl.learner.tasks.base import Array, Data, Rows
from p2pfl.learner.tasks.datasets import is_dataset, rows_of

CLASSES_REMEDY = "number the classes 0, 1, 2, ..., at every peer alike, in data()"
NUMBERS_REMEDY = "make them numbers in data()"


def check_data(data: Any, task: str, *, has_labels: bool) -> Data:
    """Check what a task's `data` returned, and make it arrays that nobody can write to.

    Floats become float32, and bools among inputs as well. Inputs of uint8 stay, as they are
    scaled when they are used; other integers become int32 or int64. Targets stay what they are,
    but for a width that torch does not compute with; where they are labels they become int64.

    Args:
        data: what it returned.
        task: its name, for people.
        has_labels: whether its targets are classes, as the loss is cross-entropy; trial.py holds
            them against the model's outputs.

    Raises:
        LearningError: it is not what a learner can use; one line with the remedy.
    """
    if not isinstance(data, Data):
        raise LearningError(
            f"task {task!r}: its data() returned {_kind(data)}; return Data(train=Rows(inputs,"
            " targets), test=Rows(inputs, targets))"
        )
    train = _check_rows(data.train, task, "train", has_labels=has_labels)
    test = data.test
    if test is not None:
        test = _check_rows(test, task, "test", has_labels=has_labels)
    for name in ("scale", "offset"):
        value = getattr(data, name)
        if not isinstance(value, (int, float, np.number)) or not math.isfinite(value):
            raise LearningError(f"task {task!r}: {name} of its data is {value!r}, no finite number")
    if test is not None:
        train, test = _alike(train, test, data, task)
    columns = _check_columns(data.columns, len(train.inputs), task)
    own_test = _check_choice(data.own_test, task, "own_test", train)
    own_validation = _check_choice(data.own_validation, task, "own_validation", train)
    return replace(
        data,
        train=train,
        test=test,
        columns=columns,
        own_test=own_test,
        own_validation=own_validation,
    )


def _check_choice(chosen: Any, task: str, name: str, train: Rows) -> Array | None:
    """Check which rows a task holds out of what each peer trains on."""
    if chosen is None:
        return None
    flags = np.asarray(chosen)
    if flags.shape != (len(train.inputs),) or flags.dtype != bool:
        raise LearningError(
            f"task {task!r}: its {name} is of {flags.dtype} {list(flags.shape)}; make it one bool"
            f" for each of the {len(train.inputs)} train rows"
        )
    return flags


def _check_rows(rows: Any, task: str, part: str, *, has_labels: bool) -> Rows:
    if is_dataset(rows):
        rows = rows_of(rows, f"task {task!r}: its {part} data")
    if not isinstance(rows, Rows):
        raise LearningError(
            f"task {task!r}: its {part} data are {_kind(rows)}; make them Rows(inputs, targets)"
        )
    inputs = _check_array(rows.inputs, f"task {task!r}: its {part} inputs", NUMBERS_REMEDY)
    if inputs.dtype.kind == "b":
        inputs = inputs.astype(np.float32)
    remedy = CLASSES_REMEDY if has_labels else NUMBERS_REMEDY
    which = f"task {task!r}: its {part} targets"
    targets = _check_array(rows.targets, which, remedy, may_lack=not has_labels)
    if has_labels and targets.dtype.kind != "f":
        targets = targets.astype(np.int64)
    if len(inputs) == 0:
        raise LearningError(
            f"task {task!r}: its {part} data have no rows; see what data() reads, and from where"
        )
    if len(inputs) != len(targets):
        raise LearningError(
            f"task {task!r}: its {part} data have {len(inputs)} rows of inputs, but"
            f" {len(targets)} of targets; give each row one target"
        )
    return Rows(_read_only(inputs), _read_only(targets))


def _check_array(values: Any, which: str, remedy: str, *, may_lack: bool = False) -> Array:
    """Make values numbers, and refuse those that are not finite.

    `may_lack`: whether NaN stands for what is not known, which the loss may skip.
    """
    array, columns, beyond = as_numbers(values, which, remedy)
    if beyond is not None:
        raise LearningError(
            f"{which} have values beyond float32, first in {_place(beyond, array, columns)}; scale"
            " them in data()"
        )
    if may_lack or array.dtype.kind != "f":
        return array
    bad = ~np.isfinite(array)
    if not bad.any():
        return array
    count = int(bad.reshape(len(array), -1).any(axis=1).sum())
    raise LearningError(
        f"{which} contain NaN or infinity, first in {_place(first_place(bad), array, columns)}"
        f" ({count} of {len(array)} rows); fill them in, or leave such rows out, in data()"
    )


def _place(at: tuple[int, ...], array: Array, columns: Sequence[str]) -> str:
    """Name a row, and its column where there are several."""
    if len(at) == 2 and array.shape[1] > 1:
        return f"row {at[0]}, column {columns[at[1]] if columns else at[1]!r}"
    return f"row {at[0]}"


def _alike(train: Rows, test: Rows, data: Data, task: str) -> tuple[Rows, Rows]:
    """Hold rows to train on and to test on against each other; give their inputs one type."""
    ours, theirs = train.inputs, test.inputs
    if ours.shape[1:] != theirs.shape[1:]:
        raise LearningError(
            f"task {task!r}: a row of its train inputs has shape {list(ours.shape[1:])}, one of its"
            f" test inputs {list(theirs.shape[1:])}; give both the same features"
        )
    if ours.dtype == theirs.dtype:
        return train, test
    is_scaled = (data.scale, data.offset) != (1.0, 0.0)
    if np.uint8 in (ours.dtype, theirs.dtype) and is_scaled:
        raise LearningError(
            f"task {task!r}: its train inputs are {ours.dtype}, its test inputs {theirs.dtype}, and"
            " scale and offset go for uint8 alone; give both the same type"
        )
    common = np.int64 if {ours.dtype.kind, theirs.dtype.kind} <= {"i", "u"} else np.float32
    return (
        Rows(_read_only(ours.astype(common)), train.targets),
        Rows(_read_only(theirs.astype(common)), test.targets),
    )


def _check_columns(columns: Any, row_count: int, task: str) -> dict[str, Array]:
    if not isinstance(columns, Mapping):
        raise LearningError(
            f"task {task!r}: columns of its data are {_kind(columns)}; give them by name"
        )
    checked = {}
    for name, column in columns.items():
        values = column.to_numpy() if hasattr(column, "to_numpy") else np.asarray(column)
        if values.shape != (row_count,):
            raise LearningError(
                f"task {task!r}: column {name!r} has {len(values) if values.ndim else 'no'} entries"
                f" for {row_count} training rows"
            )
        missing = _missing_of(values)
        if missing.any():
            raise LearningError(
                f"task {task!r}: column {name!r} has no value in row {first_place(missing)[0]};"
                " name the group of each row"
            )
        if values.dtype.kind == "O":
            values = values.astype(str)
        checked[str(name)] = values
    return checked


def _missing_of(values: Array) -> Array:
    """Mark what is no value: NaN, None and their like."""
    if values.dtype.kind == "O":
        return np.array([type(it).__name__ in MISSING or it != it for it in values], bool)
    return np.asarray(values != values)


def _read_only(array: Array) -> Array:
    view = array.view()
    view.flags.writeable = False
    return view


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"of type {type(value).__name__}"
