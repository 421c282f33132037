"""Settings: schedules, and refusals that name the field."""

from typing import Any

import pytest
from pydantic import ValidationError

from p2pfl.learner.batches import BatchPlan
from p2pfl.learner.settings import LearningSettings, TrainingSettings


def test_the_recipe_of_the_reference_can_be_said() -> None:
    settings = LearningSettings.model_validate(
        {
            "task": "fashion-mnist",
            "options": {"hidden": [64], "initialisation": "zero-biases"},
            "partition": {"kind": "dirichlet", "alpha": 0.1, "minimum_rows": 32},
            "training": {
                "learning_rate": 0.1,
                "schedule": [[450, 0.01]],
                "batch_size": 32,
                "steps": 1,
                "sampling": "replacement",
            },
        }
    )
    rates = [settings.training.rate_at(round_number) for round_number in (0, 449, 450, 599)]
    assert rates == [0.1, 0.1, 0.01, 0.01]


@pytest.mark.parametrize(
    ("document", "names"),
    [
        ({"tusk": "digits"}, "tusk"),
        ({"training": {"learning_rate": 0}}, "learning_rate"),
        ({"training": {"learning_rate": float("inf")}}, "learning_rate"),
        ({"training": {"batch_size": 0}}, "batch_size"),
        ({"training": {"epochs": 1, "steps": 1}}, "epochs and steps exclude each other"),
        ({"training": {"schedule": [[5, 0.1], [5, 0.2]]}}, "schedule's rounds must increase"),
        ({"training": {"momentum": 1.0}}, "momentum"),
        ({"partition": {"kind": "dirichlet", "alfa": 0.1}}, "alfa"),
        ({"partition": {"kind": "diriclet"}}, "diriclet"),
        ({"evaluation_rows": 0}, "evaluation_rows"),
    ],
)
def test_refusals_name_the_field(document: dict[str, Any], names: str) -> None:
    with pytest.raises(ValidationError, match=names):
        LearningSettings.model_validate(document)


@pytest.mark.parametrize(
    ("training", "row_count", "sizes"),
    [
        ({}, 70, (32, 32, 6)),
        ({}, 32, (32,)),
        ({"epochs": 2}, 40, (32, 8, 32, 8)),
        ({"steps": 3}, 40, (32, 8, 32)),
        ({"steps": 2}, 5, (5, 5)),
        ({"sampling": "replacement"}, 40, (32, 32)),
        ({"sampling": "replacement", "steps": 1}, 5, (32,)),
    ],
)
def test_plans_take_the_steps_that_settings_say(
    training: dict[str, Any], row_count: int, sizes: tuple[int, ...]
) -> None:
    plan = BatchPlan(TrainingSettings.model_validate(training), row_count)
    assert plan.sizes == sizes
    assert plan.steps == len(sizes)
    rows = plan.draw(["a", "b", "a"])
    assert rows.shape[1] >= sum(sizes)
    assert rows[0].tolist() == rows[2].tolist() != rows[1].tolist()
    assert rows.min() >= 0
    assert rows.max() < row_count
    if not plan._with_replacement:
        for epoch in rows[0][: sum(sizes) // row_count * row_count].reshape(-1, row_count):
            assert sorted(epoch.tolist()) == list(range(row_count))


def test_draws_with_replacement_are_even() -> None:
    plan = BatchPlan(TrainingSettings(sampling="replacement", steps=1000), 10)
    counts = [(plan.draw(["even"]) == row).sum() for row in range(10)]
    # 32,000 draws: 3,200 each, deviation sqrt(32000 * .1 * .9) = 54; five of them.
    assert max(abs(count - 3200) for count in counts) < 270
