"""Which rows a training job takes, step by step."""

from collections.abc import Sequence

import numpy as np

from p2pfl.learner.settings import TrainingSettings
from p2pfl.learner.streams import Integers, integers_below, permutations, raw_draws


class BatchPlan:
    """The steps of one training job on a peer with `row_count` rows: a function of that alone.

    A last batch of one row is left out of an epoch that has others, whatever `drop_last` says:
    batch norm has no variance of one row, and such a step goes by one row as others go by all of
    theirs. Which row that is differs from epoch to epoch.
    """

    def __init__(self, training: TrainingSettings, row_count: int) -> None:
        size = training.batch_size
        self.row_count = row_count
        self._with_replacement = training.sampling == "replacement"
        per_epoch = -(-row_count // size)
        left = row_count % size
        if left and row_count > size and (training.drop_last or left == 1):
            per_epoch -= 1
        # Fitted to seconds, it is a function of the peer's speed as well: see `Learner.fit`.
        self.steps = training.steps or (training.epochs or 1) * per_epoch
        if self._with_replacement:
            self.sizes = (size,) * self.steps
            self._draw_count = size * self.steps
        else:
            last = row_count - size * (per_epoch - 1)
            epoch = (size,) * (per_epoch - 1) + (min(last, size),)
            self._epochs = -(-self.steps // per_epoch)
            self._taken = sum(epoch)
            self.sizes = (epoch * self._epochs)[: self.steps]
            self._draw_count = row_count * self._epochs

    def draw(self, streams: Sequence[str]) -> Integers:
        """Draw the rows of a job for each stream.

        Returns:
            int64[len(streams), n] in [0, row_count): the rows of all steps, one after the other;
            n is at least ``sum(sizes)``.
        """
        draws = raw_draws(streams, self._draw_count)
        if self._with_replacement:
            return integers_below(self.row_count, draws)
        orders = permutations(draws.reshape(len(streams), self._epochs, self.row_count))
        orders = orders[:, :, : self._taken]
        return np.ascontiguousarray(orders.reshape(len(streams), -1))
