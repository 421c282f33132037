"""One step and one evaluation before anything runs, so that what a task gives is refused at once.

It goes by the module alone, whatever engine trains: the verdict is the same for all. What the
task's own code raises is told with its file and line.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from p2pfl.learner.engines.base import check_metrics
from p2pfl.learner.engines.one_by_one import EVALUATION_ROWS_MAX, as_inputs
from p2pfl.learner.engines.threads import one_torch_thread
from p2pfl.learner.errors import Blamed, LearningError
from p2pfl.learner.tasks.base import Array, Data, Rows, Task
from p2pfl.learner.vectors import VectorLayout, module_tensors

IGNORED = -100
"""torch's mark of places that cross-entropy leaves out; for targets of several places a row."""

DEFAULT_METRICS_ROWS = 64
"""Test rows of the trial where accuracy and cross-entropy are ours, and known to work."""


def check_module(module: Any, task: str) -> torch.nn.Module:
    """Check what a task's `model` returned."""
    if not isinstance(module, torch.nn.Module):
        raise LearningError(
            f"task {task!r}: its model() returned {type(module).__name__}; return a torch.nn.Module"
        )
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    for name, tensor in tensors.items():
        if torch.nn.parameter.is_lazy(tensor):
            raise LearningError(
                f"task {task!r}: tensor {name!r} of its model has no shape yet; state the layer's"
                " sizes, or run one batch through it in model()"
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


def try_task(
    task: Task,
    module: torch.nn.Module,
    layout: VectorLayout,
    *,
    data: Data,
    test: Rows,
    sizes: Sequence[int],
    blamed: Blamed,
) -> None:
    """Do a step on a batch of each size, without changing the model, and measure it.

    Args:
        task: gives loss and metrics.
        module: the model at its start; buffers that this changes are put back.
        layout: of what travels.
        data: the rows.
        test: the rows to measure on.
        sizes: of batches, the usual one first.
        blamed: whose code it is.

    Raises:
        LearningError: the task's rows, model, loss or metrics do not fit each other.
    """
    kept = {name: buffer.detach().clone() for name, buffer in module.named_buffers()}
    try:
        with one_torch_thread(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            module.train()
            for size in sizes:
                _try_step(task, module, layout, data, size, sizes[0], blamed)
            module.eval()
            with torch.no_grad():
                _try_metrics(task, module, data, test, blamed)
    finally:
        with torch.no_grad():
            for name, buffer in module.named_buffers():
                buffer.copy_(kept[name])


def _try_step(
    task: Task,
    module: torch.nn.Module,
    layout: VectorLayout,
    data: Data,
    size: int,
    usual: int,
    blamed: Blamed,
) -> None:
    tensors = module_tensors(module)
    trained = [tensors[it.name] for it in layout.entries if tensors[it.name].requires_grad]
    if not trained:
        raise LearningError(
            f"task {blamed.task!r}: no tensor that travels takes a gradient, so nothing is learnt;"
            " set requires_grad of some, or name others in travelling()"
        )
    train = data.train
    rows = _rows(train, size)
    types = f"inputs {_told(train.inputs)}, targets {_told(train.targets)}"
    where = f" on a batch of {size} row{'s' * (size != 1)} ({types})"
    if train.inputs.dtype.kind in "iub" and train.inputs.dtype != np.uint8:
        where += "; if the model takes floats, return inputs.astype(np.float32)"
    if len(train.inputs) == 1:
        where += "; this peer has one training row: give it more"
    elif size < usual:
        where += "; choose batch_size or rows so that no batch is so small, or sampling"
        where += " = 'replacement'"
    inputs, targets = as_inputs(train.inputs[rows], data), torch.from_numpy(train.targets[rows])
    with blamed.faults(where):
        outputs = module(inputs)
    if type(task).loss is Task.loss:
        _check_labels(outputs, train.targets, blamed.task, "train")
    with blamed.faults(where):
        loss = task.loss(outputs, targets)
    told = f"task {blamed.task!r}: its loss gives"
    remedy = "return the mean over the batch, a scalar tensor"
    if not isinstance(loss, torch.Tensor):
        raise LearningError(f"{told} {type(loss).__name__}; {remedy}")
    if loss.numel() != 1:
        raise LearningError(f"{told} a tensor of shape {list(loss.shape)}; {remedy}")
    if not loss.requires_grad:
        raise LearningError(f"{told} a tensor without a gradient; {remedy}, not detached")
    lacks = train.targets.dtype.kind == "f" and not np.isfinite(train.targets[rows]).all()
    if lacks and not torch.isfinite(loss.detach()).all():
        raise LearningError(
            f"task {blamed.task!r}: its train targets contain NaN or infinity, as in row"
            f" {rows[0]}, and its loss is {float(loss.detach()):g} by them; fill them in, leave"
            " such rows out, or have the loss skip them"
        )
    with blamed.faults(where):
        torch.autograd.grad(loss, trained, allow_unused=True)


def _try_metrics(
    task: Task, module: torch.nn.Module, data: Data, test: Rows, blamed: Blamed
) -> None:
    is_ours = type(task).metrics is Task.metrics
    count = min(len(test.inputs), DEFAULT_METRICS_ROWS) if is_ours else len(test.inputs)
    where = f" on the test rows (inputs {_told(test.inputs)}, targets {_told(test.targets)})"
    with blamed.faults(where):
        outputs = [
            module(as_inputs(test.inputs[:count][start : start + EVALUATION_ROWS_MAX], data))
            for start in range(0, count, EVALUATION_ROWS_MAX)
        ]
    if not isinstance(outputs[0], torch.Tensor):
        raise LearningError(
            f"task {blamed.task!r}: its model gives {type(outputs[0]).__name__}; metrics take one"
            " tensor of outputs: have forward return that"
        )
    if type(task).loss is Task.loss and is_ours:
        _check_labels(outputs[0], test.targets, blamed.task, "test")
    stacked = torch.cat(outputs).to(torch.float32).numpy()
    with blamed.faults(where), np.errstate(all="ignore"):
        metrics = task.metrics(stacked, test.targets[:count])
    check_metrics(metrics, blamed.task)


def _check_labels(outputs: Any, targets: Array, task: str, part: str) -> None:
    """Hold the labels of all rows against the outputs of a classifier."""
    told = f"task {task!r}: its {part} targets"
    own = "or give the task a loss of its own"
    if not isinstance(outputs, torch.Tensor) or outputs.dim() < 2:
        kind = (
            f"a tensor of shape {list(outputs.shape)}"
            if isinstance(outputs, torch.Tensor)
            else type(outputs).__name__
        )
        raise LearningError(
            f"task {task!r}: its model gives {kind}; cross-entropy takes [rows, classes]: have"
            f" forward return that, {own}"
        )
    classes, places = outputs.shape[1], tuple(outputs.shape[2:])
    if targets.dtype.kind == "f":
        raise LearningError(
            f"{told} are {targets.dtype}; cross-entropy takes classes, integers from 0 to"
            f" {classes - 1}: convert them, {own}"
        )
    if targets.shape[1:] != places:
        raise LearningError(
            f"{told} have shape {list(targets.shape)}; cross-entropy takes the number of one class"
            f" a row, {['rows', *places]}: of one-hot rows take argmax(axis=1), of a column [:, 0],"
            f" {own}".replace("'rows'", "rows")
        )
    wrong = (targets < 0) | (targets >= classes)
    if places:
        wrong &= targets != IGNORED
    if wrong.any():
        at = tuple(np.argwhere(wrong)[0])
        raise LearningError(
            f"{told} have class {targets[at]} in row {at[0]}; the model has {classes} outputs, so"
            f" classes are 0 to {classes - 1}: number them from 0, or widen the model"
        )


def _rows(train: Rows, size: int) -> Array:
    """Take rows from the first on; from one that lacks its target, where there is one."""
    first = 0
    if train.targets.dtype.kind == "f":
        finite = np.isfinite(train.targets.reshape(len(train.targets), -1)).all(axis=1)
        first = int(finite.argmin())
    return (first + np.arange(size)) % len(train.inputs)


def _told(values: Array) -> str:
    return f"{values.dtype} {list(values.shape)}"
