"""Sums of clipped gradients of models that train linear layers alone: by norms, rows kept apart.

`p2pfl.learner.engines.clipped_sums` has the mathematics: of each layer, a row's input a and the
gradient g of its output are enough for norms and sum. Here hooks note a, and add a tap, zeros, to
each output, whose gradient is g. All of it runs under vmap, which takes each row alone: nothing in
a forward pass, nor in a loss, can mix rows, whatever a trial has seen. No parameter is
differentiated, and that is what vmap's own gradients of rows cost.

So privacy asks nothing of the model: what a row adds is a function of that row and the model, and
is clipped by its own norm. That it is the row's gradient is what `ModuleSums` tries.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch.func import functional_call, grad, vmap

from p2pfl.learner.engines.clipped_sums import NORM_MAX, norms_of_rows, norms_of_units
from p2pfl.learner.engines.lot import Sums
from p2pfl.learner.errors import LearningError
from p2pfl.learner.tasks.base import Task
from p2pfl.learner.vectors import VectorEntry, VectorLayout, module_tensors

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class LinearLayer:
    """A linear layer that trains.

    Attributes:
        module: the layer.
        weight: its weight's place in a vector.
        bias: its bias's; None if it has none, or one that does not train.
    """

    module: torch.nn.Linear
    weight: VectorEntry
    bias: VectorEntry | None


def linear_layers(module: torch.nn.Module, layout: VectorLayout) -> dict[str, LinearLayer] | str:
    """Return the layers that train by name, or why they are not all that trains."""
    entries = {entry.name: entry for entry in layout.entries}
    names = [id(tensor) for tensor in module_tensors(module).values()]
    if any(names.count(id(module_tensors(module)[name])) > 1 for name in entries):
        return "tied tensors"
    layers = {}
    for name, part in module.named_modules():
        prefix = f"{name}." if name else ""
        if type(part) is torch.nn.Linear and f"{prefix}weight" in entries:
            weight, bias = entries.pop(f"{prefix}weight"), entries.pop(f"{prefix}bias", None)
            layers[name] = LinearLayer(part, weight, bias)
    if entries:
        return f"{next(iter(entries))} is no linear layer's"
    return layers


class LinearSums:
    """Sums blocks for one module.

    Args:
        task: gives the loss.
        module: the model.
        layout: of the vectors.
        fixed: tensors that do not travel, by name.
        layers: all that trains.
    """

    told = "clipped by the norms of layers' inputs and gradients"

    def __init__(
        self,
        task: Task,
        module: torch.nn.Module,
        layout: VectorLayout,
        *,
        fixed: Mapping[str, torch.Tensor],
        layers: Mapping[str, LinearLayer],
    ) -> None:
        self._task, self._module, self._layout = task, module, layout
        self._fixed, self._layers = fixed, layers

    def block_sum(
        self,
        parameters: Tensors,
        inputs: torch.Tensor,
        targets: torch.Tensor,
        sizes: Sequence[int],
        clip: float,
        *,
        randomness: str,
    ) -> tuple[Sums, torch.Tensor]:
        """Clip each unit's mean gradient and sum them, in float32.

        Args:
            parameters: the model, by name.
            inputs: [rows, ...]; those after the units' do not count.
            targets: [rows, ...].
            sizes: rows of each unit, in order.
            clip: the longest that a unit's gradient is in the sum.
            randomness: of dropout, as vmap has it.

        Returns:
            float64[d], and each unit's norm before clipping, float64[units]; one that is not at
            most `NORM_MAX` counted as zero.

        Raises:
            LearningError: a layer is called twice, or with anything but one entry a row.
        """
        seen, slopes = self._pass(parameters, inputs, targets, randomness)
        names = list(seen)  # A layer that is not called adds nothing.
        if not names:
            raise LearningError("no linear layer is called")
        below = [seen[name].transpose(0, 1) for name in names]
        above = [slopes[name].transpose(0, 1) for name in names]
        with_bias = [self._layers[name].bias is not None for name in names]
        weights = np.zeros((1, len(inputs)), np.float32)
        weights[0, : sum(sizes)] = 1
        if all(size == 1 for size in sizes):
            norms, shares = norms_of_rows(below, above, with_bias), torch.from_numpy(weights)
        else:
            norms, shares = norms_of_units(below, above, weights, [sizes], with_bias)
        # Padding is a copy of a row that may be bad; and never times zero.
        bad = ~(norms <= NORM_MAX) | (torch.from_numpy(weights) == 0)
        factors = (clip / norms.clamp(min=clip)).to(torch.float32).mul_(shares)[0, :, None]
        flat = torch.zeros(self._layout.length)
        for name, a, g in zip(names, below, above, strict=True):
            layer, out = self._layers[name], bad[0, :, None]
            scaled = (g[0] * factors).masked_fill_(out, 0)
            # The weight lies transposed in the vector.
            weight = layer.weight.view(flat).mT
            torch.mm(a[0].masked_fill(out, 0).mT, scaled, out=weight)
            if layer.bias is not None:
                torch.sum(scaled, 0, out=layer.bias.view(flat))
        firsts = np.cumsum([0, *sizes[:-1]])
        return flat.to(torch.float64).numpy(), norms[0, firsts]

    def _pass(
        self, parameters: Tensors, inputs: torch.Tensor, targets: torch.Tensor, randomness: str
    ) -> tuple[Tensors, Tensors]:
        """Return layers' inputs and gradients of their outputs by name, [rows, 1, ...]."""

        def loss(
            taps: Tensors, row: torch.Tensor, target: torch.Tensor
        ) -> tuple[torch.Tensor, Tensors]:
            with _tapped(self._layers, taps) as seen:
                outputs = functional_call(
                    self._module, {**self._fixed, **parameters}, (row.unsqueeze(0),)
                )
            return self._task.loss(outputs, target.unsqueeze(0)), seen

        taps = {name: torch.zeros(1, it.module.out_features) for name, it in self._layers.items()}
        each = vmap(grad(loss, has_aux=True), in_dims=(None, 0, 0), randomness=randomness)
        slopes, seen = each(taps, inputs, targets)
        return seen, slopes


@contextmanager
def _tapped(layers: Mapping[str, LinearLayer], taps: Tensors) -> Iterator[Tensors]:
    """Add the taps to layers' outputs, and yield what notes their inputs by name."""
    seen: Tensors = {}

    def tap(name: str) -> Callable[..., torch.Tensor]:
        def hook(
            _layer: object, given: tuple[torch.Tensor, ...], output: torch.Tensor
        ) -> torch.Tensor:
            if name in seen:
                raise LearningError(f"layer {name!r} is called twice")
            if len(given) != 1 or given[0].dim() != 2 or len(given[0]) != 1:
                raise LearningError(f"layer {name!r} takes more than one entry a row")
            seen[name] = given[0]
            return output + taps[name]

        return hook

    # Before others' hooks: what they make of the output comes after the layer.
    handles = [
        layer.module.register_forward_hook(tap(name), prepend=True)
        for name, layer in layers.items()
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
