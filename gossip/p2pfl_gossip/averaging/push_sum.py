"""Push-sum with running sums: directed graphs, and messages that get lost.

Push-sum (Kempe, Dobra & Gehrke, FOCS 2003): every peer holds *mass*, a pair (total, weight), and in
each round keeps a share of it and sends one to each out-neighbour. Over all peers the mass is
constant, and total / weight tends to the mean. A lost message would destroy mass; so peers send
the *running sum* of all they ever sent along a link (Spiridonoff, Olshevsky & Paschalidis, JMLR
2020), and a receiver takes the difference to the last one it got: the next message that arrives
brings what was lost.

In learning (after stochastic gradient push, Assran et al., ICML 2019) a peer trains its estimate
z = total / weight, and the change goes into its total.

Departures:

- Rounds with one deadline instead of full asynchrony.
- Where the topology is undirected, shares are its mixing weights instead of equal ones: W is doubly
  stochastic then, and without loss every weight stays what it was, on irregular graphs too.
- total += weight * (z_trained - z), so that what a peer trained is its estimate. The paper adds the
  bare change. The two agree where the weight is 1; but a peer that hears nobody for some rounds has
  a weight of 1/2, 1/4, ..., and would take steps twice, four times, ... as long: under churn that
  diverged. Likewise a model taken from a neighbour replaces the estimate, and is not overshot.
- With unequal weights w of the models, mass begins as (w x, w).
- A peer that restarts has lost its mass and its links' sums: it begins anew from its model, and
  `since` tells its neighbours. Where a link's sum reaches back beyond a peer's own beginning, its
  first value is the zero to count from. A sum that shrinks, as none does, is ignored.

Mass is float64, inside and on the wire: running sums grow with the rounds, and float32 would lose
the models' digits in a few hundred.
"""

import numpy as np
import numpy.typing as npt

from p2pfl_gossip.actions import Action, RemoteProtocolError, SendBulk, Vector
from p2pfl_gossip.averaging.base import RoundMessage, check_weight, is_finite
from p2pfl_gossip.averaging.gathering import GatheringAveraging, Heard
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.records import Record, UInt32
from p2pfl_gossip.roster import Roster
from p2pfl_gossip.topology import Topology, TopologyError

Total = npt.NDArray[np.float64]

MASS_WEIGHT_MIN = 2.0**-500
"""A peer that hears nobody gives its mass away until nothing is left; below this it keeps it."""


class RunningSumHeader(RoundMessage, frozen=True, tag=33):
    """The body is the float64[d] sum of all totals sent along this link.

    Attributes:
        since: the round that the sum began with, at most `round`.
        weight: the sum of all weights sent along this link, above 0.
    """

    since: UInt32
    weight: float


class _RunningSum(Record, frozen=True):
    """All mass that went along one link, since a round; `total` is read-only."""

    since: int
    weight: float
    total: Total


class PushSum(GatheringAveraging[RunningSumHeader]):
    """One peer's mass, and the running sums of its links.

    Invariant: over all peers and links, held mass, and sums sent less sums taken, are constant but
    for what training adds.

    Args:
        topology: of all members; one that repeats, as sums are kept for each neighbour of a period.
        index, roster, length, dtype, deadline_s, desk: see `GatheringAveraging`.

    Raises:
        TopologyError: the topology never repeats.
    """

    header_type = RunningSumHeader
    # Another's model in place of one's own would change the sum of all mass. A late peer need not:
    # it waits for nobody who is past its round, so it catches up by rounds that take no time.
    takes_models_of_others = False

    def __init__(
        self,
        *,
        topology: Topology,
        index: int,
        roster: Roster,
        length: int,
        dtype: npt.DTypeLike,
        deadline_s: float,
        desk: Desk,
    ) -> None:
        if topology.period is None:
            raise TopologyError(
                "push-sum keeps a sum for every neighbour it ever has; take a topology that repeats"
            )
        super().__init__(
            index=index,
            roster=roster,
            length=length,
            dtype=dtype,
            deadline_s=deadline_s,
            desk=desk,
            body_dtype=np.float64,
        )
        self._topology = topology
        self._mass: tuple[Total, float] | None = None
        self._estimate: Vector | None = None
        self._since = 0
        self._sent: dict[int, _RunningSum] = {}
        self._taken: dict[int, _RunningSum] = {}

    @property
    def mass(self) -> tuple[Total, float] | None:
        """What this peer holds, (total, weight), for measuring; None before its first round."""
        return self._mass

    def senders(self, round_: int) -> tuple[int, ...]:
        """Return the in-neighbours."""
        return self._topology.neighbourhood(round_, self._index).in_neighbours

    def receivers(self, round_: int) -> tuple[int, ...]:
        """Return the out-neighbours."""
        return self._topology.neighbourhood(round_, self._index).out_neighbours

    def begin_without_update(self, now_s: float, round_: int, vector: Vector) -> list[Action]:
        """Pass mass on as it is: what a peer holds is others' too, and none of it may be lost."""
        return self._begin(now_s, round_, vector, 1.0)

    def on_no_update(self, now_s: float, partner: int) -> list[Action]:
        """Await the partner all the same: it passes mass on."""
        return []

    def _open(self, round_: int, vector: Vector, weight: float) -> list[Action]:
        """Take up what training changed; keep one share of the mass and send the others."""
        trained = vector.astype(np.float64)
        if self._mass is None or self._estimate is None:
            self._since = round_
            self._estimate = vector
            total, mass_weight = weight * trained, weight
        else:
            total, mass_weight = self._mass
            total = total + mass_weight * (trained - self._estimate)
        own_share, shares = self._shares(round_)
        if mass_weight < MASS_WEIGHT_MIN:
            own_share, shares = 1.0, {}
        self._mass = (total * own_share, mass_weight * own_share)
        actions: list[Action] = []
        for group in self._alike(shares):
            share = shares[group[0]]
            running, link = (
                self._sent.get(group[0]),
                _RunningSum(self._since, mass_weight * share, total * share),
            )
            if running is not None:
                link = _RunningSum(
                    running.since, running.weight + link.weight, running.total + link.total
                )
            link.total.flags.writeable = False
            header = RunningSumHeader(round_, link.since, link.weight)
            parts = (link.total,)  # One tuple for all: a driver may tell that they are alike.
            for receiver in group:
                self._sent[receiver] = link
                peer = self._roster.peers[receiver]
                actions.append(SendBulk(peer, header, parts, link.total.nbytes))
        return actions

    def _shares(self, round_: int) -> tuple[float, dict[int, float]]:
        """Return the share that we keep, and that of each receiver: our column of W."""
        part = self._topology.neighbourhood(round_, self._index)
        if part.in_neighbours == part.out_neighbours:
            return part.self_weight, dict(zip(part.out_neighbours, part.in_weights, strict=True))
        share = 1 / (len(part.out_neighbours) + 1)
        return share, dict.fromkeys(part.out_neighbours, share)

    def _alike(self, shares: dict[int, float]) -> list[list[int]]:
        """Group the receivers whose links have the same sum: on a static graph, by their share."""
        groups: dict[float, list[int]] = {}
        for receiver, share in shares.items():
            key = share if self._topology.period == 1 else float(receiver)
            groups.setdefault(key, []).append(receiver)
        return list(groups.values())

    def _check(self, sender: int, header: RunningSumHeader) -> None:
        check_weight(header.weight)
        if header.since > header.round:
            raise RemoteProtocolError("since_out_of_range")

    @staticmethod
    def _is_after(header: RunningSumHeader, taken: _RunningSum) -> bool:
        if header.since != taken.since:
            return header.since > taken.since
        return header.weight > taken.weight

    def _mix(
        self, round_: int, vector: Vector, weight: float, heard: list[Heard[RunningSumHeader]]
    ) -> Vector:
        """Take what is new in each link's sum; return total / weight."""
        assert self._mass is not None
        total, mass_weight = self._mass
        taken = dict(self._taken)
        for item in heard:
            header, body = item.header, item.body.astype(np.float64, copy=False)
            last = taken.get(item.sender)
            if last is not None and not self._is_after(header, last):
                continue
            if last is not None and last.since == header.since:
                total = total + (body - last.total)
                mass_weight += header.weight - last.weight
            elif header.since >= self._since:
                total = total + body
                mass_weight += header.weight
            taken[item.sender] = _RunningSum(header.since, header.weight, body)
        with np.errstate(over="ignore"):
            estimate = (total / mass_weight).astype(self._dtype)
        if not is_finite(estimate):
            # A liar's mass, huge and of hardly any weight: go on as if nothing had been heard.
            self._estimate = vector.copy()
            return self._estimate
        self._mass, self._estimate = (total, mass_weight), estimate
        self._taken = taken
        return estimate
