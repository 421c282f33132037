"""Who comes back within thirty days: each hospital trains on its own rows, read from its own file.

A logistic regression without torch, so that a peer starts in a second and takes little memory.
`data_dir` of each member's peer.toml is the folder that holds its `rows.csv`.
"""

import csv
from pathlib import Path

import numpy as np

from p2pfl.learner.tasks import Data, LearningError, NumpyTask, Rows

# What the columns are, and mean and spread of each, as the group agreed on them: a member that
# scaled by its own figures would train another model than the others.
COLUMNS = {"age": (62.0, 16.0), "stay_days": (6.0, 4.0), "medicines": (8.0, 4.0)}
OUTCOME = "readmitted"
HELD_OUT = 5  # Of so many rows one is measured on, and not trained on.


class Readmissions(NumpyTask):
    """Options are arguments of `__init__`; the charter gives them under [task] options."""

    description = "patients who come back within thirty days"

    def __init__(self, file: str = "rows.csv") -> None:
        self._file = file

    def data(self, data_dir: Path | None) -> Data:
        """Read this member's rows; nobody else has them."""
        if data_dir is None:
            raise LearningError("set data_dir in peer.toml to the folder that holds the rows")
        path = data_dir / self._file
        try:
            with path.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
        except OSError as error:
            raise LearningError(f"cannot read {path}: {error.strerror}") from None
        values = []
        for number, row in enumerate(rows, start=2):
            try:
                values.append([float(row[name]) for name in (*COLUMNS, OUTCOME)])
            except (KeyError, TypeError, ValueError):
                wanted = ", ".join((*COLUMNS, OUTCOME))
                raise LearningError(
                    f"{path}, line {number}: wants numbers in the columns {wanted}"
                ) from None
        if len(values) < 2 * HELD_OUT:
            raise LearningError(f"{path} has {len(values)} rows, which is too few")
        table = np.array(values, np.float32)
        means, spreads = np.array(list(COLUMNS.values()), np.float32).T
        inputs, targets = (table[:, :-1] - means) / spreads, table[:, -1].astype(np.int64)
        is_held_out = np.arange(len(table)) % HELD_OUT == 0
        # The member's own test rows: it never trains on them.
        # By which a patient who objects is left out: [excluded] in peer.toml.
        patients = np.array([row.get("patient") or "" for row in rows])
        return Data(Rows(inputs, targets), own_test=is_held_out, columns={"patient": patients})

    def initial_vector(self, seed: int) -> np.ndarray:
        """Begin with zeros: a weight for each column, and a constant."""
        del seed
        return np.zeros(len(COLUMNS) + 1, np.float32)

    def step(
        self, vector: np.ndarray, inputs: np.ndarray, targets: np.ndarray, rate: float
    ) -> float:
        """Take one step down the gradient of the mean loss."""
        chance = _chance(vector, inputs)
        error = chance - targets
        vector[:-1] -= rate * (error @ inputs) / len(error)
        vector[-1] -= rate * error.mean()
        return _loss(chance, targets)

    def evaluate(
        self, vector: np.ndarray, inputs: np.ndarray, targets: np.ndarray
    ) -> dict[str, float]:
        """Return figures by name, among them the primary one, ``accuracy``."""
        chance = _chance(vector, inputs)
        is_right = (chance > 0.5) == (targets == 1)
        return {"accuracy": float(is_right.mean()), "loss": _loss(chance, targets)}


def _chance(vector: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-(inputs @ vector[:-1] + vector[-1])))


def _loss(chance: np.ndarray, targets: np.ndarray) -> float:
    right = np.where(targets == 1, chance, 1 - chance)
    return float(-np.log(np.maximum(right, 1e-7)).mean())
