"""Figures, each against scikit-learn's or its definition."""

import math
from itertools import permutations
from typing import Any

import numpy as np
import pytest

from p2pfl.learner.errors import LearningError
from p2pfl.learner.metrics import (
    AREAS_CLASSES_MAX,
    CALIBRATION_BINS,
    CONFUSION_CLASSES_MAX,
    PrimaryMetric,
    check_metrics,
    classification_metrics,
    confusion_matrix,
    regression_metrics,
    row_values,
    survival_metrics,
)


@pytest.fixture(scope="module")
def known() -> Any:
    """Give scikit-learn's figures: importing them takes a second."""
    from sklearn import metrics

    return metrics


def drawn(classes: int, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits with many ties, their probabilities, and targets of every class."""
    rng = np.random.default_rng(seed)
    logits = np.round(rng.normal(0, 2, (rows, classes)), 0).astype(np.float32)
    targets = np.concatenate([np.arange(classes), rng.integers(0, classes, rows - classes)])
    # Less the largest, as ours are: else what ties by rounding differs.
    odds = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return logits, odds / odds.sum(axis=1, keepdims=True), targets


@pytest.mark.parametrize(
    ("classes", "rows", "seed"), [(2, 40, 0), (2, 7, 1), (3, 60, 2), (10, 300, 3)]
)
def test_classification_is_as_in_scikit_learn(
    known: Any, classes: int, rows: int, seed: int
) -> None:
    logits, chances, targets = drawn(classes, rows, seed)
    guesses, onehot = logits.argmax(axis=1), np.eye(classes)[targets]
    scores = chances[:, 1] if classes == 2 else chances
    right, confidence = guesses == targets, chances.max(axis=1)
    from sklearn.calibration import calibration_curve

    share, mean = calibration_curve(right, confidence, n_bins=CALIBRATION_BINS)
    held, _ = np.histogram(confidence, np.linspace(0, 1, CALIBRATION_BINS + 1))
    held = held[held > 0]
    expected = {
        "accuracy": known.accuracy_score(targets, guesses),
        "balanced_accuracy": known.balanced_accuracy_score(targets, guesses),
        "auroc": known.roc_auc_score(targets, scores, multi_class="ovr"),
        "auprc": known.average_precision_score(targets if classes == 2 else onehot, scores),
        "brier": ((chances - onehot) ** 2).sum(axis=1).mean(),
        "calibration_error": float((np.abs(share - mean) * held).sum() / rows),
        "loss": known.log_loss(targets, chances, labels=range(classes)),
    }
    if classes == 2:
        expected["brier"] = known.brier_score_loss(targets, scores)
        expected["sensitivity"] = known.recall_score(targets, guesses)
        expected["specificity"] = known.recall_score(targets, guesses, pos_label=0)
    assert classification_metrics(logits, targets) == pytest.approx(expected, rel=1e-9)
    counts = known.confusion_matrix(targets, guesses, labels=range(classes))
    assert confusion_matrix(logits, targets) == counts.tolist()


def test_what_rows_of_one_class_cannot_tell_is_nan() -> None:
    figures = classification_metrics(np.array([[2.0, 1.0], [0.0, 3.0]]), np.array([1, 1]))
    undefined = {name for name, value in figures.items() if math.isnan(value)}
    assert undefined == {"auroc", "auprc", "specificity"}
    assert figures["accuracy"] == figures["sensitivity"] == 0.5
    empty = classification_metrics(np.zeros((0, 2)), np.zeros(0, int))
    assert all(math.isnan(value) for value in empty.values())


def test_a_class_that_does_not_occur_is_left_out_of_means(known: Any) -> None:
    logits, chances, targets = drawn(3, 60, 5)
    targets = np.where(targets == 2, 0, targets)
    figures = classification_metrics(logits, targets)
    areas = [known.roc_auc_score(targets == label, chances[:, label]) for label in (0, 1)]
    assert figures["auroc"] == pytest.approx(np.mean(areas))
    assert figures["balanced_accuracy"] == pytest.approx(
        np.mean([(logits.argmax(axis=1) == targets)[targets == label].mean() for label in (0, 1)])
    )


def test_log_odds_and_places_count_like_rows_of_logits() -> None:
    odds, targets = np.array([[1.5], [-0.5], [0.25]]), np.array([1, 1, 0])
    both = np.concatenate([np.zeros_like(odds), odds], axis=1)
    assert classification_metrics(odds, targets) == classification_metrics(both, targets)
    assert classification_metrics(odds[:, 0], targets) == classification_metrics(both, targets)
    logits, _, classes = drawn(3, 12, 6)
    places = np.moveaxis(logits.reshape(4, 3, 3), 2, 1)  # [rows, classes, places]
    assert classification_metrics(places, classes.reshape(4, 3)) == pytest.approx(
        classification_metrics(logits, classes)
    )
    ignored = np.where(np.arange(12) < 5, classes, -100)
    assert classification_metrics(logits, ignored) == classification_metrics(
        logits[:5], classes[:5]
    )


@pytest.mark.parametrize("classes", [AREAS_CLASSES_MAX, AREAS_CLASSES_MAX + 1])
def test_areas_are_left_out_where_there_are_many_classes(classes: int) -> None:
    logits, _, targets = drawn(classes, 2 * classes, 0)
    assert ("auroc" in classification_metrics(logits, targets)) == (classes == AREAS_CLASSES_MAX)


def test_confusion_is_counted_of_classes_alone() -> None:
    most = CONFUSION_CLASSES_MAX
    assert confusion_matrix(np.zeros((1, most)), np.array([0])) is not None
    assert confusion_matrix(np.zeros((1, most + 1)), np.array([0])) is None
    assert confusion_matrix(np.zeros((2, 1)), np.array([0.5, 1.5])) is None
    assert confusion_matrix(np.zeros((1, 2)), np.array([2])) is None


def test_regression_is_as_in_scikit_learn(known: Any) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(30, 2)).astype(np.float32)
    predicted = values + rng.normal(size=(30, 2)).astype(np.float32)
    flat, guess = values.ravel().astype(float), predicted.ravel().astype(float)
    expected = {
        "rmse": known.root_mean_squared_error(flat, guess),
        "mae": known.mean_absolute_error(flat, guess),
        "r2": known.r2_score(flat, guess),
    }
    assert regression_metrics(predicted, values) == pytest.approx(expected)
    values[3] = np.nan  # A value that is not known does not count.
    assert regression_metrics(predicted, values)["mae"] == pytest.approx(
        np.nanmean(np.abs(predicted - values))
    )
    assert regression_metrics(predicted[:, :1], values[:, 0])["rmse"] > 0
    same = regression_metrics(np.ones(3), np.full(3, 2.0))
    assert same["rmse"] == 1
    assert math.isnan(same["r2"])
    assert all(map(math.isnan, regression_metrics(np.ones(1), np.full(1, np.nan)).values()))


@pytest.mark.parametrize("seed", range(5))
def test_the_c_index_is_that_of_its_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    times, events = rng.integers(1, 8, 25), rng.integers(0, 2, 25)
    risks = rng.integers(0, 6, 25).astype(float)
    right = pairs = 0.0
    for one, two in permutations(range(25), 2):
        # `one` is known to have had it before `two`.
        later = times[two] > times[one] or (times[two] == times[one] and not events[two])
        if events[one] and later:
            pairs += 1
            right += 1.0 if risks[one] > risks[two] else 0.5 if risks[one] == risks[two] else 0.0
    targets = np.stack([times, events], axis=1).astype(np.float32)
    assert survival_metrics(risks[:, None], targets) == {"c_index": pytest.approx(right / pairs)}
    none = np.stack([times, np.zeros(25)], axis=1)
    assert math.isnan(survival_metrics(risks, none)["c_index"])


def test_a_gain_is_above_0_whichever_direction_is_better() -> None:
    accuracy, rmse = PrimaryMetric(), PrimaryMetric("rmse", larger_is_better=False)
    assert accuracy.gain(0.9, 0.8) > 0 > accuracy.gain(0.8, 0.9)
    assert rmse.gain(0.8, 0.9) > 0 > rmse.gain(0.9, 0.8)
    figures = np.array([0.5, math.nan, 0.75])
    assert (accuracy.worst(figures), rmse.worst(figures)) == (0.5, 0.75)
    assert math.isnan(accuracy.worst(np.array([math.nan])))
    assert accuracy.is_percentage
    assert not rmse.is_percentage
    assert PrimaryMetric("top5", is_share=True).is_percentage


def test_parts_of_rows_are_of_accuracy_alone() -> None:
    logits, _, targets = drawn(3, 20, 0)
    values = row_values("accuracy", logits, targets)
    assert values is not None
    assert values.mean() == classification_metrics(logits, targets)["accuracy"]
    assert row_values("auroc", logits, targets) is None
    assert row_values("accuracy", logits[:, :1], targets) is None
    assert row_values("accuracy", logits, targets.astype(float)) is None


def test_figures_without_the_primary_one_are_refused() -> None:
    assert check_metrics({"rmse": np.float32(1)}, "rmse") == {"rmse": 1.0}
    with pytest.raises(LearningError, match=r"task 'it': its metrics lack 'accuracy'.*found rmse"):
        check_metrics({"rmse": 1.0}, "accuracy", "it")
    with pytest.raises(LearningError, match="are of type float; return figures by name"):
        check_metrics(1.0, "accuracy")
    with pytest.raises(LearningError, match="are numbers by name"):
        check_metrics({"accuracy": "good"}, "accuracy")
