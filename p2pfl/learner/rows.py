"""What a task gives as rows, checked before anything runs: arrays of finite numbers, and some."""

from typing import Any

import numpy as np

from p2pfl.learner.errors import LearningError
from p2pfl.learner.tasks.base import Array, Data, Rows
from p2pfl.learner.tasks.datasets import is_dataset, rows_of

_REMEDIES = {
    "Tensor": "return .numpy() of it",
    "DataFrame": "return .to_numpy() of it",
    "Series": "return .to_numpy() of it",
}


def check_data(data: Any, task: str, *, has_labels: bool) -> Data:
    """Check what a task's `data` returned; make floats float32, and labels int64.

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
    train, test = _check_rows(data.train, task, "train"), _check_rows(data.test, task, "test")
    for name, column in data.columns.items():
        if len(column) != len(train.inputs):
            raise LearningError(
                f"task {task!r}: column {name!r} has {len(column)} entries for"
                f" {len(train.inputs)} training rows"
            )
    if has_labels:
        train, test = _with_labels(train), _with_labels(test)
    return Data(train, test, data.columns, data.scale, data.offset)


def _check_rows(rows: Any, task: str, part: str) -> Rows:
    if is_dataset(rows):
        rows = rows_of(rows, f"task {task!r}: its {part} data")
    if not isinstance(rows, Rows):
        raise LearningError(
            f"task {task!r}: its {part} data are {_kind(rows)}; make them Rows(inputs, targets)"
        )
    inputs = _check_array(rows.inputs, f"task {task!r}: its {part} inputs")
    targets = _check_array(rows.targets, f"task {task!r}: its {part} targets", may_lack=True)
    if len(inputs) == 0:
        raise LearningError(
            f"task {task!r}: its {part} data have no rows; see what data() reads, and from where"
        )
    return Rows(inputs, targets)


def _check_array(values: Any, which: str, *, may_lack: bool = False) -> Array:
    if not isinstance(values, np.ndarray):
        remedy = _REMEDIES.get(type(values).__name__, "make it one by np.asarray")
        raise LearningError(f"{which} are {_kind(values)}, no NumPy array; {remedy}")
    if values.dtype.kind not in "fiub":
        what = {"U": "text", "S": "text", "O": "objects"}.get(values.dtype.kind, "no numbers")
        raise LearningError(
            f"{which} are {what} (dtype {values.dtype}), as in row 0; make them numbers: classes"
            " are 0, 1, 2, ..."
        )
    native = values.dtype.newbyteorder("=")
    if values.dtype.kind != "f":
        return np.ascontiguousarray(values, dtype=native)
    with np.errstate(over="ignore"):
        converted = np.ascontiguousarray(values, dtype=np.float32)
    bad = ~np.isfinite(converted)
    if bad.any() and not (may_lack and np.isfinite(values).sum() == np.isfinite(converted).sum()):
        row = int(np.argwhere(bad)[0][0])
        if np.isfinite(values[row]).all():
            raise LearningError(
                f"{which} have values beyond float32, first in row {row}; scale them in data()"
            )
        raise LearningError(
            f"{which} contain NaN or infinity, first in row {row}; fill them in, or leave such"
            " rows out, in data()"
        )
    return converted


def _with_labels(rows: Rows) -> Rows:
    if rows.targets.dtype.kind == "f":
        return rows
    return Rows(rows.inputs, rows.targets.astype(np.int64))


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"of type {type(value).__name__}"
