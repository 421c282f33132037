"""What must hold after processes were struck: read from logs, recordings and journals.

Every check names what it found wrong, one line a fault; nothing is asked of the processes.
"""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from process_logs import Sent, read_log
from process_strikes import Strike, Strikes

from p2pfl.charter.papers import Papers
from p2pfl.daemon.config import PeerFolder
from p2pfl.daemon.recording import Recorded, Recording
from p2pfl.store.journal import Store
from p2pfl.store.journal_file import Records
from p2pfl_gossip import events
from p2pfl_gossip.actions import Event, RemoteProtocolError
from p2pfl_gossip.ledger.charter import Epoch
from p2pfl_gossip.ledger.entries import EntryStep
from p2pfl_gossip.ledger.history import History
from p2pfl_gossip.ledger.standing import Standing
from p2pfl_simulations.launch.processes import PeerProcess
from p2pfl_simulations.scenario import Scenario

_Kind = TypeVar("_Kind", bound=Event)

STALL_S = 120.0
"""The longest from one certified model to the next, of an untouched peer: what is done to the
others may keep a group without a quorum for a while, and each try has a session's time."""

SHARE_MIN = 0.6
"""Of the heights, those that an untouched peer is in at least: links are cut and halves parted."""

ENDS_AS_TWIN = 3
"""The exit code of a process that learns that another one with its key began earlier."""

ONCE_A_SESSION = ("Ack", "Vote")
ONCE_A_TRY = ("GroupAdvert", "EntrySignature")


def founding_of(folder: Path) -> Epoch:
    """Return the first epoch of the group that a launched peer is in."""
    papers = Papers(PeerFolder(folder).charters)
    papers.read()
    return Epoch.founded(papers.founding().charter)


class Evidence:
    """What the processes of one run left behind.

    Attributes:
        logs: by peer.
        reports: by peer: all its events, over all its lives.
        records: by peer: what its journal holds.
        histories: by peer: what is certified, as far as it knows.
        twin_code: how the second process with a peer's key ended; None if it had to be ended.
        twin_sent: what that one gave to its links.
    """

    def __init__(
        self,
        scenario: Scenario,
        hosts: list[PeerProcess],
        strikes: Strikes,
        twin_code: int | None,
    ) -> None:
        self.scenario, self.hosts, self.strikes = scenario, hosts, strikes
        self.twin_code, twin = twin_code, strikes.twin
        self.twin_sent = [] if twin is None else read_log(twin.folder / "peer.log").sent
        self.founding = founding_of(hosts[0].folder)
        self.logs = [read_log(host.folder / "peer.log") for host in hosts]
        self.reports = [list(Recording(host.folder).fresh()) for host in hosts]
        self.records = [_records(host) for host in hosts]
        self.histories = [self._history(records) for records in self.records]

    def faults(self) -> list[str]:
        """Return all that is wrong."""
        return [
            *self._unfinished(),
            *self._stalled(),
            *self._said_twice(),
            *self._sent_twice(),
            *self._accused(),
            *self._parted(),
            *self._unverified(),
            *self._unequal(),
            *self._left_out(),
            *self._sat_out(),
            *self._twins(),
        ]

    @property
    def untouched(self) -> list[int]:
        """The peers to which nothing was done but that links to others broke."""
        touched = (self.strikes.victim, self.strikes.frozen, self.strikes.cut_off)
        return [host.index for host in self.hosts if host.index not in touched]

    @property
    def tries(self) -> int:
        """Tries that the history took: certified ones and lost ones."""
        return max(history.head.head.round for history in self.histories)

    def share_in(self, peer: int) -> float:
        """Return the share of heights whose models have a peer's update."""
        entries = [it for it in self._kept() if it.entry.listed != bytes(32)]
        epoch = self.founding
        inside = sum(peer in (epoch.unpack(it.entry.members) or ()) for it in entries)
        return inside / len(entries) if entries else 0.0

    def _kept(self) -> list[EntryStep]:
        """Return all entries, as an untouched peer keeps them."""
        return _entries(self.histories[self.untouched[0]])

    def longest_wait(self) -> float:
        """Seconds from one model to the next, at most, of untouched peers."""
        return max((took_s for peer in self.untouched for took_s in self._waits(peer)), default=0.0)

    def _history(self, records: Records) -> History:
        head = Standing(dict(records)).record.head
        return History.restored(self.founding, records, head)

    def _waits(self, peer: int) -> Iterator[float]:
        last_s = None
        for it in self.reports[peer]:
            if isinstance(it.event, events.RoundEnded):
                if last_s is not None:
                    yield it.monotonic_s - last_s
                last_s = it.monotonic_s

    def _unfinished(self) -> Iterator[str]:
        if self.strikes.is_late:
            yield "the run did not end in time"
        for host in self.hosts:
            if host.exit_code != 0:
                yield f"{host.folder.name} ended with {host.exit_code}: {host.last_words()}"
            ended = [it.round for it in _of(self.reports[host.index], events.RoundEnded)]
            if ended[-1:] != [self.scenario.rounds - 1]:
                yield f"{host.folder.name} did not end the last round: {ended[-1:]}"

    def _stalled(self) -> Iterator[str]:
        longest_s = self.longest_wait()
        if longest_s > STALL_S:
            yield f"no model for {longest_s:.0f} s"

    def _said_twice(self) -> Iterator[str]:
        """A member says one thing in each phase of a session, one of each kind in each try."""
        for peer, log in enumerate(self.logs):
            said: dict[tuple[str, str | int], set[str]] = defaultdict(set)
            for frame in log.sent:
                if frame.kind in ONCE_A_SESSION and frame.author in (None, peer):
                    said[frame.kind, frame.session].add(frame.digest)
                elif (
                    frame.kind in ONCE_A_TRY
                    and frame.author == peer
                    and not self._was_lost(peer, frame)
                ):
                    said[frame.kind, frame.round].add(frame.digest)
            for (kind, where), digests in said.items():
                if len(digests) > 1:
                    yield f"peer {peer}: {len(digests)} different {kind}s in {where}"

    def _was_lost(self, peer: int, frame: Sent) -> bool:
        """Whether an older journal lacks a statement, and so few heard it that none may tell of it.

        A member that comes back asks t others, so m may have heard what it does not learn.
        """
        if peer != self.strikes.victim or not 0 <= frame.life < len(self.strikes.struck):
            return False
        if self.strikes.struck[frame.life].how != "restore":
            return False
        epoch = self.founding
        others = (log for index, log in enumerate(self.logs) if index != peer)
        return sum(log.heard(frame) for log in others) <= epoch.size - epoch.threshold

    def _sent_twice(self) -> Iterator[str]:
        """A peer's rank is its index."""
        for peer, log in enumerate(self.logs):
            lives: dict[str, set[int]] = defaultdict(set)
            versions: dict[tuple[str, int | None], set[str]] = defaultdict(set)
            for frame in log.sent:
                if frame.kind != "ChunkHeader":
                    continue
                lives[frame.session].add(frame.life)
                if frame.author == peer:
                    versions[frame.session, frame.chunk].add(frame.digest)
            for session, found in lives.items():
                if len(found) > 1:
                    yield f"peer {peer}: chunks of session {session} in the lives {sorted(found)}"
            for (session, chunk), digests in versions.items():
                if len(digests) > 1:
                    yield f"peer {peer}: {len(digests)} versions of chunk {chunk} in {session}"

    def _accused(self) -> Iterator[str]:
        for peer, reports in enumerate(self.reports):
            for it in _of(reports, events.MemberBlamed):
                yield f"peer {peer} blames {it.member} in round {it.round}: {it.fault}"
            for entry in self.logs[peer].entries:
                if entry["event"] == "refused":
                    yield f"peer {peer} refuses {entry['member']}: {entry['reason']}"
                is_own_disk = peer == self.strikes.victim and entry["event"] == "failed"
                if self._is_of_twin(peer, entry):
                    continue
                if entry["level"] in ("error", "critical") and not is_own_disk:
                    yield f"peer {peer}: {entry['message']}"

    def _is_of_twin(self, peer: int, entry: dict[str, Any]) -> bool:
        """Whether a line tells, of the right member, that two processes have its key."""
        twin = self.strikes.cut_off
        if entry["event"] != "runs_twice" or self.strikes.twin is None:
            return False
        return peer == twin or entry["member"] == self.hosts[twin].folder.name

    def _twins(self) -> Iterator[str]:
        """The later one of two processes with one key ends by itself, and gives nothing."""
        if self.strikes.twin is None:
            yield "no second process with one key ran"
        elif self.twin_code != ENDS_AS_TWIN:
            yield f"the second process with one key ended with {self.twin_code}"
        for frame in self.twin_sent:
            if frame.kind in (*ONCE_A_SESSION, *ONCE_A_TRY, "ChunkHeader"):
                yield f"the second process with one key said {frame.kind}"

    def _parted(self) -> Iterator[str]:
        """One entry a try in all journals together, and one head at the end."""
        by_place: dict[tuple[int, int], dict[bytes, list[int]]] = defaultdict(
            lambda: defaultdict(list)
        )
        for peer, history in enumerate(self.histories):
            for step in _entries(history):
                by_place[step.head.place][step.head.entry].append(peer)
        for place, found in sorted(by_place.items()):
            if len(found) > 1:
                yield f"try {place}: two certified entries, of {list(found.values())}"
        heights = [history.head.entry.height for history in self.histories]
        if set(heights) != {self.scenario.rounds}:
            yield f"the journals end at the heights {heights}"
        heads = {history.head.entry.state[0].digest for history in self.histories}
        if len(heads) > 1:
            yield f"the journals end with {len(heads)} models"

    def _unverified(self) -> Iterator[str]:
        """Each certificate of each journal holds by itself, and the head's model is its own."""
        for peer, history in enumerate(self.histories):
            for step in _entries(history):
                if not _is_certified(history, step):
                    yield f"peer {peer}: the entry of try {step.head.round} is not certified"
            model = Standing(dict(self.records[peer])).models.get(
                history.head.entry.state[0].digest
            )
            last = _of(self.reports[peer], events.RoundEnded)[-1:]
            if model is None or not last or not np.array_equal(model, last[0].vector):
                yield f"peer {peer}: the journal's model is not that of the last round"

    def _unequal(self) -> Iterator[str]:
        """All have the same model of a round, in each of their lives."""
        by_round: dict[int, dict[bytes, set[int]]] = defaultdict(lambda: defaultdict(set))
        for peer, reports in enumerate(self.reports):
            for it in _of(reports, events.RoundEnded):
                by_round[it.round][it.vector.tobytes()].add(peer)
        for round_, vectors in sorted(by_round.items()):
            if len(vectors) > 1:
                yield f"round {round_}: the models of {list(vectors.values())} differ"

    def _left_out(self) -> Iterator[str]:
        for peer in self.untouched:
            if self.share_in(peer) < SHARE_MIN:
                yield f"peer {peer} is in {self.share_in(peer):.0%} of the models only"

    def _sat_out(self) -> Iterator[str]:
        """Only who was given an older journal sits out."""
        for peer, reports in enumerate(self.reports):
            count = len(_of(reports, events.SitsOut))
            allowed = sum(it.how == "restore" for it in self.strikes.struck)
            if count > (allowed if peer == self.strikes.victim else 0):
                yield f"peer {peer} sat out {count} times"

    # What came of each strike.

    def outcome(self, strike: Strike) -> str:
        """Say whether the group had a model, with or without the victim's update, after it."""
        later = [it for it in self.reports[self.untouched[0]] if it.monotonic_s > strike.at_s]
        ended = _of(later, events.RoundEnded)
        if not ended:
            return "no model after it"
        height = ended[0].round + 1
        step = next(it for it in self._kept() if it.entry.height == height)
        members = self.founding.unpack(step.entry.members) or ()
        return "in the next model" if self.strikes.victim in members else "not in the next model"


def _records(host: PeerProcess) -> Records:
    with Store.open(host.folder / "journal") as store:
        return store.records()


def _is_certified(history: History, step: EntryStep) -> bool:
    certificate = history.certificate(step.head)
    try:
        return certificate is not None and history.check(certificate).head == step.head
    except RemoteProtocolError:
        return False


def _entries(history: History) -> list[EntryStep]:
    """Return all entries from the head down to the first one, which nobody signs."""
    found = []
    step: EntryStep | None = history.head
    while step is not None and step.entry.round:
        found.append(step)
        step = history.step(step.entry.base)
    return found[::-1]


def _of(reports: list[Recorded], kind: type[_Kind]) -> list[_Kind]:
    return [it.event for it in reports if isinstance(it.event, kind)]
