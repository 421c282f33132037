"""Own parts of a simulation by name: what docs/plugins.md tells of, in one place.

Latencies, availabilities and faults are known here alone; rules, graphs, splits and metrics are of
`p2pfl.plugins`, liars of `p2pfl_simulations.liars`, tasks of `p2pfl.learner`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from random import Random

from pydantic import PrivateAttr

from p2pfl.learner.tasks.registry import TASKS
from p2pfl.plugins import (
    AVERAGING,
    GRAPHS,
    METRICS,
    SPLITS,
    AveragingRule,
    Graph,
    InputFile,
    Metric,
    Plugin,
    PluginError,
    PluginKind,
    Split,
)
from p2pfl_gossip.actions import Event
from p2pfl_gossip.averaging.own_rule import RuleModel
from p2pfl_simulations.liars.liar import Liar
from p2pfl_simulations.liars.registry import LIARS
from p2pfl_simulations.testbed import PeerHandle, Testbed


class Latency(Plugin, ABC):
    """How long messages take, by who sends them to whom."""

    @abstractmethod
    def latency_s(self, sender: int, receiver: int, rng: Random) -> float:
        """Draw the seconds of one message; it is called for each one, so it should be quick.

        Args:
            sender: its number, from 0.
            receiver: its number.
            rng: one random stream for all messages.
        """


class Availability(Plugin, ABC):
    """When each peer is there."""

    @abstractmethod
    def online(self, peer: int, rng: Random) -> Iterable[tuple[float, float]]:
        """Return the times from which and to which a peer is there, in virtual seconds, ascending.

        They are taken one by one, so there may be no end of them. After the last one, the peer
        stays away.

        Args:
            peer: its number, from 0.
            rng: a random stream of this peer.
        """


class Fault(Plugin, ABC):
    """Something that goes wrong: it plans by the clock, or by what peers report.

    `world` has `hosts`, the clock `queue.now_s`, `queue.call_at(at_s, call, ...)`, and what may be
    done to hosts: `take_offline`, `bring_online`, `cut`, `mend`, `split`. State of its own has
    names that begin with an underscore: ``_struck: int = 0``.
    """

    _world: Testbed = PrivateAttr()
    _rng: Random = PrivateAttr()

    @property
    def world(self) -> Testbed:
        """The run, once it has begun."""
        return self._world

    @property
    def rng(self) -> Random:
        """The only source of chance that it may use."""
        return self._rng

    def begin(self, world: Testbed, rng: Random) -> None:
        """Note where it is, and start."""
        self._world, self._rng = world, rng
        self.start()

    @abstractmethod
    def start(self) -> None:
        """Plan what does not depend on the peers, at time 0."""

    def on_report(self, now_s: float, host: PeerHandle, event: Event) -> None:
        """Hear of an event of a peer: `p2pfl_gossip.events` has their kinds."""

    def on_incident(self, now_s: float, host: PeerHandle | None, kind: str, detail: str) -> None:
        """Hear of what happened to a host: ``offline``, ``online``, ..."""


LATENCIES = PluginKind("latency model", "p2pfl.latencies", (Latency,), "network.latency_model")
AVAILABILITIES = PluginKind(
    "availability model",
    "p2pfl.availabilities",
    (Availability,),
    "faults.availability",
    {"trace": "p2pfl_simulations.availability:AvailabilityTrace"},
)
FAULTS = PluginKind("fault", "p2pfl.faults", (Fault,), "faults.own")

KINDS = {
    "averaging": AVERAGING,
    "topologies": GRAPHS,
    "partitions": SPLITS,
    "metrics": METRICS,
    "latencies": LATENCIES,
    "availability": AVAILABILITIES,
    "faults": FAULTS,
    "liars": LIARS,
    "tasks": TASKS,
}
"""All kinds, by what `p2pfl list` calls them."""

__all__ = [
    "AVAILABILITIES",
    "FAULTS",
    "KINDS",
    "LATENCIES",
    "Availability",
    "AveragingRule",
    "Fault",
    "Graph",
    "InputFile",
    "Latency",
    "Liar",
    "Metric",
    "Plugin",
    "PluginError",
    "RuleModel",
    "Split",
]
