"""Carries the actions of one simulated host out: `Hands` of its action queue."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from p2pfl_crypto.identity import PeerId
from p2pfl_gossip.actions import (
    Buffer,
    Connect,
    Disconnect,
    Persist,
    Report,
    Send,
    SendBulk,
    SetTimer,
    Ticket,
    Work,
)
from p2pfl_gossip.records import Message
from p2pfl_simulations.board import KINDS, Board
from p2pfl_simulations.disk import Disks
from p2pfl_simulations.event_queue import EventQueue
from p2pfl_simulations.host import SimulatedHost
from p2pfl_simulations.network import Network, Transfer
from p2pfl_simulations.testbed import RunWatcher
from p2pfl_simulations.trace import Body


class Surroundings(Protocol):
    """What hands need of the world that they are in."""

    host_of: Mapping[PeerId, SimulatedHost]
    queue: EventQueue
    network: Network
    disks: Disks
    observers: Sequence[RunWatcher]
    board: Board | None

    def encode(self, message: Message) -> bytes:
        """Encode a message."""

    def body_of(self, parts: Iterable[Buffer]) -> Body:
        """Take a body that is to travel."""

    def link(self, host: SimulatedHost, receiver: SimulatedHost) -> bool:
        """Note a link; return False where the host's own network is gone."""

    def break_link(self, host: SimulatedHost, other: SimulatedHost) -> None:
        """End a link."""

    def count_sent(self, host: SimulatedHost, message: Message, size_bytes: int) -> None:
        """Count what leaves."""

    def plan_uplink(self, index: int) -> None:
        """See that an event is due when the next body has left."""

    def break_off(self, host: SimulatedHost, is_meant: Callable[[Transfer], bool]) -> None:
        """Take bodies from a host's uplink."""

    def start_job(self, host: SimulatedHost, action: Work) -> None:
        """Take a job."""

    def cancel_job(self, host: SimulatedHost, ticket: Ticket) -> None:
        """Forget a job."""

    def strike(self, host: SimulatedHost) -> None:
        """Bring the fault that was planned at an action."""

    def tell_sent(self, host: SimulatedHost, ticket: Ticket, ok: bool) -> None:
        """Tell how a sending ended, later."""

    def deliver(
        self, sender: SimulatedHost, receiver: SimulatedHost, session: int, frame: bytes
    ) -> None:
        """A frame arrives."""

    def timer_due(self, host: SimulatedHost, life: int, ticket: Ticket) -> None:
        """A timer is due."""

    def written(self, host: SimulatedHost, life: int) -> None:
        """The disk has had its time."""


class SimulatedHands:
    """The hands of one host. What comes of its actions is an event of the world, never told now."""

    __slots__ = ("_host", "_world")

    def __init__(self, world: Surroundings, host: SimulatedHost) -> None:
        self._world, self._host = world, host

    # Frames and bodies.

    def send(self, action: Send) -> None:
        """Let a frame leave; it arrives a latency later, or is lost."""
        world, host = self._world, self._host
        receiver = world.host_of[action.receiver]
        frame = world.encode(action.message)
        if action.ticket is not None:
            world.tell_sent(host, action.ticket, host.is_online)
        elif (
            world.board is not None
            and type(action.message) in KINDS
            and world.board.post(host, receiver, action.message, frame)
        ):
            return
        if not (host.is_online and receiver.index in host.links) and not world.link(host, receiver):
            return
        world.count_sent(host, action.message, len(frame))
        network, queue = world.network, world.queue
        if network.is_plain:
            at_s = queue.now_s + network.draw_latency()
        elif network.is_lost():
            return
        else:
            at_s = queue.now_s + network.latency_s(host.index, receiver.index)
        queue.call_at(at_s, world.deliver, host, receiver, receiver.session, frame)

    def send_bulk(self, action: SendBulk) -> None:
        """Put a body on the host's uplink."""
        world, host = self._world, self._host
        receiver = world.host_of[action.receiver]
        if not (host.is_online and receiver.index in host.links) and not world.link(host, receiver):
            if action.ticket is not None:
                world.tell_sent(host, action.ticket, ok=False)
            return
        now_s = world.queue.now_s
        transfer = Transfer(
            host.index,
            receiver.index,
            receiver.session,
            world.encode(action.header),
            world.body_of(action.parts),
            action.size_bytes,
            now_s,
            action.ticket,
            action.header,
        )
        if world.network.uplinks[host.index].add(now_s, transfer):
            world.plan_uplink(host.index)

    def cancel_send(self, ticket: Ticket) -> None:
        """Take a body from the uplink, if it has not left."""
        self._world.break_off(self._host, lambda transfer: transfer.ticket == ticket)

    def not_sent(self, ticket: Ticket) -> None:
        """Have a sending told as not done."""
        self._world.tell_sent(self._host, ticket, ok=False)

    def connect(self, action: Connect) -> None:
        """Nothing: links stand from the first frame on."""

    def disconnect(self, action: Disconnect) -> None:
        """Break a link, with all that is on its way."""
        self._world.break_link(self._host, self._world.host_of[action.peer])

    # Time and work.

    def set_timer(self, action: SetTimer) -> None:
        """Plan an event."""
        world, host = self._world, self._host
        world.queue.call_at(action.at_s, world.timer_due, host, host.life, action.ticket)

    def cancel_timer(self, ticket: Ticket) -> None:
        """Nothing: the queue takes no timer whose ticket is closed."""

    def work(self, action: Work) -> None:
        """Have a job done, and its result told when its duration has passed."""
        self._world.start_job(self._host, action)

    def cancel_work(self, ticket: Ticket) -> None:
        """Have a job not done, if it has not been."""
        self._world.cancel_job(self._host, ticket)

    # Records and events.

    def persist(self, action: Persist) -> bool:
        """Keep records when the disk has had its time."""
        world, host = self._world, self._host
        host.writing = action
        if host.actions_left == 1:
            world.strike(host)  # In the middle of it.
            if host.queue.is_closed:
                return False
        if world.disks.are_instant:
            host.keep(action)
            return True
        at_s = world.queue.now_s + world.disks.persist_s(action.records)
        world.queue.call_at(at_s, world.written, host, host.life)
        return False

    def report(self, action: Report) -> None:
        """Tell the observers."""
        world = self._world
        for observer in world.observers:
            observer.on_report(world.queue.now_s, self._host, action.event)
