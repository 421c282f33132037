"""Strikes one peer's process in each phase of a round in turn, and troubles others beside it.

The victim is killed; once its journal is put back to an older copy while it is away, and once its
disk is full in place of the kill. Another peer is frozen, and a third one loses its links. Later
the folder of that one is copied, journal and all, and a second process runs with its key.
"""

import resource
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from process_logs import Tail

from p2pfl.daemon.config import read_config, write_config
from p2pfl_gossip import events
from p2pfl_gossip.actions import Event
from p2pfl_simulations.launch.folders import LOOPBACK
from p2pfl_simulations.launch.processes import PeerProcess
from p2pfl_simulations.launch.relays import PairRelays, between
from p2pfl_simulations.launch.testbed import ProcessTestbed

PHASES = {
    "advertise": ("GroupAdvert",),
    "share": ("Share",),
    "agree": ("Ack",),
    "chunk": ("ChunkHeader",),
    "vote": ("Vote",),
    "reveal": ("Reveal",),
    "sum": ("SumHeader", "SumDigest"),
    "sign": ("EntrySignature",),
}
"""Phase -> what is sent first in it."""

FROZEN_S, CUT_S, SPLIT_S = 20.0, 15.0, 12.0
TWIN_AFTER_S = 5.0
"""From the last heal to the second process with a peer's key: by then links stand again."""
LEFT_BEHIND = ("control.sock", "peer.log*", "events.jsonl", "models", "stderr.log")
AWAY_S = (0.0, 3.0)
LOOK_S, LOOK_EVERY_S = 0.04, 0.001


@dataclass
class Strike:
    """One end of the victim's process.

    Attributes:
        phase: which was struck.
        how: ``"kill"``, ``"restore"`` (killed, and an older journal put in place), or ``"disk"``.
        at_s: on the monotonic clock.
        away_s: from then to the start of the next process.
        back_height: the first height that a sum with the peer in it led to again; 0 if none did.
    """

    phase: str
    how: str
    at_s: float
    away_s: float
    back_height: int = 0


class Strikes:
    """A watcher of the testbed: strikes, brings back, and ends the run when all have finished.

    The victim is struck when its log shows the first frame that it sends in the phase whose turn it
    is, and only after it has been in a sum since it came back. All moments are drawn from the seed;
    which frames have left by then is up to the machine. Nobody is struck from the height
    `strike_before` on.
    """

    def __init__(
        self,
        testbed: ProcessTestbed,
        relays: PairRelays,
        strike_before: int,
        seed: int,
        *,
        limit_s: float,
    ) -> None:
        rng = Random(f"{seed}/strikes")
        self._testbed, self._relays, self._strike_before = testbed, relays, strike_before
        self.victim, self.frozen, self.cut_off = rng.sample(range(len(testbed.hosts)), 3)
        self.order = rng.sample(list(PHASES), len(PHASES))
        restored, full = rng.sample(range(2, len(PHASES)), 2)
        self._how = ["kill"] * len(PHASES)
        self._how[restored], self._how[full] = "restore", "disk"
        self._away_s = [rng.uniform(*AWAY_S) for _ in PHASES]
        at_s = rng.uniform(0.0, 20.0)
        self._troubles = [
            (at_s, self._freeze),
            (at_s + FROZEN_S, self._thaw),
            (at_s + FROZEN_S + 5.0, self._cut),
            (at_s + FROZEN_S + 5.0 + CUT_S, lambda: relays.block(())),
            (at_s + FROZEN_S + 10.0 + CUT_S, self._split),
            (at_s + FROZEN_S + 10.0 + CUT_S + SPLIT_S, self._heal_last),
            (at_s + FROZEN_S + 10.0 + CUT_S + SPLIT_S + TWIN_AFTER_S, self._run_twin),
        ]
        self._side = rng.sample(range(len(testbed.hosts)), len(testbed.hosts) // 2)
        self.struck: list[Strike] = []
        self.troubled = False
        self.twin: PeerProcess | None = None
        self.is_late = False
        self._is_open = False
        self._is_in_sums = False  # The victim, since its last start.
        self._tail = Tail(testbed.hosts[self.victim].folder / "peer.log")
        self._is_looking = False
        self._finished: set[int] = set()
        testbed.queue.call_at(limit_s, self._give_up)

    def on_report(self, now_s: float, host: PeerProcess, event: Event) -> None:
        """Open the run, arm the next strike, or end the run."""
        if isinstance(event, events.RoundStarted) and not self._is_open:
            self._is_open = True
            for after_s, trouble in self._troubles:
                self._testbed.queue.call_at(now_s + after_s, trouble)
        if isinstance(event, events.Finished):
            self._finished.add(host.index)
            self._testbed.is_over = len(self._finished) == len(self._testbed.hosts)
        if host.index != self.victim or not host.is_online:
            return
        if isinstance(event, events.MaskedSumEnded) and event.result == "summed":
            self._is_in_sums = True
        if not self._is_in_sums:
            return
        if isinstance(event, events.RoundEnded) and self.struck and not self.struck[-1].back_height:
            self.struck[-1].back_height = event.round + 1
        if isinstance(event, events.RoundStarted) and event.round < self._strike_before:
            self._look_for_phase()

    def on_incident(self, now_s: float, host: Any, kind: str, detail: str) -> None:
        """Nothing: incidents are our own doing."""

    def _look_for_phase(self) -> None:
        if len(self.struck) < len(self.order) and not self._is_looking:
            for _ in self._tail.fresh():
                pass  # What is past.
            self._is_looking, self._is_new = True, False
            self._look()

    def _look(self) -> None:
        """Look at the log for some time; strike, or look again after the testbed's turn."""
        phase = self.order[len(self.struck)]
        until_s = time.monotonic() + LOOK_S
        while time.monotonic() < until_s:
            for entry in self._tail.fresh():
                if entry["event"] == "averaging_started":
                    self._is_new = True  # What was said again before is of an earlier round.
                if entry["event"] != "frame" or entry["direction"] != "out" or not self._is_new:
                    continue
                if entry["message_type"] in PHASES[phase]:
                    self._strike(phase)
                    return
            time.sleep(LOOK_EVERY_S)
        self._testbed.queue.call_at(self._testbed.queue.now_s + LOOK_EVERY_S, self._look)

    def _strike(self, phase: str) -> None:
        place = len(self.struck)
        host, away_s, how = self._testbed.hosts[self.victim], self._away_s[place], self._how[place]
        if how == "disk":
            # Nothing more can be written: the peer ends by itself.
            assert host.pid is not None
            resource.prlimit(host.pid, resource.RLIMIT_FSIZE, (0, 0))
            host.is_online = False
            host.wait(None)
            host.life += 1
        else:
            self._testbed.take_offline(host, "crash", kills=True)
        self.struck.append(Strike(phase, how, time.monotonic(), away_s))
        if how == "restore":
            _put_back(host.folder)
        self._is_in_sums = self._is_looking = False
        self._finished.discard(self.victim)
        self._testbed.queue.call_at(self._testbed.queue.now_s + away_s, self._bring_back)

    def _bring_back(self) -> None:
        host = self._testbed.hosts[self.victim]
        if len(self.struck) < len(self._how) and self._how[len(self.struck)] == "restore":
            _put_aside(host.folder)
        self._testbed.bring_online(host, "crash")

    def _freeze(self) -> None:
        self._testbed.take_offline(self._testbed.hosts[self.frozen], "dropout")

    def _thaw(self) -> None:
        self._testbed.bring_online(self._testbed.hosts[self.frozen], "dropout")

    def _cut(self) -> None:
        """One peer loses its links to all others."""
        self._part([self.cut_off])

    def _split(self) -> None:
        """Neither half has a quorum."""
        self._part(self._side)

    def _part(self, side: Sequence[int]) -> None:
        """Cut one side from all others."""
        self._relays.block(between(side, len(self._testbed.hosts)))

    def _heal_last(self) -> None:
        self._relays.block(())
        self.troubled = True

    def _run_twin(self) -> None:
        """Run a second process with a peer's key, as where its folder was copied and both run."""
        host = self._testbed.hosts[self.cut_off]
        folder = host.folder.with_name(f"{host.folder.name}-twin")
        host.freeze()  # So that the copy of the journal is one that a machine may leave.
        shutil.copytree(host.folder, folder, ignore=shutil.ignore_patterns(*LEFT_BEHIND))
        host.thaw()
        config = read_config(folder)
        listen = (f"/ip4/{LOOPBACK}/tcp/0",)
        write_config(folder, config.model_copy(update={"listen": listen}))
        self.twin = PeerProcess(host.index, folder)
        self.twin.start()

    def end_twin(self) -> int | None:
        """Return how the second process ended by itself; end it, if it has not."""
        if self.twin is None:
            return None
        code = self.twin.exit_code
        if code is None:
            self.twin.kill()
        return code

    def _give_up(self) -> None:
        self.is_late = self._testbed.is_over = True


def _put_aside(folder: Path) -> None:
    """Copy the journal of a peer that does not run."""
    shutil.rmtree(folder / "journal.old", ignore_errors=True)
    shutil.copytree(folder / "journal", folder / "journal.old")


def _put_back(folder: Path) -> None:
    """Put the copy in the journal's place, as a restored backup."""
    shutil.rmtree(folder / "journal")
    (folder / "journal.old").rename(folder / "journal")


def not_struck(strikes: Sequence[Strike]) -> list[str]:
    """Name the phases that no strike has hit."""
    hit = {strike.phase for strike in strikes}
    return [phase for phase in PHASES if phase not in hit]
