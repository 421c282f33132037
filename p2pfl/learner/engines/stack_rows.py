"""How models lie in the rows of a stack: as in their vectors, but each tensor at a cache line."""

from collections.abc import Sequence

import numpy as np
import torch

from p2pfl.learner.engines.base import Training
from p2pfl.learner.engines.chunks import ALIGN
from p2pfl.learner.optimisers import PER_ENTRY, Buffer, State, kept_moments
from p2pfl.learner.tasks.base import Floats
from p2pfl.learner.vectors import VectorLayout, readable
from p2pfl_gossip.actions import Vector
from p2pfl_gossip.own_state import Arrays


class StackRows:
    """Copies vectors into rows of a stack, and back.

    Args:
        module: whose tensors they are.
        layout: of the vectors.

    Attributes:
        layout: of a row.
    """

    def __init__(self, module: torch.nn.Module, layout: VectorLayout) -> None:
        self.layout = VectorLayout(module, [entry.name for entry in layout.entries], align=ALIGN)
        self._vector_length = layout.length
        self._places = _places(layout, self.layout)

    def load(self, rows: torch.Tensor, vectors: Sequence[Vector]) -> None:
        """Copy float32[d] each into rows, float32[peers, d']."""
        for row, vector in zip(rows, vectors, strict=True):
            given = readable(vector.astype(np.float32, copy=False))
            for source, target in self._places:
                row[target].copy_(given[source])

    def unload(self, row: torch.Tensor) -> Floats:
        """Copy a row into a fresh vector."""
        vector = np.empty(self._vector_length, np.float32)
        result = torch.from_numpy(vector)
        for source, target in self._places:
            result[source].copy_(row[target])
        return vector

    def given(self, trainings: Sequence[Training]) -> State:
        """Stack what jobs' optimisers begin with; zeros for those that have nothing of it."""
        state: State = {}
        for name in sorted({name for training in trainings for name in training.given}):
            if name in PER_ENTRY:
                state[name] = torch.zeros(len(trainings), self.layout.length)
                own = [place for place, it in enumerate(trainings) if name in it.given]
                for place in own:
                    self.load(state[name][place : place + 1], [trainings[place].given[name]])
            else:
                nothing = np.zeros(1, np.float32)
                state[name] = np.stack([it.given.get(name, nothing) for it in trainings])
        return state

    def left(self, state: dict[str, Buffer], place: int) -> Arrays:
        """Return the moments of one model that may go on in its next job, as a vector's entries."""
        own = {name: value[place] for name, value in state.items()}
        return {
            name: self.unload(torch.from_numpy(values)) if name in PER_ENTRY else values
            for name, values in kept_moments(own).items()
        }


def _places(vector: VectorLayout, stacked: VectorLayout) -> list[tuple[slice, slice]]:
    """Pair each tensor's place in a vector with that in a stack's row; neighbours together."""
    pairs: list[tuple[slice, slice]] = []
    for one, other in zip(vector.entries, stacked.entries, strict=True):
        source = slice(one.offset, one.offset + one.size)
        target = slice(other.offset, other.offset + other.size)
        if pairs and pairs[-1][0].stop == source.start and pairs[-1][1].stop == target.start:
            source = slice(pairs[-1][0].start, source.stop)
            target = slice(pairs[-1][1].start, target.stop)
            pairs.pop()
        pairs.append((source, target))
    return pairs
