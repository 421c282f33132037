"""Names for the entries of a vector, by a task whose rows are not needed for that."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from p2pfl.learner.errors import Blamed, LearningError
from p2pfl.learner.model_files import NamedModel
from p2pfl.learner.settings import Scaffold, TaskSettings
from p2pfl.learner.sources import source_files
from p2pfl.learner.streams import seed_of
from p2pfl.learner.tasks.base import NumpyTask
from p2pfl.learner.tasks.registry import make_task
from p2pfl_gossip.actions import Vector
from p2pfl_gossip.own_state import NOTHING, Arrays

if TYPE_CHECKING:
    from p2pfl.learner.models import Model


def name_model(
    settings: TaskSettings,
    vector: Vector,
    own: Arrays = NOTHING,
    *,
    seed: int,
    folder: Path | None,
) -> NamedModel:
    """Make a task's model, and put a vector in it.

    Tensors that neither travel nor are among the peer's own are those of the start.

    Args:
        settings: which task, with which options.
        vector: float32[d], what travels.
        own: what the peer keeps of its own.
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

    made = make_model(task, seed=seed_of(f"{seed}/initial"), blamed=blamed)
    length = made.travelling.length
    if isinstance(settings.training.local, Scaffold):
        length *= 2  # Control variates travel too.
    if vector.shape != (length,):
        raise LearningError(
            f"the model has {len(vector)} entries, but that of task {settings.task!r} has"
            f" {length}: put the task back as it was"
        )
    return name_tensors(made, vector, own)


def name_tensors(model: "Model", vector: Vector, own: Arrays) -> NamedModel:
    """Name the tensors of the model that a peer uses: with personal tensors, or a personal model.

    Args:
        model: the task's, at its start.
        vector: what travels, and perhaps control variates, which are no part of a model.
        own: what the peer keeps of its own; empty for a model that is nobody's.
    """
    from p2pfl.learner.engines.own_parts import used_model
    from p2pfl.learner.vectors import named_model

    length = model.travelling.length
    used = used_model(model.initial, length, vector, own)
    arrays = model.layout.to_arrays(used)
    return named_model(model.module, model.travelling, used[:length], arrays)
