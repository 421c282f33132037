"""`p2pfl peer check` without a running peer: the peer's own identity and addresses, and no group.

It listens and dials as the peer would, so that others can be asked and can try to dial back; but
it takes no frames: to a running member it is a peer that does not run yet. It holds the journal's
lock meanwhile, so that the peer is not started beside it.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from p2pfl.daemon.check_report import Check, report
from p2pfl.daemon.config import PeerConfig, PeerFolder
from p2pfl.daemon.descriptors import limits_for, raise_limit
from p2pfl.daemon.directory import Directory
from p2pfl.daemon.errors import ServiceError
from p2pfl.daemon.incarnations import Incarnation, Incarnations
from p2pfl.daemon.links import NOT_YET, UP, check_protocol, protocol_prefix
from p2pfl.daemon.membership import membership_of
from p2pfl.daemon.views import Views
from p2pfl.libp2p import Host, InvalidMultiaddr, Keeper, PeerEvent, PeerUp, Stream
from p2pfl.store.keys import PeerKeys
from p2pfl.store.reading import locked
from p2pfl_crypto.identity import PeerId

LINGER_S = 10.0
"""How long a check that is done stays for others that are checked, too, and have not asked yet."""

POLL_S = 0.1


def check_peer(
    folder: PeerFolder, config: PeerConfig, keys: PeerKeys, *, wait_s: float
) -> dict[str, Any]:
    """Check whom a peer reaches that does not run; returns as `check_report.report`.

    Args:
        folder: the peer's.
        config: its settings.
        keys: its identity.
        wait_s: how long to wait for members that cannot be dialled to dial us.

    Raises:
        FolderLocked: the peer runs.
        ServiceError, MembershipError, RosterError: it cannot be checked as it is set up.
    """
    directory = membership_of(folder, config).directory(keys)
    with locked(folder.journal):
        return asyncio.run(_check(folder, config, keys, directory, wait_s))


async def listen_all(host: Host, folder: PeerFolder, config: PeerConfig) -> list[str]:
    """Listen on all addresses of a peer's settings; return those that others can dial.

    Raises:
        ServiceError: one cannot be had.
    """
    found: list[str] = []
    for address in config.listen:
        try:
            found += map(str, await host.listen(address))
        except (OSError, InvalidMultiaddr) as error:
            told = error.strerror if isinstance(error, OSError) else str(error)
            raise ServiceError(
                f"cannot listen on {address}: {told or error}; choose another address in"
                f" {folder.config}"
            ) from None
    return found


async def _check(
    folder: PeerFolder,
    config: PeerConfig,
    keys: PeerKeys,
    directory: Directory,
    wait_s: float,
) -> dict[str, Any]:
    group, twice, others = directory.group_id, set[PeerId](), directory.others
    index = directory.index
    assert index is not None  # `Membership.directory` has looked.
    limits = limits_for(raise_limit(), len(others))
    async with Host(
        keys.identity, allow=frozenset(others), limits=limits, tells_incarnations=True
    ) as host:
        links = _Connections(host, others)
        views = Views(host, addresses=others, group_id=group, states=links.states, is_running=False)
        host.set_handler(check_protocol(protocol_prefix(group)), _say_nothing)
        incarnations = Incarnations(
            host,
            Incarnation(keys.identity, group, host.incarnation, int(time.time() * 1000)),
            prefix=protocol_prefix(group),
            on_twice=twice.add,
            on_other=lambda _: None,  # Whoever is linked to the other one tells it in its view.
        )
        await listen_all(host, folder, config)
        try:
            await links.wait(wait_s)
            await views.gather(fresh=True)
            members = directory.agreed.members
            found = Check(
                members,
                index,
                views.own(),
                views.heard,
                views.silent,
                frozenset(twice),
            )
            checked = {peer for peer, heard in views.heard.items() if not heard.view.is_running}
            await links.until(lambda: not checked - links.gone() - views.answered, LINGER_S)
            return report(found)
        finally:
            await incarnations.close()
            await views.close()
            await links.close()


async def _say_nothing(stream: Stream) -> None:
    """That the protocol is spoken says it all."""
    stream.close()


class _Connections:
    """Connections to all members, and why there is none."""

    def __init__(self, host: Host, addresses: Mapping[PeerId, tuple[str, ...]]) -> None:
        self._host, self._reasons = host, dict.fromkeys(addresses, NOT_YET)
        self._was_up: set[PeerId] = set()
        self._unwatch = host.watch(self._on_peer)
        self._keeper = Keeper(host, on_failed=self._on_failed)
        self._addresses = addresses

    def states(self) -> dict[PeerId, str]:
        """Return the state of the link to each member, as `Links.states` has them.

        One that was up counts so until the end: the other end may be a check that is done before.
        """
        return {
            peer: UP if peer in self._was_up else reason for peer, reason in self._reasons.items()
        }

    def gone(self) -> set[PeerId]:
        """Return the members to whom there is no connection now."""
        return {peer for peer in self._addresses if self._host.connection(peer) is None}

    async def wait(self, wait_s: float) -> None:
        """Dial everybody, until all are connected or the time is over."""
        for peer, addresses in self._addresses.items():
            self._keeper.keep(peer, addresses)
        await self.until(lambda: set(self._addresses) <= self._was_up, wait_s)

    async def until(self, is_so: Callable[[], bool], wait_s: float) -> None:
        """Wait until something is so, or the time is over."""
        try:
            async with asyncio.timeout(wait_s):
                while not is_so():
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            return

    async def close(self) -> None:
        self._unwatch()
        await self._keeper.close()

    def _on_peer(self, event: PeerEvent) -> None:
        if isinstance(event, PeerUp):
            self._was_up.add(event.peer_id)

    def _on_failed(self, peer: PeerId, reason: str) -> None:
        if reason != "dial_rate":
            self._reasons[peer] = reason
