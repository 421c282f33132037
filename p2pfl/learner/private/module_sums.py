"""Sums of clipped gradients of any torch module: one gradient a row, by vmap over grad.

Where linear layers are all that trains, by norms (`linear_sums`), if a trial finds the same norms
and sum there: at the start, and at a model beside it, since zeros at the start hide much.

Layers that mix rows are refused by trial, and not by a list: the mean of rows' own gradients must
be the gradient of all of them together. With batch statistics it is not; nor with a loss that is
no mean over rows. A module whose buffers a forward pass changes is refused too: they would keep
something of the rows, without noise.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch.func import functional_call, grad, vmap

from p2pfl.learner.engines.clipped_sums import NORM_MAX
from p2pfl.learner.engines.lot import BLOCK_ROWS, Lot, Sums
from p2pfl.learner.engines.one_by_one import as_inputs
from p2pfl.learner.engines.threads import one_torch_thread
from p2pfl.learner.errors import LearningError
from p2pfl.learner.private.linear_sums import LinearSums, linear_layers
from p2pfl.learner.streams import Integers
from p2pfl.learner.tasks.base import Data, Task
from p2pfl.learner.vectors import VectorLayout, module_tensors, readable
from p2pfl_gossip.actions import Vector

TRIAL_ROWS = 8
TRIAL_ERROR = 1e-3
"""Of the trial's gradients, against their norm: errors of float32 are a thousandth of it."""

BESIDE = 0.05
"""How far the second model of a trial is from the start: the deviation of each entry."""


class ModuleSums:
    """Sums lots for one module; one thread.

    Attributes:
        told: how, one line for people.

    Args:
        task: gives the loss.
        module: the model at its start.
        layout: of the vectors.
        data: the rows.

    Raises:
        LearningError: rows cannot be told apart in it; the line names why.
    """

    def __init__(
        self, task: Task, module: torch.nn.Module, layout: VectorLayout, data: Data
    ) -> None:
        self._task, self._module, self._layout, self._data = task, module, layout, data
        self._inputs, self._targets = data.train.inputs, data.train.targets
        tensors = module_tensors(module)
        self._names = [entry.name for entry in layout.entries]
        # Each tensor once: a tied one follows by its other names.
        known = {id(tensors[name]) for name in self._names}
        self._fixed: dict[str, torch.Tensor] = {}
        for name, tensor in tensors.items():
            if id(tensor) not in known:
                known.add(id(tensor))
                self._fixed[name] = tensor.detach().clone()
        if any(not tensors[name].requires_grad for name in self._names):
            raise LearningError("a tensor travels that takes no gradient: none may, in lots")
        self._try()
        self._linear = self._linear_sums()
        self.told = (
            f"one gradient a row, by vmap ({self._linear})"
            if isinstance(self._linear, str)
            else self._linear.told
        )

    def lot_sum(self, vector: Vector, lot: Lot, clip: float, seed: int) -> tuple[Sums, int]:
        """Sum the clipped gradients of a lot's units.

        Args:
            vector: float32[d], the model.
            lot: its units; it may be empty.
            clip: the longest that a unit's gradient is in the sum.
            seed: secret; of dropout.

        Returns:
            float64[d], and how many units counted as zero.
        """
        total, dropped = np.zeros(self._layout.length), 0
        parameters = self._parameters(vector)
        self._module.train()  # An evaluation in between has left it otherwise.
        with one_torch_thread(), torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            for rows, sizes in lot.blocks():
                # All blocks have one shape: by another one, other units' last bits could move.
                index = np.concatenate([rows, np.repeat(rows[:1], BLOCK_ROWS - len(rows))])
                units = sizes or [1] * len(rows)
                if isinstance(self._linear, str):
                    gradients = self._gradients(parameters, index, randomness="different")
                    added, norms = self._clipped(gradients, units, clip)
                else:
                    added, norms = self._linear.block_sum(
                        parameters, *self._rows(index), units, clip, randomness="different"
                    )
                total += added
                dropped += int((~(norms <= NORM_MAX)).sum())
        return total, dropped

    def _parameters(self, vector: Vector) -> dict[str, torch.Tensor]:
        flat = torch.from_numpy(np.array(vector, np.float32))
        return {name: view.clone() for name, view in self._layout.views(flat).items()}

    def _gradients(
        self, parameters: dict[str, torch.Tensor], index: Integers, *, randomness: str
    ) -> dict[str, torch.Tensor]:
        """Return each row's gradient, [rows, ...] by name."""

        def loss(
            own: dict[str, torch.Tensor], inputs: torch.Tensor, targets: torch.Tensor
        ) -> torch.Tensor:
            outputs = functional_call(self._module, {**self._fixed, **own}, (inputs.unsqueeze(0),))
            return self._task.loss(outputs, targets.unsqueeze(0))

        inputs, targets = self._rows(index)
        each = vmap(grad(loss), in_dims=(None, 0, 0), randomness=randomness)
        found: dict[str, torch.Tensor] = each(parameters, inputs, targets)
        return found

    def _rows(self, index: Integers) -> tuple[torch.Tensor, torch.Tensor]:
        inputs = as_inputs(self._inputs[index], self._data)
        if inputs.dtype == torch.float64:
            inputs = inputs.to(torch.float32)
        return inputs, readable(self._targets[index]).clone()

    def _clipped(
        self, gradients: dict[str, torch.Tensor], sizes: Sequence[int], clip: float
    ) -> tuple[Sums, torch.Tensor]:
        """Clip each unit's mean gradient and sum them, in float32 within the block.

        Returns:
            float64[d], and norms before clipping, float64[units].
        """
        rows = sum(sizes)
        own = {name: g[:rows].reshape(rows, -1) for name, g in gradients.items()}
        if any(size > 1 for size in sizes):
            unit = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
            share = (1 / torch.tensor(sizes, dtype=torch.float32))[unit].unsqueeze(1)
            # Added up, and no product with a matrix of zeros: a unit that is no number must not
            # reach the others.
            own = {
                name: torch.zeros(len(sizes), part.shape[1]).index_add_(0, unit, part * share)
                for name, part in own.items()
            }
        norms = torch.zeros(len(sizes), dtype=torch.float64)
        for part in own.values():
            norms += torch.linalg.vector_norm(part, dim=1, dtype=torch.float64).square_()
        norms.sqrt_()
        good = norms <= NORM_MAX
        factors = (clip / norms.clamp(min=clip)).to(torch.float32)
        flat = torch.zeros(self._layout.length)
        views = self._layout.views(flat)
        for name, part in own.items():
            # Never times zero: an infinity would be no number.
            kept = torch.where(good.unsqueeze(1), part, torch.zeros_like(part))
            summed = (kept * factors.nan_to_num(0.0).unsqueeze(1)).sum(0)
            views[name].copy_(summed.reshape(views[name].shape))
        return flat.to(torch.float64).numpy(), norms

    # --- trial ------------------------------------------------------------------------------

    def _try(self) -> None:
        flat = self._layout.to_vector(self._module)
        parameters = self._parameters(flat)
        index = np.arange(min(TRIAL_ROWS, len(self._targets)))
        self._module.train()
        self._require_constant_buffers(index)
        with one_torch_thread(), _without_dropout(self._module):
            try:
                each = self._gradients(parameters, index, randomness="error")
                together = self._together(parameters, index)
            except (RuntimeError, ValueError) as error:  # What torch raises of such layers.
                line = str(error).splitlines()[0][:160]
                raise LearningError(
                    f"rows have no gradients of their own in this model ({line}); layers with"
                    " statistics of a batch, such as BatchNorm, are what mixes rows: take GroupNorm"
                    " or LayerNorm"
                ) from None
        apart = square = 0.0
        for name, part in each.items():
            mean = part.to(torch.float64).mean(0)
            apart += float((mean - together[name]).square().sum())
            square += float(mean.square().sum())
        if apart > (TRIAL_ERROR**2) * square + 1e-20:
            raise LearningError(
                "a row's gradient moves when other rows are with it: a layer mixes rows, such as"
                " BatchNorm, or the loss is no mean over rows; take GroupNorm or LayerNorm, and a"
                " loss that is one"
            )

    def _linear_sums(self) -> LinearSums | str:
        """Return what sums by norms, or why it cannot."""
        layers = linear_layers(self._module, self._layout)
        if isinstance(layers, str):
            return layers
        made = LinearSums(self._task, self._module, self._layout, fixed=self._fixed, layers=layers)
        start = self._layout.to_vector(self._module)
        apart = np.random.default_rng(0).normal(0.0, BESIDE, len(start)).astype(np.float32)
        try:
            with one_torch_thread(), _without_dropout(self._module):
                if all(self._agrees(made, vector) for vector in (start, start + apart)):
                    return made
        except (LearningError, RuntimeError, ValueError) as error:
            return str(error).splitlines()[0][:160]
        return "layers' inputs and gradients do not make up its gradients"

    def _agrees(self, linear: LinearSums, vector: Vector) -> bool:
        """Whether norms and clipped sum of the trial's rows are those of vmap."""
        parameters = self._parameters(vector)
        index = np.arange(min(TRIAL_ROWS, len(self._targets)))
        sizes, clip = [1] * len(index), 1.0
        each = self._gradients(parameters, index, randomness="error")
        for _ in range(2):  # The second time half of them are clipped.
            total, norms = self._clipped(each, sizes, clip)
            found, lengths = linear.block_sum(
                parameters, *self._rows(index), sizes, clip, randomness="error"
            )
            longest = float(norms.max())
            if not bool(((lengths - norms).abs() <= TRIAL_ERROR * longest).all()):
                return False
            if not np.linalg.norm(found - total) <= TRIAL_ERROR * np.linalg.norm(total) + 1e-10:
                return False
            clip = max(float(norms.median()), 1e-10)
        return True

    def _require_constant_buffers(self, index: Integers) -> None:
        copied = copy.deepcopy(self._module)
        with one_torch_thread(), torch.no_grad(), torch.random.fork_rng(devices=()):
            copied(self._rows(index)[0])
        before = dict(self._module.named_buffers())
        for name, it in copied.named_buffers():
            if not torch.equal(it, before[name]):
                raise LearningError(
                    f"buffer {name!r} changes in a training pass, as BatchNorm's do: it would keep"
                    " something of the rows without noise; take a layer that has none"
                )

    def _together(
        self, parameters: dict[str, torch.Tensor], index: Integers
    ) -> dict[str, torch.Tensor]:
        inputs, targets = self._rows(index)

        def loss(own: dict[str, torch.Tensor]) -> torch.Tensor:
            outputs = functional_call(self._module, {**self._fixed, **own}, (inputs,))
            return self._task.loss(outputs, targets)

        return {name: it.to(torch.float64) for name, it in grad(loss)(parameters).items()}


@contextmanager
def _without_dropout(module: torch.nn.Module) -> Iterator[None]:
    """Have all dropout let everything through, and put it back."""
    layers = [it for it in module.modules() if isinstance(it, torch.nn.modules.dropout._DropoutNd)]
    shares = [layer.p for layer in layers]
    try:
        for layer in layers:
            layer.p = 0.0
        yield
    finally:
        for layer, share in zip(layers, shares, strict=True):
            layer.p = share
