"""What the layers of a stack share in one step: parameters, gradients, rows and memory."""

import math
from collections.abc import Mapping, Sequence

import torch

from p2pfl.learner.engines.chunks import ALIGN, padded
from p2pfl.learner.vectors import VectorLayout

VIEWS_MAX = 64  # Kept of each thread: with skewed data the neighbours that step together are many.


class Memory:
    """Working memory of one thread, by name: taken once, used again by each step."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        self._parts: dict[object, torch.Tensor] = {}
        self._dtype = dtype

    def take(self, name: object, *shape: int) -> torch.Tensor:
        """Return a tensor of a shape with any contents, until the name is next taken."""
        count = math.prod(shape)
        part = self._parts.get(name)
        if part is None or len(part) < count:
            part = self._parts[name] = torch.empty(count, dtype=self._dtype)
        return part[:count].view(shape)


class Models:
    """Parameters of a stack of models and their gradients, float32[peers, d] each.

    Args:
        layout: of one model here; each tensor begins at a cache line.
        frozen: what does not travel, by name; the same for all.
        trained: names of what takes a gradient.
        peers_max: models that fit.
        dtype: of all of it.
    """

    def __init__(
        self,
        layout: VectorLayout,
        frozen: Mapping[str, torch.Tensor],
        trained: frozenset[str],
        peers_max: int,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._layout, self._frozen, self.trained = layout, frozen, trained
        self.flat = torch.zeros(peers_max, layout.length, dtype=dtype)
        self.gradients = torch.zeros(peers_max, layout.length, dtype=dtype)
        self._views: dict[
            tuple[int, int], tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]
        ] = {}

    def views(
        self, first: int, peers: int
    ) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """View parameters and gradients from `first` on by name, [peers, *shape] each."""
        key = (first, peers)
        if key not in self._views:
            if len(self._views) >= VIEWS_MAX:
                self._views.clear()
            own = slice(first, first + peers)
            parameters = self._layout.views(self.flat[own])
            for name, value in self._frozen.items():
                parameters[name] = value.expand(peers, *value.shape)
            self._views[key] = parameters, self._layout.views(self.gradients[own])
        return self._views[key]


class StackStep:
    """One step of neighbouring models.

    Args:
        models: the stack.
        first: place of the first model that takes part.
        inputs: [peers, rows, ...], padded rows among them.
        weights: float32[peers, rows], of each row in its batch's mean; 0 for padding.
        sizes: real rows of each batch.
        generators: where dropout draws, one for each model; may be empty if nothing draws.
        memory: of the thread.

    Attributes:
        peers: models that take part.
        rows: of each batch, padded.
        parameters: by name, [peers, *shape].
        is_full: whether no batch has padding.
    """

    def __init__(
        self,
        models: Models,
        first: int,
        inputs: torch.Tensor,
        weights: torch.Tensor,
        sizes: Sequence[int],
        generators: Sequence[torch.Generator],
        memory: Memory,
    ) -> None:
        self.inputs, self.weights, self.sizes = inputs, weights, sizes
        self.generators, self.memory = generators, memory
        self.peers, self.rows = weights.shape
        self.parameters, self._gradients = models.views(first, self.peers)
        self._trained, self._given = models.trained, set[str]()
        self.is_full = all(size == self.rows for size in sizes)

    def trains(self, name: str) -> bool:
        """Tell whether a parameter takes a gradient."""
        return name in self._trained

    def add_gradient(self, name: str, value: torch.Tensor) -> None:
        """Give a parameter's gradient, [peers, *shape]; several uses of one parameter add up."""
        target = self._gradients[name]
        if name in self._given:
            target.add_(value.reshape(target.shape))
        else:
            self._given.add(name)
            target.copy_(value.reshape(target.shape))

    def add_gradient_transposed(self, name: str, value: torch.Tensor) -> None:
        """Give a matrix's gradient as [peers, columns, rows]."""
        target = self._gradients[name].transpose(1, 2)
        if name in self._given:
            target.add_(value)
        else:
            self._given.add(name)
            target.copy_(value)

    def clear_rest(self) -> None:
        """Set gradients that no layer gave to zero."""
        for name in self._trained - self._given:
            self._gradients[name].zero_()


def product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Multiply [peers, m, k] by [peers, k, n], with the same bits for any number of peers.

    A product's kernel goes by where its operands and its result begin, and a single product that is
    a row or a column goes to another kernel than many. Results of such shapes are computed peer by
    peer, each at a multiple of 64 bytes; so is where all matrices of a step begin.
    """
    peers, rows, columns = len(left), left.shape[1], right.shape[2]
    count = rows * columns
    if count % ALIGN == 0 and rows > 1 and columns > 1:
        return torch.bmm(left, right)
    stride = padded(count)
    result = left.new_empty(peers, stride)[:, :count].view(peers, rows, columns)
    for one, other, target in zip(left, right, result, strict=True):
        torch.mm(one, other, out=target)
    return result
