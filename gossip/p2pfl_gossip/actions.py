"""What a machine may ask of its driver, and what it may be told.

A peer is a state machine without IO. Its driver (the daemon over libp2p, or the simulator) calls
the inputs listed in `Machine` and carries out the actions that each returns, in order. An action
that takes time carries a ticket, by which the driver tells how it ended.

The contract, which action_queue.py keeps for both worlds:

*Order.* Actions are carried out in the order in which the machine returned them, over all inputs.
`Send`s to one receiver leave in that order, but may overtake each other on the way; bodies leave
side by side.

*Durability.* Nothing behind a `Persist` is carried out before its records are durable. Inputs of
every kind keep coming meanwhile, and what they return goes behind it. So a timer may be set late,
which then fires at once, and an answer to an earlier action may come before a later one has begun.

*Cancels* do not wait, not even for a `Persist`.
- After the machine has returned `CancelTimer` or `CancelWork`, no answer under that ticket comes.
- `CancelSend` stops a body that waits or is under way. `on_sent` still comes, as for any ticket:
  False, or True if all of it had left.
- To cancel what has ended, or was never begun, does nothing.

*Answers.* `on_timer`, `on_work_done` or `on_work_failed`, and `on_sent` come at most once for each
ticket, in any order among tickets, whatever was begun first; never before the input that asked
for them has returned. A job, or a sending, may take any time. A tick may come late, never early.

*Messages* and bodies arrive from the peer they claim to come from: links are authenticated. They
may be lost, delayed and reordered, and a link that breaks loses what was on its way. `on_sent` with
True says that it left, not that it arrived. A queue that is full of `Send`s loses later ones.
Of one sender, `BODIES_PER_SENDER_MAX` bodies (inbound.py) are told of at once; the others wait.

*Links.* `on_peer_down` is told once for each link that broke or could not be made. It is all that a
peer ever learns of another's absence, beside silence.

*A crash* may fall between any two actions, and between an action and its answer. It loses the
actions that were not carried out, all answers, timers, jobs, and bodies under way. A `Persist` that
was under way is kept whole, or not at all. The next incarnation is told what was kept, by
`on_start`, and nothing else of the earlier one: what that one has sent may still arrive, and be
answered.

*Buffers* given to an action are read-only from then on; buffers given to an input never change.
"""

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from p2pfl_crypto.identity import PeerId
from p2pfl_gossip.records import Message, Record

__all__ = [
    "Action",
    "CancelTimer",
    "CancelWork",
    "Command",
    "Connect",
    "Disconnect",
    "Job",
    "LocalProtocolError",
    "Machine",
    "PeerId",
    "Persist",
    "RemoteProtocolError",
    "Report",
    "Send",
    "SendBulk",
    "SetTimer",
    "Ticket",
    "Vector",
    "Work",
]

Vector: TypeAlias = npt.NDArray[np.float32] | npt.NDArray[np.float64]
"""A model, or a part of one: one-dimensional, contiguous, little-endian."""

Buffer: TypeAlias = bytes | memoryview | npt.NDArray[Any]

Ticket: TypeAlias = int
"""Names one action for its answer; unique within one machine and one incarnation."""


class LocalProtocolError(Exception):
    """Our own driver or composer called a machine as it must not: a bug, let it crash."""


class RemoteProtocolError(Exception):
    """A peer broke the protocol; `reason` is a short word such as ``"wrong_dimension"``.

    The driver counts it by reason and drops the peer. The machine has changed nothing.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Job(Record, frozen=True):
    """Something heavy and pure that `Work` asks for; learning.py and masked sums define some."""


class Event(Record, frozen=True):
    """Something that people want to see; events.py lists them."""


class Send(Record, frozen=True):
    """Deliver a message once or lose it; with a ticket, `on_sent` tells whether it left."""

    receiver: PeerId
    message: Message
    ticket: Ticket | None = None


class SendBulk(Record, frozen=True):
    """Deliver a header, then a long body, then a trailer, on a stream of their own.

    Attributes:
        receiver: whom to.
        header: tells the receiver what comes, before it takes any of it.
        parts: the body's buffers, drawn one by one as the link takes them.
        size_bytes: the sum of the parts' sizes.
        trailer: called once the last part was drawn, for what is known only then (a digest).
        ticket: with one, `on_sent` tells whether all of it left.
    """

    receiver: PeerId
    header: Message
    parts: Iterable[Buffer]
    size_bytes: int
    trailer: Callable[[], Message] | None = None
    ticket: Ticket | None = None


class CancelSend(Record, frozen=True):
    """Stop a `SendBulk` that has not ended; at once, and its `on_sent` still comes."""

    ticket: Ticket


class SetTimer(Record, frozen=True):
    """Call `on_timer(ticket)` at `at_s`, or at once where that is past."""

    ticket: Ticket
    at_s: float


class CancelTimer(Record, frozen=True):
    """Forget a timer; at once, and it does not fire any more."""

    ticket: Ticket


class Work(Record, frozen=True):
    """Do a job elsewhere; `on_work_done` or `on_work_failed` tells of its end."""

    ticket: Ticket
    job: Job


class CancelWork(Record, frozen=True):
    """Forget a job; at once, and nothing more is told of it."""

    ticket: Ticket


class Persist(Record, frozen=True):
    """Keep records by key, in place of earlier ones, before any later action is done.

    All of them are kept together or none. A value is bytes, or a vector (a checkpoint), or None
    to delete the record.
    """

    records: dict[str, bytes | Vector | None]


class Connect(Record, frozen=True):
    """Keep a link to a peer, ahead of need; a `Send` makes its own link if there is none."""

    peer: PeerId


class Disconnect(Record, frozen=True):
    """End the link to a peer, for a reason that is counted."""

    peer: PeerId
    reason: str


class Report(Record, frozen=True):
    """Show an event: a log line and a metric, or a row of the trace."""

    event: Event


class Command(StrEnum):
    """What an operator may ask of a running peer."""

    LEAVE = "leave"
    PAUSE = "pause"
    RESUME = "resume"


Action: TypeAlias = (
    Send
    | SendBulk
    | CancelSend
    | SetTimer
    | CancelTimer
    | Work
    | CancelWork
    | Persist
    | Connect
    | Disconnect
    | Report
)


class Machine(Protocol):
    """The inputs of a machine. Each returns actions; each may be told of a time, never ask for it.

    A bulk body comes as `on_bulk_begin`, any number of `on_bulk_chunk`, then `on_bulk_end`, or
    `on_bulk_lost` at any point; `bulk` names it among those under way. `on_bulk_begin` returns
    whether the body is wanted: if not, the driver refuses the rest and tells no more of it. An
    input that raises RemoteProtocolError ends the body as well: the driver tells no more of it.
    """

    def on_start(self, now_s: float, records: dict[str, bytes | Vector]) -> list[Action]:
        """Begin, with what earlier incarnations asked to `Persist`."""

    def on_message(self, now_s: float, sender: PeerId, message: Message) -> list[Action]:
        """Take a message, or raise RemoteProtocolError and change nothing."""

    def on_bulk_begin(
        self, now_s: float, sender: PeerId, bulk: int, header: Message
    ) -> tuple[bool, list[Action]]:
        """Say whether the body behind this header is wanted, or raise RemoteProtocolError."""

    def on_bulk_chunk(self, now_s: float, sender: PeerId, bulk: int, chunk: Buffer) -> list[Action]:
        """Take the next bytes of a body."""

    def on_bulk_end(
        self, now_s: float, sender: PeerId, bulk: int, trailer: Message | None
    ) -> list[Action]:
        """Take the end of a body."""

    def on_bulk_lost(self, now_s: float, sender: PeerId, bulk: int) -> list[Action]:
        """Forget a body: its stream broke."""

    def on_timer(self, now_s: float, ticket: Ticket) -> list[Action]:
        """A timer is due."""

    def on_sent(self, now_s: float, ticket: Ticket, ok: bool) -> list[Action]:
        """A `Send` or `SendBulk` left this machine, or cannot."""

    def on_peer_up(self, now_s: float, peer: PeerId) -> list[Action]:
        """A link to a peer stands."""

    def on_peer_down(self, now_s: float, peer: PeerId) -> list[Action]:
        """A link to a peer broke, or could not be made."""

    def on_work_done(self, now_s: float, ticket: Ticket, result: Record) -> list[Action]:
        """A job ended with a result."""

    def on_work_part(self, now_s: float, ticket: Ticket, part: Record) -> list[Action]:
        """A job has part of its result."""

    def on_work_failed(self, now_s: float, ticket: Ticket, reason: str) -> list[Action]:
        """A job could not be done; `reason` is one line for people."""

    def on_command(self, now_s: float, command: Command) -> list[Action]:
        """The operator asks for something."""
