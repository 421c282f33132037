"""Jobs that several simulated hosts do together: a world hands them to whoever knows their end."""

from collections import Counter
from collections.abc import Mapping
from typing import Protocol

from p2pfl_crypto.identity import PeerId
from p2pfl_gossip.actions import Job, Ticket
from p2pfl_gossip.records import Message, Record
from p2pfl_simulations.event_queue import EventQueue
from p2pfl_simulations.host import SimulatedHost
from p2pfl_simulations.network import Network
from p2pfl_simulations.trace import Trace


class SharedJob(Job, frozen=True):
    """A job of one host that ends when that of the others does."""


class SharedWorld(Protocol):
    """What whoever does shared jobs needs of the world that they are in."""

    host_of: Mapping[PeerId, SimulatedHost]
    queue: EventQueue
    network: Network
    trace: Trace
    counters: Counter[str]

    def end_shared(self, host: SimulatedHost, life: int, ticket: Ticket, result: Record) -> None:
        """Tell a host how its job ended, if it still waits for that."""

    def count_all_sent(
        self, host: SimulatedHost, kind: type[Message], frames: int, size_bytes: int
    ) -> None:
        """Count messages of one type that a host has sent, with their bodies."""


class SharedJobs(Protocol):
    """Does shared jobs."""

    def start(self, world: SharedWorld) -> None:
        """Begin, in a world."""

    def take(self, host: SimulatedHost, ticket: Ticket, job: SharedJob) -> None:
        """Take a host's part of a job."""

    def cancel(self, host: SimulatedHost, ticket: Ticket) -> None:
        """Forget a host's part: it wants none any more, or its process has died."""

    def on_fault(self, *hosts: SimulatedHost) -> None:
        """Something has happened to hosts, or to a link between two; to all if none is named."""
