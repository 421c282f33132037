"""Own parts of an experiment by name: averaging rules, graphs, splits, metrics.

docs/plugins.md tells how to write one. `p2pfl_simulations.plugins` has these and those that only a
simulation knows: latencies, availabilities, faults.
"""

from p2pfl.plugins.files import InputFile
from p2pfl.plugins.finding import (
    Plugin,
    PluginError,
    PluginKind,
    find_class,
    is_plugin,
    known_plugins,
    make_plugin,
    plugin_faults,
    put_own,
)
from p2pfl.plugins.parts import (
    AVERAGING,
    GRAPHS,
    METRICS,
    SPLITS,
    AveragingRule,
    Graph,
    Metric,
    Split,
)

__all__ = [
    "AVERAGING",
    "GRAPHS",
    "METRICS",
    "SPLITS",
    "AveragingRule",
    "Graph",
    "InputFile",
    "Metric",
    "Plugin",
    "PluginError",
    "PluginKind",
    "Split",
    "find_class",
    "is_plugin",
    "known_plugins",
    "make_plugin",
    "plugin_faults",
    "put_own",
]
