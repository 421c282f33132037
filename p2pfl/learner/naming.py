"""Names for the entries of a vector, by a task whose rows are not needed for that.

Each tensor that does not travel is told with where it is from. Statistics of normalisation layers
are worked out from rows (statistics.py); without rows, they are left out. Those of the start are
zeros and ones, which make another model of any that was trained.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from p2pfl.learner.errors import Blamed, LearningError
from p2pfl.learner.model_files import MODEL, NOT_TRAVELLING, NamedModel
from p2pfl.learner.settings import Scaffold, TaskSettings
from p2pfl.learner.sources import source_files
from p2pfl.learner.streams import seed_of
from p2pfl.learner.tasks.base import NumpyTask
from p2pfl.learner.tasks.registry import make_task
from p2pfl_gossip.actions import Vector
from p2pfl_gossip.own_state import NOTHING, Arrays

if TYPE_CHECKING:
    from p2pfl.learner.models import Model

OF_THE_START, OF_THE_PEER = "of the start", "the peer's own"
LEFT_OUT = "left out, as nobody has worked them out for this model"
"""Where tensors are from that do not travel; and statistics, worked out from rows of some peer."""

JOINT, PERSONAL_MODEL = "joint", "personal"
"""Whose a model is: that of all, or one peer's beside it (Ditto)."""


def name_model(
    settings: TaskSettings,
    vector: Vector,
    own: Arrays = NOTHING,
    *,
    seed: int,
    folder: Path | None,
) -> NamedModel:
    """Make a task's model, and put a vector in it.

    Tensors that neither travel nor are among the peer's own are those of the start, but for
    statistics of normalisation layers: those are left out, as they take rows.

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


def name_tensors(
    model: "Model", vector: Vector, own: Arrays, statistics: str | None = None
) -> NamedModel:
    """Name the tensors of the model that a peer uses: with personal tensors, or a personal model.

    Args:
        model: the task's, at its start but for statistics.
        vector: what travels, and perhaps control variates, which are no part of a model.
        own: what the peer keeps of its own; empty for a model that is nobody's.
        statistics: where those are from that the module's normalisation layers hold; None if they
            are not of this model, and are left out.
    """
    from p2pfl.learner.engines import own_buffers, own_parts
    from p2pfl.learner.vectors import as_array, module_tensors, named_model

    length = model.travelling.length
    used = own_parts.used_model(model.initial, length, vector, own)
    is_personal = own_parts.MODEL in own
    tensors = module_tensors(model.module)
    buffers = {
        name: as_array(own_buffers.unpacked(array, tensors[name]))
        for name, array in own_buffers.buffers_in(
            own, own_parts.OF_MODEL if is_personal else ""
        ).items()
        if name in tensors
    }
    arrays = {**model.layout.to_arrays(used), **buffers}
    named = named_model(model.module, model.travelling, used[:length], arrays)
    trained = OF_THE_PEER if is_personal or own_parts.PERSONAL in own else OF_THE_START
    origins = _origins(model, named, trained, statistics or LEFT_OUT, frozenset(buffers))
    left_out = origins.get(LEFT_OUT, ())
    return replace(
        named,
        tensors={name: it for name, it in named.tensors.items() if name not in left_out},
        about={
            MODEL: PERSONAL_MODEL if is_personal else JOINT,
            NOT_TRAVELLING: json.dumps(origins),
        },
    )


def _origins(
    model: "Model", named: NamedModel, trained: str, statistics: str, kept: frozenset[str]
) -> dict[str, list[str]]:
    """Tell where the tensors are from that do not travel."""
    from p2pfl.learner.statistics import local_statistics
    from p2pfl.learner.vectors import module_tensors

    tensors = module_tensors(model.module)
    travelling = {id(tensors[it.name]) for it in model.travelling.entries}
    training = {id(tensors[it.name]) for it in model.layout.entries}
    worked_out = local_statistics(model.module, {it.name for it in model.layout.entries})
    origins: dict[str, list[str]] = {}
    for name in named.tensors:
        if (tensor := id(tensors[name])) not in travelling:
            whose = trained if tensor in training else OF_THE_START
            if name in kept:
                whose = OF_THE_PEER
            origins.setdefault(statistics if name in worked_out else whose, []).append(name)
    return origins
