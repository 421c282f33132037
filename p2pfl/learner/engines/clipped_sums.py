"""Sums of clipped gradients of many perceptrons: what differential privacy adds noise to.

Each unit's gradient is clipped by itself, and never written down. A layer's gradient of one row is
the outer product of its input a and of its output's gradient g, so its squared norm, the bias's
too, is |g|^2 (|a|^2 + 1) (Goodfellow, "Efficient Per-Example Gradient Computations", 2015). All a
and g are there anyway. So rows of g are scaled by what clipping takes, and one product a layer sums
them up. For a unit of several rows, whose gradient is their mean, the squared norm is the sum over
its rows k, l of (g_k . g_l) (a_k . a_l + 1), by their number squared.

Norms are taken in float64: squares of float32 neither vanish nor overflow. Rows are summed in
blocks of 64 in float32, and blocks in float64: two lots that differ by a unit then have sums that
differ by at most its clip and a small part more, which `p2pfl_crypto.private_encoding` leaves room
for. All blocks have the same shape, filled up with rows of weight zero: otherwise the kernels of
the products, and with them the last bits of other units, could go by the lot's size.

A unit whose gradient is not finite, or longer than `NORM_MAX`, counts as zero: it goes by the unit
and the model alone. How many do must not leave the member.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from p2pfl.learner.engines.lot import BLOCK_ROWS, Lot, Sums
from p2pfl.learner.engines.perceptron_step import StackedPerceptrons, relu_backward
from p2pfl.learner.streams import Integers
from p2pfl.learner.tasks.base import Array, Floats
from p2pfl_gossip.memory import aligned

NORM_MAX = 1e30

CANCELLED_MOST = 2.0**-12
"""Of the mean length of a unit's rows: errors of float32 are 2^-24 of it, a few to a row."""


class ClippedPerceptrons(StackedPerceptrons):
    """Working memory of one thread: up to `peers_max` models, and one block of each.

    Args:
        widths: of the inputs and of each layer.
        peers_max: models that fit.
        inputs: [n, widths[0]] of any dtype, contiguous.
        targets: int64[n].
        scale: with `offset`, what uint8 inputs become.
        offset: see `scale`.
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        peers_max: int,
        inputs: Array,
        targets: npt.NDArray[np.int64],
        scale: float,
        offset: float,
    ) -> None:
        super().__init__(
            widths,
            peers_max=peers_max,
            rows_max=BLOCK_ROWS,
            momentum=0.0,
            inputs=inputs,
            targets=targets,
            scale=scale,
            offset=offset,
        )
        self._weight_sums = [torch.from_numpy(aligned(*w.shape)) for w in self._weights]
        self._bias_sums = [torch.from_numpy(aligned(*b.shape)) for b in self._biases]
        self.dropped = 0
        """Rows that counted as zero since the last `lot_sum`; nobody else is told."""

    def lot_sum(self, place: int, lot: Lot, clip: float) -> Sums:
        """Sum the clipped gradients of a lot at one model.

        Args:
            place: of the model.
            lot: its units; it may be empty.
            clip: the longest that a unit's gradient is in the sum.

        Returns:
            float64[d], laid out as the model's vector.
        """
        totals = [
            (
                torch.zeros(w.shape[1:], dtype=torch.float64),
                torch.zeros(b.shape[1:], dtype=torch.float64),
            )
            for w, b in zip(self._weight_sums, self._bias_sums, strict=True)
        ]
        self.dropped = 0
        weights = np.zeros((1, BLOCK_ROWS), np.float32)
        index = np.empty((1, BLOCK_ROWS), np.int64)
        for rows, sizes in lot.blocks():
            index[0, : len(rows)], index[0, len(rows) :] = rows, rows[0]
            weights[0, : len(rows)], weights[0, len(rows) :] = 1, 0
            self.sum_block(place, index, weights, clip, [sizes] if sizes else None)
            for (weight, bias), w, b in zip(
                totals, self._weight_sums, self._bias_sums, strict=True
            ):
                weight.add_(w[0])
                bias.add_(b[0])
        parts = []
        for (weight, bias), below, above in zip(
            totals, self._widths, self._widths[1:], strict=False
        ):
            parts += [weight[:below, :above].reshape(-1), bias[0, :above]]
        return torch.cat(parts).numpy()

    def sum_block(
        self,
        first: int,
        index: Integers,
        weights: Floats,
        clip: float,
        sizes: Sequence[Sequence[int]] | None = None,
    ) -> Floats:
        """Sum the clipped gradients of one block of each of the models from `first` on.

        Args:
            first: the first model's place.
            index: int64[peers, rows], rows of the data; as many as `padded` gives.
            weights: float32[peers, rows]: 1 for rows that count, 0 for padding.
            clip: the longest that a unit's gradient is in the sum.
            sizes: rows of each peer's units, in order; None if each row is one.

        Returns:
            float64[peers, rows]: norms before clipping, of each row's unit. The sums stay here
            until the next block: `block_sum` copies one.
        """
        peers, rows = index.shape
        activations, gradients, ones, minus_ones = self._batch_views(peers, rows)
        layers = self._model_views(first, peers)
        self._take(index, activations[0])
        for depth, (weight, bias, _, _) in enumerate(layers):
            torch.baddbmm(bias, activations[depth], weight, out=activations[depth + 1])
            if depth < len(layers) - 1:
                activations[depth + 1].relu_()
        targets = torch.from_numpy(self._targets[index]).unsqueeze(2)
        gradient = gradients[-1].copy_(torch.softmax(activations[-1], 2))
        gradient.scatter_add_(2, targets, minus_ones)
        for depth in range(len(layers) - 1, 0, -1):
            torch.bmm(gradients[depth], layers[depth][0].transpose(1, 2), out=gradients[depth - 1])
            relu_backward(gradients[depth - 1], activations[depth])
        with_bias = [True] * len(gradients)
        if sizes is None:
            norms = norms_of_rows(activations, gradients, with_bias)
            shares = torch.from_numpy(weights)
        else:
            norms, shares = norms_of_units(activations, gradients, weights, sizes, with_bias)
        factors = (clip / norms.clamp(min=clip)).to(torch.float32).mul_(shares)
        self._drop(norms, factors, weights, activations, gradients)
        for depth, (weights_sum, bias_sum) in enumerate(
            zip(self._weight_sums, self._bias_sums, strict=True)
        ):
            scaled = gradients[depth].mul_(factors.unsqueeze(2))
            torch.bmm(activations[depth].transpose(1, 2), scaled, out=weights_sum[:peers])
            torch.bmm(ones, scaled, out=bias_sum[:peers])
        found: Floats = norms.numpy()
        return found

    def block_sum(self, number: int) -> Floats:
        """Copy the last block's sum of the model of that number from `first` on: float32[d]."""
        parts = []
        for weight, bias, below, above in zip(
            self._weight_sums, self._bias_sums, self._widths, self._widths[1:], strict=False
        ):
            parts += [weight[number, :below, :above].reshape(-1), bias[number, 0, :above]]
        copied: Floats = torch.cat(parts).numpy()
        return copied

    def _drop(
        self,
        norms: torch.Tensor,
        factors: torch.Tensor,
        weights: Floats,
        activations: Sequence[torch.Tensor],
        gradients: Sequence[torch.Tensor],
    ) -> None:
        """Take out of the block what is not finite: zero times infinity would be no number."""
        good = norms <= NORM_MAX  # False for what is no number.
        if bool(good.all()):
            return
        counts = torch.from_numpy(weights) > 0
        self.dropped += int((~good & counts).sum())
        bad = ~good | ~counts  # Padding is a copy of a row that may be bad.
        factors[bad] = 0
        for values in (*activations[: len(gradients)], *gradients):
            values[bad] = 0


def norms_of_rows(
    activations: Sequence[torch.Tensor],
    gradients: Sequence[torch.Tensor],
    with_bias: Sequence[bool],
) -> torch.Tensor:
    """Return the norm of each row's gradient.

    Args:
        activations: float32[peers, rows, inputs] of each layer; more than there are layers is fine.
        gradients: float32[peers, rows, outputs] of each layer.
        with_bias: whether a layer's bias trains.

    Returns:
        float64[peers, rows].
    """
    squares = torch.zeros(gradients[0].shape[:2], dtype=torch.float64)
    for below, gradient, bias in zip(activations, gradients, with_bias, strict=False):
        squares.addcmul_(_squares_of(gradient), _squares_of(below).add_(int(bias)))
    return squares.sqrt_()


def _squares_of(values: torch.Tensor) -> torch.Tensor:
    squares: torch.Tensor = torch.linalg.vector_norm(values, dim=2, dtype=torch.float64).square_()
    return squares


def norms_of_units(
    activations: Sequence[torch.Tensor],
    gradients: Sequence[torch.Tensor],
    weights: Floats,
    sizes: Sequence[Sequence[int]],
    with_bias: Sequence[bool],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the norm of each row's unit, float64[peers, rows], and each row's share of it.

    As `norms_of_rows`; `weights` and `sizes` are those of `ClippedPerceptrons.sum_block`.
    """
    peers, rows = gradients[0].shape[:2]
    together = torch.zeros(peers, rows, rows, dtype=torch.float64)
    shares = torch.zeros(peers, rows)
    for peer, own in enumerate(sizes):
        start = 0
        for size in own:
            unit = slice(start, start + size)
            together[peer, unit, unit] = 1
            shares[peer, unit] = 1 / size
            start += size
        if start != int(weights[peer].sum()):
            raise ValueError(f"units of {start} rows, and {int(weights[peer].sum())} rows count")
    products = torch.zeros_like(together)
    for below, gradient, bias in zip(activations, gradients, with_bias, strict=False):
        a, g = below.to(torch.float64), gradient.to(torch.float64)
        products.addcmul_(g @ g.transpose(1, 2), (a @ a.transpose(1, 2)).add_(int(bias)))
    # Never times zero: a unit that is no number must not reach the others' norms.
    nothing = torch.zeros_like(products)
    of_rows = torch.where(together > 0, products, nothing).sum(2)
    squares = torch.where(together > 0, of_rows.unsqueeze(1), nothing).sum(2)
    norms = squares.clamp_(min=0).sqrt_().mul_(shares.to(torch.float64))
    # Rows may cancel out, which errors of float32 in their sum do not: a unit counts as no shorter
    # than a small part of the mean length of its rows.
    lengths = products.diagonal(dim1=1, dim2=2).sqrt().mul(shares).unsqueeze(1)
    longest = torch.where(together > 0, lengths, nothing).sum(2)
    return torch.maximum(norms, CANCELLED_MOST * longest), shares
