"""Links between processes of one machine that can be cut: a relay of bytes for each pair of peers.

Each peer's settings say that it reaches every other member at a relay (`reached`). A relay knows
both its ends, and so can cut one link, or all between two sides.
"""

import asyncio
import threading
from collections.abc import Iterable
from pathlib import Path

from p2pfl.daemon.config import read_config, write_config
from p2pfl.libp2p.multiaddr import parse_multiaddr
from p2pfl_simulations.launch.folders import LOOPBACK

PIECE_BYTES = 2**16


class PairRelays:
    """Relays from every peer to every other one; they run on a thread of their own.

    Args:
        ports: where each peer listens.
    """

    def __init__(self, ports: list[int]) -> None:
        self._ports = ports
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relays", daemon=True)
        self._thread.start()
        self._cut: set[tuple[int, int]] = set()
        self._streams: dict[tuple[int, int], set[asyncio.StreamWriter]] = {}
        self._servers: list[asyncio.Server] = []
        self.ports = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()

    def cut(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Break the links of these pairs, in both directions, and refuse new ones."""
        wanted = {pair for one, two in pairs for pair in ((one, two), (two, one))}
        self._loop.call_soon_threadsafe(self._set_cut, wanted)

    def split(self, side: Iterable[int]) -> None:
        """Cut one side from the others."""
        inside = set(side)
        outside = set(range(len(self._ports))) - inside
        self.cut((one, two) for one in inside for two in outside)

    def heal(self) -> None:
        """Let all links be made again."""
        self._loop.call_soon_threadsafe(self._cut.clear)

    def close(self) -> None:
        """End all relays."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _listen(self) -> dict[tuple[int, int], int]:
        ports = {}
        for one in range(len(self._ports)):
            for two in range(len(self._ports)):
                if one == two:
                    continue
                server = await asyncio.start_server(
                    lambda reader, writer, pair=(one, two): self._relay(pair, reader, writer),
                    LOOPBACK,
                    0,
                )
                self._servers.append(server)
                ports[one, two] = server.sockets[0].getsockname()[1]
        return ports

    def _set_cut(self, pairs: set[tuple[int, int]]) -> None:
        self._cut |= pairs
        for pair in pairs:
            for writer in self._streams.get(pair, set()):
                writer.transport.abort()

    async def _relay(
        self, pair: tuple[int, int], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writers = {writer}
        open_now = self._streams.setdefault(pair, set())
        try:
            if pair in self._cut:
                return
            there, back = await asyncio.open_connection(LOOPBACK, self._ports[pair[1]])
            writers.add(back)
            open_now |= writers
            if pair not in self._cut:
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
        for pair in self._streams:
            self._set_cut({pair})
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(PIECE_BYTES):
        writer.write(piece)
        await writer.drain()
    writer.transport.abort()


def relayed(folders: list[Path]) -> PairRelays:
    """Have the peers of a launched group reach each other by relays from now on."""
    configs = [read_config(folder) for folder in folders]
    ports = [parse_multiaddr(config.listen[0]).port for config in configs]
    relays = PairRelays(ports)
    for one, folder in enumerate(folders):
        reached = {
            config.name: (f"/ip4/{LOOPBACK}/tcp/{relays.ports[one, two]}",)
            for two, config in enumerate(configs)
            if one != two
        }
        write_config(folder, configs[one].model_copy(update={"reached": reached}))
    return relays
