"""Epidemic Learning, local variant (de Vos et al., NeurIPS 2023, arXiv 2310.01972).

In each round every peer sends its model to s random peers and takes the plain mean of its own and
those that come. Departure: receivers are drawn from a public seed (`topology.Epidemic`), so that a
receiver knows whom to expect and waits for no one else; in the paper it waits for a fixed time. An
absent sender simply does not count.
"""

import numpy.typing as npt

from p2pfl_gossip.averaging.neighbour_averaging import NeighbourAveraging
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.roster import Roster
from p2pfl_gossip.topology import Epidemic, Neighbourhood


class EpidemicLearning(NeighbourAveraging):
    """One peer's side of Epidemic Learning.

    Args:
        fanout: receivers of each peer in a round, s.
        seed: public seed of the draws.
        index, roster, length, dtype, deadline_s, desk: see `Gathering`.

    Raises:
        TopologyError: the fanout is not below the number of peers.
    """

    def __init__(
        self,
        *,
        fanout: int,
        seed: bytes,
        index: int,
        roster: Roster,
        length: int,
        dtype: npt.DTypeLike,
        deadline_s: float,
        desk: Desk,
    ) -> None:
        super().__init__(
            topology=Epidemic(len(roster), fanout, seed),
            index=index,
            roster=roster,
            length=length,
            dtype=dtype,
            deadline_s=deadline_s,
            desk=desk,
        )

    def _own_share(self, neighbourhood: Neighbourhood, absent: list[float]) -> float:
        # All weights are alike, and a mean divides by those that came.
        return neighbourhood.self_weight
