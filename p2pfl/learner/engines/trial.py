"""One step and one evaluation before anything runs, so that what a task gives is refused at once.

It goes by the module alone, whatever engine trains: the verdict is the same for all. What the
task's own code raises is told with its file and line.
"""

import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from p2pfl.learner.engines.one_by_one import EVALUATION_ROWS_MAX, as_inputs
from p2pfl.learner.engines.threads import one_torch_thread
from p2pfl.learner.errors import Blamed, LearningError
from p2pfl.learner.labels import check_labels
from p2pfl.learner.metrics import check_metrics
from p2pfl.learner.models import Model
from p2pfl.learner.snapshots import ModuleSnapshot
from p2pfl.learner.tasks.base import Array, Data, Rows, Task
from p2pfl.learner.vectors import module_tensors

DEFAULT_METRICS_ROWS = 64
"""Test rows of the trial where accuracy and cross-entropy are ours, and known to work."""

TYPE_ROWS = 2
"""Rows by which a model shows whether it takes integers or floats."""


def fit_inputs(module: torch.nn.Module, data: Data) -> Data:
    """Give integer inputs the type that the model takes: integers if it can, else floats.

    So a table whose columns are all integers reaches a layer of floats, and bytes an embedding.
    Where the model takes neither, nothing is changed, and the trial tells why.
    """
    inputs = data.train.inputs
    if inputs.dtype.kind not in "iu" or _takes(module, data):
        return data
    is_scaled = (data.scale, data.offset) != (1.0, 0.0)
    if inputs.dtype == np.uint8 and is_scaled:
        return data
    kind = np.int64 if inputs.dtype == np.uint8 else np.float32
    changed = replace(
        data, train=_as_type(data.train, kind), test=data.test and _as_type(data.test, kind)
    )
    return changed if _takes(module, changed) else data


def _as_type(rows: Rows, kind: type[np.generic]) -> Rows:
    inputs = rows.inputs.astype(kind)
    inputs.flags.writeable = False
    return Rows(inputs, rows.targets)


def _takes(module: torch.nn.Module, data: Data) -> bool:
    rows = np.arange(TYPE_ROWS) % len(data.train.inputs)
    snapshot, taken = ModuleSnapshot(module), False
    with one_torch_thread(), torch.random.fork_rng(devices=[]), torch.no_grad():
        module.eval()
        with suppress(Exception, SystemExit):
            module(as_inputs(data.train.inputs[rows], data))
            taken = True
    snapshot.restore()
    return taken


def try_task(
    task: Task,
    model: Model,
    *,
    data: Data,
    test: Rows | None,
    sizes: Sequence[int],
    blamed: Blamed,
) -> None:
    """Do a step on a batch of each size, without changing the model, and measure it.

    Args:
        task: gives loss and metrics.
        model: at its start; what this changes is put back.
        data: the rows.
        test: the common test rows; None takes training rows in their place.
        sizes: of batches, the usual one first.
        blamed: whose code it is.

    Raises:
        LearningError: the task's rows, model, loss or metrics do not fit each other.
    """
    module, snapshot = model.module, ModuleSnapshot(model.module)
    try:
        with one_torch_thread(), torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            module.train()
            for size in sizes:
                _Step(task, model, data, size, sizes[0], blamed).try_it()
            _check_constants(model, snapshot, blamed)
            module.eval()
            with torch.no_grad():
                _try_metrics(task, module, data, test or _first(data.train), blamed)
    finally:
        snapshot.restore()


@dataclass(frozen=True)
class _Step:
    """A step to try: on a batch of `size` rows, where `usual` is the size of most."""

    task: Task
    model: Model
    data: Data
    size: int
    usual: int
    blamed: Blamed

    def try_it(self) -> None:
        """Do it, and refuse what cannot be averaged, or learnt from."""
        data, size, blamed = self.data, self.size, self.blamed
        train, where = data.train, self._where()
        rows = _rows(train, size)
        inputs = as_inputs(train.inputs[rows], data)
        targets = torch.from_numpy(train.targets[rows])
        with blamed.faults(where):
            outputs = self.model.module(inputs)
        if type(self.task).loss is Task.loss:
            check_labels(outputs, train.targets, blamed.task, "train")
        with self._labels_told(outputs), blamed.faults(where):
            loss = self.task.loss(outputs, targets)
        loss = self._check_loss(loss, rows, where)
        with blamed.faults(where):
            self._check_pairing(outputs, targets, loss)
        tensors = module_tensors(self.model.module)
        names = [it.name for it in self.model.layout.entries if tensors[it.name].requires_grad]
        with blamed.faults(where):
            gradients = torch.autograd.grad(loss, [tensors[it] for it in names], allow_unused=True)
        self._check_gradients(dict(zip(names, gradients, strict=True)), where)

    @contextmanager
    def _labels_told(self, outputs: Any) -> Iterator[None]:
        """Name the row of a wrong label where cross-entropy, asked by an own loss, cannot take it.

        An own loss may number classes anew first: only what cross-entropy itself refuses counts.
        """
        try:
            yield
        except LearningError as error:
            frames = traceback.walk_tb(error.__cause__.__traceback__) if error.__cause__ else ()
            if any(frame.f_code is Task.loss.__code__ for frame, _ in frames):
                check_labels(outputs, self.data.train.targets, self.blamed.task, "train")
            raise

    def _where(self) -> str:
        train, size = self.data.train, self.size
        types = f"inputs {_told(train.inputs)}, targets {_told(train.targets)}"
        where = f" on a batch of {size} row{'s' * (size != 1)} ({types})"
        others = sorted(
            {
                str(it.dtype).removeprefix("torch.")
                for it in self.model.module.parameters()
                if it.dtype != torch.float32
            }
        )
        if others:
            where += f"; its model is of {', '.join(others)}: leave it float32, or cast in forward"
        elif train.inputs.dtype.kind in "iu":
            where += "; if the model takes floats, return inputs.astype(np.float32)"
        if len(train.inputs) == 1:
            where += "; this peer has one training row: give it more"
        elif size < self.usual:
            where += "; choose batch_size or rows so that no batch is so small, or sampling"
            where += " = 'replacement'"
        return where

    def _check_loss(self, loss: Any, rows: Array, where: str) -> torch.Tensor:
        told = f"task {self.blamed.task!r}: its loss gives"
        remedy = "return the mean over the batch, a scalar tensor"
        if not isinstance(loss, torch.Tensor):
            raise LearningError(f"{told} {type(loss).__name__}; {remedy}")
        if loss.numel() != 1:
            raise LearningError(f"{told} a tensor of shape {list(loss.shape)}; {remedy}")
        if not loss.is_floating_point():
            kind = str(loss.dtype).removeprefix("torch.")
            raise LearningError(f"{told} a tensor of {kind}; {remedy} of floats")
        if not loss.requires_grad:
            raise LearningError(f"{told} a tensor without a gradient; {remedy}, not detached")
        if torch.isfinite(loss.detach()).all():
            return loss
        value, train = float(loss.detach()), self.data.train
        lacks = train.targets.dtype.kind == "f" and not np.isfinite(train.targets[rows]).all()
        if lacks:
            raise LearningError(
                f"task {self.blamed.task!r}: its train targets contain NaN or infinity, as in row"
                f" {rows[0]}, and its loss is {value:g} by them; fill them in, leave such rows out,"
                " or have the loss skip them"
            )
        largest = float(np.abs(train.inputs[rows].astype(np.float64)).max(initial=0.0))
        raise LearningError(
            f"task {self.blamed.task!r}: its loss is {value:g} at the start{where}, whose inputs go"
            f" up to {largest:.3g}; scale the inputs, or see the loss for log, division or root"
            " of 0"
        )

    def _check_pairing(self, outputs: Any, targets: torch.Tensor, loss: torch.Tensor) -> None:
        """Refuse a loss that holds each output [n, 1] against all targets [n], by broadcasting.

        It is one if the same loss of outputs [n] is the mean of what each row gives alone, and
        this is not.
        """
        if type(self.task).loss is Task.loss or not isinstance(outputs, torch.Tensor):
            return
        count = len(targets)
        shapes = {tuple(outputs.shape), tuple(targets.shape)}
        if count < 2 or shapes != {(count, 1), (count,)}:
            return
        flat, aims = outputs.detach().reshape(-1), targets.reshape(-1)
        try:
            paired = float(self.task.loss(flat, aims))
            each = [
                float(self.task.loss(outputs.detach()[i : i + 1], targets[i : i + 1]))
                for i in range(count)
            ]
        except (Exception, SystemExit):  # It tells shapes apart by itself.
            return
        mean, given = float(np.mean(each)), float(loss.detach())
        if np.isclose(mean, paired, rtol=1e-3) and not np.isclose(mean, given, rtol=1e-3):
            raise LearningError(
                f"task {self.blamed.task!r}: its loss holds outputs {list(outputs.shape)} against"
                f" targets {list(targets.shape)}, which torch broadcasts to {[count, count]}: each"
                " output against the targets of all rows; take outputs[:, 0] in the loss, or give"
                " targets of the same shape"
            )

    def _check_gradients(self, found: dict[str, torch.Tensor | None], where: str) -> None:
        task = self.blamed.task
        if all(gradient is None for gradient in found.values()):
            raise LearningError(
                f"task {task!r}: its loss depends on no tensor that travels, so nothing is learnt;"
                " see forward and loss for detach() and no_grad(), and travelling()"
            )
        for name, gradient in found.items():
            if gradient is None:
                continue
            if gradient.layout != torch.strided:
                raise LearningError(
                    f"task {task!r}: tensor {name!r} of its model has sparse gradients; make the"
                    " layer with sparse=False"
                )
            if not torch.isfinite(gradient).all():
                raise LearningError(
                    f"task {task!r}: the gradient of tensor {name!r} is not finite in the first"
                    f" step, though the loss is{where}; see model and loss for a root, norm or"
                    " logarithm at 0"
                )


def _check_constants(model: Model, snapshot: ModuleSnapshot, blamed: Blamed) -> None:
    """Refuse tensors that are named as travelling, and that no step changes."""
    tensors = module_tensors(model.module)
    for entry in model.layout.entries:
        tensor = tensors[entry.name]
        if not tensor.requires_grad and not snapshot.has_changed(tensor):
            raise LearningError(
                f"task {blamed.task!r}: it names {entry.name!r} as travelling, and a step of"
                " training leaves that as it was; leave it out of travelling(): it stays the same"
                " at every peer"
            )


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
    _check_outputs(outputs[0], min(count, EVALUATION_ROWS_MAX), blamed.task)
    if type(task).loss is Task.loss and is_ours:
        check_labels(outputs[0], test.targets, blamed.task, "test")
    stacked = torch.cat(outputs).to(torch.float32).numpy()
    with blamed.faults(where), np.errstate(all="ignore"):
        metrics = task.metrics(stacked, test.targets[:count])
    check_metrics(metrics, task.primary.name, blamed.task)


def _check_outputs(outputs: Any, count: int, task: str) -> None:
    """Refuse outputs that metrics cannot have: they take float32[rows, ...]."""
    told = f"task {task!r}: its model gives"
    if not isinstance(outputs, torch.Tensor):
        raise LearningError(
            f"{told} {type(outputs).__name__}; metrics take one tensor of outputs: have forward"
            " return that"
        )
    if outputs.layout != torch.strided or outputs.is_complex():
        kind = "complex numbers" if outputs.is_complex() else "a sparse tensor"
        raise LearningError(f"{told} {kind}; metrics take floats: convert them in forward")
    if outputs.dim() == 0 or len(outputs) != count:
        raise LearningError(
            f"{told} a tensor of shape {list(outputs.shape)} for {count} rows; metrics take one"
            " output a row: have forward return [rows, ...]"
        )


def _rows(train: Rows, size: int) -> Array:
    """Take rows from the first on; from one that lacks its target, where there is one.

    Among them are the smallest and the largest label: one that no output answers is often rare.
    """
    first = 0
    if train.targets.dtype.kind == "f":
        finite = np.isfinite(train.targets.reshape(len(train.targets), -1)).all(axis=1)
        first = int(finite.argmin())
    rows = (first + np.arange(size)) % len(train.inputs)
    if train.targets.dtype.kind in "iu" and train.targets.ndim == 1 and size > 2:
        rows[-2:] = train.targets.argmin(), train.targets.argmax()
    return rows


def _first(train: Rows) -> Rows:
    """Return training rows in place of test rows, for the trial alone."""
    return Rows(train.inputs[:DEFAULT_METRICS_ROWS], train.targets[:DEFAULT_METRICS_ROWS])


def _told(values: Array) -> str:
    return f"{values.dtype} {list(values.shape)}"
