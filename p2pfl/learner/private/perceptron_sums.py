"""Sums of clipped gradients of perceptrons, one model at a time."""

from collections.abc import Sequence

import numpy as np

from p2pfl.learner.engines.clipped_sums import ClippedPerceptrons
from p2pfl.learner.engines.lot import Lot, Sums
from p2pfl.learner.tasks.base import Data
from p2pfl_gossip.actions import Vector


class PerceptronSums:
    """Sums lots for perceptrons, whose rows' gradients are never written down."""

    told = "clipped by the norms of layers' inputs and gradients"

    def __init__(self, widths: Sequence[int], data: Data) -> None:
        train = data.train.inputs
        self._stack = ClippedPerceptrons(
            widths,
            peers_max=1,
            inputs=np.ascontiguousarray(train.reshape(len(train), -1)),
            targets=np.ascontiguousarray(data.train.targets, np.int64),
            scale=data.scale,
            offset=data.offset,
        )

    def lot_sum(self, vector: Vector, lot: Lot, clip: float, _seed: int) -> tuple[Sums, int]:
        """See `LotSummer`; such models have no dropout."""
        self._stack.load([vector])
        return self._stack.lot_sum(0, lot, clip), self._stack.dropped
