"""Labels held against the outputs of a classifier: what cross-entropy can take."""

from typing import Any

import numpy as np
import torch

from p2pfl.learner.errors import LearningError
from p2pfl.learner.tasks.base import Array

IGNORED = -100
"""torch's mark of places that cross-entropy leaves out; for targets of several places a row."""


def check_labels(outputs: Any, targets: Array, task: str, part: str) -> None:
    """Hold the labels of all rows against the outputs of a classifier.

    Raises:
        LearningError: they are no numbers of classes, or of classes that it has no output for.
    """
    told = f"task {task!r}: its {part} targets"
    own = "or give the task a loss of its own"
    if not isinstance(outputs, torch.Tensor) or outputs.dim() < 2:
        kind = (
            f"a tensor of shape {list(outputs.shape)}"
            if isinstance(outputs, torch.Tensor)
            else type(outputs).__name__
        )
        raise LearningError(
            f"task {task!r}: its model gives {kind}; cross-entropy takes [rows, classes]: have"
            f" forward return that, {own}"
        )
    classes, places = outputs.shape[1], tuple(outputs.shape[2:])
    if targets.dtype.kind == "f":
        raise LearningError(
            f"{told} are {targets.dtype}; cross-entropy takes classes, integers from 0 to"
            f" {classes - 1}: convert them, {own}"
        )
    if targets.shape[1:] != places:
        raise LearningError(
            f"{told} have shape {list(targets.shape)}; cross-entropy takes the number of one class"
            f" a row, {['rows', *places]}: of one-hot rows take argmax(axis=1), of a column [:, 0],"
            f" {own}".replace("'rows'", "rows")
        )
    wrong = (targets < 0) | (targets >= classes)
    if places:
        wrong &= targets != IGNORED
    if wrong.any():
        at = tuple(np.argwhere(wrong)[0])
        raise LearningError(
            f"{told} have class {targets[at]} in row {at[0]}; the model has {classes} outputs, so"
            f" classes are 0 to {classes - 1}: number them from 0, or widen the model"
        )
