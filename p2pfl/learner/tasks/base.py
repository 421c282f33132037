"""What a task is: data, a model, a loss and an evaluation."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from p2pfl.learner.metrics import (
    PrimaryMetric,
    classification_metrics,
    regression_metrics,
    survival_metrics,
)

if TYPE_CHECKING:  # A task that does without torch must not import it.
    import torch

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]


def _row_count(values: Any) -> int | None:
    """Count rows; None where that cannot be told here: the learner checks what it is given."""
    try:
        return int(values.shape[0]) if hasattr(values, "shape") else len(values)
    except (TypeError, IndexError):
        return None


@dataclass(frozen=True)
class Rows:
    """Examples: `inputs` [n, ...] and `targets` [n, ...], row by row.

    NumPy arrays, or what becomes one: tensors, lists, data frames, sparse matrices.
    """

    inputs: Array
    targets: Array

    def __post_init__(self) -> None:
        counts = [_row_count(self.inputs), _row_count(self.targets)]
        if None not in counts and counts[0] != counts[1]:
            raise ValueError(f"{counts[0]} rows of inputs but {counts[1]} of targets")


@dataclass(frozen=True)
class Data:
    """The rows of a task.

    Attributes:
        train: rows that the partition splits among the peers. Of its own ones each peer holds
            some out, as `learning.held_out` says, to be measured on.
        test: one common test set, the same for every peer, that nobody trains on; None for none.
        columns: further columns of `train` by name, [n] each, by which rows may be grouped.
        scale: with `offset`, what uint8 inputs become as they are used, ``x * scale + offset``
            in float32: pictures take a quarter of the memory so. Other inputs are used as they
            are, float64 as float32.
        offset: see `scale`.
        own_test: bool[n]: which rows of `train` are test rows of the peer that holds them, where
            the task knows better than a random draw: by year, or by patient.
        own_validation: bool[n]: as `own_test`, the rows to choose a model by.
    """

    train: Rows
    test: Rows | None = None
    columns: Mapping[str, Array] = field(default_factory=dict)
    scale: float = 1.0
    offset: float = 0.0
    own_test: Array | None = None
    own_validation: Array | None = None


class Task(ABC):
    """A task whose model is a torch module. Options are arguments of `__init__`."""

    description: ClassVar[str] = ""
    """One line, for listings."""

    primary: PrimaryMetric = PrimaryMetric("accuracy")
    """The figure by which peers and runs are compared, and its direction."""

    @abstractmethod
    def data(self, data_dir: Path | None) -> Data:
        """Load the rows; `data_dir` is where the settings say the files are.

        A daemon's task loads its own peer's rows alone, and its partition is iid over one peer.

        Raises:
            LearningError: they are not there; say how to get them.
        """

    @abstractmethod
    def model(self) -> "torch.nn.Module":
        """Make the model at its start, drawing from torch's global generator alone.

        The learner seeds that generator, so every peer starts alike.
        """

    def loss(self, outputs: "torch.Tensor", targets: "torch.Tensor") -> "torch.Tensor":
        """Return the mean loss over a batch, a scalar; cross-entropy unless overridden."""
        from torch.nn.functional import cross_entropy

        return cross_entropy(outputs, targets)

    def metrics(self, outputs: Floats, targets: Array) -> dict[str, float]:
        """Measure outputs on test rows: figures by name, among them the primary one.

        Unless overridden: those of `classification_metrics`, or of `regression_metrics` where
        targets are no classes. What the rows cannot tell may be NaN.
        """
        if targets.dtype.kind == "f":
            return regression_metrics(outputs, targets)
        return classification_metrics(outputs, targets)

    def travelling(self, model: "torch.nn.Module") -> Sequence[str]:
        """Name the tensors that travel between peers, and train; all others stay a peer's own.

        Unless overridden: parameters that require a gradient, tied ones once, but for personal
        ones. Buffers do not travel: most are constants, such as tables of positions, or tell of a
        peer's own rows.
        """
        personal = set(self.personal(model) or ())
        return [
            name
            for name, value in model.named_parameters()
            if value.requires_grad and name not in personal
        ]

    def personal(self, model: "torch.nn.Module") -> Sequence[str]:
        """Name the tensors that train and are each peer's own: they never travel.

        A peer goes on with them from round to round, such as a head for its own labels. None unless
        overridden.
        """
        return ()


class RegressionTask(Task):
    """A task whose targets are values, float [n] or [n, ...]: mean squared error, and RMSE."""

    primary = PrimaryMetric("rmse", larger_is_better=False)

    def loss(self, outputs: "torch.Tensor", targets: "torch.Tensor") -> "torch.Tensor":
        """Return the mean squared error of a batch."""
        from torch.nn.functional import mse_loss

        return mse_loss(outputs.reshape(targets.shape), targets)

    def metrics(self, outputs: Floats, targets: Array) -> dict[str, float]:
        """Return those of `regression_metrics`."""
        return regression_metrics(outputs, targets)


class SurvivalTask(Task):
    """A task whose targets are [n, 2]: a time, and whether the event came then (1) or not (0).

    The model gives one risk a row; the loss is Cox's (1972) partial likelihood within the batch,
    equal times as by Breslow; models are compared by the C-index.
    """

    primary = PrimaryMetric("c_index")

    def loss(self, outputs: "torch.Tensor", targets: "torch.Tensor") -> "torch.Tensor":
        """Return the mean negative log partial likelihood of a batch's events; 0 without any."""
        import torch

        risks, times, had_event = outputs.reshape(len(targets)), targets[:, 0], targets[:, 1]
        at_risk = times[None, :] >= times[:, None]
        among = torch.where(at_risk, risks[None, :], torch.full_like(risks, -torch.inf)[None, :])
        terms = (torch.logsumexp(among, dim=1) - risks) * had_event
        return terms.sum() / had_event.sum().clamp(min=1)

    def metrics(self, outputs: Floats, targets: Array) -> dict[str, float]:
        """Return those of `survival_metrics`."""
        return survival_metrics(outputs, targets)


class NumpyTask(ABC):
    """A task without torch: its model is a flat vector. Options are arguments of `__init__`."""

    description: ClassVar[str] = ""
    primary: PrimaryMetric = PrimaryMetric("accuracy")
    """As of `Task`."""

    @abstractmethod
    def data(self, data_dir: Path | None) -> Data:
        """Load the rows, as `Task.data` does."""

    @abstractmethod
    def initial_vector(self, seed: int) -> Floats:
        """Return the common start, float32[d]: the same for the same seed."""

    @abstractmethod
    def step(self, vector: Floats, inputs: Array, targets: Array, rate: float) -> float:
        """Train `vector` in place on one batch, and return the batch's loss before that."""

    @abstractmethod
    def evaluate(self, vector: Floats, inputs: Array, targets: Array) -> dict[str, float]:
        """Measure a model on test rows: figures by name, among them the primary one."""
