"""A machine that does what a test says, at the times it says, and notes all it is told."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from p2pfl_crypto.hashing import hash_parts
from p2pfl_crypto.identity import Identity
from p2pfl_gossip.actions import Action, Event, PeerId, RemoteProtocolError, SetTimer
from p2pfl_gossip.catch_up import ModelHeader
from p2pfl_gossip.records import Message, Record
from p2pfl_simulations.batch import Workshop
from p2pfl_simulations.event_queue import EventQueue
from p2pfl_simulations.host import SimulatedHost
from p2pfl_simulations.network import Network
from p2pfl_simulations.world import World
from p2pfl_simulations.world_settings import NetworkSettings

FIRST_SCRIPT_TICKET = 1_000_000

IDS = [Identity(hash_parts(b"test/scripted", bytes([index]))).peer_id for index in range(100)]


class Scripted:
    """Carries out `script`, (when, actions); notes what it is told in `seen`, (when, what, ...)."""

    def __init__(
        self, script: Sequence[tuple[float, list[Action]]], seen: list[tuple[Any, ...]]
    ) -> None:
        self.script, self.seen = list(script), seen
        self.is_offended = False
        self.is_curious = True

    def on_start(self, now_s: float, records: dict[str, Any]) -> list[Action]:
        self.seen.append((now_s, "start", records))
        return [
            SetTimer(FIRST_SCRIPT_TICKET + place, at_s)
            for place, (at_s, _) in enumerate(self.script)
            if at_s >= now_s
        ]

    def on_timer(self, now_s: float, ticket: int) -> list[Action]:
        if ticket >= FIRST_SCRIPT_TICKET:
            return self.script[ticket - FIRST_SCRIPT_TICKET][1]
        return self.note(now_s, "timer", ticket)

    def on_message(self, now_s: float, sender: PeerId, message: Message) -> list[Action]:
        self.note(now_s, "message", IDS.index(sender), message)
        if self.is_offended:
            raise RemoteProtocolError("offended")
        return []

    def on_bulk_begin(
        self, now_s: float, sender: PeerId, bulk: int, header: Message
    ) -> tuple[bool, list[Action]]:
        self.note(now_s, "begin", IDS.index(sender), header)
        return self.is_curious, []

    def on_bulk_chunk(self, now_s: float, sender: PeerId, bulk: int, chunk: Any) -> list[Action]:
        return self.note(now_s, "chunk", IDS.index(sender), bytes(memoryview(chunk).cast("B")))

    def on_bulk_end(self, now_s: float, sender: PeerId, bulk: int, trailer: Any) -> list[Action]:
        return self.note(now_s, "body", IDS.index(sender))

    def on_bulk_lost(self, now_s: float, sender: PeerId, bulk: int) -> list[Action]:
        return self.note(now_s, "lost", IDS.index(sender))

    def on_sent(self, now_s: float, ticket: int, ok: bool) -> list[Action]:
        return self.note(now_s, "sent", ticket, ok)

    def on_peer_up(self, now_s: float, peer: PeerId) -> list[Action]:
        return self.note(now_s, "up", IDS.index(peer))

    def on_peer_down(self, now_s: float, peer: PeerId) -> list[Action]:
        return self.note(now_s, "down", IDS.index(peer))

    def on_work_done(self, now_s: float, ticket: int, result: Record) -> list[Action]:
        return self.note(now_s, "done", ticket, result)

    def on_work_part(self, now_s: float, ticket: int, part: Record) -> list[Action]:
        return self.note(now_s, "part", ticket, part)

    def on_work_failed(self, now_s: float, ticket: int, reason: str) -> list[Action]:
        return self.note(now_s, "failed", ticket, reason)

    def on_command(self, now_s: float, command: Any) -> list[Action]:
        return self.note(now_s, "command", command)

    def note(self, *entry: Any) -> list[Action]:
        self.seen.append((round(entry[0], 9), *entry[1:]))
        return []


class Stage:
    """A world of scripted machines. `seen[i]` is what host i was told, through all its lives."""

    def __init__(
        self,
        scripts: dict[int, list[tuple[float, list[Action]]]] | None = None,
        *,
        hosts: int = 3,
        latency: dict[str, Any] | None = None,
        bandwidth: float = 1000.0,
        loss: float = 0.0,
        seed: int = 0,
        worker: Any = None,
        duration_s: Any = lambda _index, _job: 1.0,
    ) -> None:
        self.seen: list[list[tuple[Any, ...]]] = [[] for _ in range(hosts)]
        self.incidents: list[tuple[Any, ...]] = []
        self.reports: list[tuple[Any, ...]] = []
        self.queue = EventQueue()
        self.scripts = scripts or {}
        settings = NetworkSettings.model_validate(
            {
                "latency": latency or {"kind": "constant", "mean_s": 0.1},
                "bandwidth_bytes_per_s": bandwidth,
                "loss": loss,
            }
        )
        self.network = Network(settings, peer_count=hosts, seed=seed, queue=self.queue)
        self.world = World(
            peer_ids=IDS[:hosts],
            make_machine=lambda index: Scripted(self.scripts.get(index, []), self.seen[index]),
            network=self.network,
            queue=self.queue,
            workshop=Workshop(worker) if worker else None,
            duration_s=duration_s,
            observers=(self,),
        )

    def on_report(self, now_s: float, host: SimulatedHost, event: Event) -> None:
        self.reports.append((now_s, host.index, event))

    def on_incident(self, now_s: float, host: SimulatedHost | None, kind: str, detail: str) -> None:
        self.incidents.append((now_s, host and host.index, kind, detail))

    def at(self, at_s: float, function: Any, *arguments: Any, **options: Any) -> "Stage":
        """Have something happen to the world at a time."""
        self.queue.call_at(at_s, lambda: function(*arguments, **options))
        return self

    def offline(self, at_s: float, index: int, **options: Any) -> "Stage":
        host = self.world.hosts[index]
        return self.at(at_s, self.world.take_offline, host, "test", **options)

    def online(self, at_s: float, index: int) -> "Stage":
        return self.at(at_s, self.world.bring_online, self.world.hosts[index], "test")

    def run(self, time_limit_s: float = 1e6) -> "Stage":
        self.world.start()
        self.world.run(time_limit_s)
        return self

    def told(self, index: int, *kinds: str) -> list[tuple[Any, ...]]:
        """Return what a host was told, of some kinds."""
        return [entry for entry in self.seen[index] if entry[1] in kinds]


def model(size_bytes: int) -> tuple[ModelHeader, Any]:
    """Return a header, and a body of some bytes."""
    return ModelHeader(1), np.zeros(size_bytes, np.uint8)
