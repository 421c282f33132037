"""Figures that models are judged by: of classification, regression and survival.

A task's `metrics` returns figures by name; one of them is its primary metric, by which peers and
runs are compared. A figure that rows cannot tell, such as an area under a curve where all rows have
one class, is NaN.

They are worked out here, and held against scikit-learn's in tests: scikit-learn takes 40 ms for ten
classes however few rows there are, and a run asks thousands of times.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from p2pfl.learner.errors import LearningError

Array = npt.NDArray[Any]
Float64s = npt.NDArray[np.float64]

SHARES = frozenset(
    {
        "accuracy",
        "auprc",
        "auroc",
        "balanced_accuracy",
        "c_index",
        "calibration_error",
        "sensitivity",
        "specificity",
    }
)
"""Figures in [0, 1] that people read as percentages."""

TITLES = {
    "auprc": "AUPRC",
    "auroc": "AUROC",
    "brier": "Brier score",
    "c_index": "C-index",
    "mae": "MAE",
    "r2": "R²",
    "rmse": "RMSE",
}
"""Figures whose name for people is not their own, with spaces for underscores."""

IGNORED = -100
"""torch's mark of places that cross-entropy leaves out."""

AREAS_CLASSES_MAX = 32
"""With more classes the areas under curves are left out: they would take longer than the model."""

CALIBRATION_BINS = 15
"""As in Guo et al. (ICML 2017)."""

CONFUSION_CLASSES_MAX = 100


@dataclass(frozen=True, slots=True)
class PrimaryMetric:
    """The figure by which peers and runs are compared.

    Attributes:
        name: one of those that the task's `metrics` returns.
        larger_is_better: its direction.
        is_share: whether people read it as a percentage; None: as its name is usually read.
    """

    name: str = "accuracy"
    larger_is_better: bool = True
    is_share: bool | None = None

    @property
    def is_percentage(self) -> bool:
        """Whether it is written in percent."""
        return self.name in SHARES if self.is_share is None else self.is_share

    @property
    def title(self) -> str:
        """Its name for people."""
        return TITLES.get(self.name) or self.name.replace("_", " ")

    def gain(self, figure: float, other: float) -> float:
        """Return by how much `figure` is better than `other`: above 0 it is, in any direction."""
        return figure - other if self.larger_is_better else other - figure

    def worst(self, figures: Array) -> float:
        """Return the worst of figures; NaN where there are none."""
        found = figures[~np.isnan(figures)]
        if not len(found):
            return float("nan")
        return float(found.min() if self.larger_is_better else found.max())


def classification_metrics(outputs: Array, targets: Array) -> dict[str, float]:
    """Measure logits against classes.

    Args:
        outputs: logits [n, classes] or [n, classes, ...]; or log-odds of class 1, [n] or [n, 1].
        targets: int [n] or [n, ...]; places of -100 do not count.

    Returns:
        accuracy; balanced_accuracy (mean share of each class that is found); auroc and auprc (area
        under the ROC curve, and average precision; of class 1 where there are two, else the mean
        over classes that occur, each against the others); brier (mean squared error of the
        probabilities; where there are more than two classes, summed over them);
        calibration_error (of the likeliest class, over 15 equal bins); loss (cross-entropy, nats).
        With two classes also sensitivity and specificity: found of class 1, and of class 0. What
        the rows cannot tell is NaN.
    """
    logits, classes = _flat(outputs, targets)
    row_count, class_count = logits.shape
    if not row_count:
        return dict.fromkeys(("accuracy", "balanced_accuracy", "brier", "loss"), float("nan"))
    logits = logits - logits.max(axis=1, keepdims=True)
    odds = np.exp(logits)
    total = odds.sum(axis=1, keepdims=True)
    chances, guesses = odds / total, logits.argmax(axis=1)
    losses = np.log(total[:, 0]) - np.take_along_axis(logits, classes[:, None], axis=1)[:, 0]
    right = guesses == classes
    held = np.bincount(classes, minlength=class_count)
    found = np.bincount(classes[right], minlength=class_count)
    recalls = found[held > 0] / held[held > 0]
    errors = chances.copy()
    errors[np.arange(row_count), classes] -= 1
    squares = (errors**2).sum(axis=1)
    figures = {
        "accuracy": float(right.mean()),
        "balanced_accuracy": float(recalls.mean()),
        "brier": float(squares.mean() / (2 if class_count == 2 else 1)),
        "calibration_error": _calibration_error(chances.max(axis=1), right),
        "loss": float(losses.mean()),
    }
    if class_count <= AREAS_CLASSES_MAX:
        figures["auroc"], figures["auprc"] = _areas(chances, classes, held)
    if class_count == 2:
        healthy, sick = (found / np.maximum(held, 1)).tolist()
        figures["sensitivity"] = sick if held[1] else float("nan")
        figures["specificity"] = healthy if held[0] else float("nan")
    return figures


def confusion_matrix(outputs: Array, targets: Array) -> list[list[int]] | None:
    """Count rows by class and by the class that is guessed, [class][guess].

    None where targets are no classes, or there are more than 100.
    """
    if targets.dtype.kind not in "iu":
        return None
    logits, classes = _flat(outputs, targets)
    count = logits.shape[1]
    if count > CONFUSION_CLASSES_MAX or (len(classes) and classes.max() >= count):
        return None
    both = classes * count + logits.argmax(axis=1)
    return np.bincount(both, minlength=count * count).reshape(count, count).tolist()


def regression_metrics(outputs: Array, targets: Array) -> dict[str, float]:
    """Measure predictions against values, [n] or [n, ...]; rows without a value do not count.

    Returns:
        rmse and mae in the unit of the values; r2, the share of their variance that is explained:
        NaN where there is none.
    """
    values = np.asarray(targets, np.float64)
    predicted = np.asarray(outputs, np.float64).reshape(values.shape)
    known = ~np.isnan(values)
    values, predicted = values[known], predicted[known]
    if not len(values):
        return dict.fromkeys(("rmse", "mae", "r2"), float("nan"))
    errors = predicted - values
    squares = float((errors**2).sum())
    spread = float(((values - values.mean()) ** 2).sum())
    return {
        "rmse": float(np.sqrt(squares / len(values))),
        "mae": float(np.abs(errors).mean()),
        "r2": 1 - squares / spread if spread > 0 else float("nan"),
    }


def survival_metrics(outputs: Array, targets: Array) -> dict[str, float]:
    """Measure risks against times of survival.

    Args:
        outputs: risks [n] or [n, 1]: the higher, the earlier the event is expected.
        targets: [n, 2]: the time, and whether the event came then (1) or the row was last seen
            without it (0).

    Returns:
        c_index (Harrell et al., JAMA 1982): of pairs of rows of which one is known to have had the
        event first, the share in which that one has the higher risk; equal risks count half. Of
        equal times, an event comes before a row that was last seen then. NaN without such pairs.
    """
    risks = np.asarray(outputs, np.float64).reshape(len(targets))
    times, had_event = targets[:, 0].astype(np.float64), targets[:, 1] > 0.5
    right = pairs = 0.0
    for row in np.flatnonzero(had_event):
        later = (times > times[row]) | ((times == times[row]) & ~had_event)
        right += float((risks[row] > risks[later]).sum() + (risks[row] == risks[later]).sum() / 2)
        pairs += int(later.sum())
    return {"c_index": right / pairs if pairs else float("nan")}


def row_values(name: str, outputs: Array, targets: Array) -> Float64s | None:
    """Return the part of each row in a figure that is a mean over rows, [n]; None for others."""
    if name != "accuracy" or outputs.ndim != 2 or targets.ndim != 1 or targets.dtype.kind != "i":
        return None
    if outputs.shape[1] < 2:
        return None
    right: Float64s = (outputs.argmax(axis=1) == targets).astype(np.float64)
    return right


def _flat(outputs: Array, targets: Array) -> tuple[Float64s, npt.NDArray[np.int64]]:
    """Return logits [n, classes] and classes [n], of rows or of all their places that count."""
    logits = np.asarray(outputs, np.float64)
    if logits.ndim == 1:
        logits = logits[:, None]
    if logits.shape[1] == 1:  # Log-odds of class 1 against class 0.
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    classes = np.asarray(targets).astype(np.int64)
    logits = np.moveaxis(logits, 1, -1).reshape(-1, logits.shape[1])
    classes = classes.reshape(-1)
    if (counts := classes != IGNORED).all():
        return logits, classes
    return logits[counts], classes[counts]


def _areas(
    chances: Float64s, classes: npt.NDArray[np.int64], held: npt.NDArray[np.int64]
) -> tuple[float, float]:
    """Return the area under the ROC curve and the average precision."""
    areas, precisions = [], []
    wanted = [1] if len(held) == 2 else range(len(held))
    for label in wanted:
        if not 0 < held[label] < len(classes):
            continue
        scores, positive = chances[:, label], classes == label
        others = np.sort(scores[~positive])
        below = np.searchsorted(others, scores[positive], "left")
        up_to = np.searchsorted(others, scores[positive], "right")
        areas.append(float((below + up_to).mean() / 2 / len(others)))
        order = np.argsort(-scores, kind="stable")
        hits = np.cumsum(positive[order])
        # Rows of equal score come in together: only the last of them is a threshold.
        ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
        steps = np.diff(hits[ends], prepend=0) / held[label]
        precisions.append(float((steps * hits[ends] / (ends + 1)).sum()))
    if not areas:
        return float("nan"), float("nan")
    return float(np.mean(areas)), float(np.mean(precisions))


def _calibration_error(confidences: Float64s, right: npt.NDArray[np.bool_]) -> float:
    """Return the mean distance of confidence and accuracy over equal bins, weighted by rows."""
    bins = np.minimum((confidences * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    surplus = np.bincount(bins, confidences - right, CALIBRATION_BINS)
    return float(np.abs(surplus).sum() / len(bins))


def check_metrics(found: Any, primary: str, task: str = "") -> dict[str, float]:
    """Check the figures that a task's `metrics` or `evaluate` returned.

    Raises:
        LearningError: they are no figures by name, or the primary one is not among them.
    """
    whose = f"task {task!r}: its" if task else "a task's"
    if not isinstance(found, Mapping):
        raise LearningError(
            f"{whose} metrics are of type {type(found).__name__}; return figures by name, among"
            f" them {primary!r}"
        )
    if primary not in found:
        names = ", ".join(map(str, found)) or "none"
        raise LearningError(
            f"{whose} metrics lack {primary!r}, its primary metric; found {names}: return it, or"
            " name another one, primary = PrimaryMetric('...', larger_is_better=...)"
        )
    try:
        return {str(name): float(value) for name, value in found.items()}
    except (TypeError, ValueError) as error:
        raise LearningError(f"{whose} metrics are numbers by name; {error}") from error
