"""Own averaging rules and graphs: made, tried on a few numbers, and blamed for what they raise."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt

from p2pfl.group.settings import OwnRuleSettings, TopologySettings
from p2pfl.plugins import AVERAGING, GRAPHS, AveragingRule, Graph, make_plugin, plugin_faults
from p2pfl.plugins.finding import maker_of
from p2pfl_gossip.averaging.own_rule import Rule, RuleModel, checked_mean
from p2pfl_gossip.topology import Topology, TopologyError
from p2pfl_gossip.topology.own_graph import OwnGraph

TRIED_ENTRIES = 5
"""Of the models that a rule is tried on."""


def own_rule(
    settings: OwnRuleSettings, folder: Path | None, topology: Topology, dtype: npt.DTypeLike
) -> Callable[[], Rule]:
    """Return a function that makes a rule, anew for each peer, once it has been tried.

    Args:
        settings: name it, and say its own settings.
        folder: where it is imported from.
        topology: whom peers hear.
        dtype: of models.

    Raises:
        PluginError: there is no such rule, or it gives no model.
    """
    make = maker_of(AVERAGING, settings.plugin, settings.options, folder)

    def rule_of() -> Rule:
        made: AveragingRule = make()

        def rule(round_: int, own: RuleModel, heard: Sequence[RuleModel]) -> Any:
            with plugin_faults(AVERAGING, settings.plugin):
                return checked_mean(made.average(round_, own, heard), own.vector)

        return rule

    _try_rule(rule_of(), topology, dtype)
    return rule_of


def own_graph(
    settings: TopologySettings, peer_count: int, seed: bytes, folder: Path | None
) -> Topology:
    """Make the topology of a graph that is a plug-in's, or in files.

    Raises:
        PluginError: there is no such graph, or it is none of so many peers.
        TopologyError: settings are given that are of other topologies.
    """
    given = [name for name in ("degree", "probability", "k") if getattr(settings, name) is not None]
    if given:
        raise TopologyError(
            f"the topology {settings.kind!r} takes no {given[0]}; its settings stand in options"
        )
    graph: Graph = make_plugin(GRAPHS, settings.kind, settings.options or {}, folder)

    def edges(round_: int) -> Any:
        return graph.edges(peer_count, round_, Random(f"{seed.hex()}/graph/{round_}"))

    faults = partial(plugin_faults, GRAPHS, settings.kind)
    with faults():
        return OwnGraph(peer_count, edges, graph.period(), faults)


def _try_rule(rule: Rule, topology: Topology, dtype: npt.DTypeLike) -> None:
    """Average a few numbers, with all neighbours there, one of them, and none."""
    around = topology.neighbourhood(0, 0)
    models = []
    for place, (peer, share) in enumerate(
        zip((0, *around.in_neighbours), (around.self_weight, *around.in_weights), strict=True)
    ):
        vector = np.linspace(-1, 1, TRIED_ENTRIES).astype(dtype) * np.float32(place + 1)
        vector.flags.writeable = False
        models.append(RuleModel(peer, vector, 1.0, share))
    for heard in (models[1:], models[1:2], []):
        rule(0, models[0], heard)
