"""Names for the entries of a vector, by a task whose rows are not needed for that."""

from pathlib import Path

import numpy as np

from p2pfl.learner.errors import Blamed, LearningError
from p2pfl.learner.model_files import NamedModel
from p2pfl.learner.settings import TaskSettings
from p2pfl.learner.sources import source_files
from p2pfl.learner.streams import seed_of
from p2pfl.learner.tasks.base import NumpyTask
from p2pfl.learner.tasks.registry import make_task
from p2pfl_gossip.actions import Vector


def name_model(
    settings: TaskSettings, vector: Vector, *, seed: int, folder: Path | None
) -> NamedModel:
    """Make a task's model, and put a vector in it.

    Tensors that do not travel are those of the start.

    Args:
        settings: which task, with which options.
        vector: float32[d], what travels.
        seed: that of the group or run: it decides the start.
        folder: where the group's own task is imported from.

    Raises:
        LearningError: there is no such task, or it has another model than the vector is of.
    """
    blamed = Blamed(settings.task)
    with blamed.faults():
        task = make_task(settings.task, settings.options, folder=folder)
    blamed = Blamed(settings.task, source_files(task))
    vector = vector.astype(np.float32, copy=False)
    if isinstance(task, NumpyTask):
        return NamedModel.of_vector(vector)
    from p2pfl.learner.models import make_model
    from p2pfl.learner.vectors import named_model

    made = make_model(task, seed=seed_of(f"{seed}/initial"), blamed=blamed)
    if vector.shape != (made.layout.length,):
        raise LearningError(
            f"the model has {len(vector)} entries, but that of task {settings.task!r} has"
            f" {made.layout.length}: put the task back as it was"
        )
    return named_model(made.module, made.layout, vector)
