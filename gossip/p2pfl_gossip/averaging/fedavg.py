"""Federated averaging with a server (McMahan et al., AISTATS 2017): a yardstick only.

Peer 0 is the server. Every peer, it included, trains; all send their models to it; it takes the
mean, weighted by the models' weights, and sends it back. That is what the gossip algorithms are
measured against: one peer that carries 2 (n - 1) models a round, and that all must trust.

The mean may be a robust rule's instead, against clients that lie; a server that lies it does not
bound. Where too few models come for the rule, clients go on with their own.

Departure: all peers take part in every round, there is no sampling of clients. The server waits
for one deadline. A client waits for two: the server's, and the way back.
"""

from typing import ClassVar

import numpy.typing as npt

from p2pfl_gossip.actions import Action, SendBulk, Vector
from p2pfl_gossip.averaging.base import RoundMessage, check_weight, weighted_mean
from p2pfl_gossip.averaging.gathering import NO_UPDATE, GatheringAveraging, Heard
from p2pfl_gossip.averaging.neighbour_averaging import VectorHeader
from p2pfl_gossip.averaging.robust.combining import Combine
from p2pfl_gossip.averaging.robust.registry import RobustRule
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.roster import Roster

SERVER = 0


class GlobalModelHeader(RoundMessage, frozen=True, tag=35):
    """Server to client: the body is the mean of the round."""


class FedAvgServer(GatheringAveraging[VectorHeader]):
    """The server's side: gathers all models and sends the mean back.

    Args: see `GatheringAveraging`; `index` is SERVER.

    Attributes:
        rule: in place of the mean; None for the mean.
    """

    header_type: ClassVar[type[RoundMessage]] = VectorHeader
    rule: RobustRule | None = None

    def senders(self, round_: int) -> tuple[int, ...]:
        """Return all clients."""
        return tuple(range(1, len(self._roster)))

    def receivers(self, round_: int) -> tuple[int, ...]:
        """Return all clients."""
        return self.senders(round_)

    def _open(self, round_: int, vector: Vector, weight: float) -> list[Action]:
        return []

    def _check(self, sender: int, header: VectorHeader) -> None:
        check_weight(header.weight)

    def _mix(
        self, round_: int, vector: Vector, weight: float, heard: list[Heard[VectorHeader]]
    ) -> Vector | Combine:
        parts = [(it.body, it.header.weight) for it in heard]
        if weight != NO_UPDATE:
            parts.insert(0, (vector, weight))
        if self.rule is None:
            return weighted_mean(parts) if parts else vector
        if len(parts) < self.rule.models_min:
            return vector
        return Combine(self.rule, round_, tuple(body for body, _ in parts))

    def _is_mixed(self, result: Vector) -> bool:
        return result is not self._vector

    def _close(self, round_: int, result: Vector) -> list[Action]:
        is_own = self.rule is not None and result is self._vector
        if is_own or (self._weight == NO_UPDATE and not self._heard.get(round_)):
            return []  # It is nobody's mean: clients go on with their own.
        header = GlobalModelHeader(round_)
        parts = (result,)  # One tuple for all: a driver may tell that they get the same body.
        return [
            SendBulk(self._roster.peers[client], header, parts, result.nbytes)
            for client in self.receivers(round_)
        ]


class FedAvgClient(GatheringAveraging[GlobalModelHeader]):
    """A client's side: sends its model to the server and takes the mean; its own if none comes.

    Args: see `GatheringAveraging`.
    """

    header_type: ClassVar[type[RoundMessage]] = GlobalModelHeader

    def senders(self, round_: int) -> tuple[int, ...]:
        """Return the server."""
        return (SERVER,)

    def receivers(self, round_: int) -> tuple[int, ...]:
        """Return the server."""
        return (SERVER,)

    def _open(self, round_: int, vector: Vector, weight: float) -> list[Action]:
        if round_ in self._heard or weight == NO_UPDATE:
            return []  # The mean is here already, we are late; or we have nothing to send.
        header = VectorHeader(round_, weight)
        return [SendBulk(self._roster.peers[SERVER], header, (vector,), vector.nbytes)]

    def _check(self, sender: int, header: GlobalModelHeader) -> None:
        pass

    def on_no_update(self, now_s: float, partner: int) -> list[Action]:
        """Await the server all the same: it has the clients' mean."""
        return []

    def _mix(
        self, round_: int, vector: Vector, weight: float, heard: list[Heard[GlobalModelHeader]]
    ) -> Vector:
        return heard[0].body if heard else vector


def make_fedavg(
    *,
    index: int,
    roster: Roster,
    length: int,
    dtype: npt.DTypeLike,
    deadline_s: float,
    desk: Desk,
    rule: RobustRule | None = None,
) -> FedAvgServer | FedAvgClient:
    """Make the machine of the server, which goes by `rule`, or of a client, as the index says."""
    is_server = index == SERVER
    make = FedAvgServer if is_server else FedAvgClient
    made = make(
        index=index,
        roster=roster,
        length=length,
        dtype=dtype,
        deadline_s=deadline_s if is_server else 2 * deadline_s,
        desk=desk,
    )
    if isinstance(made, FedAvgServer):
        made.rule = rule
    return made
