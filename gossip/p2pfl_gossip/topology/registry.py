"""The topologies by name, as scenarios and the command line know them."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from p2pfl_gossip.topology.base import Topology, TopologyError
from p2pfl_gossip.topology.base_graph import BaseGraph
from p2pfl_gossip.topology.fixed import Complete, OnePeerExponential, Ring, Star, Torus
from p2pfl_gossip.topology.random_graphs import Epidemic, ErdosRenyi, RandomRegular


@dataclass(frozen=True, slots=True)
class TopologyKind:
    """A line of the list of topologies.

    Attributes:
        name: what a scenario calls it.
        description: one line for people.
        parameter: the one parameter it needs, ``"degree"``, ``"probability"`` or ``"k"``, or None.
    """

    name: str
    description: str
    parameter: str | None = None


TOPOLOGIES: Mapping[str, TopologyKind] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            TopologyKind("ring", "two neighbours each, in admission order; mixes slowly"),
            TopologyKind("torus", "a grid that wraps around, as square as can be; 4 neighbours"),
            TopologyKind("complete", "everybody with everybody: the exact mean every round"),
            TopologyKind("star", "peer 0 in the middle; for comparison only"),
            TopologyKind("regular", "one random connected graph of equal degrees", "degree"),
            TopologyKind("erdos-renyi", "every pair joined with one probability", "probability"),
            TopologyKind("exponential", "one peer a round, 2^r further on; exact for n = 2^m"),
            TopologyKind("base", "Base-(k+1): at most k neighbours, exact for any n", "k"),
            TopologyKind("epidemic", "fresh random receivers every round (EL-Local)", "degree"),
            TopologyKind(
                "epidemic-oracle", "a fresh random regular graph every round (EL-Oracle)", "degree"
            ),
        )
    }
)


def make_topology(
    name: str,
    peer_count: int,
    seed: bytes,
    *,
    degree: int | None = None,
    probability: float | None = None,
    k: int | None = None,
) -> Topology:
    """Make the topology that TOPOLOGIES lists as `name`.

    Args:
        name: a key of TOPOLOGIES.
        peer_count: number of peers n, at least 2.
        seed: public seed of drawn graphs; all peers of a network have the same.
        degree: neighbours of each peer, for the random graphs of equal degree, and the fanout.
        probability: edge probability of Erdos-Renyi graphs.
        k: largest degree of the Base-(k+1) graph.

    Raises:
        TopologyError: no such name, a parameter is missing or superfluous, or there is no such
            graph.
    """
    kind = TOPOLOGIES.get(name)
    if kind is None:
        nearest = difflib.get_close_matches(name, TOPOLOGIES, n=1)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"there are {', '.join(TOPOLOGIES)}"
        raise TopologyError(f"no topology is called {name!r}; {hint}")
    given = {"degree": degree, "probability": probability, "k": k}
    for parameter, value in given.items():
        if parameter == kind.parameter and value is None:
            raise TopologyError(f"the topology {name!r} needs a {parameter}")
        if parameter != kind.parameter and value is not None:
            raise TopologyError(f"the topology {name!r} takes no {parameter}; leave it out")
    if degree is not None:
        return _of_degree(name, peer_count, seed, degree)
    if probability is not None:
        return ErdosRenyi(peer_count, probability, seed)
    if k is not None:
        return BaseGraph(peer_count, k)
    plain: dict[str, Callable[[int], Topology]] = {
        "ring": Ring,
        "torus": Torus,
        "complete": Complete,
        "star": Star,
        "exponential": OnePeerExponential,
    }
    return plain[name](peer_count)


def _of_degree(name: str, peer_count: int, seed: bytes, degree: int) -> Topology:
    if name == "epidemic":
        return Epidemic(peer_count, degree, seed)
    return RandomRegular(peer_count, degree, seed, redrawn=name == "epidemic-oracle")
