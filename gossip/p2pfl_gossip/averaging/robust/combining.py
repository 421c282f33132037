"""The job of a robust rule: all models of a round, and what the rule makes of them."""

import numpy as np

from p2pfl_gossip.actions import Job, Vector
from p2pfl_gossip.averaging.robust.registry import RobustRule
from p2pfl_gossip.records import Record


class Combine(Job, frozen=True):
    """Average models by a robust rule.

    Attributes:
        rule: which one.
        round: whose models they are; names the order of buckets.
        vectors: float32 or float64[d] each, in the order of the roster; none is changed.
        own: the place of the peer's own among them; None where the rule does not ask.
        weights: mixing weights of each, which sum to 1; empty for equal ones.
    """

    rule: RobustRule
    round: int
    vectors: tuple[Vector, ...]
    own: int | None = None
    weights: tuple[float, ...] = ()


class Combined(Record, frozen=True):
    """The end of a `Combine`: the average, of the dtype of the vectors; read-only."""

    vector: Vector


def perform(job: Combine) -> Combined:
    """Do the job, in float64."""
    first = job.vectors[0]
    models = np.empty((len(job.vectors), len(first)))
    for row, vector in zip(models, job.vectors, strict=True):
        row[:] = vector
    found = job.rule.apply(
        models,
        own=job.own,
        weights=np.array(job.weights) if job.weights else None,
        draw=job.round,
    )
    average: Vector = found.astype(np.float32) if first.dtype == np.float32 else found
    average.flags.writeable = False
    return Combined(average)
