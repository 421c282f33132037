"""One peer as a service: from its folder to a clean end.

The order of the start: settings, roster and key are read; the journal is opened, which locks the
folder; the task is loaded; then the host listens, and the machine starts. Whatever is wrong until
then is one line, and nothing was changed. The order of the end: the round is ended if it ends soon,
the peer leaves, what is on its way is sent, links, journal and log are closed.
"""

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from p2pfl.daemon.building import (
    founding_of,
    index_in,
    make_machine,
    make_member_learner,
    make_work,
)
from p2pfl.daemon.checking import listen_all
from p2pfl.daemon.config import PeerConfig, PeerFolder
from p2pfl.daemon.control import ControlServer, require_short
from p2pfl.daemon.descriptors import limits_for, raise_limit, too_few
from p2pfl.daemon.driver import SWITCH_INTERVAL_S, Driver
from p2pfl.daemon.errors import RunsTwice, ServiceError
from p2pfl.daemon.ledger_standing import newly_overdue
from p2pfl.daemon.links import Links
from p2pfl.daemon.logs import FAILED, close_log, open_log
from p2pfl.daemon.lookout import Lookout
from p2pfl.daemon.own_baseline import OwnGain
from p2pfl.daemon.recording import recorder
from p2pfl.daemon.reporter import Reporter
from p2pfl.daemon.sentences import describe_change
from p2pfl.daemon.standing import PeerStanding
from p2pfl.group.lossy import Lossy
from p2pfl.group.roster_file import RosterFile, group_id, read_roster
from p2pfl.learner.learner import Learner
from p2pfl.libp2p import Host
from p2pfl.store.journal import Store
from p2pfl.store.journal_file import Records
from p2pfl.store.keys import PeerKeys
from p2pfl_crypto.identity import PeerId
from p2pfl_gossip import events
from p2pfl_gossip.actions import Command, Event, Job
from p2pfl_gossip.description import DESCRIPTION_RECORD, Difference, decode_page
from p2pfl_gossip.ledger.charter import Epoch
from p2pfl_gossip.ledger.history import FOUNDING_RECORD, History, founding_record
from p2pfl_gossip.ledger.meeting import Meeting
from p2pfl_gossip.ledger.member import GroupMember
from p2pfl_gossip.ledger.participation import warning_of
from p2pfl_gossip.ledger.standing import Standing as LedgerStanding
from p2pfl_gossip.opening import Opening
from p2pfl_gossip.peer_state import State
from p2pfl_gossip.records import MalformedFrame, Record

if sys.platform == "win32":
    from asyncio import new_event_loop
else:
    from uvloop import new_event_loop

STOP_PATIENCE_S = 30.0
"""How long a peer that is asked to stop may take to end its round; systemd waits for 90."""

GROUP_RECORD = "daemon/group"
LEDGER_PREFIX = "ledger/"
NOT_A_MEMBER = (
    "the group's present charter does not name this peer: its members have agreed to go on without"
    " it; ask them, if that is news"
)
STDIN = 0


def run_peer(
    folder: PeerFolder,
    config: PeerConfig,
    keys: PeerKeys,
    *,
    until_eof: bool = False,
    draws: str | None = None,
) -> None:
    """Run a peer until it is stopped, by its control socket, SIGTERM or SIGINT.

    Args:
        folder: the peer's.
        config: its settings.
        keys: its identity, and its part of the draw.
        until_eof: whether the end of standard input, a pipe, stops it as well.
        draws: see `make_machine`; given by a launcher of trials only.

    Raises:
        ServiceError, MembershipError, ControlError: it cannot run as it is set up.
        RosterError, LearningError, AveragingError: the roster or its task is at fault.
        StoreError: the journal cannot be opened, is damaged, or fails.
        RunsTwice: another process has its key, and began earlier.
        OSError: the log cannot be written.
    """
    require_short(folder.control)
    if not folder.roster_path(config).exists():
        raise ServiceError(
            f"there is no roster at {folder.roster_path(config)}: put there the one that the group"
            " has agreed on"
        )
    roster = read_roster(folder.roster_path(config))
    index = index_in(roster, keys)
    with Store.open(folder.journal) as store:
        records = store.records()
        _require_group(roster, records, folder)
        learner, place = make_member_learner(
            roster,
            index,
            data_dir=config.data_dir,
            threads=config.threads,
            folder=config.task_dir or folder.roster_path(config).resolve().parent,
        )
        _require_description_of(roster, learner, records, folder)
        if roster.keeps_ledger:
            records = _without_what_has_not_begun(records, store)
            founding = founding_of(roster, learner)
            require_ledger(founding, keys.identity.peer_id, records, folder)
        del records  # A model, perhaps; the driver reads its own.
        machine = make_machine(roster, index, keys.identity, learner, keys.draw_secret, draws=draws)
        log = open_log(folder.log, level=config.log_level)
        store.persist({GROUP_RECORD: group_id(roster)})
        others = {
            PeerId(member.peer_id): member.name
            for place, member in enumerate(roster.members)
            if place != index
        }
        reporter = Reporter(log, others, Lossy(learner, roster.averaging))
        switch_interval_s = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        try:
            with asyncio.Runner(loop_factory=new_event_loop) as runner:
                gain = OwnGain(learner, place, folder.baseline)
                service = _Service(folder, config, keys, roster, index, machine, reporter, gain)
                work = make_work(learner, place, gain.note)
                runner.run(service.run(store, work, until_eof=until_eof))
        except Exception as error:
            reporter.tell(FAILED, f"cannot go on: {error}", level=logging.CRITICAL)
            raise
        finally:
            sys.setswitchinterval(switch_interval_s)
            close_log(log)


def _require_group(roster: RosterFile, records: Records, folder: PeerFolder) -> None:
    found, ours = records.get(GROUP_RECORD), group_id(roster)
    if found not in (None, ours):
        told = found.hex()[:16] if isinstance(found, bytes) else "?"
        raise ServiceError(
            f"{folder.journal} is of group {told}, the roster of group {ours.hex()[:16]}: put the"
            " roster of that group back, or move the journal away to begin anew"
        )


def _require_description_of(
    roster: RosterFile, learner: Learner, records: Records, folder: PeerFolder
) -> None:
    """Refuse a task that was changed since the group opened: the others have it as it was."""
    kept = records.get(DESCRIPTION_RECORD)
    if kept is None and "draw_seed" not in records:
        return  # It has not opened.
    if not isinstance(kept, bytes):
        raise _of_older_version(folder)
    page = decode_page(kept)
    if page == learner.description.page(0):
        return  # `compare` is for descriptions whose digests differ.
    found = learner.description.compare(page, is_start_exact=roster.keeps_ledger)
    if isinstance(found, int):  # Beyond the tensors that are kept.
        found = Difference("layout")
    if found is not None:
        raise ServiceError(
            f"the task has changed since the group opened: {describe_change(found)}; put it back"
            f" as it was, or move {folder.journal} away to begin anew"
        )


def require_ledger(founding: Epoch, peer: PeerId, records: Records, folder: PeerFolder) -> None:
    """Refuse a ledger that cannot be read, or in which we have no place, before anything is said.

    Raises:
        ServiceError: it is of another group or version, or its last charter does not name `peer`.
    """
    if records.get(FOUNDING_RECORD) not in (None, founding_record(founding)[FOUNDING_RECORD]):
        raise ServiceError(
            f"the ledger in {folder.journal} is of another group than the roster and the task"
            " found: put both back as they were, or move the journal away to begin anew"
        )
    try:
        standing = LedgerStanding(dict(records))
        history = History.restored(founding, records, standing.record.head)
    except MalformedFrame as error:
        raise ServiceError(
            f"the ledger in {folder.journal} cannot be read ({error}): go on with the version of"
            " p2pfl that wrote it, or move the journal away to begin anew"
        ) from None
    if history.epoch.rank_of(peer) is None:
        raise ServiceError(NOT_A_MEMBER)


def _without_what_has_not_begun(records: Records, store: Store) -> Records:
    """Forget a founding that led to nothing: nothing was said in it, and its task may be mended."""
    if DESCRIPTION_RECORD in records:
        return records
    void = [key for key in records if key.startswith(LEDGER_PREFIX)]
    if void:
        store.persist(dict.fromkeys(void))
    return {key: value for key, value in records.items() if key not in void}


def _of_older_version(folder: PeerFolder) -> ServiceError:
    return ServiceError(
        f"{folder.journal} is of an older version of p2pfl: go on with that version, or move"
        " the journal away to begin anew"
    )


class _Service:
    """What runs on the event loop."""

    def __init__(
        self,
        folder: PeerFolder,
        config: PeerConfig,
        keys: PeerKeys,
        roster: RosterFile,
        index: int,
        machine: Opening | Meeting[GroupMember],
        reporter: Reporter,
        gain: OwnGain,
    ) -> None:
        self._gain = gain
        self._folder, self._config, self._keys = folder, config, keys
        self._roster, self._index = roster, index
        self._group_id = group_id(roster)  # Of all members: too much to work out at each status.
        self._machine, self._reporter = machine, reporter
        self._stop = asyncio.Event()
        self._is_stopping = self._leaves = False
        self._driver: Driver
        self._links: Links
        self._lookout: Lookout
        self._standing: PeerStanding

    async def run(self, store: Store, work: Callable[[Job], Record], *, until_eof: bool) -> None:
        """Run until stopped."""
        began_s, members = time.monotonic(), self._roster.members
        others = {
            PeerId(member.peer_id): member.addresses
            for place, member in enumerate(members)
            if place != self._index
        }
        loop = asyncio.get_running_loop()
        open_max = raise_limit()
        if warning := too_few(open_max, len(others)):
            self._reporter.tell("few_descriptors", warning, level=logging.WARNING)
        async with Host(
            self._keys.identity,
            allow=frozenset(others),
            limits=limits_for(open_max, len(others)),
            tells_incarnations=True,
        ) as host:
            self._reporter.listeners.append(self._on_event)
            self._driver = Driver(self._machine, journal=store, work=work, observer=self._reporter)
            self._links = Links(
                host, addresses=others, group_id=self._group_id, receiver=self._driver
            )
            self._lookout = Lookout(
                host,
                self._links,
                roster=self._roster,
                index=self._index,
                group_id=self._group_id,
                identity=self._keys.identity,
                reporter=self._reporter,
                on_other=self._on_other_incarnation,
            )
            self._standing = PeerStanding(
                self._machine,
                self._reporter,
                roster=self._roster,
                index=self._index,
                group_id=self._group_id,
                host=host,
                driver=self._driver,
                links=self._links,
                lookout=self._lookout,
                began_s=began_s,
            )
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
                f"{members[self._index].name} of {self._roster.name}"
                f" ({len(members)} members, group {self._group_id.hex()[:16]})"
                f" listens on {', '.join(addresses)}",
                addresses=addresses,
                group=self._group_id.hex(),
            )
            try:
                await self._driver.run(self._links, self._stop)
            finally:
                await self._lookout.close()
                await control.close()
                if metrics is not None:
                    metrics.close()
        self._reporter.tell("stopped", "stopped")

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
        if not self._roster.keeps_ledger:
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
        if self._roster.keeps_ledger:
            ends = (events.RoundEnded, events.RoundLost, events.Finished)
        if self._is_stopping and isinstance(event, ends):
            self.leave()
        if isinstance(event, events.Left) and not self._leaves:
            self._driver.on_failed(ServiceError(NOT_A_MEMBER))
        if isinstance(event, events.RoundEnded) and isinstance(self._machine, Meeting):
            for share in newly_overdue(self._machine.member):
                told = warning_of(share)
                self._reporter.tell(
                    "member_overdue", told, level=logging.WARNING, member=share.name
                )

    @property
    def _has_started(self) -> bool:
        """Whether the machine can be given commands; its records are read first."""
        return self._machine.state != State.NEW

    # What is told.

    async def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        match request.get("command"):
            case "status":
                own = await asyncio.to_thread(self._gain.status)
                return self._standing.status(is_stopping=self._is_stopping) | {"own": own}
            case "check":
                return await self._lookout.check()
            case "stop":
                self.leave() if request.get("now") else self.ask_to_stop()
            case "pause" | "resume" if not self._has_started:
                return {"error": "it has not started yet; ask again in a second"}
            case "pause":
                self._driver.command(Command.PAUSE)
            case "resume":
                self._driver.command(Command.RESUME)
            case other:
                return {"error": f"there is no command {other!r}"}
        return {"ok": True}
