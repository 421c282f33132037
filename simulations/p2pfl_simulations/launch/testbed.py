"""Real processes as a testbed: what faults and recorders of the simulator do to a world, done here.

A crash is SIGKILL and a new process later. Churn is SIGTERM, so that the peer leaves in good order,
and a new process later. A dropout is SIGSTOP and SIGCONT: the machine hangs, and its links go dead
without a word. Links that are cut, a peer's own or those between parts of the network, go through
relays (relays.py). Whoever is set up late has no process until then.
"""

import heapq
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from itertools import count
from typing import Any

from p2pfl_gossip import events
from p2pfl_simulations.draws import array_stream, sampler
from p2pfl_simulations.launch.errors import LaunchError
from p2pfl_simulations.launch.processes import PeerProcess
from p2pfl_simulations.launch.relays import Pair, PairRelays, both_ways, links_of
from p2pfl_simulations.scenario import Scenario
from p2pfl_simulations.testbed import RunWatcher
from p2pfl_simulations.world_settings import NetworkSettings

POLL_S = 0.02
LEAVE_S = 45.0
"""For processes that were asked to leave; longer than a peer takes that ends its round first."""
ABSENT = "absent"
"""Of whom no network is there, and whose process goes on."""


class RealTimeQueue:
    """Seconds since the start, and calls at times."""

    def __init__(self) -> None:
        self.began_s = time.monotonic()
        self._due: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._numbers = count()

    @property
    def now_s(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self.began_s

    def call_at(self, at_s: float, call: Callable[..., None], *args: Any) -> None:
        """Call at a time, or at once if it is past."""
        heapq.heappush(self._due, (at_s, next(self._numbers), call, args))

    def run_due(self) -> None:
        """Call what is due."""
        while self._due and self._due[0][0] <= self.now_s:
            _, _, call, args = heapq.heappop(self._due)
            call(*args)


class ScenarioLatencies:
    """Latencies as the scenario has them, for the timing of faults within an exchange."""

    def __init__(self, settings: NetworkSettings, seed: int) -> None:
        self.draw_latency = sampler(settings.latency, array_stream(seed, "latency"))


class ProcessTestbed:
    """The processes of one launch; see `p2pfl_simulations.testbed.Testbed`.

    Args:
        scenario: what they do.
        processes: of all peers, in order.
        relays: through which go all links that the scenario cuts.
        late: peers without a process at first: somebody brings them online.
    """

    def __init__(
        self,
        scenario: Scenario,
        processes: Sequence[PeerProcess],
        *,
        relays: PairRelays | None = None,
        late: Collection[int] = (),
    ) -> None:
        self.hosts, self.queue = processes, RealTimeQueue()
        self._relays, self._late = relays, frozenset(late)
        self._cut: Counter[Pair] = Counter()  # Faults overlap: so many have cut it.
        self._absent: set[int] = set()
        self._parted: set[Pair] = set()
        self.network = ScenarioLatencies(scenario.network, scenario.seed)
        self.frames_sent = self.bytes_sent = 0
        self.is_over = False
        self.training_s = [0.1] * len(processes)
        """How long each peer has trained last; until it has, a guess."""
        self._training_since_s: dict[int, float] = {}
        self._watchers: tuple[RunWatcher, ...] = ()

    def run(self, watchers: Sequence[RunWatcher]) -> None:
        """Start all processes, and go on until a watcher sets `is_over`.

        Raises:
            LaunchError: a process ended by itself.
        """
        self._watchers = tuple(watchers)
        for process in self.hosts:
            if process.index in self._late:
                process.is_online = False
                self._tell(process, "offline", "crash")
            else:
                process.start()
        while not self.is_over:
            self._read_events()
            self.queue.run_due()
            self._require_alive()
            time.sleep(POLL_S)

    def end(self) -> None:
        """End all processes: in good order those that can, at once those that do not.

        Raises:
            KeyboardInterrupt: came while they were leaving; all have been killed.
        """
        deadline_s = time.monotonic() + LEAVE_S
        try:
            for process in self.hosts:
                process.thaw()
                process.ask_to_leave()
            for process in self.hosts:
                process.wait(max(0.0, deadline_s - time.monotonic()))
        finally:
            for process in self.hosts:
                if not process.wait(0):
                    process.kill()

    def bytes_by_message(self) -> Counter[str]:
        """Add up what all peers have sent, by the name of a message's type."""
        total: Counter[str] = Counter()
        for host in self.hosts:
            total.update(host.bytes_by_message)
        return total

    # What faults ask for.

    def take_offline(
        self, host: PeerProcess, detail: str, *, kills: bool = False, silent: bool = False
    ) -> None:
        """Cut a process off that is absent; freeze another one, or end it."""
        if not host.is_online:
            return
        host.is_online = False
        if detail == "churn":
            host.ask_to_leave()
        elif kills:
            host.kill()
        elif detail == ABSENT:
            self._absent.add(host.index)
            self._block()
        else:
            host.freeze()
        self._tell(host, "offline", detail)

    def bring_online(self, host: PeerProcess, detail: str) -> None:
        """Let a process go on or be reached again, or start a new one."""
        if host.is_online:
            return
        if detail == "churn" and not host.wait(LEAVE_S):
            host.kill()
        host.is_online = True
        if host.index in self._absent:
            self._absent.remove(host.index)
            self._block()
        if host.is_running:
            host.thaw()
        else:
            host.start()
        self._tell(host, "online", detail)

    def strike_after(self, host: Any, actions: int, strike: Callable[[Any], None]) -> None:
        """Refuse: `left_out` tells of crashes at actions before the start."""
        raise LaunchError("nobody can count the actions of a real process")

    def cut(self, one: PeerProcess, other: PeerProcess) -> None:
        """Break the link of two peers, and let them make no other."""
        self._cut.update(both_ways([(one.index, other.index)]))
        self._block()
        self._tell(one, "link_cut", f"to peer {other.index}")

    def mend(self, one: PeerProcess, other: PeerProcess) -> None:
        """Let two peers reach each other again."""
        self._cut.subtract(both_ways([(one.index, other.index)]))
        self._block()
        self._tell(one, "link_mended", f"to peer {other.index}")

    def copy_records(self, host: PeerProcess) -> None:
        """Nothing: `left_out` says so."""

    def restore_records(self, host: PeerProcess) -> None:
        """Nothing."""

    def split(self, parts: list[int] | None) -> None:
        """Let peers reach only those of the same part; None heals."""
        own = parts or [0] * len(self.hosts)
        self._parted = {
            (one, two) for one in range(len(own)) for two in range(len(own)) if own[one] != own[two]
        }
        self._block()
        if parts is None:
            self._tell(None, "healed", "")
        else:
            self._tell(None, "partition", f"{len(set(parts))} parts")

    def _block(self) -> None:
        """Have the relays carry what may be carried now."""
        blocked = {pair for pair, times in self._cut.items() if times > 0} | self._parted
        blocked |= links_of(self._absent, len(self.hosts))
        if self._relays is not None:
            self._relays.block(blocked)
        elif blocked:
            raise LaunchError("links can be cut only where relays carry them")

    def _tell(self, host: PeerProcess | None, kind: str, detail: str) -> None:
        for watcher in self._watchers:
            watcher.on_incident(self.queue.now_s, host, kind, detail)

    def _read_events(self) -> None:
        """Tell the watchers what the peers have recorded, in order of time."""
        fresh = [
            (it.monotonic_s, host.index, it) for host in self.hosts for it in host.recording.fresh()
        ]
        for monotonic_s, index, it in sorted(fresh, key=lambda entry: entry[:2]):
            host = self.hosts[index]
            frames, size = host.count(it.sent)
            self.frames_sent += frames
            self.bytes_sent += size
            now_s = monotonic_s - self.queue.began_s
            if isinstance(it.event, events.RoundStarted):
                self._training_since_s[index] = now_s
            elif isinstance(it.event, events.AveragingStarted):
                self.training_s[index] = now_s - self._training_since_s.get(index, now_s)
            for watcher in self._watchers:
                watcher.on_report(now_s, host, it.event)

    def _require_alive(self) -> None:
        for host in self.hosts:
            if host.is_online and host.exit_code is not None:
                told = host.last_words() or f"exit code {host.exit_code}"
                raise LaunchError(f"{host.folder.name} has ended by itself: {told}")


def cut_pairs(scenario: Scenario) -> set[Pair]:
    """Return the pairs of peers whose links a scenario cuts: who dials, and who is dialled."""
    faults, size = scenario.faults, scenario.peers
    if faults.partitions:
        return links_of(range(size), size)
    found: set[Pair] = set()
    for fault in faults.planned:
        if fault.kind == "link":
            found |= both_ways([(fault.peers[0], fault.peers[1])])
        elif fault.kind == ABSENT:
            found |= links_of(fault.peers, size)
    return found


def late_peers(scenario: Scenario) -> set[int]:
    """Return the peers that are set up late: planned to be down from the beginning on."""
    return {
        peer
        for fault in scenario.faults.planned
        if fault.kind == "crash" and fault.start_s == 0
        for peer in fault.peers
    }


def has_slower_peers(scenario: Scenario) -> bool:
    """Tell whether some peers of a scenario are slower than others."""
    return scenario.faults.stragglers is not None or scenario.compute.speed_spread > 1


def left_out(scenario: Scenario) -> list[str]:
    """Name what of a scenario is not done to processes on one machine."""
    faults, found = scenario.faults, []
    if faults.crash_at_action:
        found.append("crashes at actions (faults.crash_at_action)")
    if faults.backups:
        found.append("restored backups (faults.backups)")
    if faults.availability:
        found.append("models of who is there (faults.availability)")
    if faults.own:
        found.append("own faults (faults.own)")
    if scenario.changes:
        found.append("changes of the charter (changes)")
    if scenario.disk.kind != "none":
        found.append("the disk's time (disk)")
    if scenario.compute.jitter:
        found.append("jobs that take longer at random (compute.jitter)")
    if scenario.network.loss:
        found.append("loss of messages (network.loss)")
    found.append("latency and bandwidth of links (network)")
    return found
