"""Graphs from files, read by networkx: the one place that knows it."""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any

from pydantic import Field

from p2pfl.plugins.files import InputFile
from p2pfl.plugins.parts import Graph

_READERS = {
    ".graphml": "read_graphml",
    ".gml": "read_gml",
    ".gexf": "read_gexf",
    ".edgelist": "read_edgelist",
    ".edges": "read_edgelist",
    ".txt": "read_edgelist",
    ".adjlist": "read_adjlist",
}


class GraphFiles(Graph):
    """The graph of a GraphML, GML, GEXF, edge list or adjacency list file; several take turns.

    Nodes are peers in the order of their numbers, if all are named by numbers, else of the file.
    """

    files: tuple[InputFile, ...] = Field(min_length=1)
    rounds_each: int = Field(default=1, ge=1)
    """Rounds that each of several files is in force."""

    def period(self) -> int:
        """Return after how many rounds all files have had their turn."""
        return 1 if len(self.files) == 1 else self.rounds_each * len(self.files)

    def edges(self, peers: int, round: int, rng: Random) -> Iterable[tuple[int, int]]:
        """Return the graph of the file whose turn it is."""
        graphs: list[Any] = self._graphs
        return graphs[round // self.rounds_each % len(graphs)]  # type: ignore[no-any-return]

    @cached_property
    def _graphs(self) -> list[Any]:
        return [read_graph(path) for path in self.files]


def read_graph(path: Path) -> Any:
    """Read a networkx graph; nodes that are all named by numbers are put in their order.

    Raises:
        ValueError: the file is of no kind that is known, or broken.
    """
    import networkx

    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"{path}: a graph's file ends with one of {', '.join(_READERS)}")
    try:
        graph = getattr(networkx, reader)(path)
    except Exception as error:  # Of as many kinds as there are formats.
        told = " ".join(str(error).split())
        raise ValueError(f"{path} is no such graph: {told or type(error).__name__}") from None
    names = [str(node) for node in graph.nodes]
    if all(name.isdecimal() for name in names):
        ordered = networkx.Graph() if not graph.is_directed() else networkx.DiGraph()
        ordered.add_nodes_from(sorted(graph.nodes, key=lambda node: int(str(node))))
        ordered.add_edges_from(graph.edges())
        return ordered
    return graph
