"""One peer as a service on the event loop: from its first listening to a clean end.

The order of the end: the round is ended if it ends soon, the peer leaves, what is on its way is
sent, links, journal and log are closed.
"""

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from p2pfl.daemon.chartering import Chartering
from p2pfl.daemon.checking import listen_all
from p2pfl.daemon.config import PeerConfig, PeerFolder
from p2pfl.daemon.control import ControlServer
from p2pfl.daemon.descriptors import limits_for, raise_limit, too_few
from p2pfl.daemon.directory import Directory
from p2pfl.daemon.driver import Driver
from p2pfl.daemon.errors import RunsTwice, ServiceError
from p2pfl.daemon.ledger_standing import idle_warning, newly_overdue
from p2pfl.daemon.links import Links
from p2pfl.daemon.lookout import Lookout
from p2pfl.daemon.own_baseline import OwnGain
from p2pfl.daemon.recording import recorder
from p2pfl.daemon.reporter import Reporter
from p2pfl.daemon.standing import PeerMachine, PeerStanding, ledger_of
from p2pfl.libp2p import Host
from p2pfl.store.acts import Act, add_act
from p2pfl.store.errors import StoreError
from p2pfl.store.journal import Store
from p2pfl.store.keys import PeerKeys
from p2pfl_gossip import events
from p2pfl_gossip.actions import Command, Event, Job
from p2pfl_gossip.ledger.history import History
from p2pfl_gossip.ledger.participation import warning_of
from p2pfl_gossip.peer_state import State
from p2pfl_gossip.records import Record

STOP_PATIENCE_S = 30.0
"""How long a peer that is asked to stop may take to end its round; systemd waits for 90."""

NOT_A_MEMBER = (
    "the group's present charter does not name this peer: its members have agreed to go on without"
    " it; ask them, if that is news"
)
STDIN = 0


def why_no_member(history: History | None) -> str:
    """Say that the group goes on without us; and that our last model is an older one, if it is."""
    if history is None or history.is_abreast:
        return NOT_A_MEMBER
    return (
        f"{NOT_A_MEMBER}. Nobody that answered has the model with which its last charter ended any"
        f" more: the one here is of round {history.head.entry.height}"
    )


class Service:
    """What runs on the event loop."""

    def __init__(
        self,
        folder: PeerFolder,
        config: PeerConfig,
        keys: PeerKeys,
        directory: Directory,
        machine: PeerMachine,
        reporter: Reporter,
    ) -> None:
        self._folder, self._config, self._keys = folder, config, keys
        self._directory, self._machine, self._reporter = directory, machine, reporter
        self.gain: OwnGain | None = None
        self.chartering: Chartering | None = None
        self._stop = asyncio.Event()
        self._is_stopping = self._leaves = False
        self._ended = ""  # Why it stops for good.
        self._driver: Driver
        self._links: Links
        self._lookout: Lookout
        self._standing: PeerStanding

    async def run(self, store: Store, work: Callable[[Job], Record], *, until_eof: bool) -> None:
        """Run until stopped."""
        began_s, directory = time.monotonic(), self._directory
        loop = asyncio.get_running_loop()
        open_max = raise_limit()
        if warning := too_few(open_max, len(directory.others)):
            self._reporter.tell("few_descriptors", warning, level=logging.WARNING)
        async with Host(
            self._keys.identity,
            allow=lambda peer: peer in directory.others,
            limits=limits_for(open_max, len(directory.others)),
            tells_incarnations=True,
        ) as host:
            self._reporter.listeners.append(self._on_event)
            self._driver = Driver(self._machine, journal=store, work=work, observer=self._reporter)
            self._links = Links(
                host,
                addresses=directory.others,
                group_id=directory.group_id,
                receiver=self._driver,
            )
            self._lookout = Lookout(
                host,
                self._links,
                directory=directory,
                identity=self._keys.identity,
                reporter=self._reporter,
                on_other=self._on_other_incarnation,
            )
            self._standing = PeerStanding(
                self._machine,
                self._reporter,
                directory=directory,
                host=host,
                driver=self._driver,
                links=self._links,
                lookout=self._lookout,
                began_s=began_s,
                chartering=self.chartering,
            )
            directory.listeners.append(self._on_directory)
            looking = self._look_at_papers(loop)
            addresses = await listen_all(host, self._folder, self._config)
            if self._config.record:
                self._reporter.listeners.append(recorder(self._folder.path, self._standing.sent))
            control = await ControlServer.open(self._folder.control, self._answer)
            metrics = self._serve_metrics()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self.ask_to_stop)
            if until_eof:
                loop.add_reader(STDIN, self._on_stdin)
            self._reporter.tell(
                "listening",
                f"{directory.name} of {directory.agreed.name}"
                f" ({len(directory.agreed.members)} members, group {directory.group_id.hex()[:16]})"
                f" listens on {', '.join(addresses)}",
                addresses=addresses,
                group=directory.group_id.hex(),
            )
            try:
                await self._driver.run(self._links, self._stop)
            finally:
                if looking is not None:
                    looking.cancel()
                await self._lookout.close()
                await control.close()
                if metrics is not None:
                    metrics.close()
        if self._ended:
            raise ServiceError(self._ended)
        self._reporter.tell("stopped", "stopped")

    def _look_at_papers(self, loop: asyncio.AbstractEventLoop) -> "asyncio.Task[None] | None":
        """Begin to look at the charters in the folder, where the group goes by charters."""
        if self.chartering is None:
            return None
        self.chartering.attach(self._driver)
        self._reporter.plain_listeners.append(self.chartering.on_event)
        looking = loop.create_task(self.chartering.run(), name="charters")
        looking.add_done_callback(self._on_looking_ended)
        return looking

    def _on_looking_ended(self, looking: "asyncio.Task[None]") -> None:
        error = None if looking.cancelled() else looking.exception()
        if error is not None:
            self._driver.on_failed(error)

    def _on_directory(self) -> None:
        """Link to the members of an epoch that has begun, and to no others."""
        self._links.admit(self._directory.others)
        self._reporter.rename(self._directory.names)

    def _on_other_incarnation(self, is_later: bool) -> None:
        """Another process has our key: end if we are the later one."""
        if is_later:
            self._driver.on_failed(
                RunsTwice(
                    f"another process runs with the key of {self._folder.path}, and began earlier;"
                    " this one ends. Run one of them only; if you know of no other, the key is"
                    " stolen: tell the group"
                )
            )
            return
        self._reporter.tell(
            "runs_twice",
            "another process runs with this peer's key, began later, and is told to end; if you"
            " know of none, the key is stolen: tell the group",
            level=logging.ERROR,
        )

    def _serve_metrics(self) -> Any:
        if self._config.metrics is None:
            return None
        from p2pfl.daemon.metrics import MetricsServer

        host, _, port = self._config.metrics.rpartition(":")
        try:
            return MetricsServer(host.strip("[]"), int(port), self._standing.snapshot)
        except OSError as error:
            raise ServiceError(
                f"cannot serve metrics on {self._config.metrics}: {error.strerror}; choose another"
                f" address in {self._folder.config}"
            ) from None

    # Stopping.

    def ask_to_stop(self) -> None:
        """Leave: after the round, if it ends soon; at once when asked again."""
        if self._is_stopping:
            self.leave()
            return
        self._is_stopping = True
        if self._machine.state not in ("training", "averaging"):
            self._reporter.tell("stopping", "asked to stop: leaves")
            self.leave()
            return
        self._reporter.tell("stopping", "asked to stop: leaves after this round")
        if not self._directory.agreed.keeps_ledger:
            self._driver.command(Command.PAUSE)
        asyncio.get_running_loop().call_later(STOP_PATIENCE_S, self.leave)

    def leave(self) -> None:
        """Leave now."""
        if not self._stop.is_set():
            self._leaves = True
            if self._has_started:
                self._driver.command(Command.LEAVE)
            self._stop.set()

    def _on_stdin(self) -> None:
        """Leave when whoever holds the other end of standard input has let go of it."""
        if not os.read(STDIN, 4096):
            asyncio.get_running_loop().remove_reader(STDIN)
            self._reporter.tell("stopping", "standard input has ended: leaves")
            self.leave()

    def _on_event(self, event: Event) -> None:
        """Leave once the round has ended, where that was asked for; warn of who is in no model."""
        ends: tuple[type[Event], ...] = (events.Paused, events.Finished)
        if self._directory.agreed.keeps_ledger:
            ends = (events.RoundEnded, events.RoundLost, events.Finished)
        if self._is_stopping and isinstance(event, ends):
            self.leave()
        ledger = ledger_of(self._machine)
        if isinstance(event, events.Left) and not self._leaves:
            # What says so is still on its way to the others: a clean end.
            ended = self.chartering.ended if self.chartering else ""
            self._ended = ended or why_no_member(None if ledger is None else ledger.history)
            self._stop.set()
        if isinstance(event, events.RoundEnded) and ledger is not None:
            if idle := idle_warning(ledger):
                self._reporter.tell("model_idle", idle, level=logging.WARNING)
            for share in newly_overdue(ledger):
                told = warning_of(share)
                self._reporter.tell(
                    "member_overdue", told, level=logging.WARNING, member=share.name
                )

    @property
    def _has_started(self) -> bool:
        """Whether the machine can be given commands; its records are read first."""
        return self._machine.state != State.NEW

    def _allow_one_more(self) -> dict[str, Any]:
        """Have the member give one update more from one model, and note that its operator said so.

        It is noted first: an update leaves by nobody's word that is not there.
        """
        ledger = ledger_of(self._machine)
        if ledger is None or not ledger.may_be_allowed_more:
            return {"error": "it may give updates as it is: --once-more is for one that says spent"}
        head = ledger.history.head.head
        facts = {"group": ledger.epoch.group.hex(), "head": head.entry.hex()}
        try:
            add_act(self._folder.path, Act("one update more", datetime.now(UTC), facts))
        except StoreError as error:
            return {"error": str(error)}
        self._driver.ask(ledger.allow_one_more)
        return {"ok": True}

    # What is told.

    async def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        match request.get("command"):
            case "status":
                own = None
                if self.gain is not None:
                    own = await asyncio.to_thread(self.gain.status)
                return self._standing.status(is_stopping=self._is_stopping) | {"own": own}
            case "check":
                return await self._lookout.check()
            case "stop":
                self.leave() if request.get("now") else self.ask_to_stop()
            case "pause" | "resume" if not self._has_started:
                return {"error": "it has not started yet; ask again in a second"}
            case "resume" if request.get("once_more"):
                return self._allow_one_more()
            case "pause":
                self._driver.command(Command.PAUSE)
            case "resume":
                self._driver.command(Command.RESUME)
            case other:
                return {"error": f"there is no command {other!r}"}
        return {"ok": True}
