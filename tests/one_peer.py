"""One whole peer, and a test in the place of everybody else.

It averages in one cohort of all members. What the peer does is kept by kind; timers and work wait
until the test lets them be due.
"""

from itertools import count
from typing import Any

import numpy as np

from p2pfl_gossip.actions import (
    Action,
    CancelTimer,
    CancelWork,
    Command,
    Disconnect,
    Event,
    Job,
    Machine,
    PeerId,
    Persist,
    Report,
    Send,
    SendBulk,
    SetTimer,
    Work,
)
from p2pfl_gossip.averaging.cohort_averaging import CohortAveraging, MeanHeader, PartHeader
from p2pfl_gossip.catch_up import ModelHeader, Status, StatusRequest
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.learning import Evaluate, Evaluated, Train, Trained
from p2pfl_gossip.peer import Peer
from p2pfl_gossip.peer_state import PeerSettings
from p2pfl_gossip.records import Message
from p2pfl_gossip.roster import Roster

DEADLINE_S = 10.0


class OnePeer:
    """Peer 0 of `peers`, with models of `length` entries that start as zeros."""

    averaging: type[CohortAveraging] = CohortAveraging

    def __init__(self, *, peers: int = 4, rounds: int = 20, length: int = 8, **settings: Any):
        self.peers, self.rounds, self.length = peers, rounds, length
        self.roster = Roster(PeerId(f"peer-{index}") for index in range(peers))
        self.settings = PeerSettings(rounds=rounds, deadline_s=DEADLINE_S, **settings)
        self.records: dict[str, Any] = {}
        self.now_s = 0.0
        self._bulks = count(1)
        self.make()

    def make(self) -> None:
        """Put a fresh process in the peer's place; what it persisted stays."""
        self.machine: Machine = self.make_machine()  # Whom inputs go to.
        self.timers: dict[int, float] = {}
        self.work: dict[int, Job] = {}
        self.sent: list[tuple[int, Message]] = []
        self.bodies: list[tuple[int, Message, Any]] = []
        self.tickets: list[int] = []
        self.events: list[Event] = []
        self.disconnected: list[tuple[int, str]] = []

    def make_machine(self) -> Machine:
        return self.make_peer(Desk())

    def make_peer(self, desk: Desk) -> Peer:
        initial = np.zeros(self.length, np.float32)
        initial.flags.writeable = False
        everybody = tuple(range(self.peers))
        self.peer = Peer(
            index=0,
            roster=self.roster,
            settings=self.settings,
            initial=initial,
            make_averaging=lambda inner: self.averaging(
                index=0,
                roster=self.roster,
                length=self.length,
                dtype=np.float32,
                members_of=lambda _round: everybody,
                deadline_s=DEADLINE_S,
                desk=inner,
            ),
            seed="test",
            desk=desk,
        )
        return self.peer

    # --- inputs ---------------------------------------------------------------------------------

    def start(self) -> "OnePeer":
        self.do(self.machine.on_start(self.now_s, dict(self.records)))
        return self

    def message(self, sender: int, message: Message) -> None:
        self.do(self.machine.on_message(self.now_s, self.roster.peers[sender], message))

    def status(self, sender: int, round_: int) -> None:
        self.message(sender, Status(round_))

    def begin(self, sender: int, header: Message) -> int | None:
        """Announce a body; return its name, or None if it is not wanted."""
        bulk, peer_id = next(self._bulks), self.roster.peers[sender]
        is_wanted, actions = self.machine.on_bulk_begin(self.now_s, peer_id, bulk, header)
        self.do(actions)
        return bulk if is_wanted else None

    def chunk(self, sender: int, bulk: int, content: bytes) -> None:
        peer_id = self.roster.peers[sender]
        self.do(self.machine.on_bulk_chunk(self.now_s, peer_id, bulk, content))

    def end(self, sender: int, bulk: int) -> None:
        self.do(self.machine.on_bulk_end(self.now_s, self.roster.peers[sender], bulk, None))

    def body(self, sender: int, header: Message, values: Any) -> bool:
        """Send a whole body; return whether it was wanted."""
        bulk = self.begin(sender, header)
        if bulk is None:
            return False
        self.chunk(sender, bulk, np.array(values, np.float32).tobytes())
        self.end(sender, bulk)
        return True

    def down(self, sender: int) -> None:
        self.do(self.machine.on_peer_down(self.now_s, self.roster.peers[sender]))

    def command(self, command: Command) -> None:
        self.do(self.machine.on_command(self.now_s, command))

    def timer(self) -> None:
        """Let the one timer be due."""
        ((ticket, at_s),) = self.timers.items()
        del self.timers[ticket]
        self.now_s = max(self.now_s, at_s)
        self.do(self.machine.on_timer(self.now_s, ticket))

    def done(self, kind: type[Job], result: Any) -> None:
        """End the one job of a kind."""
        ticket = self.job(kind)
        del self.work[ticket]
        self.do(self.machine.on_work_done(self.now_s, ticket, result))

    def failed(self, kind: type[Job], reason: str) -> None:
        ticket = self.job(kind)
        del self.work[ticket]
        self.do(self.machine.on_work_failed(self.now_s, ticket, reason))

    def job(self, kind: type[Job]) -> int:
        (ticket,) = [ticket for ticket, job in self.work.items() if isinstance(job, kind)]
        return ticket

    # --- a round, step by step --------------------------------------------------------------------

    def train(self, value: float = 4.0, *, sample_count: int = 1) -> None:
        vector = np.full(self.length, value, np.float32)
        vector.flags.writeable = False
        self.done(Train, Trained(vector, sample_count, 0.5))

    def evaluate(self) -> None:
        """End every evaluation that waits."""
        for ticket in [key for key, job in self.work.items() if isinstance(job, Evaluate)]:
            del self.work[ticket]
            result = Evaluated({"accuracy": 0.5, "loss": 1.0})
            self.do(self.machine.on_work_done(self.now_s, ticket, result))

    def part(self, sender: int, value: float, *, round_: int | None = None) -> bool:
        round_ = self.peer.round if round_ is None else round_
        return self.body(sender, PartHeader(round_, 1.0), [value] * (self.length // self.peers))

    def mean(self, sender: int, value: float, *, round_: int | None = None) -> bool:
        round_ = self.peer.round if round_ is None else round_
        everybody = ((1 << self.peers) - 1).to_bytes(1, "little")
        values = [value] * (self.length // self.peers)
        return self.body(sender, MeanHeader(round_, everybody), values)

    def exchange(self, value: float = 4.0) -> None:
        """Let all others send part and mean."""
        for other in range(1, self.peers):
            self.part(other, value)
        for other in range(1, self.peers):
            self.mean(other, value)

    def do_round(self, value: float = 4.0) -> None:
        self.train(value)
        self.exchange(value)
        self.evaluate()

    # --- what it did ------------------------------------------------------------------------------

    def asked(self, kind: type[Message] = StatusRequest) -> list[int]:
        """Take whom it sent a message of a kind."""
        found = [receiver for receiver, message in self.sent if type(message) is kind]
        self.sent = [entry for entry in self.sent if type(entry[1]) is not kind]
        return found

    def models(self) -> list[tuple[int, int, list[float]]]:
        """Take the models that it gave away: to whom, of which round, what."""
        found = [
            (receiver, header.round, body.tolist())
            for receiver, header, body in self.bodies
            if isinstance(header, ModelHeader)
        ]
        self.bodies = [entry for entry in self.bodies if not isinstance(entry[1], ModelHeader)]
        return found

    def reported(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def do(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Send(receiver, message):
                    self.sent.append((self.roster.index_untrusted(receiver), message))
                case SendBulk(receiver, header, (part,), size_bytes):
                    assert isinstance(part, np.ndarray)
                    assert part.nbytes == size_bytes
                    assert not part.flags.writeable
                    self.bodies.append((self.roster.index_untrusted(receiver), header, part))
                    if action.ticket is not None:
                        self.tickets.append(action.ticket)
                case SetTimer(ticket, at_s):
                    assert at_s > self.now_s
                    self.timers[ticket] = at_s
                case CancelTimer(ticket):
                    del self.timers[ticket]
                case Work(ticket, job):
                    self.work[ticket] = job
                case CancelWork(ticket):
                    del self.work[ticket]
                case Persist(records):
                    self.records.update(records)
                case Report(event):
                    self.events.append(event)
                case Disconnect(peer, reason):
                    self.disconnected.append((self.roster.index_untrusted(peer), reason))
                case _:
                    raise AssertionError(action)
