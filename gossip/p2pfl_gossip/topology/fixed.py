"""Graphs given by a formula: ring, torus, complete, star and one-peer exponential."""

import math
from dataclasses import dataclass

from p2pfl_gossip.topology.base import (
    Neighbourhood,
    Topology,
    TopologyError,
    metropolis_hastings,
    regular,
)


@dataclass(frozen=True)
class Ring(Topology):
    """Every peer beside two others, in admission order. lambda_2 = 1/3 + 2/3 cos(2 pi / n)."""

    @property
    def period(self) -> int:
        """One: the graph is static."""
        return 1

    def neighbourhood(self, round: int, peer: int) -> Neighbourhood:
        """Give a peer's two neighbours (one, of two peers), each of weight 1/3."""
        self._check(round, peer)
        n = self.peer_count
        return regular(_distinct((peer - 1) % n, (peer + 1) % n))


@dataclass(frozen=True)
class Torus(Topology):
    """Peers on a grid that wraps around, as square as the number of peers allows.

    Along a side of two, both steps lead to the same neighbour, which counts once.

    Raises:
        TopologyError: the number of peers is prime, so there is no grid.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rows == 1:
            raise TopologyError(
                f"a torus of {self.peer_count} peers has no two sides, the number being prime;"
                f" take {max(4, self.peer_count + 1)} peers, or a ring"
            )

    @property
    def rows(self) -> int:
        """The shorter side: the largest divisor of n up to its square root."""
        n = self.peer_count
        return next(side for side in range(math.isqrt(n), 0, -1) if n % side == 0)

    @property
    def period(self) -> int:
        """One: the graph is static."""
        return 1

    def neighbourhood(self, round: int, peer: int) -> Neighbourhood:
        """Give a peer's neighbours above, below, left and right; weight 1/5 each, as a rule."""
        self._check(round, peer)
        rows = self.rows
        columns = self.peer_count // rows
        row, column = divmod(peer, columns)
        return regular(
            _distinct(
                (row - 1) % rows * columns + column,
                (row + 1) % rows * columns + column,
                row * columns + (column - 1) % columns,
                row * columns + (column + 1) % columns,
            )
        )


@dataclass(frozen=True)
class Complete(Topology):
    """Everybody beside everybody: the exact mean in one round, at the price of n - 1 messages."""

    @property
    def period(self) -> int:
        """One: the graph is static."""
        return 1

    def neighbourhood(self, round: int, peer: int) -> Neighbourhood:
        """Give all other peers, each of weight 1/n."""
        self._check(round, peer)
        return regular((*range(peer), *range(peer + 1, self.peer_count)))


@dataclass(frozen=True)
class Star(Topology):
    """Peer 0 in the middle, for comparison: a hub carries all traffic, and mixing is slow.

    With Metropolis-Hastings weights, lambda_2 = 1 - 1/n.
    """

    @property
    def period(self) -> int:
        """One: the graph is static."""
        return 1

    def neighbourhood(self, round: int, peer: int) -> Neighbourhood:
        """Give the hub to a leaf, and all leaves to the hub; weight 1/n on every edge."""
        self._check(round, peer)
        if peer == 0:
            return metropolis_hastings(
                tuple(range(1, self.peer_count)), (1,) * (self.peer_count - 1)
            )
        return metropolis_hastings((0,), (self.peer_count - 1,))


@dataclass(frozen=True)
class OnePeerExponential(Topology):
    """In round r, peer i hears peer i + 2^(r mod tau) alone, tau = ceil(log2 n), weight 1/2.

    Ying et al., NeurIPS 2021 (arXiv 2110.13363). Where n is a power of two, tau rounds in
    succession give the exact mean; otherwise a remainder is left.
    """

    @property
    def period(self) -> int:
        """Tau = ceil(log2 n)."""
        return (self.peer_count - 1).bit_length()

    def neighbourhood(self, round: int, peer: int) -> Neighbourhood:
        """Give the one peer that is heard and the one that is sent to."""
        self._check(round, peer)
        step = 1 << round % self.period
        n = self.peer_count
        return Neighbourhood(((peer - step) % n,), ((peer + step) % n,), (0.5,), 0.5)


def _distinct(*peers: int) -> tuple[int, ...]:
    return tuple(sorted(dict.fromkeys(peers)))
