"""A topology from outside: edges of one graph or of one a round; Metropolis-Hastings weights.

Every peer asks for the same graph, so those of the last rounds are kept.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from p2pfl_gossip.topology.base import (
    Neighbourhood,
    Topology,
    TopologyError,
    metropolis_hastings,
)
from p2pfl_gossip.topology.random_graphs import GRAPHS_KEPT

GRAPHS_TRIED = 64
"""Graphs of a period that are drawn before anything runs, spread over it: as many as are kept."""

GRAPHS_TRIED_ENDLESS = 3
"""The same where graphs never repeat: a fault that shows at all mostly shows at once."""


@dataclass(frozen=True)
class OwnGraph(Topology):
    """The graphs that a function gives by their edges.

    Attributes:
        edges: of a round below the period; pairs of peers, or a networkx graph.
        rounds: the period; None if the graphs never repeat.
        faults: in its block edges are asked for, read and checked: whoever gives them is to blame.

    Raises:
        TopologyError: a graph that is drawn at once is of other peers, or those of a period do not
            connect all peers between them.
    """

    edges: Callable[[int], Iterable[tuple[int, int]]]
    rounds: int | None = 1
    faults: Callable[[], AbstractContextManager[None]] = field(
        default=nullcontext, compare=False, repr=False
    )
    _kept: dict[int, list[Neighbourhood]] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rounds is not None and self.rounds < 1:
            raise TopologyError(
                f"graphs repeat after 1 round or more, not {self.rounds}; a period of None says"
                " that they never do"
            )
        period = GRAPHS_TRIED_ENDLESS if self.rounds is None else self.rounds
        tried = min(period, GRAPHS_TRIED)
        graphs = [self._of(place * period // tried) for place in range(tried)]
        apart = _apart(graphs) if tried == self.rounds else None
        if apart is not None:
            rounds = (
                "" if tried == 1 else f" in any of the {tried} rounds after which graphs repeat"
            )
            raise TopologyError(
                f"no path leads from peer 0 to peer {apart}{rounds}, so they would never agree; add"
                f" edges{', or give a graph for each round' if tried == 1 else ''}"
            )

    def _drawn(self, round: int) -> list[Neighbourhood]:
        try:
            return _neighbourhoods(self.edges(round), self.peer_count)
        except TopologyError as error:
            if self.rounds == 1:
                raise
            raise TopologyError(f"round {round}: {error}") from None

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
            with self.faults():
                kept = self._kept[round] = self._drawn(round)
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


def _apart(graphs: Sequence[list[Neighbourhood]]) -> int | None:
    """Return a peer that no path of any graphs' edges leads to from peer 0; None if there is none.

    Rounds that repeat walk such a path edge by edge.
    """
    reached, waiting = {0: None}, [0]
    while waiting:
        peer = waiting.pop()
        for around in graphs:
            for near in around[peer].out_neighbours:
                if near not in reached:
                    reached[near] = None
                    waiting.append(near)
    return next((peer for peer in range(len(graphs[0])) if peer not in reached), None)
