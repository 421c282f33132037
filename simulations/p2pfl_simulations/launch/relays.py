"""Links between processes of one machine that can be cut: a relay of bytes for each of them.

Each peer's settings say that it reaches another member at a relay (`reached`) that only it is told
of. So a relay knows both its ends. What leaves it is as encrypted as what came.
"""

import asyncio
import threading
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from pathlib import Path

from p2pfl.daemon.config import read_config, write_config
from p2pfl.daemon.descriptors import raise_limit
from p2pfl.libp2p.multiaddr import parse_multiaddr
from p2pfl_simulations.launch.errors import LaunchError
from p2pfl_simulations.launch.folders import LOOPBACK

PIECE_BYTES = 2**16

SOCKETS_A_PAIR = 6
"""Each of two peers may dial the other: one socket listens, and two carry the bytes on."""
SOCKETS_KEPT = 256
"""For all else that a launcher opens: files, pipes, parquet."""

Pair = tuple[int, int]
"""Who dials, and who is dialled."""


def between(side: Iterable[int], count: int) -> set[Pair]:
    """Return all pairs of a peer of one side and another one that is not of it, both ways."""
    inside = set(side)
    outside = set(range(count)) - inside
    return both_ways((one, two) for one in inside for two in outside)


def links_of(peers: Iterable[int], count: int) -> set[Pair]:
    """Return all pairs of which one is among some peers, of so many in all, both ways."""
    return both_ways((one, two) for one in peers for two in range(count) if one != two)


def both_ways(pairs: Iterable[Pair]) -> set[Pair]:
    """Return pairs, and each of them the other way round."""
    return {pair for one, two in pairs for pair in ((one, two), (two, one))}


class PairRelays:
    """Relays for pairs of peers; they run on a thread of their own.

    Args:
        ports: where each peer listens.
        pairs: whose links can be cut.

    Attributes:
        ports: of the relay of each pair.
    """

    def __init__(self, ports: Sequence[int], pairs: Collection[Pair]) -> None:
        self._ports = ports
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relays", daemon=True)
        self._thread.start()
        self._blocked: frozenset[Pair] = frozenset()
        self._streams: dict[Pair, set[asyncio.StreamWriter]] = {}
        self._servers: list[asyncio.Server] = []
        listening = asyncio.run_coroutine_threadsafe(self._listen(sorted(pairs)), self._loop)
        self.ports = listening.result()

    def block(self, pairs: Iterable[Pair]) -> None:
        """Break the links of these pairs and refuse new ones; let all others be made again."""
        self._loop.call_soon_threadsafe(self._set_blocked, frozenset(pairs))

    def close(self) -> None:
        """End all relays."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _listen(self, pairs: Iterable[Pair]) -> dict[Pair, int]:
        ports = {}
        for pair in pairs:
            server = await asyncio.start_server(partial(self._relay, pair), LOOPBACK, 0)
            self._servers.append(server)
            ports[pair] = server.sockets[0].getsockname()[1]
        return ports

    def _set_blocked(self, pairs: frozenset[Pair]) -> None:
        self._blocked = pairs
        for pair in pairs:
            for writer in self._streams.get(pair, set()):
                writer.transport.abort()

    async def _relay(
        self, pair: Pair, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writers = {writer}
        open_now = self._streams.setdefault(pair, set())
        try:
            if pair in self._blocked:
                return
            there, back = await asyncio.open_connection(LOOPBACK, self._ports[pair[1]])
            writers.add(back)
            open_now |= writers
            if pair not in self._blocked:
                await asyncio.gather(_pump(reader, back), _pump(there, writer))
        except OSError:
            return  # An end that is gone is what this is for.
        finally:
            open_now -= writers
            for it in writers:
                it.transport.abort()

    async def _end(self) -> None:
        for server in self._servers:
            server.close()
        self._set_blocked(frozenset(self._streams))
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(PIECE_BYTES):
        writer.write(piece)
        await writer.drain()
    writer.transport.abort()


def relayed(folders: Sequence[Path], pairs: Collection[Pair]) -> PairRelays:
    """Have peers of a launched group reach each other by relays from now on.

    Args:
        folders: of all peers, in order.
        pairs: whose links can be cut.

    Raises:
        LaunchError: this process may not have as many sockets.
    """
    wanted = SOCKETS_A_PAIR * len({frozenset(pair) for pair in pairs}) + SOCKETS_KEPT
    if wanted > (found := raise_limit()):
        raise LaunchError(
            f"links that can be cut take {wanted} sockets, and this process may have {found}: raise"
            " the hard limit (ulimit -Hn), or launch fewer peers"
        )
    configs = [read_config(folder) for folder in folders]
    relays = PairRelays([parse_multiaddr(it.listen[0]).port for it in configs], pairs)
    for one, folder in enumerate(folders):
        reached = {
            config.name: (f"/ip4/{LOOPBACK}/tcp/{relays.ports[one, two]}",)
            for two, config in enumerate(configs)
            if (one, two) in relays.ports
        }
        if reached:
            write_config(folder, configs[one].model_copy(update={"reached": reached}))
    return relays
