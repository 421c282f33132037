"""Tasks without torch, model after model."""

from collections.abc import Sequence

import numpy as np

from p2pfl.learner.engines.base import (
    Training,
    draw_rows,
    evaluation,
    failed_training,
)
from p2pfl.learner.tasks.base import Data, NumpyTask, Rows
from p2pfl_gossip.actions import Vector
from p2pfl_gossip.learning import Evaluate, Evaluated, Trained, WorkFailed


class NumpyEngine:
    """Trains the flat vector of a `NumpyTask`, step by step."""

    batching = "one by one: a task in NumPy"

    def __init__(self, task: NumpyTask, data: Data, test: Rows) -> None:
        self._task, self._data, self._test = task, data, test

    def train(self, trainings: Sequence[Training]) -> list[Trained | WorkFailed]:
        """Train model after model."""
        with np.errstate(all="ignore"):  # What is not finite is told as such.
            return [self._train(training) for training in trainings]

    def evaluate(self, jobs: Sequence[Evaluate]) -> list[Evaluated | WorkFailed]:
        """Measure model after model."""
        return [evaluation(job, self._measure) for job in jobs]

    def _train(self, training: Training) -> Trained | WorkFailed:
        vector = training.job.vector.astype(np.float32)
        losses, taken, rows = [], 0, draw_rows([training])[0].rows[0]
        train = self._data.train
        for size in training.plan.sizes:
            batch = rows[taken : taken + size]
            losses.append(
                self._task.step(vector, train.inputs[batch], train.targets[batch], training.rate)
            )
            taken += size
        loss = float(sum(losses) / len(losses))
        if not (np.isfinite(loss) and np.isfinite(vector).all()):
            return failed_training(training, losses)
        vector.flags.writeable = False
        return Trained(vector, len(training.rows), loss)

    def _measure(self, vector: Vector) -> dict[str, float]:
        return self._task.evaluate(
            vector.astype(np.float32, copy=False), self._test.inputs, self._test.targets
        )
