"""A hivemind peer (its go-libp2p daemon beside it) for the speed bench; as `libp2p_peer.py`.

Runs in an environment that has hivemind, without this project. CPU seconds are those of this
process; the daemon's come on top, and are not told.
"""

import asyncio
import os
import time
from collections.abc import Sequence
from typing import Any

from answering import Answering, answer_all, say
from hivemind.p2p import P2P, PeerID
from hivemind.utils.multiaddr import Multiaddr

CHUNK_BYTES = 1 << 20


async def add_up(_info: object, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    left = int.from_bytes(await reader.readexactly(8), "big")
    total = 0
    while total < left:
        total += len(await reader.read(CHUNK_BYTES))
    writer.write(total.to_bytes(8, "big"))
    await writer.drain()
    writer.close()


async def echo(_info: object, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK_BYTES):
        writer.write(data)
        await writer.drain()
    writer.close()


class Peer(Answering):
    p2p: P2P

    async def start(self, initial: Sequence[str] = ()) -> list[str]:
        self.p2p = await P2P.create(
            initial_peers=list(initial),
            host_maddrs=["/ip4/127.0.0.1/tcp/0"],
            auto_nat=False,
            nat_port_map=False,
        )
        await self.p2p.add_binary_stream_handler("sum", add_up)
        await self.p2p.add_binary_stream_handler("echo", echo)
        return [str(address) for address in await self.p2p.get_visible_maddrs(latest=True)]

    async def dial(self, address: str) -> dict[str, Any]:
        self.peer = PeerID.from_base58(Multiaddr(address)["p2p"])
        await self.p2p.shutdown()
        await self.start([address])
        await self.p2p.wait_for_at_least_n_peers(1)
        return {}

    async def sum(self, bytes: int, streams: int = 1) -> dict[str, Any]:
        body = os.urandom(CHUNK_BYTES)

        async def send(count: int) -> int:
            _, reader, writer = await self.p2p.call_binary_stream_handler(self.peer, "sum")
            writer.write(count.to_bytes(8, "big"))
            for start in range(0, count, CHUNK_BYTES):
                writer.write(body[: min(CHUNK_BYTES, count - start)])
                await writer.drain()
            total = int.from_bytes(await reader.readexactly(8), "big")
            writer.close()
            return total

        begun = time.perf_counter()
        totals = await asyncio.gather(*(send(bytes // streams) for _ in range(streams)))
        return {"bytes": sum(totals), "seconds": time.perf_counter() - begun}

    async def request_timed(self, count: int) -> dict[str, Any]:
        _, reader, writer = await self.p2p.call_binary_stream_handler(self.peer, "echo")
        seconds = []
        for _ in range(count):
            begun = time.perf_counter()
            writer.write(b"x" * 100)
            await reader.readexactly(100)
            seconds.append(time.perf_counter() - begun)
        writer.close()
        return {"seconds": seconds}


async def main() -> None:
    peer = Peer()
    say({"addresses": await peer.start(), "peer": ""})
    await answer_all(peer)
    await peer.p2p.shutdown()


if __name__ == "__main__":
    asyncio.run(main())
