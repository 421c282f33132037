"""Simulated links: latency, bandwidth, loss, and parts of the network that cannot reach each other.

A frame takes one latency, drawn anew each time, so that frames overtake each other. A bulk body
first leaves by its sender's uplink, which all bodies under way from that peer share alike
(processor sharing, as many TCP connections through one bottleneck do), then takes one latency, and
is there once the receiver's downlink, which takes bodies in turn, has had room for it. Frames are
small and do not wait for bodies, as streams of one multiplexed connection do not.

Connection set-up and the transport's own overhead are not modelled.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from random import Random

from p2pfl_gossip.actions import Ticket
from p2pfl_gossip.records import Message
from p2pfl_simulations.draws import array_stream, sampler, stream
from p2pfl_simulations.event_queue import EventQueue
from p2pfl_simulations.trace import Body
from p2pfl_simulations.world_settings import NetworkSettings


@dataclass(slots=True)
class Transfer:
    """A bulk body on its way.

    `session` is the receiver's at the time of sending; `frame` the encoded `header`; `ticket` what
    its sender wants to be told under.
    """

    sender: int
    receiver: int
    session: int
    frame: bytes
    body: Body
    size_bytes: int
    start_s: float
    ticket: Ticket | None
    header: Message


class SharedLink:
    """A link that its transfers share alike, by virtual service: O(log n) a transfer.

    Every transfer under way gets the same bytes in the same time, `served` counts them; a transfer
    ends when `served` has grown by its size. (Generalised processor sharing: Parekh & Gallager,
    IEEE/ACM ToN 1993.)
    """

    __slots__ = (
        "_heap", "_rate", "_sequence", "_served", "_since_s", "generation", "planned_s",
    )  # fmt: skip

    def __init__(self, bytes_per_s: float) -> None:
        self._rate = bytes_per_s
        self._served = 0.0
        self._since_s = 0.0
        self._sequence = 0
        self._heap: list[tuple[float, int, Transfer]] = []
        self.planned_s = math.inf  # When an event is due that looks for ended transfers.
        self.generation = 0  # Of those events: older ones are void.

    def add(self, now_s: float, transfer: Transfer) -> bool:
        """Begin a transfer; return whether it will be the next to end."""
        self._advance(now_s)
        self._sequence += 1
        heappush(self._heap, (self._served + transfer.size_bytes, self._sequence, transfer))
        return self._heap[0][2] is transfer

    def next_end_s(self) -> float | None:
        """Return when the next transfer will end if none is added, or None if there is none."""
        if not self._heap:
            return None
        left = max(0.0, self._heap[0][0] - self._served)
        return self._since_s + left * len(self._heap) / self._rate

    def take_ended(self, now_s: float) -> list[Transfer]:
        """Take the transfers that end now: the first, and those of the same size and start."""
        first_end = self._heap[0][0]
        self._served, self._since_s = first_end, now_s
        ended = []
        while self._heap and self._heap[0][0] <= first_end:
            ended.append(heappop(self._heap)[2])
        return ended

    def clear(self) -> list[Transfer]:
        """Break off all transfers."""
        broken = [transfer for _, _, transfer in sorted(self._heap, key=lambda entry: entry[1])]
        self._heap.clear()
        self.generation += 1
        self.planned_s = math.inf
        return broken

    def remove(self, now_s: float, is_meant: Callable[[Transfer], bool]) -> list[Transfer]:
        """Break off some transfers; the others then go on faster."""
        self._advance(now_s)
        removed = [entry for entry in self._heap if is_meant(entry[2])]
        if removed:
            self._heap = [entry for entry in self._heap if not is_meant(entry[2])]
            heapify(self._heap)
        return [transfer for _, _, transfer in sorted(removed, key=lambda entry: entry[1])]

    def _advance(self, now_s: float) -> None:
        if self._heap:
            self._served += (now_s - self._since_s) * self._rate / len(self._heap)
        self._since_s = now_s


class Network:
    """All links between `peer_count` peers, named by index.

    Args:
        settings: of all links.
        peer_count: how many peers there are.
        seed: of the scenario.
        queue: the clock.
        between: latency in seconds from a sender to a receiver, in place of the settings'.

    Attributes:
        draw_latency: draws a latency: of any link, or of the one that `between` tells.
        is_lossy: whether `is_lost` may ever hold.
        is_plain: whether nothing is lost, and all latencies are `draw_latency`'s.
        is_whole: whether everybody can reach everybody.
    """

    def __init__(
        self,
        settings: NetworkSettings,
        *,
        peer_count: int,
        seed: int,
        queue: EventQueue,
        between: Callable[[int, int], float] | None = None,
    ) -> None:
        self._between = between
        self.draw_latency = (
            sampler(settings.latency, array_stream(seed, "latency"))
            if between is None
            else _of_any_link(between, peer_count, stream(seed, "latency of any link"))
        )
        self.is_plain = settings.loss == 0 and between is None
        self._loss = settings.loss
        self.is_lossy = settings.loss > 0
        self._loss_rng = stream(seed, "loss")
        self._rate = settings.bandwidth_bytes_per_s
        self._queue = queue
        self.uplinks = [SharedLink(self._rate) for _ in range(peer_count)]
        self._downlink_free_s = [0.0] * peer_count
        self._parts: list[int] | None = None  # The part of the network each peer is in.
        self._cut: dict[frozenset[int], None] = {}  # Pairs that cannot reach each other.
        self.is_whole = True

    def is_lost(self) -> bool:
        """Draw whether a frame or body is lost on its way."""
        return self.is_lossy and self._loss_rng.random() < self._loss

    def stop_losses(self) -> None:
        """Lose nothing more."""
        self.is_lossy, self.is_plain = False, self._between is None

    def latency_s(self, sender: int, receiver: int) -> float:
        """Draw how long a frame takes from one peer to another."""
        return self.draw_latency() if self._between is None else self._between(sender, receiver)

    def split(self, parts: list[int] | None) -> None:
        """Let peers reach only those of the same part; None heals."""
        self._parts = parts
        self.is_whole = parts is None and not self._cut

    def cut(self, one: int, other: int) -> None:
        """Let two peers no longer reach each other."""
        self._cut[frozenset((one, other))] = None
        self.is_whole = False

    def mend(self, one: int, other: int) -> None:
        """Let two peers reach each other again."""
        self._cut.pop(frozenset((one, other)), None)
        self.is_whole = self._parts is None and not self._cut

    def can_reach(self, sender: int, receiver: int) -> bool:
        """Tell whether no partition lies between two peers, and their link is not cut."""
        if self._cut and frozenset((sender, receiver)) in self._cut:
            return False
        return self._parts is None or self._parts[sender] == self._parts[receiver]

    def arrival_s(self, transfer: Transfer) -> float:
        """Return when a body that has left its uplink now is there."""
        latency_s = self.latency_s(transfer.sender, transfer.receiver)
        free_s = max(self._downlink_free_s[transfer.receiver], transfer.start_s + latency_s)
        free_s += transfer.size_bytes / self._rate
        self._downlink_free_s[transfer.receiver] = free_s
        return max(self._queue.now_s + latency_s, free_s)


def _of_any_link(
    between: Callable[[int, int], float], peer_count: int, rng: Random
) -> Callable[[], float]:
    """Return what draws the latency of a link drawn at random: for faults that are timed by it."""

    def draw() -> float:
        return between(rng.randrange(peer_count), rng.randrange(peer_count))

    return draw
