"""Partitions: every row where it belongs, by the seed, or a clear refusal."""

from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from p2pfl.learner.errors import LearningError
from p2pfl.learner.partitions import Partition, count_labels, make_partition, pool
from p2pfl.learner.settings import PartitionSettings

LABELS = np.random.default_rng(3).integers(0, 10, 2000)
COLUMNS = {"hospital": np.repeat(np.arange(20), 100)}
ADAPTER: TypeAdapter[Any] = TypeAdapter(PartitionSettings)


def split(kind: str, *, peers: int = 16, seed: int = 1, **settings: Any) -> Partition:
    return make_partition(
        ADAPTER.validate_python({"kind": kind, **settings}),
        targets=LABELS,
        columns=COLUMNS,
        peer_count=peers,
        seed=seed,
    )


def reference_dirichlet(labels: np.ndarray, peers: int, alpha: float, seed: int) -> list[list[int]]:
    """The in-house reference's recipe, as it stands there."""
    rng = np.random.default_rng(seed)
    parts: list[list[int]] = [[] for _ in range(peers)]
    for c in range(10):
        rows = rng.permutation(np.flatnonzero(labels == c))
        cut = (np.cumsum(rng.dirichlet([alpha] * peers))[:-1] * len(rows)).astype(int)
        for part, rows_c in zip(parts, np.split(rows, cut), strict=True):
            part += list(rows_c)
    for part in parts:
        if len(part) < 32:
            part += list(rng.integers(0, len(labels), 32))
    return parts


@pytest.mark.parametrize(("peers", "seed"), [(16, 0), (96, 1)])
def test_dirichlet_gives_the_rows_of_the_reference(peers: int, seed: int) -> None:
    made = split("dirichlet", peers=peers, seed=seed, alpha=0.1, minimum_rows=32)
    expected = reference_dirichlet(LABELS, peers, 0.1, seed)
    assert [made.rows_of(peer).tolist() for peer in range(peers)] == expected
    assert "topped up" in made.summary


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("iid", {}),
        ("dirichlet", {"alpha": 100.0, "minimum_rows": 1}),
        ("shards", {"per_peer": 2}),
        ("quantity", {"alpha": 0.3}),
        ("groups", {"column": "hospital"}),
    ],
)
def test_every_row_is_dealt_once_by_the_seed(kind: str, settings: dict[str, Any]) -> None:
    made, again, other = (split(kind, seed=seed, **settings) for seed in (1, 1, 2))
    assert sorted(made.rows.tolist()) == list(range(len(LABELS)))
    assert min(made.row_count(peer) for peer in range(16)) >= 1
    assert made.rows.tolist() == again.rows.tolist()
    assert made.rows.tolist() != other.rows.tolist()
    assert pool(made).rows.tolist() == list(range(len(LABELS)))


def test_iid_is_even_and_shards_hold_few_labels() -> None:
    assert {split("iid").row_count(peer) for peer in range(16)} == {125}
    counts = count_labels(split("shards", per_peer=2), LABELS)
    assert counts is not None
    assert max(np.count_nonzero(row) for row in counts) <= 4
    skewed = count_labels(split("dirichlet", alpha=0.1), LABELS)
    assert skewed is not None
    largest_share = np.mean([max(row) / sum(row) for row in skewed])
    assert largest_share > 0.4  # An even split has about 0.13.


def test_reused_rows_are_used_alike_and_said() -> None:
    made = split("iid", peers=100, rows_per_peer=60, reuse=True)
    assert {made.row_count(peer) for peer in range(100)} == {60}
    assert set(np.bincount(made.rows, minlength=len(LABELS)).tolist()) == {3}
    assert "each row on about 3.0 peers" in made.summary
    few = split("iid", peers=10, rows_per_peer=60)
    assert len(set(few.rows.tolist())) == 600


def test_quantity_skew_keeps_the_minimum() -> None:
    made = split("quantity", alpha=0.1, minimum_rows=7)
    counts = [made.row_count(peer) for peer in range(16)]
    assert min(counts) >= 7
    assert max(counts) > 4 * np.median(counts)


def test_groups_stay_together_and_are_spread_by_size() -> None:
    made = split("groups", peers=6, column="hospital")
    owners = [{int(COLUMNS["hospital"][row]) for row in made.rows_of(peer)} for peer in range(6)]
    assert sum(len(owned) for owned in owners) == 20
    assert {len(owned) for owned in owners} == {3, 4}


def test_every_peer_has_a_group_even_if_one_is_far_larger() -> None:
    made = make_partition(
        ADAPTER.validate_python({"kind": "groups", "column": "c"}),
        targets=np.zeros(7, np.int64),
        columns={"c": np.array(["a", "a", "a", "a", "b", "c", "d"])},
        peer_count=4,
        seed=0,
    )
    assert sorted(made.row_count(peer) for peer in range(4)) == [1, 1, 1, 4]


@pytest.mark.parametrize(
    ("peers", "settings", "says"),
    [
        (2001, {"kind": "iid"}, "2000 rows cannot be dealt to 2001 peers"),
        (100, {"kind": "iid", "rows_per_peer": 60}, "partition.reuse = true"),
        (2, {"kind": "iid", "rows_per_peer": 3000, "reuse": True}, "only 2000 rows"),
        (1001, {"kind": "shards"}, "lower partition.per_peer"),
        (16, {"kind": "quantity", "minimum_rows": 200}, "lower partition.minimum_rows"),
        (21, {"kind": "groups", "column": "hospital"}, "at most 20 peers"),
        (4, {"kind": "groups", "column": "ward"}, "it has hospital"),
    ],
)
def test_what_cannot_be_is_refused(peers: int, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(LearningError, match=says):
        split(peers=peers, **settings)


def test_labels_are_asked_for_where_they_are_needed() -> None:
    for kind in ("dirichlet", "shards"):
        with pytest.raises(LearningError, match="no integer labels"):
            make_partition(
                ADAPTER.validate_python({"kind": kind}),
                targets=np.zeros(10),
                columns={},
                peer_count=2,
                seed=0,
            )
