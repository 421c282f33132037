"""Decentralised SGD (Lian et al., NeurIPS 2017): x_i <- sum over neighbours j of W[i, j] x_j.

Peers train, send their models to their neighbours in a topology, and mix by its weights.

Departure: an absent neighbour's weight goes to the peer's own model. So rows of W still sum to one
and, on an undirected graph where both ends miss each other, the mean of all models is kept.
"""

import math

from p2pfl_gossip.averaging.neighbour_averaging import NeighbourAveraging
from p2pfl_gossip.topology import Neighbourhood


class Dsgd(NeighbourAveraging):
    """One peer's side of decentralised SGD on a topology."""

    def _own_share(self, neighbourhood: Neighbourhood, absent: list[float]) -> float:
        return math.fsum((neighbourhood.self_weight, *absent))
