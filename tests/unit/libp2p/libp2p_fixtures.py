"""Hosts on loopback, and a raw peer that speaks whatever bytes a test wants it to."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import uvloop
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from p2pfl.libp2p import DEFAULT_LIMITS, Host, Limits, PeerEvent
from p2pfl.libp2p.multiaddr import Multiaddr
from p2pfl.libp2p.noise import sealed_bytes
from p2pfl.libp2p.upgrade import Upgrade
from p2pfl.libp2p.yamux_frames import (
    HEADER_BYTES,
    FrameHeader,
    decode_header_untrusted,
    encode_header,
)
from p2pfl_crypto.identity import Identity

LISTEN = "/ip4/127.0.0.1/tcp/0"
# A generous deadline for what should take milliseconds: tests wait on events, never on time.
DEADLINE_S = 30.0


def identity(number: int) -> Identity:
    return Identity(number.to_bytes(32, "big"))


def limits(**changes: Any) -> Limits:
    return replace(DEFAULT_LIMITS, **changes)


def run(main: Callable[[], Awaitable[None]], *, uv: bool = False) -> None:
    """Run a test's coroutine to its end; nothing of it may be left behind."""

    async def bounded() -> None:
        loop = asyncio.get_running_loop()
        failures: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: failures.append(context))
        async with asyncio.timeout(DEADLINE_S):
            await main()
            while len(asyncio.all_tasks()) > 1:
                await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()})
        assert not failures, failures

    if uv:
        uvloop.run(bounded())
    else:
        asyncio.run(bounded())


@asynccontextmanager
async def two_hosts(**changes: Any) -> AsyncIterator[Any]:
    """A dialling host, a listening host and their connection."""
    async with (
        Host(identity(1), limits=limits(**changes)) as dialing,
        Host(identity(2), limits=limits(**changes)) as listening,
    ):
        addresses = await listening.listen(LISTEN)
        connection = await dialing.dial(listening.peer_id, addresses)
        yield dialing, listening, connection


class Events:
    """What a host tells of its peers, to be waited for."""

    def __init__(self, host: Host) -> None:
        self.seen: list[PeerEvent] = []
        self._changed = asyncio.Event()
        host.watch(self._on_event)

    def _on_event(self, event: PeerEvent) -> None:
        self.seen.append(event)
        self._changed.set()

    async def until(self, *expected: PeerEvent) -> None:
        while self.seen != list(expected):
            self._changed.clear()
            assert len(self.seen) <= len(expected), self.seen
            await self._changed.wait()


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until `condition` holds; the test's deadline is the bound."""
    while not condition():
        await asyncio.sleep(0)


class RawPeer:
    """A peer below the host: upgrades by the machine, then sends any plaintext whatsoever."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._opened = bytearray()
        self._sealed = bytearray()

    @classmethod
    async def connect(cls, address: Multiaddr) -> "RawPeer":
        return cls(*await asyncio.open_connection(address.host, address.port))

    async def upgrade(self, identity: Identity, *, steps: int | None = None) -> None:
        """Upgrade as the dialler; stop after so many answers where `steps` is given."""
        machine = Upgrade(
            identity,
            dialer=True,
            static=X25519PrivateKey.generate(),
            ephemeral=X25519PrivateKey.generate(),
            admit=lambda _: None,
        )
        self.writer.write(machine.start())
        while machine.result is None and steps != 0:
            data = await self.reader.read(65536)
            assert data, "closed during the upgrade"
            self.writer.write(machine.receive_untrusted(data))
            steps = None if steps is None else steps - 1
        if machine.result is not None:
            self.channel = machine.result.channel
            self._sealed += machine.result.rest

    async def send(self, plaintext: bytes) -> None:
        sealed = bytearray(sealed_bytes(len(plaintext)))
        self.channel.seal_into(memoryview(plaintext), memoryview(sealed))
        self.writer.write(sealed)
        await self.writer.drain()

    async def frame(self, frame_type: int, flags: int, stream_id: int, length: int) -> None:
        await self.send(encode_header(frame_type, flags, stream_id, length))

    async def read_frame(self) -> tuple[FrameHeader, bytes] | None:
        """The next frame, or None at the end of the connection."""
        header = await self._plaintext(HEADER_BYTES)
        if header is None:
            return None
        decoded = decode_header_untrusted(header, 0)
        body = await self._plaintext(decoded.length) if decoded.type == 0 else b""
        return None if body is None else (decoded, body)

    async def closed(self) -> None:
        """Wait until the host has closed the connection."""
        try:
            while await self.reader.read(65536):
                pass
        except ConnectionError:
            pass
        self.writer.close()

    async def _plaintext(self, count: int) -> bytes | None:
        while len(self._opened) < count:
            opened = memoryview(bytearray(len(self._sealed)))
            used, filled = self.channel.open_into_untrusted(memoryview(bytes(self._sealed)), opened)
            del self._sealed[:used]
            self._opened += opened[:filled]
            if not used:
                try:
                    data = await self.reader.read(65536)
                except ConnectionError:
                    return None
                if not data:
                    return None
                self._sealed += data
        taken = bytes(self._opened[:count])
        del self._opened[:count]
        return taken
