"""What surrounds one simulated peer: its process, its links, its disk."""

from collections.abc import Callable

from p2pfl_crypto.identity import PeerId
from p2pfl_gossip.action_queue import ActionQueue
from p2pfl_gossip.actions import Machine, Persist, Ticket, Vector


class SimulatedHost:
    """One simulated computer.

    Attributes:
        machine: the peer; None while its process is down.
        queue: carries out the actions of this process.
        is_there: whether the computer is; else, before it is set up and once it is lost, nothing
            brings it online.
        life: counts processes: what was set up for an earlier one is void.
        session: counts times online: what was on its way to an earlier one is lost.
        records: what is durable.
        backup: an older copy of it; None before the first.
        writing: the `Persist` that the disk has begun and not ended.
        jobs: under way.
        links: peers that it has exchanged frames with and would notice the loss of.
        actions_left: actions that it carries out before `strike` is called; 0 where none is.
        strike: brings a fault that was planned at an action.
    """

    __slots__ = (
        "actions_left", "backup", "bytes_sent", "index", "is_online", "is_silent", "is_there",
        "jobs", "life", "links", "machine", "peer_id", "queue", "records", "session", "strike",
        "writing",
    )  # fmt: skip

    queue: ActionQueue

    def __init__(self, index: int, peer_id: PeerId) -> None:
        self.index, self.peer_id = index, peer_id
        self.machine: Machine | None = None
        self.life = self.session = 0
        self.is_online = self.is_there = True
        self.is_silent = False  # While offline: links do not break, they go dead.
        self.records: dict[str, bytes | Vector] = {}
        self.backup: dict[str, bytes | Vector] | None = None
        self.writing: Persist | None = None
        self.jobs: dict[Ticket, None] = {}
        self.links: dict[int, None] = {}
        self.bytes_sent = 0
        self.actions_left = 0
        self.strike: Callable[[SimulatedHost], None] = lambda _host: None

    def keep(self, action: Persist) -> None:
        """Make records durable."""
        self.writing = None
        for key, value in action.records.items():
            if value is None:
                self.records.pop(key, None)
            else:
                self.records[key] = value
