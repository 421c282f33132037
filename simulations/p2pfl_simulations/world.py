"""The simulated world: runs machines, the very ones that the daemon runs, on a virtual clock.

The world is the driver of every machine (actions.py). The actions of each host go through a queue
of its own, the one that the daemon uses, and are carried out by hands.py over simulated links and
disks; the world tells the machines what comes. It knows all; a machine gets to know nothing but its
inputs.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from p2pfl_crypto.identity import PeerId
from p2pfl_gossip import wire
from p2pfl_gossip.action_queue import ActionQueue
from p2pfl_gossip.actions import (
    Action,
    Buffer,
    Command,
    Job,
    Machine,
    RemoteProtocolError,
    Ticket,
    Work,
)
from p2pfl_gossip.learning import WorkFailed
from p2pfl_gossip.records import MalformedFrame, Message, Record
from p2pfl_simulations.batch import Workshop
from p2pfl_simulations.board import Board
from p2pfl_simulations.checkers.base import Checker, told_of_actions, told_of_inputs
from p2pfl_simulations.disk import Disks
from p2pfl_simulations.event_queue import EventQueue
from p2pfl_simulations.hands import SimulatedHands
from p2pfl_simulations.host import SimulatedHost
from p2pfl_simulations.network import Network, Transfer
from p2pfl_simulations.shared_jobs import SharedJob, SharedJobs
from p2pfl_simulations.testbed import RunWatcher
from p2pfl_simulations.trace import Body, Trace, TraceKind
from p2pfl_simulations.world_settings import DiskSettings

# A member of an enumeration is looked up through its metaclass, which takes as long as decoding a
# small frame; so the two that are traced at nearly every event are names of their own.
_FRAME, _TIMER = TraceKind.FRAME, TraceKind.TIMER

COMMON_FRAMES_MAX = 4096
"""Frames that were sent to many and are remembered with what they say: of 1,000 peers that speak to
their cohorts at one time, and few more."""

LINKS_MAX = 64
"""Links that a host keeps; the oldest is closed for a new one."""


class World:
    """Machines, links and a clock.

    Args:
        peer_ids: of all hosts, by index.
        make_machine: makes the machine of a host, at the start and after each restart.
        network: the links.
        queue: the clock, the same as the network's.
        workshop: does the machines' jobs; None where they ask for none.
        duration_s: how long a host's job takes in virtual time.
        disks: how long records take to be durable; no time if not given.
        shared_jobs: does the jobs that hosts do together; None where they ask for none.
        board: has what many say to all heard in waves; None where each frame travels by itself.
        observers: are told what happens.
        checkers: see every input and action; without any, they cost nothing.
        late: indices of hosts that are not there at the start, but come by `set_up`.
    """

    def __init__(
        self,
        *,
        peer_ids: Sequence[PeerId],
        make_machine: Callable[[int], Machine],
        network: Network,
        queue: EventQueue,
        workshop: Workshop | None = None,
        duration_s: Callable[[int, Job], float] = lambda _index, _job: 0.0,
        disks: Disks | None = None,
        shared_jobs: SharedJobs | None = None,
        board: Board | None = None,
        observers: Sequence[RunWatcher] = (),
        checkers: Sequence[Checker] = (),
        late: Iterable[int] = (),
    ) -> None:
        self.hosts = [SimulatedHost(index, peer_id) for index, peer_id in enumerate(peer_ids)]
        self.host_of: Mapping[PeerId, SimulatedHost] = {host.peer_id: host for host in self.hosts}
        self.queue, self.network = queue, network
        self.disks = disks or Disks(DiskSettings(), seed=0)
        self.trace = Trace()
        self.counters: Counter[str] = Counter()
        self._frames_by_kind: dict[type[Message], int] = {}
        self._bytes_by_kind: dict[type[Message], int] = {}
        for host in self.hosts:
            host.queue = ActionQueue(SimulatedHands(self, host))
        for index in late:
            self.hosts[index].is_there = self.hosts[index].is_online = False
        self._make_machine = make_machine
        self._workshop, self._duration_s = workshop, duration_s
        self._shared_jobs = shared_jobs
        if shared_jobs is not None:
            shared_jobs.start(self)
        self.board = board
        if board is not None:
            board.start(self)
        self.observers: Sequence[RunWatcher] = tuple(observers)
        self._checkers = tuple(checkers)
        self._bulk = 0
        self._last_body = Body(())
        self._last_message: Message | None = None
        self._last_frame = b""
        # Frames that were sent to more than one host, with what they say once that was decoded.
        self._common: dict[bytes, Message | None] = {}
        self._input_checkers = told_of_inputs(self._checkers)
        self._action_checkers: dict[type, tuple[Checker, ...]] = {}
        # Links broken by one of their ends, with the first call that was planned afterwards: what
        # was planned before it, to arrive over the link, is lost.
        self._broken: dict[tuple[int, int], int] = {}
        self.is_awaited: Callable[[], bool] = lambda: False

    # --- running ----------------------------------------------------------------------------

    @property
    def is_over(self) -> bool:
        """Whether `run` is to return: observers set it."""
        return self.queue.is_stopped

    @is_over.setter
    def is_over(self, is_over: bool) -> None:
        self.queue.is_stopped = is_over and not self.is_awaited()

    @property
    def frames_sent(self) -> int:
        """Frames and bodies that have left, of all hosts."""
        return sum(self._frames_by_kind.values())

    @property
    def bytes_sent(self) -> int:
        """Bytes of all that has left."""
        return sum(self._bytes_by_kind.values())

    @property
    def bytes_by_message(self) -> dict[str, int]:
        """The same, by the name of the message's type; a body counts as its header's."""
        return {kind.__name__: size for kind, size in self._bytes_by_kind.items()}

    def start(self) -> None:
        """Start the process of every host that is there, at time 0."""
        for host in self.hosts:
            if host.is_there:
                self._start_machine(host)

    def run(self, time_limit_s: float) -> None:
        """Process events until an observer sets `is_over`, none is left, or time is up."""
        self.queue.run(time_limit_s)

    def command(self, host: SimulatedHost, command: Command) -> None:
        """Pass an operator's word on to a running machine."""
        if host.machine is not None:
            if self._checkers:
                self._tell_checkers(host, "on_command", command)
            host.queue.push(host.machine.on_command(self.queue.now_s, command))

    # --- hosts that come and go for good ------------------------------------------------------

    def set_up(self, host: SimulatedHost, detail: str) -> None:
        """Have a host that was not there begin, with an empty disk."""
        host.is_there = True
        self.bring_online(host, detail)

    def lose(self, host: SimulatedHost, detail: str) -> None:
        """End a host for good: its process, its disk and its keys are gone."""
        self.take_offline(host, detail, kills=True)
        if host.machine is not None:
            self._stop_machine(host)  # It was offline, and ran on.
        host.is_there = False
        host.records, host.backup = {}, None
        for checker in self._checkers:
            checker.on_lost(self.queue.now_s, host.index)

    # --- faults: called by whoever plans them -------------------------------------------------

    def take_offline(
        self, host: SimulatedHost, detail: str, *, kills: bool = False, silent: bool = False
    ) -> None:
        """Cut a host off; with `kills`, its process dies too. Silent: nobody is told."""
        if not host.is_online:
            return
        host.is_online, host.is_silent = False, silent
        host.session += 1
        for transfer in self.network.uplinks[host.index].clear():
            if transfer.ticket is not None:
                self.tell_sent(host, transfer.ticket, ok=False)
        if kills:
            self._stop_machine(host)
        if not silent:
            for index in host.links:
                self._tell_down(self.hosts[index], host)
                if not kills:  # A process that starts later has no part in these links.
                    self._tell_down(host, self.hosts[index])
        for index in host.links:
            self.hosts[index].links.pop(host.index, None)
        host.links.clear()
        self._tell_of_fault(host)
        self.trace.add(self.queue.now_s, TraceKind.OFFLINE, host.index, 0)
        for observer in self.observers:
            observer.on_incident(self.queue.now_s, host, "offline", detail)

    def bring_online(self, host: SimulatedHost, detail: str) -> None:
        """Connect a host again, if it is there; start its process if it is down."""
        if host.is_online or not host.is_there:
            return
        host.is_online, host.is_silent = True, False
        self.trace.add(self.queue.now_s, TraceKind.ONLINE, host.index, 0)
        for observer in self.observers:
            observer.on_incident(self.queue.now_s, host, "online", detail)
        if host.machine is None:
            self._start_machine(host)

    def cut(self, one: SimulatedHost, other: SimulatedHost) -> None:
        """Break the link of two hosts, and let them make no other."""
        self.network.cut(one.index, other.index)
        self.break_link(one, other)
        for observer in self.observers:
            observer.on_incident(self.queue.now_s, one, "link_cut", f"to peer {other.index}")

    def mend(self, one: SimulatedHost, other: SimulatedHost) -> None:
        """Let two hosts reach each other again."""
        self.network.mend(one.index, other.index)
        for observer in self.observers:
            observer.on_incident(self.queue.now_s, one, "link_mended", f"to peer {other.index}")

    def copy_records(self, host: SimulatedHost) -> None:
        """Copy what a host has on its disk."""
        host.backup = dict(host.records)

    def restore_records(self, host: SimulatedHost) -> None:
        """Put the last copy back, of a host whose process is down."""
        if host.machine is None and host.backup is not None:
            host.records = dict(host.backup)
            for observer in self.observers:
                observer.on_incident(self.queue.now_s, host, "restored", "")

    def split(self, parts: list[int] | None) -> None:
        """Let hosts reach only those of the same part of the network; None heals it."""
        self.network.split(parts)
        self._tell_of_fault()
        kind, detail = (
            ("healed", "") if parts is None else ("partition", f"{len(set(parts))} parts")
        )
        for observer in self.observers:
            observer.on_incident(self.queue.now_s, None, kind, detail)

    def strike_after(
        self, host: SimulatedHost, actions: int, strike: Callable[[SimulatedHost], None]
    ) -> None:
        """Call `strike` once a host has carried out so many more actions, in this life or later.

        It may kill the host, which then carries out nothing more. Where the last of the actions is
        a `Persist`, its records are being written at that moment.
        """
        host.actions_left, host.strike = actions, strike
        if host.machine is not None:
            host.queue.watch(self._watch_of(host))

    def strike(self, host: SimulatedHost) -> None:
        """Bring the fault that was planned."""
        host.actions_left = 0
        host.strike(host)

    def _tell_of_fault(self, *hosts: SimulatedHost) -> None:
        if self._shared_jobs is not None:
            self._shared_jobs.on_fault(*hosts)

    def _start_machine(self, host: SimulatedHost) -> None:
        host.machine = self._make_machine(host.index)
        host.queue = ActionQueue(SimulatedHands(self, host))
        host.queue.watch(self._watch_of(host))
        if self._checkers:
            self._tell_checkers(host, "on_start", dict(host.records))
        host.queue.push(host.machine.on_start(self.queue.now_s, dict(host.records)))

    def _stop_machine(self, host: SimulatedHost) -> None:
        host.queue.close()
        if host.writing is not None and self.disks.survives_crash():
            host.keep(host.writing)
        host.writing = None
        for ticket in list(host.jobs):
            self.cancel_job(host, ticket)
        host.machine = None
        for checker in self._checkers:
            checker.on_crash(self.queue.now_s, host.index)
        host.life += 1

    # --- checkers ---------------------------------------------------------------------------

    def _tell_checkers(self, host: SimulatedHost, name: str, *arguments: Any) -> None:
        for checker in self._input_checkers:
            checker.on_input(self.queue.now_s, host.index, name, arguments)

    def _watch_of(self, host: SimulatedHost) -> Callable[[Action], None] | None:
        """Return what is to see the actions that a host carries out, if anything is."""
        if not self._checkers and not host.actions_left:
            return None

        def watch(action: Action) -> None:
            kind = type(action)
            if kind not in self._action_checkers:
                self._action_checkers[kind] = told_of_actions(self._checkers, kind)
            for checker in self._action_checkers[kind]:
                checker.on_action(self.queue.now_s, host.index, action)
            if host.actions_left:
                host.actions_left -= 1
                if host.actions_left == 0:
                    self.strike(host)

        return watch

    # --- what hands need ----------------------------------------------------------------------

    def encode(self, message: Message) -> bytes:
        """Encode a message once for all that it is sent to, one after the other."""
        if self._last_message is not message:
            self._last_message, self._last_frame = message, wire.encode(message)
        elif self._last_frame not in self._common:
            if len(self._common) >= COMMON_FRAMES_MAX:
                self._common.clear()
            self._common[self._last_frame] = None
        return self._last_frame

    def _decode(self, frame: bytes) -> Message:
        """Decode a frame: one that was sent to many once for all of them."""
        if frame not in self._common:
            return wire.decode_untrusted(frame)
        message = self._common[frame]
        if message is None:
            message = self._common[frame] = wire.decode_untrusted(frame)
        return message

    def body_of(self, parts: Iterable[Buffer]) -> Body:
        """Take a body once for all that it is sent to, one after the other."""
        if self._last_body.parts is not parts:
            self._last_body = Body(parts)
        return self._last_body

    def count_sent(self, host: SimulatedHost, message: Message, size_bytes: int) -> None:
        """Count a frame, or a body with its header, as it leaves."""
        kind, frames, sizes = type(message), self._frames_by_kind, self._bytes_by_kind
        host.bytes_sent += size_bytes
        if kind in frames:
            frames[kind] += 1
            sizes[kind] += size_bytes
        else:
            frames[kind], sizes[kind] = 1, size_bytes

    def count_all_sent(
        self, host: SimulatedHost, kind: type[Message], frames: int, size_bytes: int
    ) -> None:
        """Count messages of one type that a host has sent, with their bodies, all at once."""
        self._frames_by_kind[kind] = self._frames_by_kind.get(kind, 0) + frames
        self._bytes_by_kind[kind] = self._bytes_by_kind.get(kind, 0) + size_bytes
        host.bytes_sent += size_bytes

    def tell_sent(self, host: SimulatedHost, ticket: Ticket, ok: bool) -> None:
        """Tell a host how a sending ended, after what is due already."""
        self.queue.call_at(self.queue.now_s, self._sent_due, host, host.life, ticket, ok)

    def start_job(self, host: SimulatedHost, action: Work) -> None:
        """Take a host's job; its end comes after its duration."""
        host.jobs[action.ticket] = None
        if isinstance(action.job, SharedJob):
            assert self._shared_jobs is not None, "a machine shares a job, and nobody does it"
            self._shared_jobs.take(host, action.ticket, action.job)
            return
        assert self._workshop is not None, "a machine asks for work, and there is no workshop"
        self._workshop.start((host.index, host.life, action.ticket), action.job)
        at_s = self.queue.now_s + self._duration_s(host.index, action.job)
        self.queue.call_at(at_s, self._work_due, host, host.life, action.ticket)

    def cancel_job(self, host: SimulatedHost, ticket: Ticket) -> None:
        """Forget a host's job."""
        host.jobs.pop(ticket, None)
        if self._shared_jobs is not None:
            self._shared_jobs.cancel(host, ticket)
        assert self._workshop is not None
        self._workshop.cancel((host.index, host.life, ticket))

    # --- uplinks ------------------------------------------------------------------------------

    def plan_uplink(self, index: int) -> None:
        """See that an event is due when the next body has left, at the latest."""
        uplink = self.network.uplinks[index]
        end_s = uplink.next_end_s()
        if end_s is not None and end_s < uplink.planned_s:
            uplink.planned_s = end_s
            self.queue.call_at(end_s, self._uplink_due, index, uplink.generation, end_s)

    def _uplink_due(self, index: int, generation: int, planned_s: float) -> None:
        uplink = self.network.uplinks[index]
        if generation != uplink.generation or planned_s != uplink.planned_s:
            return  # Another event was planned in place of this one.
        uplink.planned_s = math.inf
        # Bodies added since the event was planned have made the end later: then plan again. Or,
        # by a rounding error, a little earlier.
        end_s = uplink.next_end_s()
        if end_s is not None and end_s <= self.queue.now_s:
            for transfer in uplink.take_ended(self.queue.now_s):
                self._bulk_left(transfer)
        self.plan_uplink(index)

    def _bulk_left(self, transfer: Transfer) -> None:
        host = self.hosts[transfer.sender]
        self.count_sent(host, transfer.header, len(transfer.frame) + transfer.size_bytes)
        if transfer.ticket is not None:
            self.tell_sent(host, transfer.ticket, ok=True)
        network = self.network
        if not (network.is_lossy and network.is_lost()):
            self.queue.call_at(network.arrival_s(transfer), self.deliver_bulk, transfer)

    def break_off(self, host: SimulatedHost, is_meant: Callable[[Transfer], bool]) -> None:
        """Take bodies from a host's uplink that have not left."""
        broken = self.network.uplinks[host.index].remove(self.queue.now_s, is_meant)
        for transfer in broken:
            if transfer.ticket is not None:
                self.tell_sent(host, transfer.ticket, ok=False)
        if broken:
            self.plan_uplink(host.index)

    # --- inputs -----------------------------------------------------------------------------

    @property
    def is_watched(self) -> bool:
        """Whether checkers are to see each message."""
        return bool(self._checkers)

    def is_open_to_all(self, receiver: SimulatedHost) -> bool:
        """Whether nothing keeps what others send from a host."""
        return self.network.is_whole and receiver.is_online and not self._broken

    def deliver(
        self, sender: SimulatedHost, receiver: SimulatedHost, session: int, frame: bytes
    ) -> None:
        """Tell a host of a frame, if it arrives."""
        if self.network.is_whole and receiver.is_online and not self._broken:
            if receiver.session != session:
                return
        elif not self._arrives(sender, receiver, session):  # Looks at all that may stop it.
            return
        now_s = self.queue.now_s
        self.trace.add(now_s, _FRAME, receiver.index, sender.index, frame)
        self.counters["frames"] += 1
        try:
            message = self._decode(frame)
            if self._checkers:
                self._tell_checkers(receiver, "on_message", sender.peer_id, message)
            actions = receiver.machine.on_message(now_s, sender.peer_id, message)  # type: ignore[union-attr]  # It is online.
        except (MalformedFrame, RemoteProtocolError) as error:
            self._drop_liar(receiver, sender, error)
            return
        if actions:
            receiver.queue.push(actions)

    def deliver_bulk(self, transfer: Transfer) -> None:
        """Deliver a body in one go once all of it is there: header, parts, end."""
        sender, receiver = self.hosts[transfer.sender], self.hosts[transfer.receiver]
        if self.network.is_whole and receiver.is_online and not self._broken:
            if receiver.session != transfer.session:
                return
        elif not self._arrives(sender, receiver, transfer.session):
            return
        now_s, machine, peer_id = self.queue.now_s, receiver.machine, sender.peer_id
        assert machine is not None
        parts, digest = transfer.body.content()
        self.trace.add(now_s, TraceKind.BODY, receiver.index, sender.index, transfer.frame + digest)
        self.counters["bodies"] += 1
        self._bulk = bulk = self._bulk + 1
        is_checked = bool(self._checkers)
        try:
            header = self._decode(transfer.frame)
            if is_checked:
                self._tell_checkers(receiver, "on_bulk_begin", peer_id, bulk, header)
            is_wanted, actions = machine.on_bulk_begin(now_s, peer_id, bulk, header)
            if is_wanted:
                for part in parts:
                    if is_checked:
                        self._tell_checkers(receiver, "on_bulk_chunk", peer_id, bulk, part)
                    actions += machine.on_bulk_chunk(now_s, peer_id, bulk, part)
                if is_checked:
                    self._tell_checkers(receiver, "on_bulk_end", peer_id, bulk, None)
                actions += machine.on_bulk_end(now_s, peer_id, bulk, None)
        except (MalformedFrame, RemoteProtocolError) as error:
            self._drop_liar(receiver, sender, error)
            return
        if actions:
            receiver.queue.push(actions)

    def timer_due(self, host: SimulatedHost, life: int, ticket: Ticket) -> None:
        """Tell a host of a timer, if it was not cancelled."""
        if host.life != life or not host.queue.take_timer(ticket):
            return
        assert host.machine is not None  # A dead process has no open tickets.
        now_s = self.queue.now_s
        self.trace.add(now_s, _TIMER, host.index, ticket)
        self.counters["timers"] += 1
        if self._checkers:
            self._tell_checkers(host, "on_timer", ticket)
        host.queue.push(host.machine.on_timer(now_s, ticket))

    def _work_due(self, host: SimulatedHost, life: int, ticket: Ticket) -> None:
        if host.life == life and host.queue.take_work(ticket):
            assert self._workshop is not None
            self._work_ended(host, ticket, self._workshop.result((host.index, life, ticket)))

    def end_shared(self, host: SimulatedHost, life: int, ticket: Ticket, result: Record) -> None:
        """Tell a host how a job ended that it did with others, if it still waits for that."""
        if host.life == life and host.queue.take_work(ticket):
            self._work_ended(host, ticket, result)

    def _work_ended(self, host: SimulatedHost, ticket: Ticket, result: Record) -> None:
        assert host.machine is not None
        del host.jobs[ticket]
        now_s = self.queue.now_s
        self.trace.add(now_s, TraceKind.WORK, host.index, ticket)
        self.counters["jobs"] += 1
        if isinstance(result, WorkFailed):
            if self._checkers:
                self._tell_checkers(host, "on_work_failed", ticket, result.reason)
            host.queue.push(host.machine.on_work_failed(now_s, ticket, result.reason))
        else:
            if self._checkers:
                self._tell_checkers(host, "on_work_done", ticket, result)
            host.queue.push(host.machine.on_work_done(now_s, ticket, result))

    def _down_due(self, host: SimulatedHost, life: int, other: SimulatedHost) -> None:
        if host.life != life or host.machine is None:
            return
        self.trace.add(self.queue.now_s, TraceKind.DOWN, host.index, other.index)
        if self._checkers:
            self._tell_checkers(host, "on_peer_down", other.peer_id)
        host.queue.push(host.machine.on_peer_down(self.queue.now_s, other.peer_id))

    def _sent_due(self, host: SimulatedHost, life: int, ticket: Ticket, ok: bool) -> None:
        if host.life == life and host.queue.take_sent(ticket):
            assert host.machine is not None
            if self._checkers:
                self._tell_checkers(host, "on_sent", ticket, ok)
            host.queue.push(host.machine.on_sent(self.queue.now_s, ticket, ok))

    def written(self, host: SimulatedHost, life: int) -> None:
        """Make records durable, and let go on what waits for them."""
        if host.life != life or host.writing is None:
            return
        self.trace.add(self.queue.now_s, TraceKind.PERSISTED, host.index, 0)
        self.counters["persisted"] += 1
        host.keep(host.writing)
        host.queue.persisted()

    # --- links ------------------------------------------------------------------------------

    def has_room_for_links(self, host: SimulatedHost) -> bool:
        """Whether a host keeps fewer links than it may."""
        return len(host.links) < LINKS_MAX

    def link(self, host: SimulatedHost, receiver: SimulatedHost) -> bool:
        """Note a link to whom a host sends; False where its own network is gone."""
        if not host.is_online:
            if not host.is_silent:
                self._tell_down(host, receiver)
            return False
        if receiver.index not in host.links:
            for one, other in ((host, receiver), (receiver, host)):
                one.links[other.index] = None
                if len(one.links) > LINKS_MAX:
                    oldest = next(iter(one.links))
                    del one.links[oldest]
                    self.hosts[oldest].links.pop(one.index, None)
        return True

    def _arrives(self, sender: SimulatedHost, receiver: SimulatedHost, session: int) -> bool:
        """Tell whether something sent reaches its receiver; if not, its sender may notice."""
        network = self.network
        if not network.is_whole and not network.can_reach(sender.index, receiver.index):
            return False
        if self._broken and self.queue.sequence < self._broken.get(
            (sender.index, receiver.index), 0
        ):
            return False
        if receiver.is_online:
            return receiver.session == session
        if not receiver.is_silent:
            self._tell_down(sender, receiver)
        return False

    def break_link(self, host: SimulatedHost, other: SimulatedHost) -> None:
        """End a link, if it stands, and all that is on its way over it; both ends are told."""
        self._tell_of_fault(host, other)
        if host.links.pop(other.index, 0) is not None:
            return
        other.links.pop(host.index, None)
        for one, two in ((host, other), (other, host)):
            self._broken[one.index, two.index] = self.queue.planned + 1
            self.break_off(one, partial(_is_to, two.index))
            self._tell_down(one, two)

    def _drop_liar(self, host: SimulatedHost, sender: SimulatedHost, error: Exception) -> None:
        reason = "malformed_frame" if isinstance(error, MalformedFrame) else str(error)
        self.counters[f"protocol_error_{reason}"] += 1
        for checker in self._checkers:
            checker.on_refused(self.queue.now_s, host.index, sender.index, reason)
        for observer in self.observers:
            detail = f"{reason}, by peer {sender.index}"
            observer.on_incident(self.queue.now_s, host, "protocol_error", detail)
        self.break_link(host, sender)

    def _tell_down(self, host: SimulatedHost, other: SimulatedHost) -> None:
        at_s = self.queue.now_s + self.network.latency_s(other.index, host.index)
        self.queue.call_at(at_s, self._down_due, host, host.life, other)


def _is_to(receiver: int, transfer: Transfer) -> bool:
    return transfer.receiver == receiver
