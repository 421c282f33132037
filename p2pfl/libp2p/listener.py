"""Accepts connections and upgrades them, a bounded number at a time."""

import asyncio
import contextlib
import errno
import logging
import os
import socket
from collections import Counter
from collections.abc import Callable, Coroutine

from p2pfl.libp2p.counters import Counters
from p2pfl.libp2p.handshake import prepare_socket, remote_address_of
from p2pfl.libp2p.limits import Limits
from p2pfl.libp2p.multiaddr import Multiaddr

_BACKLOG = 256  # Connections that the kernel holds ready while our process is busy.
_ACCEPTS_PER_TURN = 32  # Before other sockets have their turn.
_PAUSE_S = 1.0  # After running out of descriptors: some are closed within a second, or none.

_log = logging.getLogger(__name__)


class Listener:
    """Listens on any number of addresses."""

    def __init__(
        self,
        limits: Limits,
        counters: Counters,
        upgrade: Callable[[socket.socket, Multiaddr], Coroutine[None, None, None]],
    ) -> None:
        """Prepare to listen.

        Args:
            limits: of the host.
            counters: of the host.
            upgrade: does the handshake of one connection and owns its socket.
        """
        self.addresses: list[Multiaddr] = []
        self._limits, self._counters, self._upgrade = limits, counters, upgrade
        self._loop = asyncio.get_running_loop()
        self._sockets: list[socket.socket] = []
        self._paused: dict[socket.socket, asyncio.TimerHandle] = {}
        self._handshakes: dict[asyncio.Task[None], str] = {}  # Oldest first; value: IP address.
        self._sockets_of: dict[asyncio.Task[None], socket.socket] = {}
        self._per_address: Counter[str] = Counter()
        self._spare = _open_spare()

    @property
    def handshake_count(self) -> int:
        """Handshakes in progress."""
        return len(self._handshakes)

    async def listen(self, address: Multiaddr) -> list[Multiaddr]:
        """Listen on an address; port 0 means any that is free.

        Returns:
            The addresses listened on; a host name may stand for several.

        Raises:
            OSError: the address cannot be had.
        """
        family = {"4": socket.AF_INET, "6": socket.AF_INET6}.get(address.kind[-1], 0)
        found = await self._loop.getaddrinfo(
            address.host, address.port, family=family, type=socket.SOCK_STREAM
        )
        opened: list[Multiaddr] = []
        for family, kind, protocol, _, socket_address in dict.fromkeys(found):
            listening = socket.socket(family, kind, protocol)
            try:
                listening.setblocking(False)
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                listening.bind(socket_address)
                listening.listen(_BACKLOG)
            except OSError:
                listening.close()
                raise
            self._sockets.append(listening)
            opened.append(remote_address_of(listening.getsockname()))
            self._loop.add_reader(listening, self._on_acceptable, listening)
        self.addresses += opened
        return opened

    def close(self) -> list[asyncio.Task[None]]:
        """Stop listening and break handshakes off; returns the tasks that are still ending."""
        for listening in self._sockets:
            if listening in self._paused:
                self._paused.pop(listening).cancel()
            else:
                self._loop.remove_reader(listening)
            listening.close()
        self._sockets.clear()
        self.addresses.clear()
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None
        tasks = list(self._handshakes)
        for task in tasks:
            task.cancel()
        return tasks

    def _on_acceptable(self, listening: socket.socket) -> None:
        for count in range(_ACCEPTS_PER_TURN):
            try:
                accepted, socket_address = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # Out of descriptors or memory: neither is the peer's fault.
                # The kernel looks for a descriptor first: only at first is it sure that one knocks.
                if count == 0:
                    self._on_shortage(listening, error)
                return
            self._begin(accepted, remote_address_of(socket_address))

    def _on_shortage(self, listening: socket.socket, error: OSError) -> None:
        """Let one in who knocks although there is no descriptor, or turn that one away.

        The oldest handshake gives way: an honest one is over within a few round trips. Where there
        is none, whoever knocks is turned away by means of the descriptor that is kept for this:
        left in the queue, the connection would seem to stand at its other end.
        """
        self._counters.add("accepts_failed")
        is_short = error.errno in (errno.EMFILE, errno.ENFILE)
        if is_short and self._handshakes:
            self._counters.add("handshakes_refused", reason="descriptors")
            self._evict_oldest()
            return  # The loop calls again, as one still knocks.
        if is_short and self._spare is not None:
            os.close(self._spare)
            with contextlib.suppress(OSError):
                listening.accept()[0].close()
                self._counters.add("accepts_refused")
            self._spare = _open_spare()
            return
        _log.warning("cannot accept connections: %s", error)
        self._pause(listening)

    def _evict_oldest(self) -> None:
        oldest = next(iter(self._handshakes))
        accepted = self._sockets_of.pop(oldest)
        self._end(oldest)
        oldest.cancel()
        self._loop.remove_reader(accepted)
        self._loop.remove_writer(accepted)
        accepted.close()  # Now: its task closes it only when its turn comes.

    def _begin(self, accepted: socket.socket, remote: Multiaddr) -> None:
        limits = self._limits
        if self._per_address[remote.host] >= limits.handshakes_per_address_max:
            self._counters.add("handshakes_refused", reason="handshakes_per_address")
            accepted.close()
            return
        if len(self._handshakes) >= limits.handshakes_max:
            self._counters.add("handshakes_refused", reason="handshakes")
            self._evict_oldest()
        prepare_socket(accepted)
        task = self._loop.create_task(self._upgrade(accepted, remote), name=f"from {remote}")
        self._handshakes[task], self._sockets_of[task] = remote.host, accepted
        self._per_address[remote.host] += 1
        task.add_done_callback(self._end)
        # One that is cancelled before its first step never comes to close its socket itself.
        task.add_done_callback(lambda done: accepted.close() if done.cancelled() else None)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._sockets_of.pop(task, None)
        host = self._handshakes.pop(task, None)
        if host is not None:
            self._per_address[host] -= 1
            if not self._per_address[host]:
                del self._per_address[host]

    def _pause(self, listening: socket.socket) -> None:
        self._loop.remove_reader(listening)
        self._paused[listening] = self._loop.call_later(_PAUSE_S, self._resume, listening)

    def _resume(self, listening: socket.socket) -> None:
        del self._paused[listening]
        self._loop.add_reader(listening, self._on_acceptable, listening)


def _open_spare() -> int | None:
    """Take a descriptor to be given up where there is no other; None where there is none left."""
    try:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
