"""Datasets of other libraries as rows: torch's, Hugging Face's, and whatever behaves like them.

Known by what they do: they have a length, and give an example by its number, as ``(input, target)``
or by names. Every example is asked for once, in order, so what a dataset draws at random for each
asking (augmentation) is drawn once.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from p2pfl.learner.errors import LearningError
from p2pfl.learner.tasks.base import Rows

Array = npt.NDArray[Any]

BYTES_MAX = 16 * 10**9
"""Of rows in memory; told before they are read."""

TARGET_NAMES = ("label", "labels", "target", "targets", "y")
NAMED = "rows_of(dataset, 'inputs', inputs=['image'], target='label')"


ARRAY_OR_TABLE = ("dtype", "dtypes", "__array__", "__dataframe__")
"""What arrays, tensors and tables of columns have; a dataset with a shape has none of it."""


def is_dataset(value: Any) -> bool:
    """Say whether something is a dataset by what it can do; rows, arrays and tables are none.

    A shape alone does not tell: Hugging Face's datasets have one as well.
    """
    if isinstance(value, (Rows, np.ndarray, Mapping, tuple, str, bytes)):
        return False
    if hasattr(value, "shape") and any(hasattr(value, name) for name in ARRAY_OR_TABLE):
        return False
    return hasattr(value, "__getitem__") or hasattr(value, "__iter__")


def rows_of(
    dataset: Any, which: str, *, inputs: Sequence[str] | None = None, target: str | None = None
) -> Rows:
    """Read a dataset into rows.

    Args:
        dataset: has a length, and gives examples by number: pairs of input and target, or values
            by name.
        which: what it is, for people.
        inputs: names of the inputs, where examples have names; if several, each is one number and
            they stand side by side. By default all but the target.
        target: name of the target; by default the one among label, labels, target, targets and y.

    Raises:
        LearningError: it is no such dataset, its examples differ, or it would not fit into memory.
    """
    try:
        count = len(dataset)
    except TypeError:
        raise LearningError(
            f"{which} are a {type(dataset).__name__} without a length; give one that has a"
            " length, such as list(dataset)"
        ) from None
    if not count:
        raise LearningError(f"{which} have no rows")
    examples = _examples(dataset, count, which, inputs, target)
    number, (first_input, first_target) = next(examples, (0, (None, None)))
    held = _Buffer(first_input, count, f"{which}: the input")
    targets = _Buffer(first_target, count, f"{which}: the target")
    for number, (value, its_target) in examples:
        held.put(number, value)
        targets.put(number, its_target)
    if number + 1 < count:
        raise LearningError(f"{which} say that they have {count} rows, but give {number + 1}")
    return Rows(held.array, targets.array)


def _examples(
    dataset: Any, count: int, which: str, inputs: Sequence[str] | None, target: str | None
) -> Iterator[tuple[int, tuple[Any, Any]]]:
    for number in range(count):
        try:
            example = dataset[number]
        except (IndexError, StopIteration):
            return
        if isinstance(example, Mapping):
            if inputs is None or target is None:
                inputs, target = _names(example, which, inputs, target)
            missing = [name for name in (*inputs, target) if name not in example]
            if missing:
                raise LearningError(
                    f"{which}: row {number} has no {missing[0]!r}; it has {', '.join(example)}"
                )
            values = [example[name] for name in inputs]
            yield number, (values[0] if len(values) == 1 else values, example[target])
        elif isinstance(example, (tuple, list)) and len(example) == 2:
            yield number, (example[0], example[1])
        else:
            raise LearningError(
                f"{which}: row {number} is {_kind(example)}, no pair of input and target, and"
                " has no names"
            )


def _names(
    example: Mapping[str, Any], which: str, inputs: Sequence[str] | None, target: str | None
) -> tuple[Sequence[str], str]:
    """Tell inputs and target by their names, where nobody has said which they are."""
    if target is None:
        found = [name for name in TARGET_NAMES if name in example]
        if len(found) != 1:
            raise LearningError(
                f"{which} have the columns {', '.join(example)}, and which is the target is not"
                f" plain; say it: {NAMED}"
            )
        target = found[0]
    if inputs is None:
        inputs = [name for name in example if name != target]
        if len(inputs) > 1 and any(np.ndim(_plain(example[name])) for name in inputs):
            raise LearningError(
                f"{which} have the columns {', '.join(example)}, and which is the input is not"
                f" plain; say it: {NAMED}"
            )
    if not inputs:
        raise LearningError(f"{which} have no column beside the target {target!r}")
    return inputs, target


class _Buffer:
    """An array that is filled row by row, of the shape of the first."""

    def __init__(self, first: Any, count: int, which: str) -> None:
        self._which = which
        value = self._checked(0, first)
        size = value.nbytes * count
        if size > BYTES_MAX:
            raise LearningError(
                f"{which}s would take {size / 1e9:.0f} GB as rows, and at most"
                f" {BYTES_MAX / 1e9:.0f} GB are kept; take fewer, or leave pictures as uint8 and"
                " scale them by Data(scale=...)"
            )
        self.array = np.empty((count, *value.shape), value.dtype)
        self.array[0] = value

    def put(self, number: int, value: Any) -> None:
        """Put a row in its place."""
        row = self._checked(number, value)
        if row.shape != self.array.shape[1:]:
            raise LearningError(
                f"{self._which} of row {number} has shape {list(row.shape)}, that of row 0"
                f" {list(self.array.shape[1:])}; give all the same shape, padded or cut"
            )
        if not np.can_cast(row.dtype, self.array.dtype, "same_kind"):
            self.array = self.array.astype(np.result_type(self.array.dtype, row.dtype))
        self.array[number] = row

    def _checked(self, number: int, value: Any) -> Array:
        try:
            row = np.asarray(_plain(value))
        except (TypeError, ValueError):
            row = np.asarray(None)
        if row.dtype.kind not in "fiub":
            raise LearningError(
                f"{self._which} of row {number} is {_kind(value)}, no numbers; make it numbers of"
                " one shape first"
            )
        return row.astype(np.float32) if row.dtype.kind == "f" else row


def _plain(value: Any) -> Any:
    """Take a tensor's numbers out of it."""
    if hasattr(value, "detach"):
        return value.detach().cpu().numpy()
    return value


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"of type {type(value).__name__}"
