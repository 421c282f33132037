"""Batches of an epoch: which remainders are left out."""

import numpy as np
import pytest

from p2pfl.learner.batches import BatchPlan
from p2pfl.learner.settings import TrainingSettings


@pytest.mark.parametrize(
    ("row_count", "size", "drop_last", "sizes"),
    [
        (33, 32, False, [32]),  # A last batch of one row.
        (65, 32, True, [32, 32]),
        (34, 32, False, [32, 2]),
        (34, 32, True, [32]),
        (32, 32, False, [32]),
        (1, 32, False, [1]),  # All that there is.
        (1, 32, True, [1]),
        (3, 1, False, [1, 1, 1]),  # As was asked for.
        (2, 1, False, [1, 1]),
    ],
)
def test_a_last_batch_of_one_row_is_left_out_of_an_epoch_that_has_others(
    row_count: int, size: int, drop_last: bool, sizes: list[int]
) -> None:
    training = TrainingSettings(batch_size=size, drop_last=drop_last, epochs=3)
    plan = BatchPlan(training, row_count)
    assert list(plan.sizes) == sizes * 3
    (rows,) = plan.draw(["a"])
    assert len(rows) == sum(plan.sizes)
    each = rows.reshape(3, -1)
    for epoch in each:
        assert len(set(epoch.tolist())) == len(epoch)
    if sum(sizes) < row_count:
        assert len(np.unique(rows)) == row_count  # Not the same row is left out each time.
