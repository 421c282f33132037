"""What tests of the driver share: machines of a script, driven over hosts on loopback."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from scripted import IDS, Scripted

from p2pfl.daemon.driver import Driver
from p2pfl.daemon.links import Links
from p2pfl.libp2p import Host
from p2pfl_crypto.hashing import hash_parts
from p2pfl_crypto.identity import Identity
from p2pfl_gossip.actions import Action, Event, Job, Machine, PeerId, Vector
from p2pfl_gossip.records import Message, Record

LISTEN = "/ip4/127.0.0.1/tcp/0"
DEADLINE_S = 60.0
GROUP = bytes(range(32))


def identity(index: int) -> Identity:
    """The identity behind `scripted.IDS[index]`."""
    return Identity(hash_parts(b"test/scripted", bytes([index])))


class MemoryJournal:
    """Keeps records in memory, and notes each `Persist`; fails when it is told to."""

    def __init__(self, records: dict[str, bytes | Vector] | None = None) -> None:
        self.kept = dict(records or {})
        self.persisted: list[dict[str, bytes | Vector | None]] = []
        self.failure: Exception | None = None

    def records(self) -> dict[str, bytes | Vector]:
        return dict(self.kept)

    def persist(self, records: dict[str, bytes | Vector | None]) -> None:
        if self.failure is not None:
            raise self.failure
        self.persisted.append(records)
        for key, value in records.items():
            if value is None:
                self.kept.pop(key, None)
            else:
                self.kept[key] = value


class Notes:
    """An observer that notes what it is told."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.links: list[tuple[PeerId, bool, str]] = []
        self.refused: list[tuple[PeerId, str]] = []
        self._news = asyncio.Event()

    def on_event(self, now_s: float, event: Event) -> None:
        self.events.append(event)
        self._news.set()

    async def until(self, kind: type[Event]) -> None:
        """Wait for an event of a kind, and leave the processor to who works meanwhile."""
        while not any(isinstance(event, kind) for event in self.events):
            self._news.clear()
            await self._news.wait()

    def on_link(self, peer: PeerId, *, up: bool, reason: str) -> None:
        self.links.append((peer, up, reason))

    def on_refused(self, peer: PeerId, reason: str) -> None:
        self.refused.append((peer, reason))

    def on_traffic(
        self, direction: str, peer: PeerId, message: Message, frame: bytes | bytearray
    ) -> None:
        pass


class Driven:
    """One machine with all that drives it."""

    def __init__(
        self,
        machine: Machine,
        host: Host,
        *,
        addresses: dict[PeerId, list[str]],
        work: Callable[[Job], Record],
        group: bytes = GROUP,
        journal: MemoryJournal | None = None,
    ) -> None:
        self.machine, self.host = machine, host
        self.notes, self.journal = Notes(), journal or MemoryJournal()
        self.driver = Driver(machine, journal=self.journal, work=work, observer=self.notes)
        self.links = Links(host, addresses=addresses, group_id=group, receiver=self.driver)
        self.stop = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.task = asyncio.get_running_loop().create_task(self.driver.run(self.links, self.stop))

    async def end(self) -> None:
        """Stop, and raise what the driver raised."""
        self.stop.set()
        if self.task is not None:
            await self.task


class AtOnce(Scripted):
    """Asks for all actions of its script when it starts."""

    def __init__(self, actions: list[Action]) -> None:
        super().__init__([], [])
        self.actions = actions

    def on_start(self, now_s: float, records: dict[str, Any]) -> list[Action]:
        return super().on_start(now_s, records) + self.actions


def no_work(job: Job) -> Record:
    raise AssertionError(f"no test asks for {job}")


@asynccontextmanager
async def scripted_pair(
    one: list[Action],
    two: list[Action],
    *,
    groups: tuple[bytes, bytes] = (GROUP, GROUP),
    work: Callable[[Job], Record] = no_work,
) -> AsyncIterator[tuple[Driven, Driven]]:
    """Two machines that ask for these actions when they start; not started yet."""
    async with Host(identity(0)) as first, Host(identity(1)) as second:
        hosts = (first, second)
        addresses = [[str(it) for it in await host.listen(LISTEN)] for host in hosts]
        driven = [
            Driven(
                AtOnce(actions),
                host,
                addresses={IDS[1 - place]: addresses[1 - place]},
                work=work,
                group=groups[place],
            )
            for place, (actions, host) in enumerate(zip((one, two), hosts, strict=True))
        ]
        try:
            yield driven[0], driven[1]
        finally:
            for each in driven:
                await each.end()


def seen(driven: Driven) -> list[tuple[Any, ...]]:
    """What a scripted machine was told, without the times."""
    assert isinstance(driven.machine, Scripted)
    return [entry[1:] for entry in driven.machine.seen]


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until `condition` holds; the test's deadline is the bound."""
    while not condition():
        await asyncio.sleep(0)


def run(main: Callable[[], Awaitable[None]]) -> None:
    """Run a test's coroutine to its end, within the deadline."""

    async def bounded() -> None:
        async with asyncio.timeout(DEADLINE_S):
            await main()

    asyncio.run(bounded())
