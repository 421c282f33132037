"""What members of a modelled group say to all others, heard in waves.

Adverts, signatures of entries and word of being at work are said by each member to all others: n
times n messages a round, which all say much the same. Where links lose nothing and all can reach
each other, what is said within a little while is heard together: a wave closes so long after it was
opened, and each receiver hears all of it one latency later. Frames and bytes are counted as ever.
A receiver to whom something else may follow from a message, from a fault say, hears each by itself.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt
import xxhash

from p2pfl_crypto.identity import PeerId
from p2pfl_gossip.actions import Action
from p2pfl_gossip.ledger.messages import EntrySignature, GroupAdvert, Progress
from p2pfl_gossip.records import Message
from p2pfl_simulations.event_queue import EventQueue
from p2pfl_simulations.host import SimulatedHost
from p2pfl_simulations.network import Network
from p2pfl_simulations.trace import Trace, TraceKind

Said: TypeAlias = GroupAdvert | EntrySignature | Progress
KINDS = (GroupAdvert, EntrySignature, Progress)

PROGRESS_SHARE = 0.25
"""Of the interval at which those at work say so: how long a wave of that is open. A member counts
as at work for three intervals after its word."""


@runtime_checkable
class HearsWaves(Protocol):
    """A machine that can hear a wave at once."""

    def on_wave(self, now_s: float, wave: "Wave") -> list[Action] | None:
        """Hear what peers say, each one message of one kind and round; our own may be among it.

        Returns:
            What is to be done; None if they must be heard one by one: then nothing was taken.
        """


class BoardWorld(Protocol):
    """What the board needs of its world."""

    queue: EventQueue
    network: Network
    trace: Trace
    hosts: list[SimulatedHost]
    counters: Counter[str]

    @property
    def is_watched(self) -> bool:
        """Whether checkers are to see each message."""

    def has_room_for_links(self, host: SimulatedHost) -> bool:
        """Whether a host keeps fewer links than it may."""

    def link(self, host: SimulatedHost, receiver: SimulatedHost) -> bool:
        """Note a link to whom a host sends."""

    def deliver(
        self, sender: SimulatedHost, receiver: SimulatedHost, session: int, frame: bytes
    ) -> None:
        """A frame arrives."""

    def is_open_to_all(self, receiver: SimulatedHost) -> bool:
        """Whether nothing keeps what others send from a host."""

    def count_all_sent(
        self, host: SimulatedHost, kind: type[Message], frames: int, size_bytes: int
    ) -> None:
        """Count messages that a host has sent."""


@dataclass(slots=True, eq=False)
class _Post:
    sender: SimulatedHost
    message: Said
    frame: bytes
    sessions: dict[int, int]  # Of the receivers, by index.


@dataclass(slots=True, eq=False)
class Wave:
    """What is heard together.

    Attributes:
        said: by whom, where each has said one thing, to all others; else None.
        known: what receivers have worked out of it, which is the same for all of them.
    """

    posts: list[_Post] = field(default_factory=list)
    known: dict[object, object] = field(default_factory=dict)
    said: dict[PeerId, Said] | None = None
    digest: bytes = b""


class Board:
    """Gathers waves, and has them heard.

    Args:
        wait_s: how long a wave of adverts or signatures is open.
        progress_s: how often those at work say so.
        draw_latencies: draws so many latencies.
    """

    def __init__(
        self,
        *,
        wait_s: float,
        progress_s: float,
        draw_latencies: Callable[[int], npt.NDArray[np.float64]],
    ) -> None:
        self._wait_s, self._progress_wait_s = wait_s, PROGRESS_SHARE * progress_s
        self._draw_latencies = draw_latencies
        self._open: dict[tuple[object, ...], Wave] = {}
        self._last: _Post | None = None  # Which the same host may be saying to more.
        self._world: BoardWorld

    def start(self, world: BoardWorld) -> None:
        """Begin, in a world."""
        self._world = world

    def post(
        self, host: SimulatedHost, receiver: SimulatedHost, message: Message, frame: bytes
    ) -> bool:
        """Take what a host says to another; False if it is to travel by itself."""
        last = self._last
        if last is not None and last.message is message and last.sender is host:
            last.sessions[receiver.index] = (
                receiver.session
            )  # One more of those that it is said to.
            return True
        world = self._world
        if world.network.is_lossy or not (world.network.is_whole and host.is_online):
            return False
        assert isinstance(message, KINDS)
        key = _key_of(message)
        wave = self._open.get(key)
        if wave is None:
            wave = self._open[key] = Wave()
            is_word = isinstance(message, Progress)
            wait_s = self._progress_wait_s if is_word else self._wait_s
            world.queue.call_at(world.queue.now_s + wait_s, self._close, key)
        self._last = _Post(host, message, frame, {receiver.index: receiver.session})
        wave.posts.append(self._last)
        return True

    def _close(self, key: tuple[object, ...]) -> None:
        world, wave = self._world, self._open.pop(key)
        self._last = None
        receivers: dict[int, None] = {}
        for post in wave.posts:
            receivers.update(dict.fromkeys(post.sessions))
            count = len(post.sessions)
            world.count_all_sent(post.sender, type(post.message), count, count * len(post.frame))
            self._note_links(post)
        said = {post.sender.peer_id: post.message for post in wave.posts}
        everybody = len(receivers.keys() | {post.sender.index for post in wave.posts})
        if len(said) == len(wave.posts) and all(
            len(post.sessions) == everybody - 1 for post in wave.posts
        ):
            wave.said = said
        wave.digest = xxhash.xxh3_128(b"".join(post.frame for post in wave.posts)).digest()
        now_s = world.queue.now_s
        for index, latency_s in zip(
            receivers, self._draw_latencies(len(receivers)).tolist(), strict=True
        ):
            world.queue.call_at(now_s + latency_s, self._deliver, world.hosts[index], wave)

    def _note_links(self, post: _Post) -> None:
        """Note whom a host exchanges frames with, as far as it keeps so many links."""
        sender, world = post.sender, self._world
        for index in post.sessions:
            if index not in sender.links and world.has_room_for_links(sender):
                world.link(sender, world.hosts[index])

    def _deliver(self, receiver: SimulatedHost, wave: Wave) -> None:
        world, index = self._world, receiver.index
        posts = [post for post in wave.posts if index in post.sessions]
        machine = receiver.machine
        if (
            wave.said is not None
            and not world.is_watched
            and isinstance(machine, HearsWaves)
            and world.is_open_to_all(receiver)
            and all(post.sessions[index] == receiver.session for post in posts)
        ):
            actions = machine.on_wave(world.queue.now_s, wave)
            if actions is not None:
                world.trace.add(world.queue.now_s, TraceKind.WAVE, index, len(posts), wave.digest)
                world.counters["frames"] += len(posts)
                receiver.queue.push(actions)
                return
        for post in posts:
            world.deliver(post.sender, receiver, post.sessions[index], post.frame)


def _key_of(message: Said) -> tuple[object, ...]:
    """Name what is said of one round, so that all in a wave say alike."""
    match message:
        case GroupAdvert():
            return (GroupAdvert, message.epoch, message.round, message.head)
        case EntrySignature():
            return (EntrySignature, message.epoch, message.round, message.entry)
        case Progress():
            return (Progress, message.epoch)
