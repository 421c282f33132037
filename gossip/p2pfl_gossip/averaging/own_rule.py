"""Averaging by a rule from outside: whole models to neighbours, and the rule makes one of them.

Messages, deadlines and absences are those of DSGD; only how models are mixed is another's.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from p2pfl_gossip.actions import Vector
from p2pfl_gossip.averaging.gathering import Heard
from p2pfl_gossip.averaging.neighbour_averaging import NeighbourAveraging, VectorHeader
from p2pfl_gossip.topology import Neighbourhood


@dataclass(frozen=True, slots=True)
class RuleModel:
    """A model that a rule averages.

    Attributes:
        peer: whose it is, by its index.
        vector: float32[d] or float64[d], read-only.
        weight: 1, or the peer's rows where weights go by samples; 0 of one that was not trained.
        share: W[i, j] by the topology, of the own model and of each neighbour; with those of
            neighbours that did not come, they sum to 1.
    """

    peer: int
    vector: Vector
    weight: float
    share: float


Rule = Callable[[int, RuleModel, Sequence[RuleModel]], Any]
"""Gives the next model, from a round, the own model and those that were heard."""


class RuleAveraging(NeighbourAveraging):
    """One peer's side of averaging by a rule.

    Args:
        rule: of this peer alone.
        others: see `NeighbourAveraging`.
    """

    def __init__(self, *, rule: Rule, **others: Any) -> None:
        super().__init__(**others)
        self._rule = rule

    def _own_share(self, neighbourhood: Neighbourhood, absent: list[float]) -> float:
        return neighbourhood.self_weight

    def _mix(
        self, round_: int, vector: Vector, weight: float, heard: list[Heard[VectorHeader]]
    ) -> Vector:
        around = self._topology.neighbourhood(round_, self._index)
        shares = dict(zip(around.in_neighbours, around.in_weights, strict=True))
        for part in (vector, *(it.body for it in heard)):
            part.flags.writeable = False
        own = RuleModel(self._index, vector, weight, around.self_weight)
        models = [
            RuleModel(it.sender, it.body, it.header.weight, shares[it.sender]) for it in heard
        ]
        return checked_mean(self._rule(round_, own, models), vector)


def checked_mean(found: Any, like: Vector) -> Vector:
    """Return what a rule gave as a fresh vector of a model's shape and dtype.

    Raises:
        ValueError: it has another shape, is of no numbers, or not finite.
    """
    made: Any = np.array(found, dtype=like.dtype)
    if made.shape != like.shape:
        raise ValueError(f"it returned {list(made.shape)}, and a model is {list(like.shape)}")
    if not math.isfinite(float(np.abs(made).max(initial=0.0))):
        raise ValueError("it returned a model that is not finite")
    return made  # type: ignore[no-any-return]
