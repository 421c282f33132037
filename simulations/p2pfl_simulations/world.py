"""The simulated world: runs machines, the very ones that the daemon runs, on a virtual clock.

The world is the driver of every machine (actions.py): it carries out their actions over simulated
links and tells them what comes. It knows all; a machine gets to know nothing but its inputs.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from p2pfl_crypto.identity import PeerId
from p2pfl_gossip import wire
from p2pfl_gossip.actions import (
    Action,
    CancelSend,
    CancelTimer,
    CancelWork,
    Command,
    Connect,
    Disconnect,
    Event,
    Job,
    Machine,
    Persist,
    RemoteProtocolError,
    Report,
    Send,
    SendBulk,
    SetTimer,
    Ticket,
    Vector,
    Work,
)
from p2pfl_gossip.learning import WorkFailed
from p2pfl_gossip.records import MalformedFrame, Message
from p2pfl_simulations.batch import Workshop
from p2pfl_simulations.checkers.base import Checker, told_of_actions, told_of_inputs
from p2pfl_simulations.event_queue import EventQueue
from p2pfl_simulations.network import Network, Transfer
from p2pfl_simulations.trace import Body, Kind, Trace

LINKS_MAX = 64
"""Links that a host keeps; the oldest is closed for a new one."""


class Host:
    """What surrounds one simulated peer: its process, its links, its disk.

    Attributes:
        machine: the peer; None while its process is down.
        life: counts processes: what was set up for an earlier one is void.
        session: counts times online: what was on its way to an earlier one is lost.
        records: what `Persist` has saved.
        links: peers that it has exchanged frames with and would notice the loss of.
    """

    __slots__ = (
        "bytes_sent", "index", "is_online", "is_silent", "life", "links", "machine", "peer_id",
        "records", "session", "timers", "work",
    )  # fmt: skip

    def __init__(self, index: int, peer_id: PeerId) -> None:
        self.index, self.peer_id = index, peer_id
        self.machine: Machine | None = None
        self.life = self.session = 0
        self.is_online = True
        self.is_silent = False  # While offline: links do not break, they go dead.
        self.records: dict[str, bytes | Vector] = {}
        self.timers: set[Ticket] = set()  # Membership only.
        self.work: dict[Ticket, None] = {}
        self.links: dict[int, None] = {}
        self.bytes_sent = 0


class Observer(Protocol):
    """Watches the world; it may plan faults, but nothing it knows reaches a machine."""

    def on_report(self, now_s: float, host: Host, event: Event) -> None:
        """A machine has reported an event."""

    def on_incident(self, now_s: float, host: Host | None, kind: str, detail: str) -> None:
        """Something happened to a host, or to the whole network if it is None.

        `kind`: ``offline``, ``online``, ``protocol_error``, ``partition``, ``healed``.
        """


class World:
    """Machines, links and a clock.

    Args:
        peer_ids: of all hosts, by index.
        make_machine: makes the machine of a host, at the start and after each restart.
        network: the links.
        queue: the clock, the same as the network's.
        workshop: does the machines' jobs; None where they ask for none.
        duration_s: how long a host's job takes in virtual time.
        observers: are told what happens.
        checkers: see every input and action; without any, they cost nothing.
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
        observers: Sequence[Observer] = (),
        checkers: Sequence[Checker] = (),
    ) -> None:
        self.hosts = [Host(index, peer_id) for index, peer_id in enumerate(peer_ids)]
        self.queue, self.network = queue, network
        self.trace = Trace()
        self.counters: Counter[str] = Counter()
        self.frames_sent = self.bytes_sent = 0
        self.bytes_by_message: Counter[str] = Counter()
        self._indices = {peer_id: index for index, peer_id in enumerate(peer_ids)}
        self._make_machine = make_machine
        self._workshop, self._duration_s = workshop, duration_s
        self._observers, self._checkers = tuple(observers), tuple(checkers)
        self._bulk = 0
        self._last_body = Body(())
        self._last_message: Message | None = None
        self._last_frame = b""
        self._handlers: dict[type, Callable[[Host, Any], None]] = {
            Send: self._send,
            SendBulk: self._send_bulk,
            CancelSend: self._ignore,
            SetTimer: self._set_timer,
            CancelTimer: self._cancel_timer,
            Work: self._work,
            CancelWork: self._cancel_work,
            Persist: self._persist,
            Connect: self._ignore,
            Disconnect: self._disconnect,
            Report: self._report,
        }
        if self._checkers:
            self._input_checkers = told_of_inputs(self._checkers)
            for kind, handler in list(self._handlers.items()):
                watching = told_of_actions(self._checkers, kind)
                if watching:
                    self._handlers[kind] = self._checked(handler, watching)

    # --- running ----------------------------------------------------------------------------

    @property
    def is_over(self) -> bool:
        """Whether `run` is to return: observers set it."""
        return self.queue.is_stopped

    @is_over.setter
    def is_over(self, is_over: bool) -> None:
        self.queue.is_stopped = is_over

    def start(self) -> None:
        """Start every host's process, at time 0."""
        for host in self.hosts:
            self._start_machine(host)

    def run(self, time_limit_s: float) -> None:
        """Process events until an observer sets `is_over`, none is left, or time is up."""
        self.queue.run(time_limit_s)

    def command(self, host: Host, command: Command) -> None:
        """Pass an operator's word on to a running machine."""
        if host.machine is not None:
            if self._checkers:
                self._tell_checkers(host, "on_command", command)
            self._perform(host, host.machine.on_command(self.queue.now_s, command))

    # --- faults: called by whoever plans them -------------------------------------------------

    def take_offline(
        self, host: Host, detail: str, *, kills: bool = False, silent: bool = False
    ) -> None:
        """Cut a host off; with `kills`, its process dies too. Silent: nobody is told."""
        if not host.is_online:
            return
        host.is_online, host.is_silent = False, silent
        host.session += 1
        for transfer in self.network.uplinks[host.index].clear():
            if transfer.ticket is not None:
                self._tell_sent(host, transfer.ticket, ok=False)
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
        self.trace.add(self.queue.now_s, Kind.OFFLINE, host.index, 0)
        for observer in self._observers:
            observer.on_incident(self.queue.now_s, host, "offline", detail)

    def bring_online(self, host: Host, detail: str) -> None:
        """Connect a host again; start its process if it is down."""
        if host.is_online:
            return
        host.is_online, host.is_silent = True, False
        self.trace.add(self.queue.now_s, Kind.ONLINE, host.index, 0)
        for observer in self._observers:
            observer.on_incident(self.queue.now_s, host, "online", detail)
        if host.machine is None:
            self._start_machine(host)

    def split(self, parts: list[int] | None) -> None:
        """Let hosts reach only those of the same part of the network; None heals it."""
        self.network.split(parts)
        kind, detail = (
            ("healed", "") if parts is None else ("partition", f"{len(set(parts))} parts")
        )
        for observer in self._observers:
            observer.on_incident(self.queue.now_s, None, kind, detail)

    def _start_machine(self, host: Host) -> None:
        host.machine = self._make_machine(host.index)
        if self._checkers:
            self._tell_checkers(host, "on_start", dict(host.records))
        self._perform(host, host.machine.on_start(self.queue.now_s, dict(host.records)))

    def _stop_machine(self, host: Host) -> None:
        if self._workshop is not None:
            for ticket in host.work:
                self._workshop.cancel((host.index, host.life, ticket))
        host.machine = None
        for checker in self._checkers:
            checker.on_crash(self.queue.now_s, host.index)
        host.life += 1
        host.work.clear()
        host.timers.clear()

    # --- checkers ---------------------------------------------------------------------------

    def _tell_checkers(self, host: Host, name: str, *arguments: Any) -> None:
        for checker in self._input_checkers:
            checker.on_input(self.queue.now_s, host.index, name, arguments)

    def _checked(
        self, handler: Callable[[Host, Any], None], checkers: tuple[Checker, ...]
    ) -> Callable[[Host, Any], None]:
        """Return what tells the checkers of an action, then carries it out."""

        def tell_and_handle(host: Host, action: Any) -> None:
            for checker in checkers:
                checker.on_action(self.queue.now_s, host.index, action)
            handler(host, action)

        return tell_and_handle

    # --- actions ----------------------------------------------------------------------------

    def _perform(self, host: Host, actions: list[Action]) -> None:
        handlers = self._handlers
        for action in actions:
            handlers[type(action)](host, action)

    def _send(self, host: Host, action: Send) -> None:
        receiver = self.hosts[self._indices[action.receiver]]
        frame = self._encode(action.message)
        if action.ticket is not None:
            self._tell_sent(host, action.ticket, host.is_online)
        if not self._link(host, receiver):
            return
        self._count_sent(host, action.message, len(frame))
        network, queue = self.network, self.queue
        if network.is_lossy and network.is_lost():
            return
        at_s = queue.now_s + network.draw_latency()
        queue.call_at(at_s, self._deliver, host, receiver, receiver.session, frame)

    def _encode(self, message: Message) -> bytes:
        """Encode a message once for all that it is sent to, one after the other."""
        if self._last_message is not message:
            self._last_message, self._last_frame = message, wire.encode(message)
        return self._last_frame

    def _send_bulk(self, host: Host, action: SendBulk) -> None:
        receiver = self.hosts[self._indices[action.receiver]]
        if not self._link(host, receiver):
            if action.ticket is not None:
                self._tell_sent(host, action.ticket, ok=False)
            return
        if self._last_body.parts is not action.parts:
            self._last_body = Body(action.parts)
        transfer = Transfer(
            host.index,
            receiver.index,
            receiver.session,
            self._encode(action.header),
            self._last_body,
            action.size_bytes,
            self.queue.now_s,
            action.ticket,
            action.header,
        )
        if self.network.uplinks[host.index].add(self.queue.now_s, transfer):
            self._plan_uplink(host.index)

    def _plan_uplink(self, index: int) -> None:
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
        self._plan_uplink(index)

    def _bulk_left(self, transfer: Transfer) -> None:
        host = self.hosts[transfer.sender]
        self._count_sent(host, transfer.header, len(transfer.frame) + transfer.size_bytes)
        if transfer.ticket is not None:
            self._tell_sent(host, transfer.ticket, ok=True)
        network = self.network
        if not (network.is_lossy and network.is_lost()):
            self.queue.call_at(network.arrival_s(transfer), self._deliver_bulk, transfer)

    def _set_timer(self, host: Host, action: SetTimer) -> None:
        host.timers.add(action.ticket)
        self.queue.call_at(action.at_s, self._timer_due, host, host.life, action.ticket)

    def _cancel_timer(self, host: Host, action: CancelTimer) -> None:
        host.timers.discard(action.ticket)

    def _work(self, host: Host, action: Work) -> None:
        assert self._workshop is not None, "a machine asks for work, and there is no workshop"
        host.work[action.ticket] = None
        self._workshop.start((host.index, host.life, action.ticket), action.job)
        at_s = self.queue.now_s + self._duration_s(host.index, action.job)
        self.queue.call_at(at_s, self._work_due, host, host.life, action.ticket)

    def _cancel_work(self, host: Host, action: CancelWork) -> None:
        assert self._workshop is not None
        host.work.pop(action.ticket, None)
        self._workshop.cancel((host.index, host.life, action.ticket))

    def _persist(self, host: Host, action: Persist) -> None:
        for key, value in action.records.items():
            if value is None:
                host.records.pop(key, None)
            else:
                host.records[key] = value

    def _disconnect(self, host: Host, action: Disconnect) -> None:
        self._break_link(host, self.hosts[self._indices[action.peer]])

    def _report(self, host: Host, action: Report) -> None:
        for observer in self._observers:
            observer.on_report(self.queue.now_s, host, action.event)

    def _ignore(self, host: Host, action: Action) -> None:
        """Links stand from the first frame on, and no body is taken back."""

    # --- inputs -----------------------------------------------------------------------------

    def _deliver(self, sender: Host, receiver: Host, session: int, frame: bytes) -> None:
        if not self._arrives(sender, receiver, session):
            return
        now_s = self.queue.now_s
        self.trace.add(now_s, Kind.FRAME, receiver.index, sender.index, frame)
        self.counters["frames"] += 1
        try:
            message = wire.decode_untrusted(frame)
            if self._checkers:
                self._tell_checkers(receiver, "on_message", sender.peer_id, message)
            actions = receiver.machine.on_message(now_s, sender.peer_id, message)  # type: ignore[union-attr]  # It is online.
        except (MalformedFrame, RemoteProtocolError) as error:
            self._drop_liar(receiver, sender, error)
            return
        self._perform(receiver, actions)

    def _deliver_bulk(self, transfer: Transfer) -> None:
        """Deliver a body in one go once all of it is there: header, parts, end."""
        sender, receiver = self.hosts[transfer.sender], self.hosts[transfer.receiver]
        if not self._arrives(sender, receiver, transfer.session):
            return
        now_s, machine, peer_id = self.queue.now_s, receiver.machine, sender.peer_id
        assert machine is not None
        parts, digest = transfer.body.content()
        self.trace.add(now_s, Kind.BODY, receiver.index, sender.index, transfer.frame + digest)
        self.counters["bodies"] += 1
        self._bulk += 1
        try:
            header = wire.decode_untrusted(transfer.frame)
            if self._checkers:
                self._tell_checkers(receiver, "on_bulk_begin", peer_id, self._bulk, header)
            is_wanted, actions = machine.on_bulk_begin(now_s, peer_id, self._bulk, header)
            if is_wanted:
                for part in parts:
                    if self._checkers:
                        self._tell_checkers(receiver, "on_bulk_chunk", peer_id, self._bulk, part)
                    actions += machine.on_bulk_chunk(now_s, peer_id, self._bulk, part)
                if self._checkers:
                    self._tell_checkers(receiver, "on_bulk_end", peer_id, self._bulk, None)
                actions += machine.on_bulk_end(now_s, peer_id, self._bulk, None)
        except (MalformedFrame, RemoteProtocolError) as error:
            self._drop_liar(receiver, sender, error)
            return
        self._perform(receiver, actions)

    def _timer_due(self, host: Host, life: int, ticket: Ticket) -> None:
        if host.life != life or ticket not in host.timers or host.machine is None:
            return
        host.timers.discard(ticket)
        self.trace.add(self.queue.now_s, Kind.TIMER, host.index, ticket)
        self.counters["timers"] += 1
        if self._checkers:
            self._tell_checkers(host, "on_timer", ticket)
        self._perform(host, host.machine.on_timer(self.queue.now_s, ticket))

    def _work_due(self, host: Host, life: int, ticket: Ticket) -> None:
        if host.life != life or ticket not in host.work or host.machine is None:
            return
        assert self._workshop is not None
        del host.work[ticket]
        now_s = self.queue.now_s
        result = self._workshop.result((host.index, life, ticket))
        self.trace.add(now_s, Kind.WORK, host.index, ticket)
        self.counters["jobs"] += 1
        if isinstance(result, WorkFailed):
            if self._checkers:
                self._tell_checkers(host, "on_work_failed", ticket, result.reason)
            self._perform(host, host.machine.on_work_failed(now_s, ticket, result.reason))
        else:
            if self._checkers:
                self._tell_checkers(host, "on_work_done", ticket, result)
            self._perform(host, host.machine.on_work_done(now_s, ticket, result))

    def _down_due(self, host: Host, life: int, other: Host) -> None:
        if host.life != life or host.machine is None:
            return
        self.trace.add(self.queue.now_s, Kind.DOWN, host.index, other.index)
        if self._checkers:
            self._tell_checkers(host, "on_peer_down", other.peer_id)
        self._perform(host, host.machine.on_peer_down(self.queue.now_s, other.peer_id))

    def _sent_due(self, host: Host, life: int, ticket: Ticket, ok: bool) -> None:
        if host.life == life and host.machine is not None:
            if self._checkers:
                self._tell_checkers(host, "on_sent", ticket, ok)
            self._perform(host, host.machine.on_sent(self.queue.now_s, ticket, ok))

    # --- links ------------------------------------------------------------------------------

    def _link(self, host: Host, receiver: Host) -> bool:
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

    def _arrives(self, sender: Host, receiver: Host, session: int) -> bool:
        """Tell whether something sent reaches its receiver; if not, its sender may notice."""
        network = self.network
        if not network.is_whole and not network.can_reach(sender.index, receiver.index):
            return False
        if receiver.is_online:
            return receiver.session == session
        if not receiver.is_silent:
            self._tell_down(sender, receiver)
        return False

    def _break_link(self, host: Host, other: Host) -> None:
        if host.links.pop(other.index, 0) is None:
            other.links.pop(host.index, None)
            self._tell_down(host, other)
            self._tell_down(other, host)

    def _drop_liar(self, host: Host, sender: Host, error: Exception) -> None:
        reason = "malformed_frame" if isinstance(error, MalformedFrame) else str(error)
        self.counters[f"protocol_error_{reason}"] += 1
        for checker in self._checkers:
            checker.on_refused(self.queue.now_s, host.index, sender.index, reason)
        for observer in self._observers:
            detail = f"{reason}, by peer {sender.index}"
            observer.on_incident(self.queue.now_s, host, "protocol_error", detail)
        self._break_link(host, sender)

    def _tell_down(self, host: Host, other: Host) -> None:
        at_s = self.queue.now_s + self.network.draw_latency()
        self.queue.call_at(at_s, self._down_due, host, host.life, other)

    def _tell_sent(self, host: Host, ticket: Ticket, ok: bool) -> None:
        self.queue.call_at(self.queue.now_s, self._sent_due, host, host.life, ticket, ok)

    def _count_sent(self, host: Host, message: Message, size_bytes: int) -> None:
        self.bytes_by_message[type(message).__name__] += size_bytes
        host.bytes_sent += size_bytes
        self.bytes_sent += size_bytes
        self.frames_sent += 1
