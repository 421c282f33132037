"""Settings: schedules, and refusals that name the field."""

from typing import Any

import pytest
import torch
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
        ({"training": {"momentum": 0.5, "optimiser": {"kind": "adamw"}}}, "both given"),
        ({"training": {"optimiser": {"kind": "adam"}}}, "'adam'"),
        ({"training": {"optimiser": {"kind": "sgd", "nesterov": True}}}, "nesterov needs momentum"),
        ({"training": {"optimiser": {"kind": "adamw", "beta1": 1.0}}}, "beta1"),
        ({"training": {"schedule": {"kind": "cosine"}}}, "rounds"),
        ({"training": {"schedule": {"kind": "linear"}}}, "linear"),
        ({"training": {"local": {"kind": "fedprox"}}}, "pull"),
        ({"training": {"clip_norm": 0}}, "clip_norm"),
        ({"training": {"drop_last": True, "sampling": "replacement"}}, "drop_last is for"),
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
        ({"drop_last": True, "epochs": 2}, 70, (32, 32, 32, 32)),
        ({"drop_last": True}, 64, (32, 32)),
        ({"drop_last": True}, 20, (20,)),
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
        taken = plan._taken
        for epoch in rows[0][: sum(sizes) // taken * taken].reshape(-1, taken):
            assert len(set(epoch.tolist())) == taken
        assert taken == row_count or training.get("drop_last")


def test_draws_with_replacement_are_even() -> None:
    plan = BatchPlan(TrainingSettings(sampling="replacement", steps=1000), 10)
    counts = [(plan.draw(["even"]) == row).sum() for row in range(10)]
    # 32,000 draws: 3,200 each, deviation sqrt(32000 * .1 * .9) = 54; five of them.
    assert max(abs(count - 3200) for count in counts) < 270


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        ({"kind": "constant"}, [1, 1, 1, 1, 1, 1]),
        ({"kind": "constant", "warm_up": 3}, [0.25, 0.5, 0.75, 1, 1, 1]),
        ({"kind": "step", "every": 2, "factor": 0.5}, [1, 1, 0.5, 0.5, 0.25, 0.25]),
        ({"kind": "step", "every": 2, "factor": 0.5, "warm_up": 1}, [0.5, 1, 1, 0.5, 0.5, 0.25]),
        ({"kind": "cosine", "rounds": 4}, [1, 0.8535534, 0.5, 0.1464466, 0, 0]),
        (
            {"kind": "cosine", "rounds": 2, "floor": 0.2, "warm_up": 1},
            [0.5, 1, 0.6, 0.2, 0.2, 0.2],
        ),
        ([[1, 0.5], [4, 0.25]], [2, 0.5, 0.5, 0.5, 0.25, 0.25]),
    ],
)
def test_schedules_say_each_round_its_rate(schedule: Any, rates: list[float]) -> None:
    base = 2.0 if isinstance(schedule, list) else 1.0
    training = TrainingSettings.model_validate({"learning_rate": base, "schedule": schedule})
    assert [training.rate_at(round_) for round_ in range(6)] == pytest.approx(rates, abs=1e-7)


def test_a_rate_by_cosine_is_that_of_torch() -> None:
    training = TrainingSettings.model_validate(
        {"learning_rate": 0.3, "schedule": {"kind": "cosine", "rounds": 7, "floor": 0.1}}
    )
    theirs = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(theirs, 7, eta_min=0.03)
    for round_ in range(8):
        assert training.rate_at(round_) == pytest.approx(schedule.get_last_lr()[0], rel=1e-9)
        theirs.step()
        schedule.step()


def test_momentum_as_older_files_have_it_is_that_of_sgd() -> None:
    older = TrainingSettings.model_validate({"momentum": 0.9})
    assert older == TrainingSettings.model_validate({"optimiser": {"kind": "sgd", "momentum": 0.9}})
    assert TrainingSettings.model_validate(older.model_dump(mode="json")) == older


@pytest.mark.parametrize(
    ("training", "rows", "told"),
    [
        ({"batch_size": 32}, [32, 7], True),
        ({"batch_size": 32}, [33, 7], False),
        ({"batch_size": 32, "sampling": "replacement"}, [32, 7], False),
        ({"batch_size": 32, "full_batch": True}, [32, 7], False),
        ({"batch_size": 32, "steps": 3}, [32], True),
    ],
)
def test_trainings_that_draw_nothing_are_told_unless_meant(
    training: dict[str, Any], rows: list[float], told: bool
) -> None:
    settings = TrainingSettings.model_validate(training)
    assert settings.are_all_full(rows) is told
    plan = BatchPlan(settings, 7)
    assert settings.takes_all_of(7) is (set(plan.sizes) == {7} and settings.sampling == "epoch")
