"""An own task: which heartbeats are irregular, learnt by wards that keep their recordings.

Run it, from this folder or any other:

    p2pfl simulate examples/own_task/scenario.toml

The recordings are made up here, so that the example needs no files; `data` is where yours are read.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from p2pfl.learner.tasks import Data, Rows, Task, classification_metrics

SAMPLES = 48  # Of one heartbeat.
WARDS = 12


class Heartbeats(Task):
    """Options are arguments of `__init__`; scenario.toml gives them under [learning.options]."""

    description = "irregular heartbeats, recorded on wards"

    def __init__(self, channels: int = 8, irregular_share: float = 0.2) -> None:
        self._channels, self._irregular_share = channels, irregular_share

    def data(self, data_dir: Path | None) -> Data:
        """Return all rows; with `data_dir` from the scenario, yours would be read from there."""
        rng = np.random.default_rng(7)  # The same rows in every run, whatever its seed.
        count = 700
        ward = rng.integers(0, WARDS, count)
        irregular = rng.random(count) < self._irregular_share
        # A beat is a bump in time. Irregular ones come early and are wider; each ward's device
        # has a gain of its own.
        time = np.linspace(0, 1, SAMPLES)
        centre = np.where(irregular, 0.38, 0.5) + rng.normal(0, 0.06, count)
        width = np.where(irregular, 0.12, 0.08) * rng.uniform(0.8, 1.2, count)
        beats = np.exp(-(((time - centre[:, None]) / width[:, None]) ** 2))
        beats *= rng.uniform(0.7, 1.3, WARDS)[ward][:, None]
        inputs = (beats + rng.normal(0, 0.3, beats.shape)).astype(np.float32)
        targets = irregular.astype(np.int64)
        # The last 300 rows are held out, the same for every peer. `columns` belong to the others:
        # partition = { kind = "groups", column = "ward" } keeps each ward's rows together.
        return Data(
            train=Rows(inputs[:-300], targets[:-300]),
            test=Rows(inputs[-300:], targets[-300:]),
            columns={"ward": ward[:-300]},
        )

    def model(self) -> nn.Module:
        """Return the model at its start; the learner has seeded torch, so all peers start alike."""
        return nn.Sequential(
            nn.Unflatten(1, (1, SAMPLES)),
            nn.Conv1d(1, self._channels, kernel_size=7, stride=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(self._channels * ((SAMPLES - 7) // 2 + 1), 2),
        )

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Weigh the rare irregular beats more; without this method it is plain cross-entropy."""
        return nn.functional.cross_entropy(outputs, targets, weight=torch.tensor([1.0, 3.0]))

    def metrics(self, outputs: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """Return figures by name, among them the primary one, ``accuracy``."""
        found = outputs.argmax(axis=1) == 1
        return classification_metrics(outputs, targets) | {
            "irregular_found": float(found[targets == 1].mean()),
        }
