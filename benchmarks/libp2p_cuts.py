"""Cuts a session between two hosts after each byte of it; nothing may be left behind.

    ./scripts/bench libp2p-cuts [--every N] [--seed N]

A relay stands between a dialler and a listener, and passes bytes on until one direction has had so
many; then it ends both of its sockets, or resets them. The session is a handshake, a stream that is
agreed on and echoes 300 bytes, its end, and the end of the connection. Each cut is tried at every
byte of both directions. After it the dialler has had one of the declared errors, and neither host
has a peer, a connection, a handshake, a stream, a task or an unread byte left.
"""

import argparse
import asyncio
import socket
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Self

from options import natural, positive

from p2pfl.libp2p import DEFAULT_LIMITS, Host, Libp2pError, Multiaddr, Stream
from p2pfl_crypto.identity import Identity

DIALLER, LISTENER = Identity(b"d" * 32), Identity(b"l" * 32)
LISTEN = "/ip4/127.0.0.1/tcp/0"
LIMITS = replace(DEFAULT_LIMITS, dials_burst=10**9, dials_per_peer_burst=10**9)
BODY = bytes(range(100)) * 3
DIRECTIONS = ("from the dialler", "from the listener")
KINDS = ("end", "reset")
DEADLINE_S = 30.0
"""Of a session that takes milliseconds: the tests of hosts use the same."""

Cut = tuple[int, str, int]
"""Direction, kind, and the bytes that pass before it."""


class Relay:
    """A port that passes one connection on to a host, and cuts it.

    `passed` counts the bytes in each direction.
    """

    def __init__(self, target: Multiaddr, cut: Cut | None = None) -> None:
        self._target, self._cut = target, cut
        self.passed = [0, 0]
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.address = Multiaddr("ip4", "127.0.0.1", port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*self._tasks)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(self._target.host, self._target.port)
        self._writers += [writer, far_writer]
        self._tasks = [
            asyncio.create_task(self._pass(0, reader, far_writer)),
            asyncio.create_task(self._pass(1, far_reader, writer)),
        ]
        if self._cut is not None and not self._cut[2]:
            self._end(self._cut[1])

    async def _pass(
        self, direction: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            while data := await reader.read(65536):
                if self._cut is not None and self._cut[0] == direction:
                    data = data[: self._cut[2] - self.passed[direction]]
                self.passed[direction] += len(data)
                writer.write(data)
                await writer.drain()
                if self._cut is not None and self.passed[direction] == self._cut[2]:
                    self._end(self._cut[1])
                    return
            writer.close()
        except ConnectionError:
            writer.close()

    def _end(self, kind: str) -> None:
        for writer in self._writers:
            if kind == "reset":
                writer.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
                )
                writer.transport.abort()
            else:
                writer.close()


async def echo(stream: Stream) -> None:
    while data := await stream.read():
        await stream.write(data)


class Pair:
    """Two hosts, for one session after the other."""

    def __init__(self) -> None:
        self.dialler, self.listener = Host(DIALLER, limits=LIMITS), Host(LISTENER, limits=LIMITS)

    async def __aenter__(self) -> Self:
        await self.dialler.__aenter__()
        await self.listener.__aenter__()
        self.listener.set_handler("/echo", echo)
        [self.address] = await self.listener.listen(LISTEN)
        self.tasks = len(asyncio.all_tasks())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.listener.close()
        await self.dialler.close()

    async def session(self, cut: Cut | None) -> tuple[str, list[int]]:
        """Have one session; return how it went for the dialler, and the bytes each way."""
        async with asyncio.timeout(DEADLINE_S), Relay(self.address, cut) as relay:
            outcome = "whole"
            try:
                await self._talk(relay.address)
            except Libp2pError as error:
                outcome = type(error).__name__
            self.dialler.disconnect(LISTENER.peer_id, "done")
            await self._quiet()
        while len(asyncio.all_tasks()) > self.tasks:
            await asyncio.sleep(0)
        return outcome, relay.passed

    async def _talk(self, address: Multiaddr) -> None:
        await self.dialler.dial(LISTENER.peer_id, [address])
        async with await self.dialler.open_stream(LISTENER.peer_id, "/echo") as stream:
            await stream.write(BODY)
            assert await stream.read_exactly(len(BODY)) == BODY
            stream.finish()
            assert not await stream.read()

    async def _quiet(self) -> None:
        """Wait until nothing of the session is left; the session's deadline is the bound."""
        gauges = (
            "connections",
            "connections_superseded",
            "dials_in_progress",
            "handshakes_in_progress",
            "streams",
            "unread_bytes",
        )
        for host in (self.dialler, self.listener):
            while any(host.metrics()[gauge] for gauge in gauges) or host.peers():
                await asyncio.sleep(0)


def descriptor_count() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def try_cuts(every: int, offset: int) -> tuple[int, Counter[tuple[str, str, str]]]:
    """Cut at every `every`-th byte of both directions, from `offset` on, in both ways.

    Returns:
        How many cuts were tried, and how often a (direction, kind) came to which outcome.
    """
    outcomes: Counter[tuple[str, str, str]] = Counter()
    count = 0
    async with Pair() as pair:
        outcome, passed = await pair.session(None)
        assert outcome == "whole", outcome
        descriptors = descriptor_count()
        for direction, name in enumerate(DIRECTIONS):
            for kind in KINDS:
                for after in range(offset % every, passed[direction], every):
                    outcome, _ = await pair.session((direction, kind, after))
                    outcomes[name, kind, outcome] += 1
                    count += 1
        outcome, _ = await pair.session(None)
        assert outcome == "whole", outcome
        assert descriptor_count() <= descriptors
        for host in (pair.dialler, pair.listener):
            told = host.counters.snapshot()
            assert told["connections_opened"] == told["connections_closed"] > 0
            assert "handlers_failed" not in told, told
    return count, outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--every", type=positive, default=1, help="bytes from one cut to the next")
    parser.add_argument("--seed", type=natural, default=1, help="draws the first byte")
    arguments = parser.parse_args()
    begun = time.perf_counter()
    offset = Random(f"{arguments.seed}/cuts").randrange(arguments.every)
    count, outcomes = asyncio.run(try_cuts(arguments.every, offset))
    for (direction, kind, outcome), times in sorted(outcomes.items()):
        print(f"{kind} {direction}: {outcome} {times}")
    print(f"{count} cuts in {time.perf_counter() - begun:.0f} s, and nothing was left behind")


if __name__ == "__main__":
    main()
