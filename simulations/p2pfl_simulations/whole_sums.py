"""Whole sessions of modelled masked sums, done at once where nothing goes wrong in them.

In a session of n members each says some seven things to all others. Where links lose nothing,
nobody lies and nobody is struck meanwhile, what comes of it is known beforehand: all whose keys are
on the list are in the sum. So members that have come to the end of the list ask for the sum
together (`TakePart`). Once all have asked, they have it as soon as the last message would have come
(whole_times.py), and what they would have sent is counted (whole_traffic.py).

Whatever could make a difference ends this: a process that dies, a host that goes offline, a link
that breaks, a partition, somebody who does not ask, a phase that would last longer than others
wait. Then all that have asked say everything themselves, one by one, from that moment on.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from p2pfl_crypto.encoding import Encoding
from p2pfl_crypto.masks import Masked
from p2pfl_crypto.transcripts import (
    ballot_digest,
    header_digest,
    manifest_digest,
    mean_digest,
    tau2_of,
)
from p2pfl_gossip.actions import Ticket, Vector
from p2pfl_gossip.masked_sum.cohort import SessionMembers
from p2pfl_gossip.masked_sum.jobs import ChunkSum, Decoded, DecodeSum, perform
from p2pfl_gossip.records import Record
from p2pfl_simulations.host import SimulatedHost
from p2pfl_simulations.modelled import DIGEST
from p2pfl_simulations.shared_jobs import SharedJob, SharedWorld
from p2pfl_simulations.trace import Body, TraceKind
from p2pfl_simulations.whole_times import session_end_s
from p2pfl_simulations.whole_traffic import traffic_of
from p2pfl_simulations.world_settings import MaskingCosts

WAIT_SHARE = 0.5
"""Of the time to gather: how long those that have asked wait for the others of the list. All had
the list at about the same time; whoever has not asked by then is late, or gone."""

BROKEN_MAX = 1024
"""Sessions remembered in which everything is said one by one: for members that ask later."""


class TakePart(SharedJob, frozen=True):
    """Have the sum of a session whose list of keys is known.

    Attributes:
        cohort: of the session.
        tau1: names the list.
        dealers: U1, ascending ranks.
        turn: the leader's, as far as the member knows.
        rank: the member's.
        is_anybody_gone: whether the member cannot reach somebody of U1.
        vector: what it gives; None if nothing.
        weight: its weight.
        rounding_key: of its rounding bits.
    """

    cohort: SessionMembers
    tau1: bytes
    dealers: tuple[int, ...]
    turn: int
    rank: int
    is_anybody_gone: bool
    vector: Vector | Masked | None
    weight: float
    rounding_key: bytes

    def __repr__(self) -> str:
        return "TakePart(...)"


class OneByOne(Record, frozen=True):
    """The end of a `TakePart` without a sum: say everything yourself."""


class WholeMean(Record, frozen=True):
    """What the sums of a drawn cohort are decoded to.

    Attributes:
        vector: float32[d], read-only.
        weight_total: the sum of the encoded weights.
        digest: of the mean.
    """

    vector: Vector
    weight_total: int
    digest: bytes


class WholeSum(Record, frozen=True):
    """The end of a `TakePart` with the sum, alike for all.

    Attributes:
        members: U3.
        tau2: what all would have acknowledged.
        ballot: digest of what all would have voted for.
        chunks: the sum of each chunk.
        clipped: entries that lay beyond the clip, by member of U3.
        mean: in a drawn cohort, whose members decode the sums within the session.
    """

    members: tuple[int, ...]
    tau2: bytes
    ballot: bytes
    chunks: tuple[ChunkSum, ...]
    clipped: dict[int, int]
    mean: WholeMean | None


@dataclass(frozen=True, slots=True)
class _Part:
    host: SimulatedHost
    life: int
    ticket: Ticket
    job: TakePart
    asked_s: float


@dataclass(slots=True, eq=False)
class _Session:
    hosts: dict[int, SimulatedHost]  # Of all U1, by rank.
    parts: dict[int, _Part] = field(default_factory=dict)


_Key = tuple[bytes, bytes]


class WholeSums:
    """Gathers who takes part in each session, and gives all of them its sum.

    Args:
        costs: how long jobs take on a peer of speed 1.
        slowed: how long what takes that long takes a peer.
        draw_latencies: draws so many latencies.
        bytes_per_s: of each uplink and downlink.
    """

    def __init__(
        self,
        costs: MaskingCosts,
        *,
        slowed: Callable[[int, float], float],
        draw_latencies: Callable[[int], np.ndarray],
        bytes_per_s: float,
    ) -> None:
        self._costs, self._slowed = costs, slowed
        self._draw_latencies, self._bytes_per_s = draw_latencies, bytes_per_s
        self._open: dict[_Key, _Session] = {}
        self._asked: dict[tuple[int, Ticket], tuple[_Key, int]] = {}
        self._broken: OrderedDict[_Key, None] = OrderedDict()
        self._world: SharedWorld

    def start(self, world: SharedWorld) -> None:
        """Begin, in a world."""
        self._world = world

    # --- who takes part ---------------------------------------------------------------------

    def take(self, host: SimulatedHost, ticket: Ticket, job: SharedJob) -> None:
        """Take a member's wish for a session's sum."""
        assert isinstance(job, TakePart)
        world = self._world
        key = (job.cohort.session, job.tau1)
        part = _Part(host, host.life, ticket, job, world.queue.now_s)
        if key in self._broken:
            self._end(part, OneByOne())
            return
        session = self._open.get(key)
        if session is None:
            members = job.cohort.members
            hosts = {rank: world.host_of[members[rank]] for rank in job.dealers}
            session = self._open[key] = _Session(hosts)
            wait_s = WAIT_SHARE * job.cohort.patience.gather_s
            world.queue.call_at(part.asked_s + wait_s, self._waited, key, session)
        session.parts[job.rank] = part
        self._asked[host.index, ticket] = (key, job.rank)
        if job.is_anybody_gone or not self._is_calm(session):
            self._break(key)
        elif len(session.parts) == len(session.hosts):
            end_s = self._end_s(session)
            if end_s is None:
                self._break(key)
            else:
                world.queue.call_at(end_s, self._finish, key, session)

    def cancel(self, host: SimulatedHost, ticket: Ticket) -> None:
        """Take a member out that wants the sum no more; the others then do without this."""
        asked = self._asked.pop((host.index, ticket), None)
        if asked is not None:
            key, rank = asked
            del self._open[key].parts[rank]
            self._break(key)

    def on_fault(self, *hosts: SimulatedHost) -> None:
        """Break the sessions that a fault may make a difference to."""
        for key, session in list(self._open.items()):
            if all(host in session.hosts.values() for host in hosts):
                self._break(key)

    def _is_calm(self, session: _Session) -> bool:
        network, hosts = self._world.network, list(session.hosts.values())
        if network.is_lossy or not all(host.is_online for host in hosts):
            return False
        return network.is_whole or all(
            network.can_reach(one.index, other.index) for one in hosts for other in hosts
        )

    def _waited(self, key: _Key, session: _Session) -> None:
        is_open = self._open.get(key) is session
        if is_open and len(session.parts) < len(session.hosts):
            self._break(key)

    # --- how it ends ------------------------------------------------------------------------

    def _break(self, key: _Key) -> None:
        """Have all that asked, and that ask later, say everything one by one."""
        session = self._open.pop(key, None)
        if session is None:
            return
        self._world.counters["sums_one_by_one"] += 1
        self._broken[key] = None
        if len(self._broken) > BROKEN_MAX:
            self._broken.popitem(last=False)
        for part in session.parts.values():
            self._asked.pop((part.host.index, part.ticket), None)
            self._end(part, OneByOne())

    def _end(self, part: _Part, result: Record) -> None:
        queue = self._world.queue
        queue.call_at(
            queue.now_s, self._world.end_shared, part.host, part.life, part.ticket, result
        )

    def _finish(self, key: _Key, session: _Session) -> None:
        if self._open.get(key) is not session:
            return
        del self._open[key]
        world = self._world
        world.counters["sums_whole"] += 1
        parts = [session.parts[rank] for rank in sorted(session.parts)]
        whole = sum_of([part.job for part in parts])
        _, digest = Body(tuple(chunk.body for chunk in whole.chunks)).content()
        world.trace.add(world.queue.now_s, TraceKind.SUM, parts[0].host.index, len(parts), digest)
        first = parts[0].job
        traffic = traffic_of(first.cohort, first.dealers, whole.members, first.turn)
        for part in parts:
            self._asked.pop((part.host.index, part.ticket))
            for kind, (frames, size_bytes) in traffic[part.job.rank].items():
                world.count_all_sent(part.host, kind, frames, size_bytes)
        for part in parts:
            world.end_shared(part.host, part.life, part.ticket, whole)

    def _end_s(self, session: _Session) -> float | None:
        """Return when all would have the sum; None if somebody would wait in vain before."""
        parts = [session.parts[rank] for rank in session.hosts]
        first = parts[0].job
        return session_end_s(
            first.cohort,
            first.dealers,
            turn=first.turn,
            asked_s=np.array([part.asked_s for part in parts]),
            slowness=np.array([self._slowed(part.host.index, 1.0) for part in parts]),
            costs=self._costs,
            draw_latencies=self._draw_latencies,
            bytes_per_s=self._bytes_per_s,
        )


def sum_of(parts: list[TakePart]) -> WholeSum:
    """Work a session's sum out, from what all of U1 give; parts are in order of rank."""
    cohort, tau1, dealers = parts[0].cohort, parts[0].tau1, parts[0].dealers
    givers = [part for part in parts if part.vector is not None]
    members = tuple(part.rank for part in givers)
    shares = DIGEST * (2 * len(dealers))
    headers = b"".join(header_digest(tau1, rank, DIGEST, shares, b"") for rank in dealers)
    tau2 = tau2_of(tau1, cohort.pack(dealers), headers)
    manifests = b"".join(
        manifest_digest(tau2, rank, DIGEST * cohort.chunk_count) for rank in members
    )
    owners = (1 << min(cohort.owner_count, len(dealers))) - 1
    ballot = ballot_digest(
        tau2, cohort.pack(members), bytes([owners]) * cohort.chunk_count, manifests
    )
    clipped = dict.fromkeys(members, 0)
    chunks = []
    for chunk in range(cohort.chunk_count):
        entries = cohort.entries_of(chunk)
        total: Masked = np.zeros(cohort.body_bytes(chunk) // 4, np.uint32)
        for part in givers:
            assert part.vector is not None
            body, beyond = cohort.encoding.encode_body(
                part.vector[entries],  # type: ignore[arg-type]  # As each encoding takes it.
                part.weight,
                part.rounding_key,
                chunk,
            )
            np.add(total, body, out=total)
            clipped[part.rank] += beyond
        total.flags.writeable = False
        chunks.append(ChunkSum(chunk, total, DIGEST))
    mean = _mean_of(cohort, cohort.encoding, len(members), chunks)
    return WholeSum(members, tau2, ballot, tuple(chunks), clipped, mean)


def _mean_of(
    cohort: SessionMembers, encoding: object, count: int, chunks: list[ChunkSum]
) -> WholeMean | None:
    """Decode the sums of a drawn cohort; those of a group are no matter of its session."""
    if not isinstance(encoding, Encoding):
        return None
    mean, digests, weight_total = np.empty(cohort.vector_entries, np.float32), [], 0
    for chunk in chunks:
        decoded = perform(DecodeSum(encoding, count, chunk.body))
        assert isinstance(decoded, Decoded)
        assert decoded.mean is not None, "the sum of members in order is in range"
        mean[cohort.entries_of(chunk.chunk)] = decoded.mean
        digests.append(decoded.digest)
        weight_total = decoded.weight_total
    mean.flags.writeable = False
    return WholeMean(mean, weight_total, mean_digest(digests))
