"""One process of the catching-up bench: a holder of a model, or the one that fetches it.

    python catch_up_peer.py INDEX ENTRIES honest|liar|staller
    python catch_up_peer.py INDEX ENTRIES fetcher REPEATS

A holder writes its address. The fetcher reads a JSON list from standard input: for each holder
address, peer id, process number, and whether it is fetched from; it writes one JSON object.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from around_driver import Deaf, Nothing, identity
from uvloop import new_event_loop

from p2pfl.daemon.driver import SWITCH_INTERVAL_S, Driver
from p2pfl.daemon.links import Links
from p2pfl.libp2p import Host
from p2pfl_crypto.identity import PeerId
from p2pfl_gossip.actions import Action, Buffer, Command, Connect, Send, SendBulk, Vector
from p2pfl_gossip.catch_up import ModelHeader, ModelRequest, StatusRequest
from p2pfl_gossip.desk import Desk, DeskMachine
from p2pfl_gossip.inbound import Inbound
from p2pfl_gossip.ledger.fetching import StateFetch
from p2pfl_gossip.ledger.shelf import Shelf
from p2pfl_gossip.ledger.state_messages import (
    ChunksCancel,
    ChunksRequest,
    StateChunkDigests,
    StateChunks,
    StateRefusal,
    StateRequest,
)
from p2pfl_gossip.ledger.states import digest_state, perform
from p2pfl_gossip.records import Message

DEADLINE_S = 10.0
RUN_MAX_S = 120.0
HOLDERS = 8
TICK_S = os.sysconf("SC_CLK_TCK") ** -1


def model_of(entries: int) -> Vector:
    """Return the model that all honest holders have: no two of its chunks are equal."""
    model = np.random.default_rng(1).random(entries, np.float32)
    model.flags.writeable = False
    return model


class Quiet(DeskMachine):
    """Does nothing by itself, and wants no bodies."""

    def __init__(self) -> None:
        self._desk = Desk()

    def on_start(self, now_s: float, records: dict[str, bytes | Vector]) -> list[Action]:
        return []

    def on_peer_up(self, now_s: float, peer: PeerId) -> list[Action]:
        return []

    def on_peer_down(self, now_s: float, peer: PeerId) -> list[Action]:
        return []

    def on_message(self, now_s: float, sender: PeerId, message: Message) -> list[Action]:
        return []

    def on_bulk_begin(
        self, now_s: float, sender: PeerId, bulk: int, header: Message
    ) -> tuple[bool, list[Action]]:
        return False, []

    def on_bulk_chunk(self, now_s: float, sender: PeerId, bulk: int, chunk: Buffer) -> list[Action]:
        return []

    def on_bulk_end(
        self, now_s: float, sender: PeerId, bulk: int, trailer: Message | None
    ) -> list[Action]:
        return []

    def on_bulk_lost(self, now_s: float, sender: PeerId, bulk: int) -> list[Action]:
        return []

    def on_command(self, now_s: float, command: Command) -> list[Action]:
        return []


class Holder(Quiet):
    """Gives a model in whole, or by chunks; a liar gives other bytes, a staller no chunk."""

    def __init__(self, entries: int, kind: str) -> None:
        super().__init__()
        self._kind, self._model = kind, model_of(entries)
        state = digest_state("model", self._model)
        given = self._model
        if kind == "liar":
            given = given.copy()
            given += 1
        self._shelf = Shelf(self._desk.sub())
        self._held = (state.item, given, state.chunk_digests)
        self._shelf.hold(*self._held)

    def on_message(self, now_s: float, sender: PeerId, message: Message) -> list[Action]:
        match message:
            case StatusRequest():  # As if it were a new model: of one, a member gets a few only.
                self._shelf.drop(self._held[0].digest)
                self._shelf.hold(*self._held)
            case ModelRequest():
                header = ModelHeader(message.round + 1)
                return [SendBulk(sender, header, (self._model,), self._model.nbytes)]
            case ChunksRequest() if self._kind == "staller":
                return []
            case StateRequest() | ChunksRequest() | ChunksCancel():
                return self._shelf.on_message(now_s, sender, message)
        return []


class Fetcher(Quiet):
    """Fetches the model in both ways, when told to."""

    def __init__(self, entries: int, holders: list[PeerId]) -> None:
        super().__init__()
        self._model = model_of(entries)
        self._state = digest_state("model", self._model)
        self._inbound = Inbound(np.float32)
        self._fetch: StateFetch | None = None
        self.holders = holders
        self.source: list[PeerId] = []
        self.up: dict[PeerId, None] = {}
        self._plain: int | None = None
        self.done = asyncio.Event()
        self.changed = asyncio.Event()

    def on_start(self, now_s: float, records: dict[str, bytes | Vector]) -> list[Action]:
        return [Connect(peer) for peer in self.holders]

    def on_peer_up(self, now_s: float, peer: PeerId) -> list[Action]:
        self.up[peer] = None
        self.changed.set()
        return []

    def on_peer_down(self, now_s: float, peer: PeerId) -> list[Action]:
        self.up.pop(peer, None)
        return [] if self._fetch is None else self._fetch.on_peer_down(now_s, peer)

    def on_command(self, now_s: float, command: Command) -> list[Action]:
        """Begin: one plain fetch (PAUSE), or one by chunks (RESUME)."""
        self.done.clear()
        if command is Command.PAUSE:
            return [Send(self.source[0], ModelRequest(0))]
        desk = self._desk.sub(self._settle)
        self._fetch = StateFetch(self._state.item, desk=desk, deadline_s=DEADLINE_S)
        renewals = [Send(peer, StatusRequest()) for peer in self.source]
        return [*renewals, *self._fetch.start(now_s, self.source)]

    def _settle(self, now_s: float, actions: list[Action]) -> list[Action]:
        if self._fetch is not None and self._fetch.outcome is not None:
            self.got, self._fetch = self._fetch.outcome.vector, None
            self.done.set()
        return actions

    def require_model(self) -> None:
        """See that what came is the model; forget it."""
        if not np.array_equal(self.got, self._model):
            raise RuntimeError("another model came")
        del self.got

    def on_message(self, now_s: float, sender: PeerId, message: Message) -> list[Action]:
        if isinstance(message, StateChunkDigests | StateRefusal) and self._fetch is not None:
            return self._fetch.on_message(now_s, sender, message)
        return []

    def on_bulk_begin(
        self, now_s: float, sender: PeerId, bulk: int, header: Message
    ) -> tuple[bool, list[Action]]:
        if isinstance(header, StateChunks):
            if self._fetch is None:
                return False, []
            return self._fetch.on_bulk_begin(now_s, sender, bulk, header)
        self._inbound.begin(sender, bulk, header, self._model.nbytes)
        self._plain = bulk
        return True, []

    def on_bulk_chunk(self, now_s: float, sender: PeerId, bulk: int, chunk: Buffer) -> list[Action]:
        if bulk == self._plain:
            self._inbound.chunk(bulk, chunk)
            return []
        return [] if self._fetch is None else self._fetch.on_bulk_chunk(now_s, sender, bulk, chunk)

    def on_bulk_end(
        self, now_s: float, sender: PeerId, bulk: int, trailer: Message | None
    ) -> list[Action]:
        if bulk == self._plain:
            _, self.got = self._inbound.end(bulk)
            self._plain = None
            self.done.set()
            return []
        return [] if self._fetch is None else self._fetch.on_bulk_end(now_s, sender, bulk)

    def on_bulk_lost(self, now_s: float, sender: PeerId, bulk: int) -> list[Action]:
        return [] if self._fetch is None else self._fetch.on_bulk_lost(now_s, sender, bulk)


def cpu_s(process: int) -> float:
    """Return the processor time of all threads of a process."""
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


async def fetch(driver: Driver, machine: Fetcher, told: list[dict[str, Any]], repeats: int) -> None:
    """Fetch in turns; write the figures."""
    loop = asyncio.get_running_loop()
    processes = [os.getpid(), *(holder["process"] for holder in told)]
    honest = [PeerId(it["peer"]) for it in told if it["kind"] == "honest"]
    figures: dict[str, list[dict[str, float]]] = {"plain": [], "chunks": []}
    for repeat in range(repeats + 1):
        for name, command in (("plain", Command.PAUSE), ("chunks", Command.RESUME)):
            while len(machine.up) < len(machine.holders):  # The liar's link was ended.
                machine.changed.clear()
                await machine.changed.wait()
            machine.source = honest[:1] if name == "plain" else machine.holders
            await asyncio.sleep(0.3)
            cpu_before_s, began_s = sum(map(cpu_s, processes)), loop.time()
            driver.command(command)
            async with asyncio.timeout(RUN_MAX_S):
                await machine.done.wait()
            took_s = loop.time() - began_s
            await asyncio.sleep(0.2)
            spent_s = sum(map(cpu_s, processes)) - cpu_before_s
            machine.require_model()
            if repeat:  # The first pays for memory and for windows that grow.
                figures[name].append({"seconds": took_s, "cpu_s": spent_s})
    print(json.dumps(figures), flush=True)


async def main(index: int, entries: int, kind: str, repeats: int) -> None:
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    loop = asyncio.get_running_loop()
    peers = [identity(place).peer_id for place in range(HOLDERS + 1)]
    me = identity(index)
    async with Host(me, allow=frozenset(peers)) as host:
        addresses: dict[PeerId, list[str]]
        machine: Fetcher | Holder
        if kind == "fetcher":
            told = json.loads(await loop.run_in_executor(None, sys.stdin.readline))
            addresses = {PeerId(holder["peer"]): [holder["address"]] for holder in told}
            machine = Fetcher(entries, list(addresses))
        else:
            (address, *_) = await host.listen("/ip4/127.0.0.1/tcp/0")
            machine = Holder(entries, kind)
            addresses = {peer: [] for peer in peers if peer != me.peer_id}
        driver = Driver(machine, journal=Nothing(), work=perform, observer=Deaf())
        links = Links(host, addresses=addresses, group_id=bytes(32), receiver=driver)
        stop = asyncio.Event()
        running = loop.create_task(driver.run(links, stop))
        if isinstance(machine, Fetcher):
            await fetch(driver, machine, told, repeats)
        else:
            print(json.dumps({"address": str(address), "peer": str(me.peer_id)}), flush=True)
            await loop.run_in_executor(None, sys.stdin.readline)
        stop.set()
        await running


if __name__ == "__main__":
    index, entries = int(sys.argv[1]), int(sys.argv[2])
    repeats = int(sys.argv[4]) if len(sys.argv) > 4 else 0
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(main(index, entries, sys.argv[3], repeats))
