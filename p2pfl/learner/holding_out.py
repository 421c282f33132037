"""Rows of each peer that it never trains on: its test rows, and rows to choose models by.

They are drawn from the peer's own rows, of each label alike, so that they are of its own mix. A row
that several peers hold is held out of all of them or of none.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from p2pfl.learner.partitions import LABELS_MAX, Labels, Partition
from p2pfl.learner.streams import Integers, permutation

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class HeldOut:
    """What each peer trains on, and what it does not.

    Attributes:
        training: the rows of each peer that it trains on, at least one.
        test: int64 row numbers by peer; may be empty.
        validation: int64 row numbers by peer, nobody's test rows; may be empty.
    """

    training: Partition
    test: tuple[Integers, ...]
    validation: tuple[Integers, ...]


def hold_out(
    partition: Partition,
    targets: Labels,
    *,
    test_share: float,
    validation_share: float,
    seed: int,
    given_test: Flags | None = None,
    given_validation: Flags | None = None,
) -> HeldOut:
    """Hold rows out of what each peer trains on.

    Args:
        partition: all rows of each peer.
        targets: of all rows; where they are labels, the same share of each label is held out.
        test_share: of each peer's rows, in [0, 1); to the nearest row.
        validation_share: of each peer's rows, in [0, 1).
        seed: the same seed holds out the same rows.
        given_test: where the task chooses test rows, bool[n]: then no others are.
        given_validation: as `given_test`, of validation rows; a test row is none.

    Returns:
        the split; a peer whose rows would all be held out keeps one to train on.
    """
    row_count = len(targets)
    # One order for all peers: rows that several hold come first for all of them.
    ranks = np.empty(row_count, np.int64)
    ranks[permutation(f"{seed}/held-out", row_count)] = np.arange(row_count)
    labels = _labels(targets)
    peers = range(len(partition.offsets) - 1)
    held = [np.unique(partition.rows_of(peer)) for peer in peers]
    holders = np.bincount(np.concatenate(held), minlength=row_count)
    is_test, is_validation = np.zeros(row_count, bool), np.zeros(row_count, bool)
    for chosen, share, given in (
        (is_test, test_share, given_test),
        (is_validation, validation_share, given_validation),
    ):
        if given is not None:
            chosen[:] = given.astype(bool) & ~is_test
        elif share:
            _draw(chosen, share, held, holders, is_test, labels, ranks)
    for rows in held:
        if (is_test | is_validation)[rows].all():
            kept = rows[np.argmax(ranks[rows])]
            is_test[kept] = is_validation[kept] = False
    return HeldOut(
        training=_without(partition, is_test | is_validation),
        test=tuple(rows[is_test[rows]] for rows in held),
        validation=tuple(rows[is_validation[rows]] for rows in held),
    )


def _draw(
    chosen: Flags,
    share: float,
    held: Sequence[Integers],
    holders: Integers,
    is_taken: Flags,
    labels: Labels,
    ranks: Integers,
) -> None:
    """Choose a share of each peer's rows that are not taken.

    Those that several peers hold are chosen once for all of them; then each peer makes its share
    up from those that it alone holds. Were shared rows chosen peer by peer, nearly all would be.
    """
    shared = np.flatnonzero((holders > 1) & ~is_taken)
    chosen[_choose(shared, labels, ranks, round_half_up(share * len(shared)))] = True
    for rows in held:
        own = rows[(holders[rows] == 1) & ~is_taken[rows]]
        count = round_half_up(share * len(rows)) - int(chosen[rows].sum())
        chosen[_choose(own, labels, ranks, max(0, count))] = True


def round_half_up(number: float) -> int:
    """Round to the nearest integer, halves up."""
    return int(np.floor(number + 0.5))


def _labels(targets: Labels) -> Labels:
    """Return labels to hold out alike, all 0 where targets are none."""
    is_label = targets.ndim == 1 and targets.dtype.kind in "iub"
    if is_label and len(np.unique(targets)) <= LABELS_MAX:
        return targets
    return np.zeros(len(targets), np.int64)


def _choose(rows: Integers, labels: Labels, ranks: Integers, count: int) -> Integers:
    """Choose `count` rows, of each label its share: the first by rank."""
    if not count or not len(rows):
        return rows[:0]
    order = rows[np.argsort(ranks[rows], kind="stable")]
    found, index = np.unique(labels[order], return_inverse=True)
    exact = np.bincount(index, minlength=len(found)) * (min(count, len(rows)) / len(rows))
    quotas = np.floor(exact).astype(np.int64)
    # What is left of the count goes to the labels that rounding took most from; of equals, to
    # the one whose next row comes first, so that no label is always preferred.
    waiting = [
        (-(exact[label] - quotas[label]), _rank_of(order, index, label, quotas[label], ranks))
        for label in range(len(found))
    ]
    more = sorted(range(len(found)), key=waiting.__getitem__)
    quotas[more[: min(count, len(rows)) - int(quotas.sum())]] += 1
    return np.concatenate([order[index == label][: quotas[label]] for label in range(len(found))])


def _rank_of(order: Integers, index: Integers, label: int, place: int, ranks: Integers) -> int:
    rows = order[index == label]
    return int(ranks[rows[place]]) if place < len(rows) else len(ranks)


def _without(partition: Partition, held_out: Flags) -> Partition:
    parts: Sequence[Integers] = [
        rows[~held_out[rows]] for rows in map(partition.rows_of, range(len(partition.offsets) - 1))
    ]
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
    return Partition(np.concatenate(parts), offsets, partition.summary, partition.names)
