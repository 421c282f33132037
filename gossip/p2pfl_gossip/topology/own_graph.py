"""A topology from outside: edges of one graph or of one a round; Metropolis-Hastings weights.

Every peer asks for the same graph, so those of the last rounds are kept.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from p2pfl_gossip.topology.base import (
    Neighbourhood,
    Topology,
    TopologyError,
    metropolis_hastings,
)
from p2pfl_gossip.topology.random_graphs import GRAPHS_KEPT


@dataclass(frozen=True)
class OwnGraph(Topology):
    """The graphs that a function gives by their edges.

    Attributes:
        edges: of a round below the period; pairs of peers, or a networkx graph.
        rounds: the period; None if the graphs never repeat.

    Raises:
        TopologyError: the first graph is of other peers, or it is the only one and not connected.
    """

    edges: Callable[[int], Iterable[tuple[int, int]]]
    rounds: int | None = 1
    _kept: dict[int, list[Neighbourhood]] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        first = self._of(0)
        if self.rounds == 1:
            apart = _apart(first)
            if apart is not None:
                raise TopologyError(
                    f"no path leads from peer 0 to peer {apart}, so they would never agree; add"
                    " edges, or give a graph for each round"
                )

    @property
    def period(self) -> int | None:
        """As it was given."""
        return self.rounds

    def neighbourhood(self, round: int, peer: int) -> Neighbourhood:
        """Give a peer's neighbours in a round."""
        self._check(round, peer)
        return self._of(round if self.rounds is None else round % self.rounds)[peer]

    def _of(self, round: int) -> list[Neighbourhood]:
        kept = self._kept.get(round)
        if kept is None:
            if len(self._kept) >= max(GRAPHS_KEPT, min(self.rounds or 0, 4 * GRAPHS_KEPT)):
                del self._kept[next(iter(self._kept))]
            kept = self._kept[round] = _neighbourhoods(self.edges(round), self.peer_count)
        return kept


def _neighbourhoods(edges: Iterable[tuple[int, int]], peer_count: int) -> list[Neighbourhood]:
    around: list[dict[int, None]] = [{} for _ in range(peer_count)]
    for one, other in _pairs(edges, peer_count):
        if one != other:
            around[one][other] = around[other][one] = None
    return [
        metropolis_hastings(tuple(sorted(near)), tuple(len(around[it]) for it in sorted(near)))
        for near in around
    ]


def _pairs(edges: Any, peer_count: int) -> Iterable[tuple[int, int]]:
    if hasattr(edges, "nodes") and hasattr(edges, "edges"):  # A graph of networkx.
        if edges.is_directed():
            raise TopologyError("the graph is directed; give an undirected one")
        place = {node: index for index, node in enumerate(edges.nodes)}
        if len(place) != peer_count:
            raise TopologyError(
                f"the graph has {len(place)} nodes, and there are {peer_count} peers; set peers ="
                f" {len(place)}"
            )
        return [(place[one], place[other]) for one, other, *_ in edges.edges()]
    found = []
    for pair in edges:
        try:
            one, other = (int(end) for end in pair)
        except (TypeError, ValueError):
            raise TopologyError(f"an edge is a pair of peers, not {pair!r}") from None
        if not (0 <= one < peer_count and 0 <= other < peer_count):
            raise TopologyError(f"the edge {one} - {other}: there are peers 0 to {peer_count - 1}")
        found.append((one, other))
    return found


def _apart(around: list[Neighbourhood]) -> int | None:
    """Return a peer that no path leads to from peer 0; None where there is none."""
    reached, waiting = {0: None}, [0]
    while waiting:
        for peer in around[waiting.pop()].out_neighbours:
            if peer not in reached:
                reached[peer] = None
                waiting.append(peer)
    return next((peer for peer in range(len(around)) if peer not in reached), None)
