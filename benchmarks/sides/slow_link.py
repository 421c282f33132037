"""Relays TCP connections with a delay in each direction, as a long link has; no limit of speed.

    python slow_link.py DELAY_S PORT...

Writes one line: the ports that it listens on, as a JSON list, one for each that it relays to.
"""

import asyncio
import json
import sys
from collections import deque
from functools import partial
from typing import cast

from uvloop import new_event_loop


class End(asyncio.Protocol):
    """One end of a relayed connection: what comes leaves at the other end, later."""

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[bytes] = deque()
        self.other: End | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass.
        self.transport.set_write_buffer_limits(high=2**30)
        if self.other is not None:
            self.other.other = self

    def data_received(self, data: bytes) -> None:
        self._waiting.append(data)
        self._loop.call_later(self._delay_s, self._pass_on)

    def _pass_on(self) -> None:
        data = self._waiting.popleft()
        to = None if self.other is None else self.other.transport
        if to is not None and not to.is_closing():
            to.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        if self.other is not None and self.other.transport is not None:
            self._loop.call_later(self._delay_s, self.other.transport.close)


class Front(End):
    """The end that dials are taken at; it dials on."""

    def __init__(self, delay_s: float, port: int) -> None:
        super().__init__(delay_s)
        self._port = port

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport is not None
        self.transport.pause_reading()
        back = End(self._delay_s)
        back.other, self.other = self, back
        dial = self._loop.create_connection(lambda: back, "127.0.0.1", self._port)
        task = self._loop.create_task(dial)
        task.add_done_callback(self._begin)
        self._dial = task

    def _begin(self, _dialled: object) -> None:
        assert self.transport is not None
        self.transport.resume_reading()


async def main(delay_s: float, ports: list[int]) -> None:
    loop = asyncio.get_running_loop()
    own = []
    for port in ports:
        server = await loop.create_server(partial(Front, delay_s, port), "127.0.0.1", 0)
        own.append(server.sockets[0].getsockname()[1])
    print(json.dumps(own), flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(main(float(sys.argv[1]), [int(port) for port in sys.argv[2:]]))
