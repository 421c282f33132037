"""What a run learnt from, by digest: so that two runs can be told to be of the same rows."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from p2pfl.learner.holding_out import HeldOut
from p2pfl.learner.tasks.base import Array, Data, Rows
from p2pfl_crypto.hashing import body_digest, hash_parts
from p2pfl_gossip.description import Source

LABEL = b"p2pfl/inputs"
DIGITS = 16
"""Hexadecimal digits that are kept: for people to compare, and nobody gains by two that agree."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a run learnt from and was measured on; equal digests are of equal contents.

    Attributes:
        train: of the rows that were split among the peers, in order.
        test: of the common test rows that were measured on; empty where there are none.
        split: of who trains on which rows, and holds which back.
        code: the task's files or package, with their digests or versions.
    """

    train: str
    test: str
    split: str
    code: str


def inputs_of(
    data: Data, test: Rows | None, held_out: HeldOut, sources: Iterable[Source]
) -> Inputs:
    """Work out the digests.

    Args:
        data: of the task, checked.
        test: the common test rows that are measured on; None where there are none.
        held_out: who trains on which rows, and holds which back.
        sources: the code of the task.
    """
    return Inputs(
        train=_rows_digest(data.train),
        test="" if test is None else _rows_digest(test),
        split=_digest(
            (
                held_out.training.rows,
                held_out.training.offsets,
                *_joined(held_out.test),
                *_joined(held_out.validation),
            )
        ),
        code=", ".join(f"{source.name} {source.version}" for source in sources),
    )


def data_digests(data: Data) -> dict[str, str]:
    """Return the digests of all that a task's data say, by name: "train" as in `Inputs`.

    Args:
        data: of the task, checked.
    """
    own = {"own test": data.own_test, "own validation": data.own_validation}
    columns = {f"column {name}": column for name, column in sorted(data.columns.items())}
    return {
        "train": _rows_digest(data.train),
        "test": "" if data.test is None else _rows_digest(data.test),
        "scale": f"{data.scale!r} {data.offset!r}",
        **{
            name: _digest((_plain(array),))
            for name, array in {**own, **columns}.items()
            if array is not None
        },
    }


def _rows_digest(rows: Rows) -> str:
    return _digest((rows.inputs, rows.targets))


def _plain(array: Array) -> Array:
    """Return an array without references: of texts those of objects are pointers."""
    found = np.asarray(array)
    return found.astype(np.str_) if found.dtype.hasobject else found


def _joined(rows: Sequence[Array]) -> tuple[Array, Array]:
    """Put arrays of rows behind each other: how many each has, and all of them."""
    counts = np.array([len(it) for it in rows], np.int64)
    return counts, np.concatenate([np.zeros(0, np.int64), *rows])


def _digest(arrays: Iterable[Array]) -> str:
    parts: list[bytes] = []
    for array in arrays:
        kept = np.ascontiguousarray(array)
        parts.append(f"{kept.dtype.str} {kept.shape}".encode())
        parts.append(body_digest(kept.reshape(-1).view(np.uint8).data if kept.size else b""))
    return hash_parts(LABEL, *parts).hex()[:DIGITS]
