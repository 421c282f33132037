# mypy: disable-error-code="arg-type"
"""Runs the machines of one session in memory: seeded order, losses, crashes with records, liars.

Messages travel as frames, so that each test is one of the wire too. Time is virtual. A liar is an
honest machine whose outgoing actions are rewritten by a function that knows its identity.
"""

import hashlib
import heapq
from collections.abc import Callable, Iterator
from itertools import count
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
from auditing_once import perform_once

from p2pfl_crypto.identity import Identity
from p2pfl_gossip.actions import (
    Action,
    Disconnect,
    Job,
    Persist,
    RemoteProtocolError,
    Send,
    SendBulk,
    SetTimer,
    Work,
)
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.masked_sum.cohort import Cohort, Patience
from p2pfl_gossip.masked_sum.jobs import MaskChunk
from p2pfl_gossip.masked_sum.machine import Aborted, MaskedSum, Summed
from p2pfl_gossip.masked_sum.messages import (
    MASKED_SUM_MESSAGES,
    Ack,
    Advert,
    ChunkHeader,
    Reveal,
    SessionMessage,
    SumsSeen,
    Vote,
)
from p2pfl_gossip.masked_sum.phases import Phase
from p2pfl_gossip.records import Codec, Record

CODEC = Codec(MASKED_SUM_MESSAGES, frame_bytes_max=64 * 1024)
PATIENCE = Patience(gather_s=2.0, takeover_s=2.0, chunks_s=4.0, sums_s=4.0, session_s=200.0)
EVENTS_MAX = 400_000  # An honest session of 64 takes about 60,000; a test must not hang.

Rewrite = Callable[["SessionDriver", int, Action], list[Action]]
Lie = Callable[[Job, Record], Record]
Give = Callable[[Any], list[Action]]
Hook = Callable[["SessionDriver", int, Action], bool]


def seeded_entropy(seed: str) -> Callable[[int], bytes]:
    """Uniform bytes from a seed, never the same twice."""
    calls = count()

    def draw(size: int) -> bytes:
        return hashlib.shake_256(f"{seed}/{next(calls)}".encode()).digest(size)

    return draw


def identities(n: int, seed: int = 0) -> list[Identity]:
    return [Identity(hashlib.sha256(f"{seed}/{i}".encode()).digest()) for i in range(n)]


def make_cohort(n: int, entries: int, **changes: Any) -> tuple[Cohort, list[Identity]]:
    people = identities(n)
    fields: dict[str, Any] = {
        "group": b"test",
        "round": 3,
        "attempt": 0,
        "members": tuple(person.peer_id for person in people),
        "vector_entries": entries,
        "clip": 8.0,
        "weight_max": 100.0,
        "patience": PATIENCE,
    }
    return Cohort(**(fields | changes)), people


def honestly(_driver: "SessionDriver", _rank: int, action: Action) -> list[Action]:
    return [action]


def said_once(rank: int, message: Any) -> tuple[str, bytes]:
    """What an honest member may say in one version only: its slot, and which version this is."""
    match message:
        case Ack():
            return "ack", message.tau2
        case Vote():
            return "vote", message.ballot
        case SumsSeen():
            return "seen", message.sums
        case Reveal():
            # A reveal shows one secret of each member, so two would have to be alike.
            return "reveal", CODEC.encode(message)
        case Advert() if message.member == rank:
            return "advert", CODEC.encode(message)
        case ChunkHeader() if message.member == rank:
            return f"chunk{message.chunk}", message.digest
    return "", b""


class SessionDriver:
    """One session over a simulated network.

    Args:
        cohort: of the session.
        people: identities by rank.
        seed: draws vectors, weights, entropy, latencies and losses.
        loss: share of messages and bodies that vanish.
        loss_from: phase of the sender from which on they do.
        tells_down: whether members learn of a crash at once.
        hear: told of every action before it is done; returning True crashes the member before it.
        heard: told of every action after it was done; returning True crashes the member.
        rewrite: liars, by rank: what goes out in place of each action.
        lies: liars, by rank: what comes of a job in place of its result.
        records: persisted records by rank, of earlier sessions.
        vectors: by rank; drawn from the seed otherwise, as are the weights.
        away: members whom nobody could reach before the session began.
        keeps_bodies: whether each body is copied and kept, for `check_safety`.
    """

    def __init__(
        self,
        cohort: Cohort,
        people: list[Identity],
        seed: int,
        *,
        loss: float = 0.0,
        loss_from: Phase = Phase.IDLE,
        tells_down: bool = False,
        before: Hook | None = None,
        after: Hook | None = None,
        rewrite: dict[int, Rewrite] | None = None,
        lies: dict[int, Lie] | None = None,
        records: dict[int, dict[str, Any]] | None = None,
        vectors: list[npt.NDArray[np.float32]] | None = None,
        weights: list[float] | None = None,
        keeps_bodies: bool = True,
        away: tuple[int, ...] = (),
    ) -> None:
        self.cohort, self.people, self.seed = cohort, people, seed
        self.random = Random(f"{seed}/network")
        generator = np.random.default_rng(seed)
        n = cohort.size
        self.vectors = vectors or [
            generator.normal(0, 3, cohort.vector_entries).astype(np.float32) for _ in range(n)
        ]
        self.weights = weights or [float(w) for w in generator.uniform(1, 100, n)]
        self.keeps_bodies = keeps_bodies
        self.loss, self.loss_from, self.tells_down = loss, loss_from, tells_down
        self.speaking: Any = None
        self.before, self.after = before, after
        self.lies = lies or {}
        self.rewrite = dict.fromkeys(self.lies, honestly) | (rewrite or {})
        self.records: dict[int, dict[str, Any]] = records or {rank: {} for rank in range(n)}
        self.now_s = 0.0
        self.away = away
        self.machines: dict[int, Any] = {}  # A cohort's sessions, or a group's.
        self.desks: dict[int, Desk] = {}
        self.dead: dict[int, None] = {}
        self.cancelled: dict[tuple[int, int], None] = {}
        self.refusals: list[tuple[int, int, str]] = []  # (by, of, reason)
        self.disconnects: list[tuple[int, str]] = []
        self.said: list[tuple[int, Any]] = []  # Every message that left, with its sender.
        self.bodies: dict[tuple[int, int], list[bytes]] = {}  # By (member, chunk) as sent.
        self.sent_bytes: dict[int, int] = dict.fromkeys(range(n), 0)
        self.masked: dict[tuple[int, int], MaskChunk] = {}  # First job of each (member, chunk).
        self.incarnation = dict.fromkeys(range(n), 0)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order: Iterator[int] = count()
        self.strikes = 0  # How often a fault struck: a crash, a loss, a changed message.
        self._encoded: tuple[Any, bytes] = (None, b"")

    # Running

    def start(self, rank: int) -> None:
        self.desks[rank] = Desk()
        self.machines[rank] = self.make_machine(rank)
        away = [self.cohort.members[member] for member in self.away]
        self.feed(rank, lambda machine: machine.on_start(self.now_s, away))

    def make_machine(self, rank: int) -> Any:
        """Make a member's side of the session."""
        return MaskedSum(
            self.cohort,
            self.people[rank],
            self.vectors[rank],
            self.weights[rank],
            entropy=self.entropy_of(rank),
            records=dict(self.records[rank]),
            desk=self.desks[rank],
        )

    def entropy_of(self, rank: int) -> Callable[[int], bytes]:
        """The entropy of a member's present incarnation."""
        return seeded_entropy(f"{self.seed}/{rank}/{self.incarnation[rank]}")

    def run(self, absent: tuple[int, ...] = (), until_s: float = float("inf")) -> "SessionDriver":
        for rank in range(self.cohort.size):
            if rank in self.machines:
                continue
            if rank in absent:
                self.dead[rank] = None
            else:
                delay = self.random.uniform(0, 0.2)
                self.at(delay, lambda rank=rank: self.start(rank))  # type: ignore[misc]
        return self.run_rest(until_s)

    def run_rest(self, until_s: float = float("inf")) -> "SessionDriver":
        """Run until nothing is left to happen, or until a time."""
        for _ in range(EVENTS_MAX):
            if not self._events or self._events[0][0] > until_s:
                return self
            self.now_s, _, event = heapq.heappop(self._events)
            event()
        raise AssertionError(f"the session of seed {self.seed} does not end")

    def at(self, delay_s: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now_s + delay_s, next(self._order), event))

    def latency(self) -> float:
        return self.random.uniform(0.01, 0.1)

    def is_lost(self, sender: int) -> bool:
        """Whether the network loses what a member sends now."""
        is_lossy = sender in self.machines and self.machines[sender].phase >= self.loss_from
        is_lost = self.random.random() < self.loss and is_lossy
        self.strikes += is_lost
        return is_lost

    def crash(self, rank: int) -> None:
        if rank in self.dead:
            return
        self.dead[rank] = None
        self.strikes += 1
        if self.tells_down:
            peer = self.cohort.members[rank]
            for other in self.machines:
                self.at(
                    self.latency(),
                    lambda other=other: self.feed(  # type: ignore[misc]
                        other, lambda machine: machine.on_peer_down(self.now_s, peer)
                    ),
                )

    def tell_gone(self, rank: int, *, says_so: bool) -> None:
        """Tell all members at once that this one cannot be reached, or says that it is absent."""
        peer = self.cohort.members[rank]
        for other in self.machines:
            self.feed(
                other,
                lambda machine: (machine.on_absent if says_so else machine.on_peer_down)(
                    self.now_s, peer
                ),
            )

    def restart(self, rank: int) -> None:
        """Come back with the records, and another stream of entropy."""
        del self.dead[rank]
        self.incarnation[rank] += 1
        self.start(rank)

    def feed(self, rank: int, give: Give, of: int = -1) -> None:
        if rank in self.dead:
            return
        if rank not in self.machines:  # A peer keeps what comes for a session that it will begin.
            self.at(0.05, lambda: self.feed(rank, give, of))
            return
        try:
            actions = give(self.machines[rank])
        except RemoteProtocolError as error:
            self.refusals.append((rank, of, error.reason))
            return
        for action in actions:
            rewritten = [action]
            if rank in self.rewrite:
                self.speaking = self.machines[rank]._core
                rewritten = self.rewrite[rank](self, rank, action)
            for each in rewritten:
                if self.before is not None and self.before(self, rank, each):
                    self.crash(rank)
                if rank in self.dead:
                    return
                self.perform(rank, each)
                if self.after is not None and self.after(self, rank, each):
                    self.crash(rank)
                    return

    # Actions

    def perform(self, rank: int, action: Action) -> None:
        incarnation = self.incarnation[rank]

        def later(delay_s: float, give: Give) -> None:
            def event() -> None:
                if self.incarnation[rank] == incarnation:
                    self.feed(rank, give)

            self.at(delay_s, event)

        match action:
            case Send():
                self.said.append((rank, action.message))
                self.deliver(rank, self.cohort.rank_of(action.receiver), action.message)
            case SendBulk():
                self.deliver_body(rank, action, later)
            case SetTimer():
                later(
                    max(0.0, action.at_s - self.now_s),
                    lambda _machine: self.desks[rank].on_timer(self.now_s, action.ticket),
                )
            case Work():
                result = self.do(rank, action.job)
                later(
                    self.random.uniform(0, 0.05),
                    lambda _machine: (
                        self.desks[rank].on_work_done(self.now_s, action.ticket, result)
                        if (rank, action.ticket) not in self.cancelled
                        else []
                    ),
                )
            case Persist():
                self.records[rank] |= action.records
            case Disconnect():
                self.disconnects.append((rank, action.reason))
            case _ if type(action).__name__ == "CancelWork":
                self.cancelled[rank, action.ticket] = None  # type: ignore[union-attr]

    def do(self, rank: int, job: Job) -> Record:
        if isinstance(job, MaskChunk):
            self.masked.setdefault((rank, job.chunk), job)
        result = perform_once(job)
        return self.lies[rank](job, result) if rank in self.lies else result

    def deliver(self, sender: int, receiver: int | None, message: SessionMessage) -> None:
        assert receiver is not None
        if message is not self._encoded[0]:  # What is sent to all is encoded once.
            self._encoded = (message, CODEC.encode(message))
        frame = self._encoded[1]
        self.sent_bytes[sender] += len(frame)
        if self.is_lost(sender):
            return
        self.at(self.latency(), lambda: self.arrive(sender, receiver, frame))

    def arrive(self, sender: int, receiver: int, frame: bytes) -> None:
        message: Any = CODEC.decode_untrusted(frame)
        peer = self.cohort.members[sender]
        self.feed(
            receiver, lambda machine: machine.on_message(self.now_s, peer, message), of=sender
        )

    def deliver_body(self, sender: int, action: SendBulk, later: Callable[..., None]) -> None:
        receiver = self.cohort.rank_of(action.receiver)
        assert receiver is not None
        frame = CODEC.encode(action.header)
        if self.keeps_bodies:
            body = b"".join(bytes(memoryview(part).cast("B")) for part in action.parts)
            array = np.frombuffer(body, "<u4")
            if isinstance(action.header, ChunkHeader) and action.header.member == sender:
                self.bodies.setdefault((sender, action.header.chunk), []).append(body)
        else:
            (array,) = action.parts  # type: ignore[assignment]
        assert array.nbytes == action.size_bytes
        self.sent_bytes[sender] += len(frame) + array.nbytes
        self.said.append((sender, action.header))
        ok = receiver not in self.dead
        if action.ticket is not None:
            later(0.01, lambda _machine: self.desks[sender].on_sent(self.now_s, action.ticket, ok))
        if self.is_lost(sender):
            return

        def arrive() -> None:
            if receiver in self.dead:
                return
            if receiver not in self.machines:
                self.at(0.05, arrive)
                return
            header = CODEC.decode_untrusted(frame)
            peer = self.cohort.members[sender]
            try:
                size = self.machines[receiver].body_bytes(self.now_s, peer, header)
            except RemoteProtocolError as error:
                self.refusals.append((receiver, sender, error.reason))
                return
            if size is None:
                return
            if size != array.nbytes:
                self.refusals.append((receiver, sender, "body_size"))
                return
            self.at(
                self.latency(),
                lambda: self.feed(
                    receiver,
                    lambda machine: machine.on_body(self.now_s, peer, header, array),
                    of=sender,
                ),
            )

        self.at(self.latency(), arrive)

    # What must hold

    def outcome(self, rank: int) -> Summed | Aborted | None:
        return self.machines[rank].outcome if rank in self.machines else None

    def summed(self) -> dict[int, Summed]:
        return {
            rank: machine.outcome
            for rank, machine in self.machines.items()
            if rank not in self.dead and isinstance(machine.outcome, Summed)
        }

    def expected_mean(self, members: tuple[int, ...]) -> tuple[npt.NDArray[np.float32], int]:
        """The plain fixed-point mean of what `members` put under their masks."""
        encoding = self.cohort.encoding
        mean = np.empty(self.cohort.vector_entries, np.float32)
        weight_total = sum(encoding.encode_weight(self.weights[rank]) for rank in members)
        for chunk in range(self.cohort.chunk_count):
            entries = self.cohort.entries_of(chunk)
            total = np.zeros(entries.stop - entries.start, np.int64)
            for rank in members:
                out = np.empty(len(total), np.uint32)
                key = self.masked[rank, chunk].rounding_key
                vector = self.vectors[rank][entries]
                encoding.encode(out, vector, self.weights[rank], key, chunk)
                total += out.view(np.int32)
            mean[entries] = (total * np.float64(encoding.clip / weight_total)).astype(np.float32)
        return mean, weight_total

    def check_exact(self) -> dict[int, Summed]:
        """Every outcome is the exact mean of its U3, in all chunks that were summed."""
        outcomes = self.summed()
        expected: dict[tuple[int, ...], tuple[npt.NDArray[np.float32], int]] = {}
        for rank, outcome in outcomes.items():
            members = tuple(self.cohort.rank_of(peer) or 0 for peer in outcome.members)
            assert len(members) >= self.cohort.threshold
            if members not in expected:
                expected[members] = self.expected_mean(members)
            mean, weight_total = expected[members]
            for chunk in range(self.cohort.chunk_count):
                entries = self.cohort.entries_of(chunk)
                want = self.vectors[rank] if chunk in outcome.kept else mean
                assert (outcome.mean[entries] == want[entries]).all(), (self.seed, rank, chunk)
            assert outcome.weight_total == weight_total
        return outcomes

    def check_safety(self) -> None:
        """What no fault may break, for the honest; and nobody hangs."""
        for rank, machine in self.machines.items():
            if rank not in self.dead:
                assert machine.outcome is not None, (self.seed, rank, machine.phase)
        said: dict[tuple[int, str], dict[bytes, None]] = {}
        for rank, message in self.said:
            if rank not in self.rewrite:
                slot, version = said_once(rank, message)
                said.setdefault((rank, slot), {})[version] = None
        for (rank, slot), versions in said.items():
            assert len(versions) == 1 or not slot, (self.seed, rank, slot)
        for (rank, chunk), bodies in self.bodies.items():
            if rank not in self.rewrite:
                assert len(dict.fromkeys(bodies)) == 1, (self.seed, rank, chunk)
        ballots = {message.ballot for _, message in self.said if isinstance(message, Reveal)}
        honest = {
            message.ballot
            for rank, message in self.said
            if isinstance(message, Reveal) and rank not in self.rewrite
        }
        assert len(honest) <= 1, (self.seed, ballots)
        members = {outcome.members for outcome in self.summed().values()}
        assert len(members) <= 1, self.seed

    def blamed(self) -> dict[int, dict[str, None]]:
        """Faults by the rank of who is blamed, by anybody honest."""
        blamed: dict[int, dict[str, None]] = {}
        for rank, machine in self.machines.items():
            if rank not in self.rewrite and machine.outcome is not None:
                for blame in machine.outcome.blames:
                    culprit = self.cohort.rank_of(blame.member)
                    assert culprit is not None
                    blamed.setdefault(culprit, {})[blame.fault] = None
        return blamed

    def reasons(self) -> dict[int, str]:
        """Why each member that is alive aborted."""
        return {
            rank: machine.outcome.reason
            for rank, machine in self.machines.items()
            if rank not in self.dead and isinstance(machine.outcome, Aborted)
        }
