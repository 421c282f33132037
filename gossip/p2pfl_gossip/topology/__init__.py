"""Topologies: who exchanges with whom in a round, and with what weights."""

from p2pfl_gossip.topology.base import Neighbourhood, Topology, TopologyError
from p2pfl_gossip.topology.base_graph import BaseGraph
from p2pfl_gossip.topology.fixed import Complete, OnePeerExponential, Ring, Star, Torus
from p2pfl_gossip.topology.random_graphs import Epidemic, ErdosRenyi, RandomRegular
from p2pfl_gossip.topology.registry import TOPOLOGIES, TopologyKind, make_topology

__all__ = [
    "TOPOLOGIES",
    "BaseGraph",
    "Complete",
    "Epidemic",
    "ErdosRenyi",
    "Neighbourhood",
    "OnePeerExponential",
    "RandomRegular",
    "Ring",
    "Star",
    "Topology",
    "TopologyError",
    "TopologyKind",
    "Torus",
    "make_topology",
]
