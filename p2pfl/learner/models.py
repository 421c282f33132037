"""A task's model, checked before anything runs: its tensors, and which of them travel."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch

from p2pfl.learner.errors import Blamed, LearningError
from p2pfl.learner.statistics import statistics_of
from p2pfl.learner.tasks.base import Floats, Task
from p2pfl.learner.tying import tie_by_storage
from p2pfl.learner.vectors import VectorLayout, module_tensors
from p2pfl_gossip.description import Fingerprint, Tensor, describe_tensor, fingerprint


class Model(NamedTuple):
    """A task's model at its start.

    Attributes:
        module: the torch module; tensors that are tied, by whatever means, are one object.
        names: of the tensors that train: those that travel, then the personal ones.
        layout: where they lie in a vector: the travelling ones first.
        travelling: where those lie that travel, float32[d].
        initial: float32, the start of all that trains.
        tensors: those that travel, for members to compare.
        frozen: of the values that do not travel, and must be the same for all.
    """

    module: torch.nn.Module
    names: list[str]
    layout: VectorLayout
    travelling: VectorLayout
    initial: Floats
    tensors: tuple[Tensor, ...]
    frozen: Fingerprint


def make_model(task: Task, *, seed: int, blamed: Blamed) -> Model:
    """Make a task's model, and check it.

    Args:
        task: gives the model, and says what travels.
        seed: of the start: torch's global generator is seeded with it, and NumPy's and Python's.
        blamed: whose code the task is.

    Raises:
        LearningError: it is no model, or one that cannot be averaged; the line names the tensor.
    """
    with _seeded(seed), blamed.faults():
        module = task.model()
    module = check_module(module, blamed.task)
    tie_by_storage(module, blamed.task)
    with blamed.faults():
        named: Any = task.travelling(module)
        names = named if isinstance(named, str) or named is None else list(named)
        own: Any = task.personal(module)
        personal = own if isinstance(own, str) or own is None else list(own)
    names = _check_names(names, module, blamed.task)
    personal = _check_personal(personal, names, module, blamed.task)
    try:
        travelling = VectorLayout(module, names)
        layout = VectorLayout(module, [*names, *personal]) if personal else travelling
    except LearningError as error:
        raise LearningError(f"task {blamed.task!r}: {error}") from None
    check_start(module, layout, blamed.task)
    initial = layout.to_vector(module)
    if not np.isfinite(initial).all():
        raise LearningError(
            f"task {blamed.task!r}: its initial model has values beyond float32, which travel"
            " so; scale them down"
        )
    described = _described(module, travelling)
    return Model(module, [*names, *personal], layout, travelling, initial, *described)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the generators that a model may draw its start from, and put them back."""
    of_numpy, of_python = np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        with torch.random.fork_rng(devices=[]):
            # Not torch.manual_seed: for each device it has, it keeps a formatted stack.
            torch.default_generator.manual_seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002 - models of users draw from it
            random.seed(seed)
            yield
    finally:
        np.random.set_state(of_numpy)  # noqa: NPY002
        random.setstate(of_python)


def check_module(module: Any, task: str) -> torch.nn.Module:
    """Check what a task's `model` returned."""
    if not isinstance(module, torch.nn.Module):
        kind = "nothing" if module is None else type(module).__name__
        raise LearningError(f"task {task!r}: its model() returned {kind}; return a torch.nn.Module")
    for name, tensor in module_tensors(module).items():
        if torch.nn.parameter.is_lazy(tensor):
            raise LearningError(
                f"task {task!r}: tensor {name!r} of its model has no shape yet; state the layer's"
                " sizes, or run one batch through it in model()"
            )
        if tensor.device.type != "cpu":
            raise LearningError(
                f"task {task!r}: tensor {name!r} of its model is on device"
                f" {tensor.device.type!r}; make the model on the CPU"
            )
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise LearningError(
            f"task {task!r}: no tensor of its model takes a gradient, so nothing is learnt; set"
            " requires_grad of some"
        )
    return module


def check_start(module: torch.nn.Module, layout: VectorLayout, task: str) -> None:
    """Refuse values that are not finite at the start, by tensor."""
    tensors = module_tensors(module)
    for entry in layout.entries:
        if not torch.isfinite(tensors[entry.name].detach()).all():
            raise LearningError(
                f"task {task!r}: its initial model is not finite: {entry.name} has NaN or infinity;"
                " a tensor that is constant need not travel (docs/tasks.md, travelling)"
            )


def _check_names(names: Any, module: torch.nn.Module, task: str) -> list[str]:
    told = f"task {task!r}: its travelling() returned"
    if not isinstance(names, list):
        kind = "nothing" if names is None else f"the text {names!r}"
        raise LearningError(f"{told} {kind}; return a list of names of tensors")
    for name in names:
        if not isinstance(name, str):
            raise LearningError(f"{told} a {type(name).__name__}; return names of tensors, as text")
    tensors = module_tensors(module)
    known = [name for name in names if name in tensors]
    if known and not any(tensors[name].requires_grad for name in known):
        raise LearningError(
            f"task {task!r}: no tensor that travels takes a gradient, so nothing is learnt; set"
            " requires_grad of some, or name others in travelling()"
        )
    return names


def _check_personal(
    personal: Any, names: list[str], module: torch.nn.Module, task: str
) -> list[str]:
    told = f"task {task!r}: its personal()"
    if not isinstance(personal, list) or not all(isinstance(name, str) for name in personal):
        raise LearningError(f"{told} returned no list of names of tensors; return one, or []")
    tensors = module_tensors(module)
    travelling = {id(tensors[name]) for name in names if name in tensors}
    for name in personal:
        tensor = tensors.get(name)
        if tensor is None:
            raise LearningError(
                f"{told} names {name!r}, but its model has no such tensor; it has"
                f" {', '.join(tensors)}"
            )
        if id(tensor) in travelling:
            raise LearningError(
                f"{told} names {name!r}, which travels; name it in one of travelling() and"
                " personal()"
            )
        if not tensor.requires_grad:
            raise LearningError(
                f"{told} names {name!r}, which takes no gradient; what does not train need not be"
                " named"
            )
    return personal


def _described(
    module: torch.nn.Module, layout: VectorLayout
) -> tuple[tuple[Tensor, ...], Fingerprint]:
    """Say what of a model travels, and take the fingerprint of what does not."""
    tensors = module_tensors(module)
    travelling = tuple(
        describe_tensor(
            entry.name, entry.shape, str(tensors[entry.name].dtype).removeprefix("torch.")
        )
        for entry in layout.entries
    )
    seen = {id(tensors[entry.name]) for entry in layout.entries}
    seen |= {id(tensors[name]) for name in statistics_of(module)}  # Those are each peer's own.

    def others() -> Iterator[Floats]:
        for tensor in tensors.values():
            if id(tensor) not in seen:
                seen.add(id(tensor))
                yield tensor.detach().to(torch.float32).cpu().numpy()

    return travelling, fingerprint(others())
