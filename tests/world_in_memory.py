"""Runs whole peers in memory: every frame is encoded, may be lost, takes time, and is decoded.

The smallest driver there can be: one event queue, one latency, one loss probability. Training is
`train`, by default nothing at all, so that what is measured is averaging alone.
"""

import heapq
from collections.abc import Callable, Sequence
from itertools import count
from random import Random
from typing import Any

import numpy as np

from p2pfl_gossip import events, wire
from p2pfl_gossip.actions import (
    Action,
    CancelTimer,
    PeerId,
    Report,
    Send,
    SendBulk,
    SetTimer,
    Vector,
    Work,
)
from p2pfl_gossip.averaging.base import Averaging, Tickets
from p2pfl_gossip.learning import Train, Trained
from p2pfl_gossip.peer import Peer, Settings
from p2pfl_gossip.roster import Roster

DEADLINE_S = 10.0

MakeAveraging = Callable[[int, Roster, Tickets], Averaging]


class World:
    """Peers, what is on its way between them, and what they reported.

    `history[r][i]` is the model of peer i at the end of round r, and `ended[r][i]` its event.
    """

    def __init__(
        self,
        models: Sequence[Vector],
        make_averaging: MakeAveraging,
        *,
        rounds: int,
        loss: float = 0.0,
        latency_s: Callable[[Random], float] = lambda _: 0.05,
        train: Callable[[int, Train], Vector] = lambda _, job: job.vector,
        train_s: Callable[[int], float] = lambda _: 1.0,
        seed: int = 0,
    ) -> None:
        self.roster = Roster(PeerId(f"peer-{index}") for index in range(len(models)))
        self.now_s = 0.0
        self.frames = self.frame_bytes = 0
        self.ended: list[dict[int, events.RoundEnded]] = [{} for _ in range(rounds)]
        self.averagings: list[Averaging] = []
        self._rng, self._loss, self._latency_s, self._train = Random(seed), loss, latency_s, train
        self._train_s = train_s
        self._queue: list[tuple[float, int, Callable[[], list[Action]], int]] = []
        self._order, self._bulks = count(), count()
        self._cancelled: dict[tuple[int, int], bool] = {}
        settings = Settings(rounds=rounds, deadline_s=DEADLINE_S, evaluate_every=0)
        self.peers = [
            Peer(
                index=index,
                roster=self.roster,
                settings=settings,
                initial=model,
                make_averaging=lambda tickets, index=index: self._make(
                    make_averaging, index, tickets
                ),
                seed="in-memory",
            )
            for index, model in enumerate(models)
        ]

    def _make(self, make: MakeAveraging, index: int, tickets: Tickets) -> Averaging:
        self.averagings.append(make(index, self.roster, tickets))
        return self.averagings[-1]

    @property
    def history(self) -> list[Any]:
        return [
            np.array([ended[index].vector for index in range(len(self.peers))])
            for ended in self.ended
        ]

    def run(self) -> "World":
        for index, peer in enumerate(self.peers):
            self._do(index, peer.on_start(0.0, {}))
        while self._queue:
            self.now_s, _, event, index = heapq.heappop(self._queue)
            self._do(index, event())
        return self

    def _later(self, after_s: float, index: int, event: Callable[[], list[Action]]) -> None:
        heapq.heappush(self._queue, (self.now_s + after_s, next(self._order), event, index))

    def _do(self, index: int, actions: list[Action]) -> None:
        peer = self.peers[index]
        for action in actions:
            match action:
                case Send() | SendBulk():
                    self._transmit(index, action)
                case SetTimer(ticket, at_s):
                    self._later(at_s - self.now_s, index, lambda t=ticket: self._fire(index, t))
                case CancelTimer(ticket):
                    self._cancelled[index, ticket] = True
                case Work(ticket, Train() as job):
                    result = Trained(self._train(index, job), 1, 0.0)
                    self._later(
                        self._train_s(index),
                        index,
                        lambda t=ticket, r=result: peer.on_work_done(self.now_s, t, r),
                    )
                case Report(events.RoundEnded() as ended):
                    self.ended[ended.round][index] = ended

    def _fire(self, index: int, ticket: int) -> list[Action]:
        if self._cancelled.pop((index, ticket), False):
            return []
        return self.peers[index].on_timer(self.now_s, ticket)

    def _transmit(self, index: int, action: Send | SendBulk) -> None:
        receiver = self.roster.index_untrusted(action.receiver)
        message = action.message if isinstance(action, Send) else action.header
        frame = wire.encode(message)  # type: ignore[arg-type]
        body = None
        if isinstance(action, SendBulk):
            body = b"".join(memoryview(part).cast("B") for part in action.parts)  # type: ignore[arg-type]
            assert len(body) == action.size_bytes
            if action.ticket is not None:
                ticket = action.ticket
                self._later(
                    0.0, index, lambda: self.peers[index].on_sent(self.now_s, ticket, ok=True)
                )
        self.frames += 1
        self.frame_bytes += len(frame) + len(body or b"")
        if self._rng.random() < self._loss:
            return
        sender = self.roster.peers[index]
        self._later(
            self._latency_s(self._rng),
            receiver,
            lambda: self._deliver(receiver, sender, frame, body),
        )

    def _deliver(
        self, receiver: int, sender: PeerId, frame: bytes, body: bytes | None
    ) -> list[Action]:
        peer, message = self.peers[receiver], wire.decode_untrusted(frame)
        if body is None:
            return peer.on_message(self.now_s, sender, message)
        bulk = next(self._bulks)
        wanted, actions = peer.on_bulk_begin(self.now_s, sender, bulk, message)
        if wanted:
            actions = actions + peer.on_bulk_chunk(self.now_s, sender, bulk, body)
            actions = actions + peer.on_bulk_end(self.now_s, sender, bulk, None)
        return actions
