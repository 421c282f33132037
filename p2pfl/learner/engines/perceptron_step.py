"""One batched step of many perceptrons: forward and backward by hand, in place.

Each layer's weights lie side by side, [peers, inputs, outputs]; every layer is one batched product
over all peers, and updates go straight into the weights, with no gradient kept.

What a peer gets is the same, bit for bit, whoever shares the batch. For that,
- every matrix begins at a multiple of 64 bytes, since a product's kernel goes by the alignment of
  its operands: widths and the rows of a batch are padded to multiples of 16;
- each sum over a batch is a product with ones, since the order in which a reduction sums may go
  by the number of peers.

Padding changes nothing: padded rows have weight zero; padded hidden units have weights and
outputs zero, and stay so; padded classes have a bias of minus infinity, hence probability zero.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from p2pfl.learner.engines.chunks import padded
from p2pfl.learner.streams import Integers
from p2pfl.learner.tasks.base import Array, Floats
from p2pfl_gossip.actions import Vector
from p2pfl_gossip.memory import aligned

VIEWS_MAX = 64  # Kept of each kind; with skewed data the shapes of batches are many.

_BatchViews: TypeAlias = tuple[list[torch.Tensor], list[torch.Tensor], torch.Tensor, torch.Tensor]
_LayerViews: TypeAlias = tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, torch.Tensor | None]


def scratch_bytes(widths: Sequence[int], rows_max: int, *, momentum: bool) -> int:
    """Return about how many bytes `StackedPerceptrons` takes for each peer."""
    wide = [widths[0], *map(padded, widths[1:])]
    parameters = sum(a * b for a, b in pairwise(wide))
    return 4 * (parameters * (2 if momentum else 1) + padded(rows_max) * 2 * sum(wide))


class StackedPerceptrons:
    """Working memory of one thread: up to `peers_max` models, and one batch of each.

    Args:
        widths: of the inputs and of each layer.
        peers_max: models that fit.
        rows_max: rows of a batch that fit.
        momentum: of SGD, 0 for none.
        inputs: [n, widths[0]] of any dtype, contiguous; where batches are taken from.
        targets: int64[n].
        scale: with `offset`, what uint8 inputs become: ``x * scale + offset``.
        offset: see `scale`.
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        peers_max: int,
        rows_max: int,
        momentum: float,
        inputs: Array,
        targets: npt.NDArray[np.int64],
        scale: float,
        offset: float,
    ) -> None:
        self.peers_max, self._momentum = peers_max, momentum
        self._widths, rows = tuple(widths), padded(rows_max)
        self._inputs, self._targets, self._scale = inputs, targets, scale
        self._offset = torch.tensor(offset, dtype=torch.float32)
        wide = [widths[0], *map(padded, widths[1:])]
        self._wide = wide
        pairs = list(pairwise(wide))
        self._weights = [aligned(peers_max, below, above) for below, above in pairs]
        self._biases = [aligned(peers_max, 1, above) for _, above in pairs]
        self._velocities = [aligned(*layer.shape) for layer in self._weights if momentum]
        self._bias_velocities = [aligned(*bias.shape) for bias in self._biases if momentum]
        self._picked = np.empty((peers_max * rows, widths[0]), inputs.dtype)
        self._activations = [torch.from_numpy(aligned(peers_max * rows * width)) for width in wide]
        self._gradients = [torch.from_numpy(aligned(peers_max * rows * w)) for w in wide[1:]]
        self._ones = torch.ones(peers_max, 1, rows)
        self._minus_ones = torch.full((peers_max, rows, 1), -1.0)
        self._parts = [self._parts_of(place) for place in range(peers_max)]
        self._batch_cache: dict[tuple[int, int], _BatchViews] = {}
        self._model_cache: dict[tuple[int, int], list[_LayerViews]] = {}
        self.clean()

    def clean(self) -> None:
        """Put padding back to what it must be, after a model that was not finite."""
        for parameters in (self._weights, self._biases):
            for values in parameters:
                values.fill(0)
        self._biases[-1][:, :, self._widths[-1] :] = -np.inf

    def load(self, vectors: Sequence[Vector]) -> None:
        """Copy models in, float32[d] each, from place 0 on; start without momentum."""
        for velocities in (self._velocities, self._bias_velocities):
            for values in velocities:
                values.fill(0)
        for parts, vector in zip(self._parts, vectors, strict=False):
            for part, own in parts:
                part[...] = vector[own].reshape(part.shape)

    def unload(self, place: int, vector: Floats) -> None:
        """Copy a model out."""
        for part, own in self._parts[place]:
            vector[own].reshape(part.shape)[...] = part

    def are_finite(self, peers: int) -> bool:
        """Tell whether the first models are finite, all together; False may be a false alarm."""
        # A sum of squares that is finite has finite terms; one that overflowed says nothing.
        total = 0.0
        for weight, bias, width in zip(self._weights, self._biases, self._widths[1:], strict=False):
            for values in (weight[:peers], bias[:peers, :, :width]):
                flat = torch.from_numpy(values).reshape(-1)
                total += float(torch.dot(flat, flat))
        return math.isfinite(total)

    def _parts_of(self, place: int) -> list[tuple[Floats, slice]]:
        """Pair the parts of a model here with their places in its vector."""
        pairs, at = [], 0
        for weight, bias, below, above in zip(
            self._weights, self._biases, self._widths, self._widths[1:], strict=False
        ):
            middle = at + below * above
            pairs.append((weight[place, :below, :above], slice(at, middle)))
            at = middle + above
            pairs.append((bias[place, 0, :above], slice(middle, at)))
        return pairs

    def step(self, first: int, index: Integers, weights: Floats, rates: Floats) -> Floats:
        """Do one step of SGD of the models from `first` on.

        Args:
            first: the first model's place.
            index: int64[peers, rows], rows of the data; as many as `padded` gives.
            weights: float32[peers, rows], of each row in its batch's mean; 0 for padding.
            rates: float32[peers], the learning rates.

        Returns:
            float32[peers, rows]: cross-entropy of each row before the step.
        """
        peers, rows = index.shape
        activations, gradients, ones, minus_ones = self._batch_views(peers, rows)
        layers = self._model_views(first, peers)
        self._take(index, activations[0])
        for depth, (weight, bias, _, _) in enumerate(layers):
            torch.baddbmm(bias, activations[depth], weight, out=activations[depth + 1])
            if depth < len(layers) - 1:
                activations[depth + 1].relu_()
        # The gradient of each row's cross-entropy is softmax - one-hot. It is scaled by the row's
        # weight and the learning rate here, so that every update below is a plain difference.
        targets = torch.from_numpy(self._targets[index]).unsqueeze(2)
        logs = torch.log_softmax(activations[-1], 2)
        losses: Floats = logs.gather(2, targets).squeeze(2).neg_().numpy()
        # Not the exponentials of `logs`: those of minus infinity are slow.
        gradient = gradients[-1].copy_(torch.softmax(activations[-1], 2))
        gradient.scatter_add_(2, targets, minus_ones)
        gradient.mul_(torch.from_numpy(weights * rates[:, None]).unsqueeze(2))
        for depth in range(len(layers) - 1, -1, -1):
            below, gradient = activations[depth], gradients[depth]
            weight, bias, velocity, bias_velocity = layers[depth]
            if depth:
                torch.bmm(gradient, weight.transpose(1, 2), out=gradients[depth - 1])
                relu_backward(gradients[depth - 1], below)
            if velocity is None or bias_velocity is None:
                weight.baddbmm_(below.transpose(1, 2), gradient, alpha=-1)
                bias.baddbmm_(ones, gradient, alpha=-1)
            else:
                velocity.baddbmm_(below.transpose(1, 2), gradient, beta=self._momentum)
                bias_velocity.baddbmm_(ones, gradient, beta=self._momentum)
                weight.sub_(velocity)
                bias.sub_(bias_velocity)
        return losses

    def _batch_views(self, peers: int, rows: int) -> _BatchViews:
        """View the memory of batches as [peers, rows, width]; views cost as much as products."""
        key = (peers, rows)
        if key not in self._batch_cache:
            if len(self._batch_cache) >= VIEWS_MAX:
                self._batch_cache.clear()
            activations, gradients = (
                [m[: peers * rows * w].view(peers, rows, w) for m, w in zip(ms, ws, strict=True)]
                for ms, ws in (
                    (self._activations, self._wide),
                    (self._gradients, self._wide[1:]),
                )
            )
            ones, minus_ones = self._ones[:peers, :, :rows], self._minus_ones[:peers, :rows]
            self._batch_cache[key] = (activations, gradients, ones, minus_ones)
        return self._batch_cache[key]

    def _model_views(self, first: int, peers: int) -> list[_LayerViews]:
        """View the models from `first` on: weights, biases and, with momentum, velocities."""
        key = (first, peers)
        if key not in self._model_cache:
            if len(self._model_cache) >= VIEWS_MAX:
                self._model_cache.clear()
            own = slice(first, first + peers)
            self._model_cache[key] = [
                (
                    torch.from_numpy(self._weights[depth][own]),
                    torch.from_numpy(self._biases[depth][own]),
                    torch.from_numpy(self._velocities[depth][own]) if self._momentum else None,
                    torch.from_numpy(self._bias_velocities[depth][own]) if self._momentum else None,
                )
                for depth in range(len(self._weights))
            ]
        return self._model_cache[key]

    def _take(self, index: Integers, out: torch.Tensor) -> None:
        """Copy rows of the data, by number, into a batch."""
        picked = self._picked[: index.size]
        np.take(self._inputs, index.reshape(-1), axis=0, out=picked, mode="clip")
        out.copy_(torch.from_numpy(picked).view(out.shape))
        if picked.dtype == np.uint8:
            torch.add(self._offset, out, alpha=self._scale, out=out)


def relu_backward(gradient: torch.Tensor, output: torch.Tensor) -> None:
    """Set a gradient to zero where ReLU's output is zero, in place."""
    torch.ops.aten.threshold_backward.grad_input(gradient, output, 0, grad_input=gradient)
