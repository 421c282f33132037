"""Robust rules against byzfl's, against papers, and against liars."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from p2pfl_gossip.averaging.robust import centres
from p2pfl_gossip.averaging.robust.centres import (
    centred_clipping,
    clipped_sum,
    geometric_median,
    self_centred_clipping,
)
from p2pfl_gossip.averaging.robust.combining import Combine, perform
from p2pfl_gossip.averaging.robust.coordinates import median, trimmed_mean
from p2pfl_gossip.averaging.robust.distances import (
    bucketing,
    krum,
    multi_krum,
    nearest_neighbour_mixing,
)
from p2pfl_gossip.averaging.robust.registry import (
    RULES,
    RobustError,
    RobustRule,
    liars_among,
    require_bearable,
    rule_kind,
)

FILE = Path(__file__).parents[3] / "vectors" / "robust_rules.json"
ORACLE = json.loads(FILE.read_text(encoding="utf-8"))
ROUNDING = 1e-13
WEISZFELD = 1e-7
"""byzfl goes a fixed number of steps, ours until they are short."""

Cases = [(number, name) for number, it in enumerate(ORACLE["cases"]) for name in it["results"]]


def ours(name: str, models: Any, liars: int, radius: float) -> Any:
    before, _, after = name.rpartition(", ")
    if before:
        return ours(after, ours(before, models, liars, radius), liars, radius)
    rules: dict[str, Any] = {
        "trimmed-mean": lambda: trimmed_mean(models, liars),
        "median": lambda: median(models),
        "geometric-median": lambda: geometric_median(models),
        "krum": lambda: krum(models, liars),
        "multi-krum": lambda: multi_krum(models, liars),
        "centred-clipping": lambda: centred_clipping(models, radius, np.zeros(models.shape[1])),
        "nnm": lambda: nearest_neighbour_mixing(models, liars),
    }
    return rules[name]()


@pytest.mark.parametrize(("number", "name"), Cases)
def test_a_rule_gives_what_byzfl_gives(number: int, name: str) -> None:
    case = ORACLE["cases"][number]
    found = ours(name, np.array(case["models"]), case["liars"], case["radius"])
    bound = WEISZFELD if name == "geometric-median" else ROUNDING
    np.testing.assert_allclose(found, np.array(case["results"][name]), rtol=0, atol=bound)


@pytest.mark.parametrize("name", ["trimmed-mean", "median", "krum"])
def test_what_only_sorts_gives_the_bits_that_byzfl_gives(name: str) -> None:
    for case in ORACLE["cases"]:
        found = ours(name, np.array(case["models"]), case["liars"], case["radius"])
        assert found.tolist() == case["results"][name]


def cluster(count: int = 17, liars: int = 3, *, at: float = 1e6) -> Any:
    """Models near 1, whose last ones are far from it."""
    models = 1 + 0.1 * np.random.default_rng(5).normal(size=(count, 6))
    models[count - liars :] = at
    return models


@pytest.mark.parametrize("first", ["none", "nnm", "bucketing"])
@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("at", [1e6, -1e30, 1.3])
def test_few_far_models_move_no_rule_far(name: str, first: str, at: float) -> None:
    if RULES[name].is_centred_on_own and first != "none":
        return  # Refused by the settings: test_robust_settings.
    models = cluster(at=at)
    rule = RobustRule(name, 3, first, seed=b"s")
    found = rule.apply(models, own=0, draw=2)
    assert np.abs(found - 1).max() < 0.5
    assert found.dtype == np.float64


@pytest.mark.parametrize("name", RULES)
def test_equal_models_stay_as_they_are(name: str) -> None:
    models = np.tile([0.1, -3.0, 7e29], (9, 1))
    found = RobustRule(name, 3 if name != "clipped-sum" else 2).apply(models, own=4)
    np.testing.assert_allclose(found, models[0], rtol=1e-15)


def test_krum_takes_the_first_of_models_that_are_equally_good() -> None:
    models = np.array([[2.0], [0.0], [1.0], [0.0], [1.0], [0.5], [0.5]])
    twins = krum(models, 2), krum(models[::-1].copy(), 2)
    assert twins[0].tolist() == twins[1].tolist() == [0.5]
    order = np.arange(7)
    assert multi_krum(np.zeros((7, 1)) + 0 * order[:, None], 2).tolist() == [0.0]


def test_a_model_on_top_of_the_point_counts_as_at_the_least_distance() -> None:
    """The median of these is the third; without DISTANCE_MIN its weight would be infinite."""
    models = np.array([[-2.0], [-1.0], [0.0], [1.0], [2.0]])
    assert centres.DISTANCE_MIN > 0
    np.testing.assert_allclose(geometric_median(models), [0.0], atol=1e-9)


def test_a_geometric_median_takes_so_many_steps_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    models = np.random.default_rng(3).normal(size=(9, 4))
    monkeypatch.setattr(centres, "WEISZFELD_STEPS_MAX", 1)
    start = median(models)
    weights = 1 / np.linalg.norm(models - start, axis=1)
    np.testing.assert_allclose(geometric_median(models), weights @ models / weights.sum())


def test_a_geometric_median_on_top_of_a_model_ends() -> None:
    models = np.array([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [1.0, 0.0], [0.0, 5.0]])
    np.testing.assert_allclose(geometric_median(models), [0, 0], atol=1e-9)


def test_buckets_are_of_two_and_in_the_order_given() -> None:
    models = np.array([[0.0], [2.0], [4.0], [6.0], [10.0]])
    found = bucketing(models, np.array([4, 0, 1, 2, 3]), 2)
    assert found.tolist() == [[5.0], [3.0], [6.0]]


def test_the_order_of_buckets_is_another_in_another_round_and_the_same_for_all() -> None:
    models = np.random.default_rng(1).normal(size=(12, 3))
    rule = RobustRule("median", 1, "bucketing", seed=b"s")
    rounds = [rule.apply(models, draw=draw).tolist() for draw in (0, 0, 1)]
    assert rounds[0] == rounds[1] != rounds[2]


def test_self_centred_clipping_by_hand() -> None:
    """x = 0, neighbours at 1, 2 and 100, all weights 1/4: tau^2 = (1/4 + 4/4) / (1/4) = 5."""
    models = np.array([[0.0], [1.0], [2.0], [100.0]])
    weights = np.full(4, 0.25)
    found = self_centred_clipping(models, 0, weights, 0.25, None)
    np.testing.assert_allclose(found, (1 + 2 + np.sqrt(5)) / 4, rtol=1e-14)
    assert self_centred_clipping(models, 0, weights, 0.25, 1.0).tolist() == [0.75]


def test_a_clipped_sum_by_hand() -> None:
    """Of 1, 2, 3 and 100, the two farthest are taken away for one liar: tau = 2."""
    models = np.array([[0.0], [1.0], [2.0], [3.0], [100.0]])
    found = clipped_sum(models, 0, np.full(5, 0.2), 0.2)
    np.testing.assert_allclose(found, (1 + 2 + 2 + 2) / 5, rtol=1e-14)


def test_the_heaviest_neighbours_may_be_the_liars() -> None:
    """A light liar, or a heavy one, pulls no farther than the radius times its weight."""
    models = np.array([[0.0], [1.0], [1.0], [1.0], [1e9]])
    weights = np.array([0.2, 0.1, 0.2, 0.1, 0.4])
    found = RobustRule("self-centred-clipping", 1).apply(models, own=0, weights=weights)
    assert found[0] <= 0.4 + 0.4 * np.sqrt(0.4 / 0.4) + 1e-12


@pytest.mark.parametrize(
    ("name", "first", "least"),
    [
        ("trimmed-mean", "none", 7),
        ("median", "nnm", 7),
        ("krum", "none", 9),
        ("multi-krum", "nnm", 9),
        ("clipped-sum", "none", 8),
        ("median", "bucketing", 13),
    ],
)
def test_a_rule_among_too_few_models_is_refused(name: str, first: str, least: int) -> None:
    rule = RobustRule(name, 3, first)
    assert rule.models_min == least
    require_bearable(rule, least)
    with pytest.raises(RobustError, match=r"set averaging.robust.liars to at most \d"):
        rule.apply(np.zeros((least - 1, 2)), own=0)
    with pytest.raises(RobustError, match="average more models"):
        require_bearable(rule, 2)


def test_a_rule_that_is_not_there_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(RobustError, match="did you mean 'multi-krum'"):
        rule_kind("multikrum")
    with pytest.raises(RobustError, match="there are trimmed-mean"):
        rule_kind("zzz")


def test_a_fifth_are_liars_where_nobody_says() -> None:
    assert [liars_among(count) for count in (3, 9, 10, 32)] == [1, 1, 2, 6]


def test_the_job_keeps_the_dtype_and_changes_nothing_it_was_given() -> None:
    vectors = tuple(np.full(3, value, np.float32) for value in (1.0, 2.0, 90.0))
    found = perform(Combine(RobustRule("median", 1), 0, vectors)).vector
    assert found.dtype == np.float32
    assert found.tolist() == [2.0, 2.0, 2.0]
    assert not found.flags.writeable
    assert vectors[2].tolist() == [90.0] * 3
