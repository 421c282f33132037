"""A task in integers, whose every result is the same on any machine."""

from pathlib import Path

import numpy as np

from p2pfl.learner.streams import integers_below, raw_draws
from p2pfl.learner.tasks.base import Array, Data, Floats, NumpyTask, Rows

FEATURES = 64
LABELS = 4
ROWS_TRAIN, ROWS_TEST = 2048, 256
CENTRE_LIMIT, NOISE_LIMIT = 3 * 2**14, 2**14  # Their sum stays below 2**16.
STEP_SHIFT = 3


class Integers(NumpyTask):
    """Track the mean of rows of integers in [0, 2**16): each step goes an eighth of the way.

    Sums, shifts and comparisons of integers alone: every entry of a model is an integer that
    float32 holds exactly, and so digests of a run are comparable across machines. The learning
    rate and momentum play no part.
    """

    description = "integers only: the same digest on any machine"

    def data(self, data_dir: Path | None) -> Data:
        """Compute the rows: each label has a centre, each row some noise."""
        count = ROWS_TRAIN + ROWS_TEST
        centres = integers_below(
            CENTRE_LIMIT, raw_draws(["p2pfl/integers/centres"], LABELS * FEATURES)
        ).reshape(LABELS, FEATURES)
        noise = integers_below(
            NOISE_LIMIT, raw_draws(["p2pfl/integers/noise"], count * FEATURES)
        ).reshape(count, FEATURES)
        labels = np.arange(count) % LABELS
        inputs = centres[labels] + noise
        return Data(
            Rows(inputs[:ROWS_TRAIN], labels[:ROWS_TRAIN]),
            Rows(inputs[ROWS_TRAIN:], labels[ROWS_TRAIN:]),
        )

    def initial_vector(self, seed: int) -> Floats:
        """Draw integers in [0, 2**16)."""
        draws = raw_draws([f"{seed}/integers/initial"], FEATURES)
        initial: Floats = integers_below(2**16, draws)[0].astype(np.float32)
        return initial

    def step(self, vector: Floats, inputs: Array, targets: Array, rate: float) -> float:
        """Go from the vector's integer part towards each row in turn; return the distance."""
        model = np.floor(vector).astype(np.int64)
        distance = int(np.abs(inputs - model).sum())
        for row in inputs:
            model += (row - model) >> STEP_SHIFT
        vector[:] = model
        return distance / inputs.size

    def evaluate(self, vector: Floats, inputs: Array, targets: Array) -> dict[str, float]:
        """Hold the model against the mean of the test rows.

        Returns:
            loss: mean distance of an entry; accuracy: share of entries that are near, as near as
            half the noise.
        """
        mean = inputs.sum(axis=0) // len(inputs)
        distances = np.abs(mean - np.floor(vector).astype(np.int64))
        near = int((distances <= NOISE_LIMIT // 2).sum())
        return {"accuracy": near / FEATURES, "loss": int(distances.sum()) / FEATURES}
