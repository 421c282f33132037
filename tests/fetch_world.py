"""One who fetches an item, and holders of it, honest or not, in virtual time.

Links have a latency and a rate; with `rng`, latencies are drawn anew for every frame and piece, so
that frames overtake each other, and jobs end in any order. A holder is a subclass of `Giver`.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from random import Random
from typing import Any

import numpy as np

from p2pfl_gossip import wire
from p2pfl_gossip.actions import (
    Action,
    CancelSend,
    CancelTimer,
    CancelWork,
    Disconnect,
    PeerId,
    RemoteProtocolError,
    Send,
    SendBulk,
    SetTimer,
    Work,
)
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.ledger.fetching import StateFetch
from p2pfl_gossip.ledger.shelf import Shelf
from p2pfl_gossip.ledger.state_messages import ChunksRequest, StateMessage
from p2pfl_gossip.ledger.states import (
    CHUNK_ENTRIES,
    StateDigested,
    digest_state,
    perform,
)
from p2pfl_gossip.memory import vector_memory
from p2pfl_gossip.records import Message

US = PeerId("us")
PIECE_BYTES = 2**18
EVENTS_MAX = 50_000


def a_model(chunks: float, seed: int = 0) -> np.ndarray:
    """Return a vector of so many chunks, no two of which are equal; nobody may write to it."""
    length = int(chunks * CHUNK_ENTRIES)
    vector = np.arange(seed, seed + length, dtype=np.float32)
    vector.flags.writeable = False
    return vector


class Giver:
    """An honest holder; liars override what it does.

    Attributes:
        latency_s: of its link, each way.
        bytes_per_s: of its bodies, one by one.
    """

    latency_s = 0.01
    bytes_per_s = 100e6

    def __init__(self, **settings: Any) -> None:
        self.__dict__.update(settings)
        self.desk = Desk()
        self.shelf = Shelf(self.desk.sub())
        self.is_dead = False

    def begin(self, world: "FetchWorld", peer: PeerId) -> None:
        """Take a place in a world."""
        self.world, self.peer = world, peer
        self.hold(world.state, world.model)

    def hold(self, state: StateDigested, model: np.ndarray) -> None:
        """Put the item on the shelf."""
        self.shelf.hold(state.item, model, state.chunk_digests)

    def on_message(self, message: StateMessage) -> list[Action]:
        """Answer the fetcher."""
        return self.shelf.on_message(self.world.now_s, US, message)

    def says(self, message: Message) -> Message | None:
        """Return what is said in place of a message."""
        return message

    def pieces(self, sending: SendBulk) -> Iterable[np.ndarray]:
        """Return the pieces of a body, as they are sent."""
        for part in sending.parts:
            values = np.frombuffer(part, np.uint8)
            for start in range(0, len(values), PIECE_BYTES):
                yield values[start : start + PIECE_BYTES]

    def piece_s(self, number: int, size: int) -> float | None:
        """Return how long a piece of a body takes; None ends the stream."""
        return size / self.bytes_per_s


class FetchWorld:
    """Runs a fetch.

    Attributes:
        fetch: the machine.
        asked: chunks asked of each holder, in all.
        refused: what inputs of the fetch raised, by holder and reason.
        ended: links that the fetch ended, by reason.
        cancels: whose bodies were stopped by it.
        jobs_failing: how many of the next jobs fail.
        sent_bytes: of bodies, by holder.
    """

    def __init__(
        self,
        givers: Sequence[Giver],
        *,
        chunks: float = 12,
        rng: Random | None = None,
        deadline_s: float = 5.0,
        base: tuple[np.ndarray, bytes] | None = None,
    ) -> None:
        self.model = a_model(chunks)
        self.state = digest_state("model", self.model)
        self.now_s, self.rng = 0.0, rng
        self.peers = [PeerId(f"holder-{index}") for index in range(len(givers))]
        self.givers = dict(zip(self.peers, givers, strict=True))
        self.desk = Desk()
        self.fetch = StateFetch(
            self.state.item, desk=self.desk.sub(), deadline_s=deadline_s, base=base
        )
        self.asked: Counter[PeerId] = Counter()
        self.refused: list[tuple[PeerId, str]] = []
        self.ended: dict[PeerId, str] = {}
        self.cancels: list[PeerId] = []
        self.sent_bytes: Counter[PeerId] = Counter()
        self.jobs_failing = 0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order, self._bulks = count(), count(1)
        self._timers: dict[int, None] = {}
        self._works: dict[int, None] = {}
        self._stopped: dict[tuple[PeerId, int | None], None] = {}
        for peer, giver in self.givers.items():
            giver.begin(self, peer)

    # --- what a test does -----------------------------------------------------------------------

    def start(self, *indices: int) -> "FetchWorld":
        """Have the fetch begin with some holders, or all."""
        peers = [self.peers[index] for index in indices] if indices else self.peers
        self.do(self.fetch.start(self.now_s, peers))
        return self

    def add(self, index: int) -> None:
        """Name a holder."""
        self.do(self.fetch.add_holder(self.now_s, self.peers[index]))

    def down(self, peer: PeerId) -> None:
        """Break a link; what is on its way is lost."""
        self.givers[peer].is_dead = True
        self.do(self.fetch.on_peer_down(self.now_s, peer))

    def run(self, until_s: float = 1e9, *, until: Callable[[], bool] | None = None) -> "FetchWorld":
        """Let time pass until nothing is to happen, or all is fetched."""
        for _ in range(EVENTS_MAX):
            is_over = self.fetch.outcome is not None if until is None else until()
            if is_over or not self._events or self._events[0][0] > until_s:
                return self
            at_s, _order, event = heapq.heappop(self._events)
            self.now_s = max(self.now_s, at_s)
            event()
        raise AssertionError("it never ends")

    def drain(self) -> None:
        """Let all happen that is on its way, also after the end."""
        self.run(until=lambda: False)

    def require_whole(self) -> None:
        """See that what was fetched is the item, and cannot be written to."""
        outcome = self.fetch.outcome
        assert outcome is not None
        assert np.array_equal(outcome.vector, self.model)
        assert outcome.chunk_digests == self.state.chunk_digests
        assert not outcome.vector.flags.writeable
        assert self.fetch.verified_count == self.state.item.chunk_count
        assert not self.fetch.is_stalled

    # --- the world ------------------------------------------------------------------------------

    def later(self, delay_s: float, event: Callable[[], None]) -> None:
        """Have something happen."""
        if self.rng is not None:
            delay_s *= self.rng.uniform(0.5, 3.0)
        heapq.heappush(self._events, (self.now_s + delay_s, next(self._order), event))

    def do(self, actions: list[Action]) -> None:
        """Carry out what the fetch asks for."""
        for action in actions:
            match action:
                case SetTimer(ticket, at_s):
                    self._timers[ticket] = None
                    event = (max(at_s, self.now_s), next(self._order), self._due(ticket))
                    heapq.heappush(self._events, event)
                case CancelTimer(ticket):
                    self._timers.pop(ticket, None)
                case Work(ticket, job):
                    self._works[ticket] = None
                    self.later(0.001, self._worked(ticket, perform(job)))
                case CancelWork(ticket):
                    self._works.pop(ticket, None)
                case Send(receiver, message):
                    if isinstance(message, ChunksRequest):
                        self.asked[receiver] += message.count
                    giver = self.givers[receiver]
                    self.later(giver.latency_s, self._arrival(giver, message))
                case Disconnect(peer, reason):
                    assert peer not in self.ended, "a link was ended twice"
                    self.ended[peer] = reason
                    self.later(0.0, lambda peer=peer: self.down(peer))  # type: ignore[misc]
                case _:
                    raise AssertionError(f"a fetch does not ask for {action}")

    def _due(self, ticket: int) -> Callable[[], None]:
        def due() -> None:
            if ticket in self._timers:
                del self._timers[ticket]
                self.do(self.desk.on_timer(self.now_s, ticket))

        return due

    def _worked(self, ticket: int, result: Any) -> Callable[[], None]:
        def worked() -> None:
            if ticket in self._works:
                del self._works[ticket]
                if self.jobs_failing:
                    self.jobs_failing -= 1
                    self.do(self.desk.on_work_failed(self.now_s, ticket, "out of memory"))
                else:
                    self.do(self.desk.on_work_done(self.now_s, ticket, result))

        return worked

    def _arrival(self, giver: Giver, message: Message) -> Callable[[], None]:
        def arrive() -> None:
            if not giver.is_dead:
                told = wire.decode_untrusted(wire.encode(message))
                self.give(giver, giver.on_message(told))  # type: ignore[arg-type]

        return arrive

    def give(self, giver: Giver, actions: list[Action]) -> None:
        """Carry out what a holder asks for."""
        for action in actions:
            match action:
                case Send(_, message):
                    said = giver.says(message)
                    if said is not None:
                        self.later(giver.latency_s, self._answer(giver, said))
                case SendBulk():
                    self.later(2 * giver.latency_s, self._body(giver, action))
                case CancelSend(ticket):
                    self.cancels.append(giver.peer)
                    self._stopped[giver.peer, ticket] = None
                case _:
                    raise AssertionError(f"a shelf does not ask for {action}")

    def _answer(self, giver: Giver, message: Message) -> Callable[[], None]:
        return lambda: self.tell(giver, self.fetch.on_message, giver.peer, message)

    def tell(self, giver: Giver, take: Callable[..., Any], *arguments: Any) -> Any:
        """Call an input of the fetch for a holder; a protocol error ends its link."""
        if giver.is_dead:
            return None
        try:
            told = take(self.now_s, *arguments)
        except RemoteProtocolError as error:
            self.refused.append((giver.peer, error.reason))
            self.down(giver.peer)
            return None
        is_wanted, actions = told if isinstance(told, tuple) else (True, told)
        self.do(actions)
        return is_wanted

    def _body(self, giver: Giver, sending: SendBulk) -> Callable[[], None]:
        pieces, bulk, number = iter(giver.pieces(sending)), next(self._bulks), count()

        def end(*, ok: bool) -> None:
            self._stopped.pop((giver.peer, sending.ticket), None)
            if sending.ticket is not None:
                giver.desk.on_sent(self.now_s, sending.ticket, ok)

        def begin() -> None:
            header = giver.says(sending.header)
            if giver.is_dead or (giver.peer, sending.ticket) in self._stopped or header is None:
                end(ok=False)
            elif self.tell(giver, self.fetch.on_bulk_begin, giver.peer, bulk, header):
                step()
            else:
                end(ok=False)

        def step() -> None:
            piece = next(pieces, None)
            if piece is None:
                self.tell(giver, self.fetch.on_bulk_end, giver.peer, bulk)
                end(ok=True)
                return
            takes_s = giver.piece_s(next(number), len(piece))
            if takes_s is None:
                end(ok=False)
                self.tell(giver, self.fetch.on_bulk_lost, giver.peer, bulk)
                return
            self.later(takes_s, lambda: arrive(piece))

        def arrive(piece: np.ndarray) -> None:
            if giver.is_dead or (giver.peer, sending.ticket) in self._stopped:
                end(ok=False)
                self.do(self.fetch.on_bulk_lost(self.now_s, giver.peer, bulk))
                return
            self.sent_bytes[giver.peer] += len(piece)
            given = memoryview(piece.tobytes())
            if self.tell(giver, self.fetch.on_bulk_chunk, giver.peer, bulk, given):
                step()

        return begin


def spoil_memory(world: FetchWorld) -> None:
    """Fill the memory that the fetch takes, so that nothing in it is right by chance."""
    spoilt = vector_memory(world.state.item.length).take()
    spoilt.fill(-1)
