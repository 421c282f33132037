"""Robust averaging among peers that send each other whole models: cohorts and graphs.

Each peer sends its model to its partners of a round, and makes of what comes, with its own, what a
robust rule gives. Nobody averages for others: in plain cohorts each member averages one part for
all (cohort_averaging.py), and a liar would set its part as it likes. So a cohort of n costs each
member n - 1 models a round instead of 2 (n - 1)/n.

All models count alike, since whoever says its own weight can lie about it. Only the rules that are
centred on a peer's own model go by the weights of a graph, which are public.

Where fewer models come than the rule bears its liars among, a peer keeps its own model, and the
round is not complete: an average of fewer would be the liars'.
"""

from collections.abc import Callable

import numpy.typing as npt

from p2pfl_gossip.actions import Vector
from p2pfl_gossip.averaging.gathering import NO_UPDATE, Heard
from p2pfl_gossip.averaging.neighbour_averaging import VectorGathering, VectorHeader
from p2pfl_gossip.averaging.robust.combining import Combine
from p2pfl_gossip.averaging.robust.registry import RobustRule
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.roster import Roster
from p2pfl_gossip.topology import Neighbourhood


class RobustNeighbours(VectorGathering):
    """One peer's side of robust averaging with its partners.

    Args:
        rule: what is made of the models.
        neighbourhood_of: who sends and receives in a round, and by what weights.
        index, roster, length, dtype, deadline_s, desk: see `GatheringAveraging`.
    """

    def __init__(
        self,
        *,
        rule: RobustRule,
        neighbourhood_of: Callable[[int], Neighbourhood],
        index: int,
        roster: Roster,
        length: int,
        dtype: npt.DTypeLike,
        deadline_s: float,
        desk: Desk,
    ) -> None:
        super().__init__(
            index=index,
            roster=roster,
            length=length,
            dtype=dtype,
            deadline_s=deadline_s,
            desk=desk,
        )
        self._rule, self._neighbourhood_of = rule, neighbourhood_of

    def senders(self, round_: int) -> tuple[int, ...]:
        """Return the in-neighbours."""
        return self._neighbourhood_of(round_).in_neighbours

    def receivers(self, round_: int) -> tuple[int, ...]:
        """Return the out-neighbours."""
        return self._neighbourhood_of(round_).out_neighbours

    def _mix(
        self, round_: int, vector: Vector, weight: float, heard: list[Heard[VectorHeader]]
    ) -> Vector | Combine:
        is_centred = self._rule.is_centred_on_own
        found = {item.sender: item.body for item in heard}
        # Without an update, the own model is the one that the round began with: a centre, and no
        # vote.
        if weight != NO_UPDATE or is_centred:
            found[self._index] = vector
        if len(found) < self._rule.models_min:
            return vector
        peers = sorted(found)
        vectors = tuple(found[peer] for peer in peers)
        if not is_centred:
            return Combine(self._rule, round_, vectors)
        neighbourhood = self._neighbourhood_of(round_)
        shares = dict(zip(neighbourhood.in_neighbours, neighbourhood.in_weights, strict=True))
        others = {peer: shares[peer] for peer in peers if peer != self._index}
        others[self._index] = 1.0 - sum(others[peer] for peer in sorted(others))
        weights = tuple(others[peer] for peer in peers)
        return Combine(self._rule, round_, vectors, peers.index(self._index), weights)

    def _is_mixed(self, result: Vector) -> bool:
        return result is not self._vector
