"""The plug-ins of a scenario: found and tried before anything runs, and put into its world."""

import hashlib
import inspect
import math
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from p2pfl.group.settings import DsgdSettings, OwnRuleSettings, PushSumSettings
from p2pfl.learner.settings import OwnPartition
from p2pfl.learner.sources import sources_of
from p2pfl.learner.tasks.registry import TASKS
from p2pfl.plugins import (
    AVERAGING,
    GRAPHS,
    METRICS,
    SPLITS,
    Plugin,
    PluginKind,
    find_class,
    is_plugin,
    make_plugin,
    plugin_faults,
)
from p2pfl_gossip.actions import Event
from p2pfl_gossip.topology import TOPOLOGIES
from p2pfl_simulations.availability import Attendance
from p2pfl_simulations.draws import stream
from p2pfl_simulations.liars.registry import LIARS, shipped_name
from p2pfl_simulations.plugins import AVAILABILITIES, FAULTS, LATENCIES, Fault, Latency
from p2pfl_simulations.scenario import Scenario
from p2pfl_simulations.testbed import PeerHandle, RunWatcher, Testbed
from p2pfl_simulations.world_settings import PluginTable

_Named = tuple[PluginKind, str, Mapping[str, Any]]


def plugins_of(scenario: Scenario) -> Iterator[_Named]:
    """Name the plug-ins of a scenario but for its task: kind, name, options."""
    averaging, learning, faults = scenario.averaging, scenario.learning, scenario.faults
    if isinstance(averaging, OwnRuleSettings):
        yield AVERAGING, averaging.plugin, averaging.options
    if isinstance(averaging, DsgdSettings | PushSumSettings | OwnRuleSettings):
        graph = averaging.topology
        if graph.kind not in TOPOLOGIES and is_plugin(GRAPHS, graph.kind):
            yield GRAPHS, graph.kind, graph.options or {}
    if isinstance(learning.partition, OwnPartition):
        yield SPLITS, learning.partition.plugin, learning.partition.options
    for metric in learning.metrics:
        yield METRICS, metric.plugin, metric.options
    for kind, table in (
        (LATENCIES, scenario.network.latency_model),
        (AVAILABILITIES, faults.availability),
    ):
        if table is not None:
            yield kind, table.plugin, table.options
    for table in faults.own:
        yield FAULTS, table.plugin, table.options
    for liars in faults.liars:
        yield LIARS, shipped_name(liars.strategy), liars.arguments


def needs_folder(scenario: Scenario) -> bool:
    """Tell whether a scenario may read something beside its file: own modules, or data."""
    learning = scenario.learning
    return (
        ":" in learning.task
        or bool(learning.options)
        or learning.data_dir is not None
        or any(":" in name or options for _, name, options in plugins_of(scenario))
    )


def check_plugins(scenario: Scenario, folder: Path | None) -> None:
    """Make each plug-in of a scenario once.

    Raises:
        PluginError: one cannot be had, or a setting of it is wrong.
    """
    for kind, name, options in plugins_of(scenario):
        make_plugin(kind, name, options, folder)


def plugin_sources(scenario: Scenario, folder: Path | None) -> dict[str, str]:
    """Return the code of each own part by digest, and of the files that its options name.

    Of a plain class (a liar, a task) each argument that is the path of a file is taken for one.
    """
    found: dict[str, list[str]] = {}
    for kind, name, options in plugins_of(scenario):
        if name in kind.shipped and not options:
            continue
        made = make_plugin(kind, name, options, folder)
        told = [f"{it.name} {it.version}" for it in sources_of(made, folder=folder)]
        files = (
            _files(made)
            if isinstance(made, Plugin)
            else _argument_files(find_class(kind, name, folder), options, folder)
        )
        told += [f"{path.name} {_digest(path)}" for path in files]
        found.setdefault(f"{kind.name} {name}", []).extend(told)
    learning = scenario.learning
    if learning.task not in (*TASKS.shipped, *TASKS.also):
        task = find_class(TASKS, learning.task, folder)
        found[f"{TASKS.name} {learning.task}"] = [
            f"{path.name} {_digest(path)}"
            for path in _argument_files(task, learning.options, folder)
        ]
    return {name: ", ".join(dict.fromkeys(told)) for name, told in found.items() if told}


def _files(plugin: Plugin) -> Iterator[Path]:
    for value in plugin.__dict__.values():
        for entry in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(entry, Path) and entry.is_file():
                yield entry


def _argument_files(
    made: type[Any], options: Mapping[str, Any], folder: Path | None
) -> Iterator[Path]:
    """Yield the files that arguments of a class name, by default or as given.

    A plain class opens them itself: relative to where it was started, to the scenario's folder, or
    to its own module. So those of all three count.
    """
    bound = inspect.signature(made).bind(**options)
    bound.apply_defaults()
    places = [Path(), *([] if folder is None else [folder]), Path(inspect.getfile(made)).parent]
    found: dict[Path, None] = {}
    for text in _texts(list(bound.arguments.values())):
        for place in places:
            if os.path.isfile(place / text):  # noqa: PTH113 - False for a text that is no path.
                found[(place / text).resolve()] = None
    yield from found


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, (str, os.PathLike)):
        yield os.fspath(value)
    elif isinstance(value, Mapping):
        yield from _texts(list(value.values()))
    elif isinstance(value, (list, tuple)):
        for entry in value:
            yield from _texts(entry)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


class PluggedParts:
    """What own parts do in a scenario's world.

    Attributes:
        between: the latency from a sender to a receiver; None without a model of it.
        observers: those that are told what happens.

    Raises:
        PluginError: one cannot be used.
    """

    def __init__(self, scenario: Scenario, folder: Path | None) -> None:
        self._seed, faults = scenario.seed, scenario.faults
        self.between = _between(scenario, folder)
        self._faults = [
            _OwnFault(table, make_plugin(FAULTS, table.plugin, table.options, folder))
            for table in faults.own
        ]
        self.observers: tuple[RunWatcher, ...] = tuple(self._faults)
        self._attendance = None
        if faults.availability is not None:
            self._attendance = Attendance(
                faults.availability, peers=scenario.peers, seed=self._seed, folder=folder
            )

    def start(self, world: Testbed) -> None:
        """Let faults plan, and peers come and go."""
        if self._attendance is not None:
            self._attendance.start(world)
        for number, fault in enumerate(self._faults):
            fault.start(world, self._seed, number)


class _OwnFault:
    """A fault of a plug-in, whose own errors are told as its own."""

    def __init__(self, table: PluginTable, fault: Fault) -> None:
        self._name, self._fault = table.plugin, fault

    def start(self, world: Testbed, seed: int, number: int) -> None:
        with plugin_faults(FAULTS, self._name):
            self._fault.begin(world, stream(seed, f"faults/own/{number}"))

    def on_report(self, now_s: float, host: PeerHandle, event: Event) -> None:
        with plugin_faults(FAULTS, self._name):
            self._fault.on_report(now_s, host, event)

    def on_incident(self, now_s: float, host: PeerHandle | None, kind: str, detail: str) -> None:
        with plugin_faults(FAULTS, self._name):
            self._fault.on_incident(now_s, host, kind, detail)


def _between(scenario: Scenario, folder: Path | None) -> Callable[[int, int], float] | None:
    table = scenario.network.latency_model
    if table is None:
        return None
    model: Latency = make_plugin(LATENCIES, table.plugin, table.options, folder)
    rng, draw = stream(scenario.seed, "latency model"), model.latency_s

    def between(sender: int, receiver: int) -> float:
        try:
            latency_s = draw(sender, receiver, rng)
            if 0 <= latency_s < math.inf:
                return latency_s
            raise ValueError(f"{latency_s!r} s from peer {sender} to peer {receiver}")
        except Exception as error:
            with plugin_faults(LATENCIES, table.plugin):
                raise error from None

    last = scenario.peers - 1
    for sender, receiver in ((0, last), (last, 0), (last // 2, last)):
        between(sender, receiver)
    return between
