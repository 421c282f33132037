"""What each kind of plug-in is: one method or two."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from p2pfl.plugins.finding import Plugin, PluginKind
from p2pfl_gossip.actions import Vector
from p2pfl_gossip.averaging.own_rule import RuleModel

Array = npt.NDArray[Any]


class AveragingRule(Plugin, ABC):
    """How a peer makes its next model of its own and of those that it hears.

    Each peer has an instance of its own, and a new one after a restart.
    """

    @abstractmethod
    def average(self, round: int, own: RuleModel, heard: Sequence[RuleModel]) -> Vector:
        """Return the next model, float32[d], finite.

        Args:
            round: from 0.
            own: this peer's trained model. Where its training failed, the one that the round began
                with, of weight 0.
            heard: models of its neighbours that came, by ascending peer; may be empty. All vectors
                are read-only.
        """


class Graph(Plugin, ABC):
    """Who is whose neighbour: an undirected graph, or one for each round."""

    def period(self) -> int | None:
        """Return after how many rounds the graphs repeat: 1 if there is one, None if never."""
        return 1

    @abstractmethod
    def edges(self, peers: int, round: int, rng: Random) -> Iterable[tuple[int, int]]:
        """Return the pairs of neighbours in a round.

        Or a networkx graph: its nodes are peers 0, 1, ... in its order.

        Args:
            peers: how many there are; 0 to `peers` - 1 are their numbers.
            round: from 0, below the period.
            rng: a random stream of this round: the same draws for each peer that asks.
        """


class Split(Plugin, ABC):
    """Who holds which rows."""

    @abstractmethod
    def split(
        self, targets: Array, columns: Mapping[str, Array], peers: int, rng: np.random.Generator
    ) -> Sequence[Sequence[int] | Array]:
        """Return the row numbers of each peer; each has at least one.

        Args:
            targets: [n, ...], of the n rows to be split.
            columns: further columns of the task by name, [n] each.
            peers: how many there are.
            rng: a random stream; the same seed gives the same split.
        """


class Metric(Plugin, ABC):
    """A figure that models are judged by, beside those of the task."""

    larger_is_better: ClassVar[bool] = True
    is_share: ClassVar[bool] = False
    """Whether people read it as a percentage."""

    @abstractmethod
    def measure(self, outputs: Array, targets: Array) -> float:
        """Return the figure of outputs, float32[n, ...], on rows with these targets, [n, ...].

        NaN where the rows cannot tell it.
        """


AVERAGING = PluginKind("averaging rule", "p2pfl.averaging", (AveragingRule,), "averaging.algorithm")
GRAPHS = PluginKind(
    "topology",
    "p2pfl.topologies",
    (Graph,),
    "averaging.topology.kind",
    {"file": "p2pfl.plugins.graph_files:GraphFiles"},
)
SPLITS = PluginKind("partition", "p2pfl.partitions", (Split,), "learning.partition.kind")
METRICS = PluginKind("metric", "p2pfl.metrics", (Metric,), "learning.metrics")
