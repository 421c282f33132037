"""Cohorts and grids: partitions, vectors, and how fast they mix."""

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest

from p2pfl_gossip.cohorts import (
    CohortError,
    Cohorts,
    draw_cohorts,
    draw_grid_cohorts,
    grid_sides,
)

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "draws.json").read_text())
SEED = b"theory"


def _parts(cohorts: Cohorts) -> list[list[int]]:
    return [list(cohorts.members_of(cohort)) for cohort in range(cohorts.count)]


def _mean_over(cohorts: Cohorts, values: np.ndarray) -> np.ndarray:
    result = values.copy()
    for members in _parts(cohorts):
        result[members] = values[members].mean(axis=0)
    return result


def _permutation_in_plain_python(text: bytes, count: int) -> list[int]:
    digest = hashlib.shake_256(text).digest(8 * count)
    words = [int.from_bytes(digest[8 * i : 8 * i + 8], "little") for i in range(count)]
    return sorted(range(count), key=lambda i: (words[i], i))


@pytest.mark.parametrize("case", VECTORS["cohorts"], ids=str)
def test_cohorts_are_pinned(case: dict[str, object]) -> None:
    seed, round = bytes.fromhex(str(case["seed"])), int(str(case["round"]))
    n, size = int(str(case["peer_count"])), int(str(case["cohort_size"]))
    cohorts = draw_cohorts(seed, round, n, size)
    assert _parts(cohorts) == case["cohorts"]
    text = b"\x0dp2pfl/cohorts" + len(seed).to_bytes(8, "little") + seed
    assert cohorts.order.tolist() == _permutation_in_plain_python(
        text + round.to_bytes(8, "little"), n
    )


@pytest.mark.parametrize("case", VECTORS["grid"], ids=str)
def test_grids_are_pinned(case: dict[str, object]) -> None:
    sides = case["sides"]
    assert isinstance(sides, list)
    cohorts = draw_grid_cohorts(
        bytes.fromhex(str(case["seed"])), int(str(case["round"])), tuple(sides)
    )
    assert _parts(cohorts) == case["cohorts"]


@pytest.mark.parametrize(
    ("n", "size"), [(96, 8), (100, 8), (15, 8), (8, 8), (2, 2), (1000, 7), (23, 3)]
)
def test_cohorts_partition_the_peers_evenly(n: int, size: int) -> None:
    cohorts = draw_cohorts(SEED, 3, n, size)
    parts = _parts(cohorts)
    assert sorted(peer for part in parts for peer in part) == list(range(n))
    sizes = [len(part) for part in parts]
    assert min(sizes) >= size
    assert max(sizes) - min(sizes) <= 1
    assert len(parts) == n // size
    for peer in range(n):
        assert peer in cohorts.members(peer)
        assert list(cohorts.members(peer)) == sorted(parts[cohorts.cohort_of(peer)])


def test_rounds_and_seeds_draw_apart() -> None:
    draws = [
        draw_cohorts(seed, round, 40, 5).order.tolist()
        for seed in (b"a", b"b", b"")
        for round in range(3)
    ]
    assert len({tuple(draw) for draw in draws}) == len(draws)


def test_any_two_peers_meet_equally_often() -> None:
    n, size, rounds = 20, 4, 3000
    together = np.zeros((n, n))
    for round in range(rounds):
        for members in _parts(draw_cohorts(SEED, round, n, size)):
            together[np.ix_(members, members)] += 1
    share = (size - 1) / (n - 1)
    frequencies = together[np.triu_indices(n, 1)] / rounds
    assert np.abs(frequencies - share).max() < 5 * math.sqrt(share * (1 - share) / rounds)


def test_variance_contracts_as_theory_says() -> None:
    n, size, rounds = 96, 8, 400
    values = np.random.default_rng(1).normal(size=(n, 64))
    values -= values.mean(axis=0)
    ratios = [
        _mean_over(draw_cohorts(SEED, round, n, size), values).var() / values.var()
        for round in range(rounds)
    ]
    assert np.mean(ratios) == pytest.approx((n - size) / (size * (n - 1)), rel=0.01)


@pytest.mark.parametrize("sides", [(8,), (8, 12), (4, 4, 4), (2, 3, 5, 7)])
def test_a_grid_is_exact_after_as_many_rounds_as_it_has_sides(sides: tuple[int, ...]) -> None:
    n = math.prod(sides)
    start = np.random.default_rng(1).normal(size=n)
    for epoch in range(3):
        values = start
        for axis in range(len(sides)):
            assert np.ptp(values) > 0.01
            cohorts = draw_grid_cohorts(SEED, epoch * len(sides) + axis, sides)
            assert cohorts.count == n // sides[axis]
            values = _mean_over(cohorts, values)
        np.testing.assert_allclose(values, start.mean(), atol=1e-15)


@pytest.mark.parametrize(
    ("n", "size", "sides"),
    [
        (64, 8, (8, 8)),
        (64, 4, (4, 4, 4)),
        (96, 8, (8, 12)),
        (100, 8, (10, 10)),
        (32, 8, (4, 8)),
        (7, 7, (7,)),
        (10_000, 8, (10, 10, 10, 10)),
    ],
)
def test_sides_of_a_grid(n: int, size: int, sides: tuple[int, ...]) -> None:
    assert grid_sides(n, size) == sides


def test_errors_say_what_to_change() -> None:
    with pytest.raises(CohortError, match="2 to 5 members, not 6"):
        draw_cohorts(SEED, 0, 5, 6)
    with pytest.raises(CohortError, match="2 to 5 members, not 1"):
        draw_cohorts(SEED, 0, 5, 1)
    with pytest.raises(CohortError, match="take 96 = 8 x 12 or 98 = 7 x 14 peers"):
        grid_sides(97, 8)
    with pytest.raises(CohortError, match="2 to 5 members"):
        grid_sides(5, 1)
    with pytest.raises(CohortError, match="at least 2"):
        draw_grid_cohorts(SEED, 0, (4, 1))
    for peer in (-1, 5):
        with pytest.raises(IndexError):
            draw_cohorts(SEED, 0, 5, 2).members(peer)
    with pytest.raises(IndexError):
        draw_cohorts(SEED, 0, 5, 2).members_of(2)
