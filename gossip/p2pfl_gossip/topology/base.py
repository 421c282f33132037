"""What a topology is: for each round and peer, whom it sends to, whom it hears, and the weights.

One averaging round on a topology is x_i <- sum over j of W[i, j] x_j. Peers are numbered 0 .. n - 1
by admission order. W[i, j] is not zero only where j is i itself or sends to i; rows sum to one. An
undirected graph takes Metropolis-Hastings weights (Xiao & Boyd, Systems & Control Letters 2004),
W[i, j] = 1 / (1 + max(degree i, degree j)), which make W symmetric, so that the mean is kept.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


class TopologyError(ValueError):
    """A graph that cannot be, in one line that says what to change."""


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """One peer's part of one round's graph.

    Attributes:
        out_neighbours: peers that this peer sends to, ascending.
        in_neighbours: peers that this peer hears, ascending.
        in_weights: W[i, j] for each j of `in_neighbours`, in that order, each above 0.
        self_weight: W[i, i] > 0; with `in_weights` it sums to 1.
    """

    out_neighbours: tuple[int, ...]
    in_neighbours: tuple[int, ...]
    in_weights: tuple[float, ...]
    self_weight: float


@dataclass(frozen=True)
class Topology(ABC):
    """A graph, or a sequence of graphs, with mixing weights; immutable.

    Attributes:
        peer_count: number of peers n, at least 2.
    """

    peer_count: int

    def __post_init__(self) -> None:
        if self.peer_count < 2:
            raise TopologyError(f"a topology has at least 2 peers, not {self.peer_count}")

    @property
    @abstractmethod
    def period(self) -> int | None:
        """Rounds after which the graphs repeat: 1 for a static graph, None if they never do."""

    @abstractmethod
    def neighbourhood(self, round: int, peer: int) -> Neighbourhood:
        """Give one peer's part of the graph of `round`, in time proportional to its degree.

        (Drawn graphs are drawn whole when a round is first asked for, and kept in a small cache.)

        Raises:
            IndexError: there is no such peer, or the round is negative.
        """

    def mixing_matrix(self, round: int) -> npt.NDArray[np.float64]:
        """Give W of `round` as float64[n, n]; for theory and pictures of small graphs."""
        matrix = np.zeros((self.peer_count, self.peer_count))
        for peer in range(self.peer_count):
            part = self.neighbourhood(round, peer)
            matrix[peer, part.in_neighbours] = part.in_weights
            matrix[peer, peer] = part.self_weight
        return matrix

    def _check(self, round: int, peer: int) -> None:
        if not 0 <= peer < self.peer_count:
            raise IndexError(f"peer {peer} of {self.peer_count}")
        if round < 0:
            raise IndexError(f"round {round}")


def metropolis_hastings(
    neighbours: tuple[int, ...], neighbour_degrees: tuple[int, ...]
) -> Neighbourhood:
    """Weigh one peer's neighbours in an undirected graph by Metropolis-Hastings.

    Args:
        neighbours: the peer's neighbours, ascending, not itself.
        neighbour_degrees: the number of neighbours of each of them.
    """
    degree = len(neighbours)
    weights = tuple(1 / (1 + max(degree, other)) for other in neighbour_degrees)
    return Neighbourhood(neighbours, neighbours, weights, 1 - math.fsum(weights))


def regular(neighbours: tuple[int, ...]) -> Neighbourhood:
    """Weigh the neighbours in an undirected graph where all degrees are equal: 1 / (degree + 1)."""
    weight = 1 / (1 + len(neighbours))
    return Neighbourhood(neighbours, neighbours, (weight,) * len(neighbours), weight)
