"""What people bring as rows, made NumPy arrays of numbers.

Tensors, lists, data frames and series (of pandas, polars, pyarrow), sparse matrices and whatever
offers `__array__` become arrays. None of those libraries is imported here: a value that is one of
their kind shows that by what it can do.
"""

import math
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from p2pfl.learner.errors import LearningError
from p2pfl.learner.tasks.base import Array

DENSE_BYTES_MAX = 2**30
"""Of a sparse matrix that is made dense: about what a laptop spares for the rows of a task."""

NOT_NUMBERS = {
    "U": "text",
    "S": "text",
    "T": "text",
    "M": "dates",
    "m": "durations",
    "c": "complex numbers",
    "V": "records of several fields",
}
_WIDER = {"int8": "int32", "int16": "int32", "uint16": "int32", "uint32": "int64"}
MISSING = ("NoneType", "NAType", "NaTType")  # None, pandas.NA and pandas.NaT.


class Converted(NamedTuple):
    """Numbers.

    Attributes:
        array: C-contiguous, in native byte order.
        columns: the names of its columns, if it was a data frame.
        beyond: where the first value lies that was finite, and is infinite as float32.
    """

    array: Array
    columns: tuple[str, ...] = ()
    beyond: tuple[int, ...] | None = None


def as_numbers(values: Any, which: str, remedy: str) -> Converted:
    """Make values an array of numbers: floats float32, integers as torch takes them, bools.

    Args:
        values: [n, ...] of any kind that holds numbers.
        which: what they are, for people: ``"task 'x': its train inputs"``.
        remedy: follows where they are no numbers.

    Returns:
        the numbers; NaN and infinity stay.

    Raises:
        LearningError: they are no numbers, or no rows; it names the first row that is at fault.
    """
    array, columns, beyond = _unwrapped(values, which, remedy)
    if array.ndim == 0:
        raise LearningError(f"{which} are of type {type(values).__name__}, no rows; {remedy}")
    if array.dtype.kind == "O":
        array = _of_objects(array, which, remedy)
    if array.dtype.kind in NOT_NUMBERS:
        raise LearningError(
            f"{which} are {NOT_NUMBERS[array.dtype.kind]} (dtype {array.dtype}), as in row 0;"
            f" {remedy}"
        )
    converted = _of_torch_type(array, which)
    if array.dtype.kind == "f" and beyond is None:
        lost = np.isinf(converted)
        if lost.any() and (lost := lost & np.isfinite(array)).any():
            beyond = first_place(lost)
    return Converted(converted, columns, beyond)


def _of_torch_type(array: Array, which: str) -> Array:
    """Give numbers a type that torch computes with, without changing what they are."""
    kind = array.dtype.newbyteorder("=")
    if kind.kind == "f":
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(array, np.float32)
    if kind == np.uint64:
        limit = np.uint64(np.iinfo(np.int64).max)
        beyond = array > limit
        if beyond.any():
            row = first_place(beyond)[0]
            raise LearningError(
                f"{which} are integers beyond int64, first in row {row}; scale them"
            )
        kind = np.dtype(np.int64)
    return np.ascontiguousarray(array, np.dtype(_WIDER.get(kind.name, kind)))


def first_place(mask: Array) -> tuple[int, ...]:
    """Return where a mask, which is true somewhere, is so first."""
    return tuple(int(at) for at in np.unravel_index(int(mask.argmax()), mask.shape))


def _unwrapped(values: Any, which: str, remedy: str) -> Converted:
    """Take values out of what holds them, whatever their type."""
    torch = sys.modules.get("torch")
    if isinstance(values, np.ma.MaskedArray):
        return Converted(_of_masked(values))
    if isinstance(values, np.ndarray):
        return Converted(np.asarray(values))
    if torch is not None and isinstance(values, torch.Tensor):
        return Converted(_of_tensor(values, which))
    try:
        if hasattr(values, "toarray") and hasattr(values, "nnz"):
            return Converted(_of_sparse(values, which))
        if hasattr(values, "to_numpy") and hasattr(values, "columns"):
            return _of_frame(values, which, remedy)
        if hasattr(values, "column_names") and hasattr(values, "column"):  # pyarrow's table
            return _of_columns(
                [str(name) for name in values.column_names],
                [values.column(i) for i in range(len(values.column_names))],
                which,
                remedy,
            )
        if hasattr(values, "to_numpy"):
            return Converted(np.asarray(values.to_numpy()))
        if isinstance(values, (list, tuple)):
            return _of_sequence(values, which, remedy)
        if hasattr(values, "__array__"):
            return Converted(np.asarray(values))
    except LearningError:
        raise
    except Exception as error:  # Of a library that we do not know.
        told = " ".join(str(error).split())[:200]
        raise LearningError(
            f"{which} are of type {type(values).__name__}, and make no array:"
            f" {type(error).__name__}: {told}; return a NumPy array of them"
        ) from error
    kind = "nothing" if values is None else f"of type {type(values).__name__}"
    raise LearningError(f"{which} are {kind}, no NumPy array; {remedy}")


def _of_masked(values: Any) -> Array:
    """Fill what is masked with NaN, which is told as missing."""
    if not np.ma.getmaskarray(values).any():
        return np.asarray(values.data)
    return np.asarray(values.astype(np.float64).filled(np.nan))


def _of_tensor(values: Any, which: str) -> Array:
    torch = sys.modules["torch"]
    if values.device.type == "meta" or values.is_nested:
        what = "on device meta" if values.device.type == "meta" else "nested"
        raise LearningError(f"{which} are a tensor {what}; return a NumPy array of them")
    tensor = values.detach()
    if tensor.layout != torch.strided:
        _require_small(tuple(tensor.shape), tensor.element_size(), which)
        tensor = tensor.to_dense()
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    if tensor.is_floating_point() and tensor.dtype not in (torch.float32, torch.float64):
        tensor = tensor.float()  # NumPy has no bfloat16.
    array: Array = tensor.cpu().resolve_conj().resolve_neg().numpy()
    return array


def _of_sparse(values: Any, which: str) -> Array:
    _require_small(tuple(values.shape), values.dtype.itemsize, which)
    return np.asarray(values.toarray())


def _require_small(shape: tuple[int, ...], itemsize: int, which: str) -> None:
    size = math.prod(shape) * itemsize
    if size > DENSE_BYTES_MAX:
        raise LearningError(
            f"{which} are a sparse matrix of {' x '.join(map(str, shape))}, which would take"
            f" {size / 2**30:.1f} GiB as an array, more than {DENSE_BYTES_MAX // 2**30}; keep fewer"
            " columns, or reduce them (hashing, truncated SVD)"
        )


def _of_frame(values: Any, which: str, remedy: str) -> Converted:
    names = list(values.columns)
    if hasattr(values, "iloc"):  # Of pandas, where two columns may have one name.
        columns = [values.iloc[:, i] for i in range(len(names))]
    else:
        columns = [values[name] for name in names]
    if not names:
        return Converted(np.empty((len(values), 0), np.float32))
    return _of_columns([str(name) for name in names], columns, which, remedy)


def _of_columns(names: Sequence[str], columns: Sequence[Any], which: str, remedy: str) -> Converted:
    made = [
        as_numbers(column, f"{which}, column {name!r},", remedy)
        for name, column in zip(names, columns, strict=True)
    ]
    beyond = [(*it.beyond, place) for place, it in enumerate(made) if it.beyond is not None]
    stacked = np.stack([it.array for it in made], axis=1)
    return Converted(stacked, tuple(names), min(beyond, default=None))


def _of_sequence(values: Sequence[Any], which: str, remedy: str) -> Converted:
    if any(hasattr(it, "detach") or hasattr(it, "to_numpy") for it in values):
        made = [as_numbers(it, f"{which}, row {row},", remedy) for row, it in enumerate(values)]
        _require_alike([it.array.shape for it in made], which)
        beyond = [(row, *it.beyond) for row, it in enumerate(made) if it.beyond is not None]
        return Converted(np.stack([it.array for it in made]), (), min(beyond, default=None))
    try:
        array = np.asarray(values)
    except ValueError:
        _require_alike([np.shape(np.asarray(it, object)) for it in values], which)
        raise LearningError(f"{which} are a list of rows of different shapes; {remedy}") from None
    if array.dtype.kind in "US":  # A list of numbers with one word in it is told by that word.
        return Converted(np.asarray(values, object))
    return Converted(array)


def _require_alike(shapes: Sequence[tuple[int, ...]], which: str) -> None:
    for row, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise LearningError(
                f"{which} have rows of different lengths: row 0 has {_told(shapes[0])}, row {row}"
                f" has {_told(shape)}; make all rows alike, by padding or cutting them in data()"
            )


def _told(shape: tuple[int, ...]) -> str:
    return str(shape[0]) if len(shape) == 1 else f"shape {list(shape)}"


def _of_objects(array: Array, which: str, remedy: str) -> Array:
    """Make an array of Python numbers one of numbers; what is missing becomes NaN."""
    flat, missing = array.reshape(-1), False
    for place, value in enumerate(flat):
        if type(value).__name__ in MISSING:
            missing = True
        elif not isinstance(value, (bool, int, float, np.number, np.bool_)) or isinstance(
            value, np.complexfloating
        ):
            row = np.unravel_index(place, array.shape)[0]
            what = "text" if isinstance(value, (str, bytes)) else f"of type {type(value).__name__}"
            raise LearningError(f"{which} are {what} in row {row}; {remedy}")
    if missing:
        flat = np.array([np.nan if type(it).__name__ in MISSING else it for it in flat])
    try:
        made = np.array(flat.tolist())
    except OverflowError:
        made = np.array([float(it) for it in flat])
    if made.dtype.kind == "O":
        raise LearningError(f"{which} are integers beyond 64 bits; scale them")
    return made.reshape(array.shape)
