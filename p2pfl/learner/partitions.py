"""Who holds which rows: splits of a training set among peers.

Label skew by Dirichlet shares follows Hsu, Qi and Brown (arXiv 1909.06335), shards McMahan et al.
(AISTATS 2017). Departure: a peer that Dirichlet leaves with too few rows gets random rows more.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from p2pfl.learner.errors import LearningError
from p2pfl.learner.settings import (
    DirichletPartition,
    GroupsPartition,
    IidPartition,
    OwnPartition,
    PartitionSettings,
    QuantityPartition,
    ShardsPartition,
    SitesPartition,
)
from p2pfl.learner.streams import Integers, permutation
from p2pfl.plugins import SPLITS, Split, make_plugin, plugin_faults

Labels = npt.NDArray[Any]

SITE = "site"
"""The column by which kind "sites" goes: of each row, the name of its site."""


@dataclass(frozen=True)
class Partition:
    """Rows of every peer.

    Attributes:
        rows: int64 row numbers, one peer's after the other's; each peer has at least one.
        offsets: int64[peers + 1]; peer i has ``rows[offsets[i]:offsets[i + 1]]``.
        summary: one line for people.
        names: of the peers, where they hold natural groups: the groups' names.
    """

    rows: Integers
    offsets: Integers
    summary: str
    names: tuple[str, ...] | None = None

    def rows_of(self, peer: int) -> Integers:
        """Return a peer's row numbers, int64; a row that it holds twice stands there twice."""
        return self.rows[self.offsets[peer] : self.offsets[peer + 1]]

    def row_count(self, peer: int) -> int:
        """Return how many rows a peer has."""
        return int(self.offsets[peer + 1] - self.offsets[peer])


def make_partition(
    settings: PartitionSettings,
    *,
    targets: Labels,
    columns: Mapping[str, Labels],
    peer_count: int,
    seed: int,
    folder: Path | None = None,
) -> Partition:
    """Split rows among peers.

    Args:
        settings: the kind of split.
        targets: labels [n], for the kinds that go by label; n rows are split.
        columns: further columns by name, [n] each.
        peer_count: number of peers.
        seed: the same seed gives the same split.
        folder: where an own split is imported from.

    Raises:
        LearningError: the split is impossible: too few rows, no labels, no such column.
        PluginError: an own split cannot be used.
    """
    row_count = len(targets)
    note = ""
    names: tuple[str, ...] | None = None
    parts: list[Integers]
    if isinstance(settings, IidPartition):
        parts, note = _iid(settings, row_count, peer_count, seed)
    elif isinstance(settings, DirichletPartition):
        parts, note = _dirichlet(settings, _labels(targets, settings), peer_count, seed)
    elif isinstance(settings, ShardsPartition):
        parts = _shards(settings, _labels(targets, settings), peer_count, seed)
    elif isinstance(settings, QuantityPartition):
        parts = _quantity(settings, row_count, peer_count, seed)
    elif isinstance(settings, SitesPartition):
        parts, names = _sites(columns, peer_count)
    elif isinstance(settings, OwnPartition):
        parts = _own(settings, targets, columns, peer_count, seed, folder)
    else:
        parts, note, names = _groups(settings, columns, peer_count, seed)
    sizes = np.array([len(part) for part in parts])
    spread = f"{sizes.min()}" if sizes.min() == sizes.max() else f"{sizes.min()} to {sizes.max()}"
    values = {key: value for key, value in settings.model_dump().items() if value is not None}
    name = values.pop("plugin", values.pop("kind"))
    given = ", ".join(f"{key} {value}" for key, value in values.items() if value is not False)
    return Partition(
        rows=np.concatenate(parts),
        offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        summary=f"{name}{f' ({given})' if given else ''}: {spread} rows a peer{note}",
        names=names,
    )


def pool(partition: Partition) -> Partition:
    """Return the partition in which one peer holds every row that any peer holds, once."""
    rows = np.unique(partition.rows)
    offsets = np.array([0, len(rows)], np.int64)
    return Partition(rows, offsets, f"pooled: {len(rows)} rows on one peer")


def _labels(targets: Labels, settings: PartitionSettings) -> Labels:
    if targets.ndim != 1 or not np.issubdtype(targets.dtype, np.integer):
        raise LearningError(
            f"partition kind {settings.kind!r} goes by label, but this task's targets are no"
            " integer labels; use kind 'iid', 'quantity' or 'groups'"
        )
    return targets


def _iid(
    settings: IidPartition, row_count: int, peer_count: int, seed: int
) -> tuple[list[Integers], str]:
    each = settings.rows_per_peer
    if each is None:
        if peer_count > row_count:
            raise LearningError(
                f"{row_count} rows cannot be dealt to {peer_count} peers; use at most {row_count}"
                " peers, or set partition.rows_per_peer and partition.reuse = true"
            )
        order = permutation(f"{seed}/partition/0", row_count)
        return list(np.array_split(order, peer_count)), ""
    needed = each * peer_count
    if needed > row_count and not settings.reuse:
        raise LearningError(
            f"{peer_count} peers with {each} rows each need {needed} rows, but there are"
            f" {row_count}; lower partition.rows_per_peer or set partition.reuse = true"
        )
    if each > row_count:
        raise LearningError(
            f"partition.rows_per_peer is {each}, but there are only {row_count} rows; lower it"
        )
    # Whole permutations one after the other: every row is used as often as any other, give or
    # take one. A peer whose rows straddle two of them may hold a row twice.
    passes = -(-needed // row_count)
    deck = np.concatenate([permutation(f"{seed}/partition/{i}", row_count) for i in range(passes)])
    note = f", each row on about {needed / row_count:.1f} peers" if passes > 1 else ""
    return np.split(deck[:needed], peer_count), note


def _dirichlet(
    settings: DirichletPartition, labels: Labels, peer_count: int, seed: int
) -> tuple[list[Integers], str]:
    # NumPy's own generator, call by call as in the in-house reference: gamma variates need
    # floating-point code of some library anyway.
    rng = np.random.default_rng(seed)
    parts: list[list[Integers]] = [[] for _ in range(peer_count)]
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        shares = rng.dirichlet([settings.alpha] * peer_count)
        cuts = (np.cumsum(shares)[:-1] * len(rows)).astype(int)
        for part, piece in zip(parts, np.split(rows, cuts), strict=True):
            part.append(piece)
    joined = [np.concatenate(part) for part in parts]
    topped_up = 0
    for peer, held in enumerate(joined):
        if len(held) < settings.minimum_rows:
            more = rng.integers(0, len(labels), settings.minimum_rows)
            joined[peer] = np.concatenate([held, more])
            topped_up += 1
    note = f", {topped_up} of them topped up with random rows" if topped_up else ""
    return joined, note


def _shards(
    settings: ShardsPartition, labels: Labels, peer_count: int, seed: int
) -> list[Integers]:
    shard_count = settings.per_peer * peer_count
    if shard_count > len(labels):
        raise LearningError(
            f"{len(labels)} rows cannot be cut into {shard_count} shards ({settings.per_peer} for"
            f" each of {peer_count} peers); lower partition.per_peer or the number of peers"
        )
    # Shuffled first, so that which rows of a label share a shard goes by the seed.
    rows = permutation(f"{seed}/partition/rows", len(labels))
    shards = np.array_split(rows[np.argsort(labels[rows], kind="stable")], shard_count)
    deal = permutation(f"{seed}/partition/shards", shard_count).reshape(peer_count, -1)
    return [np.concatenate([shards[shard] for shard in hand]) for hand in deal]


def _quantity(
    settings: QuantityPartition, row_count: int, peer_count: int, seed: int
) -> list[Integers]:
    spare = row_count - peer_count * settings.minimum_rows
    if spare < 0:
        raise LearningError(
            f"{peer_count} peers with at least {settings.minimum_rows} rows each need"
            f" {row_count - spare} rows, but there are {row_count}; lower partition.minimum_rows"
            " or the number of peers"
        )
    shares = np.random.default_rng(seed).dirichlet([settings.alpha] * peer_count)
    ends = (np.cumsum(shares)[:-1] * spare).astype(int)
    ends += settings.minimum_rows * np.arange(1, peer_count)
    return np.split(permutation(f"{seed}/partition/rows", row_count), ends)


def _groups(
    settings: GroupsPartition, columns: Mapping[str, Labels], peer_count: int, seed: int
) -> tuple[list[Integers], str, tuple[str, ...]]:
    if settings.column not in columns:
        known = f"it has {', '.join(sorted(columns))}" if columns else "it names none"
        raise LearningError(f"the task has no column {settings.column!r} to group by; {known}")
    groups, index = np.unique(columns[settings.column], return_inverse=True)
    if len(groups) < peer_count:
        raise LearningError(
            f"column {settings.column!r} has {len(groups)} groups, too few for {peer_count} peers;"
            f" use at most {len(groups)} peers"
        )
    # Where there are more groups than peers, the largest go first, each to the peer with the
    # fewest rows so far; the seed decides among equals.
    sizes = np.bincount(index)
    order = permutation(f"{seed}/partition/groups", len(groups))
    held: list[list[int]] = [[] for _ in range(peer_count)]
    totals = np.zeros(peer_count, np.int64)
    for group in order[np.argsort(-sizes[order], kind="stable")]:
        # A peer without a group goes before all others, so that none stays without.
        peer = int(np.argmin(totals + np.array([len(hand) > 0 for hand in held])))
        held[peer].append(int(group))
        totals[peer] += sizes[group]
    by_group = np.split(np.argsort(index, kind="stable"), np.cumsum(sizes)[:-1])
    parts = [np.concatenate([by_group[group] for group in hand]) for hand in held]
    note = f", {len(groups)} groups on {peer_count} peers" if len(groups) > peer_count else ""
    names = tuple(
        " and ".join(f"{settings.column} {groups[group]}" for group in sorted(hand)[:NAMED_MAX])
        + (" ..." if len(hand) > NAMED_MAX else "")
        for hand in held
    )
    return parts, note, names


def _sites(
    columns: Mapping[str, Labels], peer_count: int
) -> tuple[list[Integers], tuple[str, ...]]:
    if SITE not in columns:
        raise LearningError(
            f"partition kind 'sites' goes by the column {SITE!r}, which the task does not name; the"
            " task 'tabular' does"
        )
    _, firsts, index = np.unique(columns[SITE], return_index=True, return_inverse=True)
    if len(firsts) != peer_count:
        names = ", ".join(str(columns[SITE][first]) for first in np.sort(firsts)[:8])
        raise LearningError(
            f"the data have {len(firsts)} sites ({names}{', ...' if len(firsts) > 8 else ''}), but"
            f" there are {peer_count} peers; set peers = {len(firsts)}"
        )
    order = np.argsort(firsts, kind="stable")
    parts = [np.flatnonzero(index == site) for site in order]
    return parts, tuple(str(columns[SITE][first]) for first in firsts[order])


def _own(
    settings: OwnPartition,
    targets: Labels,
    columns: Mapping[str, Labels],
    peer_count: int,
    seed: int,
    folder: Path | None,
) -> list[Integers]:
    split: Split = make_plugin(SPLITS, settings.plugin, settings.options, folder)
    rng = np.random.Generator(np.random.PCG64([seed, 1]))
    with plugin_faults(SPLITS, settings.plugin):
        found = list(split.split(targets, columns, peer_count, rng))
        if len(found) != peer_count:
            raise ValueError(f"it gave rows to {len(found)} peers, and there are {peer_count}")
        parts = [np.asarray(rows) for rows in found]
        for peer, rows in enumerate(parts):
            if rows.ndim != 1 or not len(rows) or rows.dtype.kind not in "iu":
                raise ValueError(
                    f"peer {peer} has no list of row numbers: {rows.dtype} {rows.shape}"
                )
            if rows.min() < 0 or rows.max() >= len(targets):
                raise ValueError(f"peer {peer} has a row that is none of 0 to {len(targets) - 1}")
    return [rows.astype(np.int64) for rows in parts]


NAMED_MAX = 3
"""Groups of one peer that are named."""

LABELS_MAX = 100  # More are no labels to picture, but values to regress.


def count_labels(partition: Partition, targets: Labels) -> list[list[int]] | None:
    """Count each peer's rows of each label, [peers][labels]; None where targets are no labels."""
    if targets.ndim != 1 or targets.dtype.kind not in "iu" or targets.min() < 0:
        return None
    label_count = int(targets.max()) + 1
    if label_count > LABELS_MAX:
        return None
    return [
        np.bincount(targets[partition.rows_of(peer)], minlength=label_count).tolist()
        for peer in range(len(partition.offsets) - 1)
    ]
