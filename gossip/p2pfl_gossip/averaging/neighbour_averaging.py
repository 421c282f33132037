"""Whole models to the neighbours of a graph, and a weighted mean of what comes: DSGD and EL.

The two differ in one thing, what becomes of an absent neighbour's weight (`_own_share`).
"""

from abc import abstractmethod

import numpy.typing as npt

from p2pfl_gossip.actions import Action, SendBulk, Vector
from p2pfl_gossip.averaging.base import RoundMessage, check_weight, weighted_mean
from p2pfl_gossip.averaging.gathering import NO_UPDATE, GatheringAveraging, Heard
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.roster import Roster
from p2pfl_gossip.topology import Neighbourhood, Topology


class VectorHeader(RoundMessage, frozen=True, tag=32):
    """The body is the sender's trained model of the round; `weight` > 0 is its weight."""

    weight: float


class VectorGathering(GatheringAveraging[VectorHeader]):
    """Sends the whole model with its weight to all receivers; without an update, nothing."""

    header_type = VectorHeader

    def _open(self, round_: int, vector: Vector, weight: float) -> list[Action]:
        if weight == NO_UPDATE:
            return []
        header = VectorHeader(round_, weight)
        parts = (vector,)  # One tuple for all: a driver may tell that they get the same body.
        return [
            SendBulk(self._roster.peers[receiver], header, parts, vector.nbytes)
            for receiver in self.receivers(round_)
        ]

    def _check(self, sender: int, header: VectorHeader) -> None:
        check_weight(header.weight)


class NeighbourAveraging(VectorGathering):
    """One peer's side of averaging with its neighbours in a topology.

    With unequal weights w_j of the models, x_i <- sum_j W[i, j] w_j x_j / sum_j W[i, j] w_j.

    Args:
        topology: of all members of the roster.
        index, roster, length, dtype, deadline_s, desk: see `GatheringAveraging`.
    """

    def __init__(
        self,
        *,
        topology: Topology,
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
        self._topology = topology

    def senders(self, round_: int) -> tuple[int, ...]:
        """Return the in-neighbours."""
        return self._topology.neighbourhood(round_, self._index).in_neighbours

    def receivers(self, round_: int) -> tuple[int, ...]:
        """Return the out-neighbours."""
        return self._topology.neighbourhood(round_, self._index).out_neighbours

    @abstractmethod
    def _own_share(self, neighbourhood: Neighbourhood, absent: list[float]) -> float:
        """Return our own model's weight, where in-neighbours of weights `absent` did not come."""

    def _mix(
        self, round_: int, vector: Vector, weight: float, heard: list[Heard[VectorHeader]]
    ) -> Vector:
        neighbourhood = self._topology.neighbourhood(round_, self._index)
        shares = dict(zip(neighbourhood.in_neighbours, neighbourhood.in_weights, strict=True))
        parts = {
            item.sender: (item.body, shares.pop(item.sender) * item.header.weight) for item in heard
        }
        if weight == NO_UPDATE:
            return weighted_mean(list(parts.values())) if parts else vector
        own_share = self._own_share(neighbourhood, list(shares.values()))
        parts[self._index] = (vector, own_share * weight)
        # In the order of the roster: peers that hear the same models take the same mean, to the
        # bit.
        return weighted_mean([parts[peer] for peer in sorted(parts)])
