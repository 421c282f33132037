"""One of our peers for the speed bench: one JSON command a line in, one JSON answer a line out."""

import asyncio
import os
import time
from typing import Any

import uvloop
from answering import Answering, answer_all, say

from p2pfl.libp2p import Host, Stream, parse_multiaddr
from p2pfl_crypto.identity import Identity, PeerId

CHUNK_BYTES = 1 << 20


async def add_up(stream: Stream) -> None:
    total = 0
    while data := await stream.read():
        total += len(data)
    await stream.write(total.to_bytes(8, "big"))


async def echo(stream: Stream) -> None:
    while data := await stream.read():
        await stream.write(data)


class Peer(Answering):
    """What the bench can have a peer do."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.peer_id = PeerId("")

    async def dial(self, address: str) -> dict[str, Any]:
        parsed = parse_multiaddr(address)
        assert parsed.peer_id is not None
        self.peer_id = parsed.peer_id
        await self.host.dial(self.peer_id, [parsed])
        return {"peer": self.peer_id}

    async def sum(self, bytes: int, streams: int = 1) -> dict[str, Any]:
        body = memoryview(os.urandom(CHUNK_BYTES))

        async def send(count: int) -> int:
            async with await self.host.open_stream(self.peer_id, "/sum/1") as stream:
                starts = range(0, count, CHUNK_BYTES)
                await stream.write_from(body[: min(CHUNK_BYTES, count - start)] for start in starts)
                stream.finish()
                return int.from_bytes(await stream.read_exactly(8), "big")

        begun_s = time.perf_counter()
        totals = await asyncio.gather(*(send(bytes // streams) for _ in range(streams)))
        return {"bytes": sum(totals), "seconds": time.perf_counter() - begun_s}

    async def connect_timed(self, address: str, count: int) -> dict[str, Any]:
        seconds = []
        for _ in range(count):
            begun_s = time.perf_counter()
            await self.dial(address)
            seconds.append(time.perf_counter() - begun_s)
            self.host.disconnect(self.peer_id)
        return {"seconds": seconds}

    async def open_timed(self, count: int) -> dict[str, Any]:
        seconds = []
        for _ in range(count):
            begun_s = time.perf_counter()
            stream = await self.host.open_stream(self.peer_id, "/echo/1")
            seconds.append(time.perf_counter() - begun_s)
            stream.finish()
            await stream.read()
            stream.close()
        return {"seconds": seconds}

    async def request_timed(self, count: int) -> dict[str, Any]:
        seconds = []
        async with await self.host.open_stream(self.peer_id, "/echo/1") as stream:
            for _ in range(count):
                begun_s = time.perf_counter()
                await stream.write(b"x" * 100)
                await stream.read_exactly(100)
                seconds.append(time.perf_counter() - begun_s)
        return {"seconds": seconds}


async def main() -> None:
    from dataclasses import replace

    from p2pfl.libp2p import DEFAULT_LIMITS

    unlimited = replace(DEFAULT_LIMITS, dials_per_peer_burst=10**6, dials_burst=10**6)
    async with Host(Identity(os.urandom(32)), limits=unlimited) as host:
        addresses = await host.listen("/ip4/127.0.0.1/tcp/0")
        host.set_handler("/sum/1", add_up)
        host.set_handler("/echo/1", echo)
        peer = Peer(host)
        say({"addresses": [str(address) for address in addresses], "peer": host.peer_id})
        await answer_all(peer)


if __name__ == "__main__":
    uvloop.run(main())
