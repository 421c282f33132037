"""What a running peer notices of its group: who runs twice, which pairs of members lack a link.

None of it moves a decision of the machine: it is for people, in log, status and `p2pfl peer check`.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from p2pfl.daemon.check_report import Check, report
from p2pfl.daemon.directory import Directory
from p2pfl.daemon.incarnations import Incarnation, Incarnations
from p2pfl.daemon.links import Links, protocol_prefix
from p2pfl.daemon.reporter import Reporter
from p2pfl.daemon.sentences import describe_reason
from p2pfl.daemon.views import Unlinked, Views, pairs_without_link
from p2pfl.libp2p import Host
from p2pfl_crypto.identity import Identity, PeerId


class Lookout:
    """Watches the group of one running peer."""

    def __init__(
        self,
        host: Host,
        links: Links,
        *,
        directory: Directory,
        identity: Identity,
        reporter: Reporter,
        on_other: Callable[[bool], None],
    ) -> None:
        """Begin to watch, best before the host listens.

        Args:
            host: of the peer; tells incarnations apart.
            links: of the peer.
            directory: of its group's members.
            identity: its own.
            reporter: is told what is noticed.
            on_other: as of `Incarnations`.
        """
        self._directory, self._reporter = directory, reporter
        group_id = directory.group_id
        self._twice: set[PeerId] = set()
        self._unlinked: dict[tuple[PeerId, PeerId], Unlinked] = {}
        self._incarnations = Incarnations(
            host,
            Incarnation(identity, group_id, host.incarnation, int(time.time() * 1000)),
            prefix=protocol_prefix(group_id),
            on_twice=self._on_twice,
            on_other=on_other,
        )
        self._views = Views(
            host,
            addresses=directory.others,
            group_id=group_id,
            states=lambda: links.states,
            is_running=True,
        )
        directory.listeners.append(lambda: self._views.admit(directory.others))
        looking = self._views.look_now_and_then(self._on_looked)
        self._looking = asyncio.get_running_loop().create_task(looking, name="look")

    async def check(self) -> dict[str, Any]:
        """Dial and ask everybody now; returns as `check_report.report`."""
        if self._directory.index is None:
            return {"error": "this peer is no member yet: it waits for the charter that names it"}
        await self._views.gather(fresh=True)
        self._on_looked()
        index = self._directory.index
        assert index is not None  # Who is no member any more has stopped.
        return report(self._found(index))

    def unlinked(self) -> list[dict[str, Any]]:
        """Return the pairs of members without a link, by what they said last."""
        return [
            {
                "members": [self._reporter.name_of(pair.one), self._reporter.name_of(pair.two)],
                "said": {self._reporter.name_of(by): reason for by, reason in pair.said},
            }
            for pair in self._unlinked.values()
        ]

    async def close(self) -> None:
        """Watch no more."""
        self._looking.cancel()
        await asyncio.wait([self._looking])
        await self._incarnations.close()
        await self._views.close()

    def _found(self, index: int) -> Check:
        views = self._views
        return Check(
            self._directory.agreed.members,
            index,
            views.own(),
            views.heard,
            views.silent,
            frozenset(self._twice),
        )

    def _on_twice(self, peer: PeerId) -> None:
        self._twice.add(peer)
        self._reporter.on_twice(peer)

    def _on_looked(self) -> None:
        """Tell of pairs that are without a link since the last look; own links are told as such."""
        ours, index = self._directory.own, self._directory.index
        if index is None:
            return
        found = {
            (pair.one, pair.two): pair
            for pair in pairs_without_link(self._found(index).views())
            if ours not in (pair.one, pair.two)
        }
        for pair in found.values():
            if (pair.one, pair.two) in self._unlinked:
                continue
            one, two = (self._reporter.name_of(peer) for peer in (pair.one, pair.two))
            said = "; ".join(
                f"{self._reporter.name_of(by)} says: {describe_reason(reason)}"
                for by, reason in pair.said
            )
            self._reporter.tell(
                "pair_without_link",
                f"{one} and {two} have no link to each other ({said}): of the two, one has to be"
                " reachable from the other",
                level=logging.WARNING,
                members=[one, two],
            )
        self._unlinked = found
