"""What must hold after processes were killed and frozen: read from logs, recordings and journals.

Every check names what it found wrong, one line a fault; nothing is asked of the processes.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from process_logs import PeerLog, read_log
from process_strikes import Strike, Strikes

from p2pfl.daemon.recording import Recorded, Recording
from p2pfl.group.averaging import SESSION_DEADLINES
from p2pfl.store.journal import Store
from p2pfl_gossip import events
from p2pfl_simulations.launch.processes import PeerProcess
from p2pfl_simulations.scenario import Scenario

ROUNDS_WITHOUT_SUM_MAX = 6
"""In a row, of all untouched peers: parts of a cohort that are out of step take some to meet."""

ONCE_SAID = ("Ack", "Vote")


class Evidence:
    """What the processes of one run left behind.

    Attributes:
        logs: by peer.
        reports: by peer: all its events, over all its lives.
    """

    def __init__(self, scenario: Scenario, hosts: list[PeerProcess], strikes: Strikes) -> None:
        self.scenario, self.hosts, self.strikes = scenario, hosts, strikes
        self.logs = [read_log(host.folder / "peer.log") for host in hosts]
        self.reports = [list(Recording(host.folder).fresh()) for host in hosts]

    def faults(self) -> list[str]:
        """Return all that is wrong."""
        return [
            *self._unfinished(),
            *self._stalled(),
            *self._locked(),
            *self._said_twice(),
            *self._sent_twice(),
            *self._accused(),
            *self._unequal(),
            *self._journals_that_differ(),
        ]

    @property
    def untouched(self) -> list[int]:
        """The peers that were neither killed nor frozen."""
        touched = (self.strikes.victim, self.strikes.frozen)
        return [host.index for host in self.hosts if host.index not in touched]

    def came_late(self) -> list[int]:
        """Peers that were back only after the others' last round, and took its model from them."""
        return [
            peer
            for peer, reports in enumerate(self.reports)
            if peer not in self.untouched
            and [it.round for it in _of(reports, events.CaughtUp)][-1:] == [self.scenario.rounds]
            and _of(reports, events.Finished)
        ]

    def stepped_over(self) -> int:
        """Rounds that untouched peers lost and left, to be where others were."""
        return sum(len(self._stepped_over(peer)) for peer in self.untouched)

    def _stepped_over(self, peer: int) -> set[int]:
        return {
            round_
            for it in _of(self.reports[peer], events.CaughtUp)
            for round_ in range(it.behind, it.round)
        }

    def longest_exchange(self) -> float:
        """Seconds from a trained model to its round's end, at most, of untouched peers."""
        return max(took_s for peer in self.untouched for _, took_s in self._exchanges(peer))

    def _exchanges(self, peer: int) -> Iterator[tuple[int, float]]:
        began: dict[int, float] = {}
        for at_s, event, *_ in self.reports[peer]:
            if isinstance(event, events.AveragingStarted):
                began[event.round] = at_s
            elif isinstance(event, events.RoundEnded):
                yield event.round, at_s - began[event.round]

    def _unfinished(self) -> Iterator[str]:
        rounds = self.scenario.rounds
        if self.strikes.is_late:
            yield "the run did not end in time"
        for host in self.hosts:
            if host.exit_code != 0:
                yield f"{host.folder.name} ended with {host.exit_code}: {host.last_words()}"
            ended = [it.round for it in _of(self.reports[host.index], events.RoundEnded)]
            if host.index in self.untouched:
                missing = set(range(rounds)) - set(ended) - self._stepped_over(host.index)
                if missing or len(ended) != len(set(ended)):
                    yield f"{host.folder.name} did not end the rounds {sorted(missing)}"
            if rounds - 1 not in ended and host.index not in self.came_late():
                yield f"{host.folder.name} did not end the last round: {ended[-1:]}"

    def _stalled(self) -> Iterator[str]:
        """A session lives for SESSION_DEADLINES deadlines; nothing beside it may wait."""
        limit_s = SESSION_DEADLINES * self.scenario.averaging.deadline_s
        for peer in self.untouched:
            for round_, took_s in self._exchanges(peer):
                if took_s > limit_s:
                    yield f"peer {peer}: the exchange of round {round_} took {took_s:.1f} s"

    def _locked(self) -> Iterator[str]:
        summed = {
            it.round
            for peer in self.untouched
            for it in _of(self.reports[peer], events.MaskedSumEnded)
            if it.result == "summed"
        }
        places = [-1, *sorted(summed), self.scenario.rounds]
        for before, after in pairwise(places):
            if after - before > ROUNDS_WITHOUT_SUM_MAX:
                yield f"no sum from round {before + 1} to {after - 1}"

    def _said_twice(self) -> Iterator[str]:
        for peer, log in enumerate(self.logs):
            said: dict[tuple[str, str], set[str]] = defaultdict(set)
            for frame in log.sent:
                if frame.kind in ONCE_SAID:
                    said[frame.kind, frame.session].add(frame.digest)
            for (kind, session), digests in said.items():
                if len(digests) > 1:
                    yield f"peer {peer}: {len(digests)} different {kind}s in session {session}"

    def _sent_twice(self) -> Iterator[str]:
        """In a cohort of all, a peer's rank is its index."""
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
                if entry["level"] in ("error", "critical"):
                    yield f"peer {peer}: {entry['message']}"

    def _unequal(self) -> Iterator[str]:
        """All who took part in a whole sum have the same vector; of the last round above all."""
        by_round: dict[int, dict[bytes, list[int]]] = defaultdict(lambda: defaultdict(list))
        for peer, reports in enumerate(self.reports):
            ended = Counter(it.round for it in _of(reports, events.RoundEnded))
            whole: set[int] = set()
            for it in reports:
                if isinstance(it.event, events.MaskedSumEnded):
                    if it.event.result == "summed" and not it.event.kept:
                        whole.add(it.event.round)
                # A round that a second life ended again has the model of that life alone.
                elif isinstance(it.event, events.RoundEnded):
                    round_ = it.event.round
                    if round_ in whole and ended[round_] == 1:
                        by_round[round_][it.event.vector.tobytes()].append(peer)
        for round_, vectors in sorted(by_round.items()):
            if len(vectors) > 1:
                yield f"round {round_}: the sums of {list(vectors.values())} differ"

    def _journals_that_differ(self) -> Iterator[str]:
        rounds = self.scenario.rounds
        for host in self.hosts:
            with Store.open(host.folder / "journal") as store:
                records = store.records()
            ended = _of(self.reports[host.index], events.RoundEnded)
            if int.from_bytes(records["round"], "little") != rounds:
                yield f"{host.folder.name}: the journal is not at the end"
            elif ended[-1].round == rounds - 1 and not np.array_equal(
                records["model"], ended[-1].vector
            ):
                yield f"{host.folder.name}: the journal's model is not that of the last round"

    # What came of each strike.

    def outcome(self, strike: Strike) -> tuple[str, str]:
        """Return (what the others came to, the last phase whose frames the victim sent).

        A sum holds the victim's model if as many contributed as sent a manifest, and it did.
        """
        log = self.logs[self.strikes.victim]
        of_session = [it for it in log.sent if it.session == strike.session]
        round_ = of_session[0].round
        results = [
            it
            for peer in self.untouched
            for it in _of(self.reports[peer], events.MaskedSumEnded)
            if it.round == round_
        ]
        summed = [it for it in results if it.result == "summed"]
        last = of_session[-1].kind
        if not summed:
            return "aborted", last
        gave = [peer for peer, log in enumerate(self.logs) if _gave(log, strike.session)]
        is_in = self.strikes.victim in gave and summed[0].contributors == len(gave)
        told = "summed with it" if is_in else "summed without it"
        return told if len(summed) == len(results) else f"{told}, aborted at some", last


def _of(reports: list[Recorded], kind: type) -> list:
    return [it.event for it in reports if isinstance(it.event, kind)]


def _gave(log: PeerLog, session: str) -> bool:
    return any(it.kind == "Manifest" and it.session == session for it in log.sent)
