"""Kills a peer's process in each phase of the masked sum in turn, and freezes another beside it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from process_logs import Tail

from p2pfl_gossip import events
from p2pfl_gossip.actions import Event
from p2pfl_simulations.launch.processes import PeerProcess
from p2pfl_simulations.launch.testbed import ProcessTestbed

PHASES = {
    "advertise": ("Advert",),
    "share": ("Share",),
    "agree": ("Ack",),
    "chunk": ("ChunkHeader",),
    "vote": ("Vote",),
    "reveal": ("Reveal",),
    "sum": ("SumHeader", "SumDigest"),
}
"""Phase -> what is sent first in it."""

FROZEN_S = 20.0
AWAY_S = (0.0, 3.0)
LOOK_S, LOOK_EVERY_S = 0.04, 0.001


@dataclass
class Strike:
    """One kill.

    Attributes:
        phase: which was struck.
        session: of the frame that was seen; as the log has it.
        at_s: on the monotonic clock.
        away_s: from then to the start of the next process.
        back_round: the first round that the peer ended in a sum again; -1 if none was.
    """

    phase: str
    session: str
    at_s: float
    away_s: float
    back_round: int = -1


class Strikes:
    """A watcher of the testbed: strikes, brings back, and ends the run when all have finished.

    The victim is struck when its log shows the first frame that it sends in the phase whose turn it
    is, and only after it has been in a whole sum since it came back. All moments are drawn from the
    seed; which frames have left by then is up to the machine. Nobody is struck from the round
    `strike_before` on.
    """

    def __init__(
        self, testbed: ProcessTestbed, strike_before: int, seed: int, *, limit_s: float
    ) -> None:
        rng = Random(f"{seed}/strikes")
        self._testbed, self._strike_before = testbed, strike_before
        self.victim, self.frozen = rng.sample(range(len(testbed.hosts)), 2)
        self.order = rng.sample(list(PHASES), len(PHASES))
        self._away_s = [rng.uniform(*AWAY_S) for _ in PHASES]
        self._freeze_after_s = rng.uniform(0.0, 20.0)
        self.struck: list[Strike] = []
        self.freezes: list[float] = []
        self.is_late = False
        self._is_open = False
        self._is_in_sums = False  # The victim, since its last start.
        self._session = ""
        self._tail = Tail(testbed.hosts[self.victim].folder / "peer.log")
        self._looks_until_s = 0.0
        self._is_looking = False
        self._finished: set[int] = set()
        testbed.queue.call_at(limit_s, self._give_up)

    def on_report(self, now_s: float, host: PeerProcess, event: Event) -> None:
        """Open the run, arm the next strike, or end the run."""
        if isinstance(event, events.RoundStarted) and not self._is_open:
            self._is_open = True
            self._testbed.queue.call_at(now_s + self._freeze_after_s, self._freeze)
        if isinstance(event, events.Finished):
            self._finished.add(host.index)
            self._testbed.is_over = len(self._finished) == len(self._testbed.hosts)
        if host.index != self.victim or not host.is_online:
            return
        if isinstance(event, events.MaskedSumEnded) and event.result == "summed":
            self._is_in_sums = True
            if self.struck and self.struck[-1].back_round < 0:
                self.struck[-1].back_round = event.round
        is_new = isinstance(event, events.RoundStarted) and event.round < self._strike_before
        if is_new and self._is_in_sums:
            self._look_for_phase()

    def on_incident(self, now_s: float, host: Any, kind: str, detail: str) -> None:
        """Nothing: incidents are our own doing."""

    def _look_for_phase(self) -> None:
        if len(self.struck) < len(self.order) and not self._is_looking:
            for _ in self._tail.fresh():
                pass  # What is past; the session of this round is not in it.
            self._session, self._is_looking = "", True
            self._look()

    def _look(self) -> None:
        """Look at the log for some time; strike, or look again after the testbed's turn."""
        phase = self.order[len(self.struck)]
        until_s = time.monotonic() + LOOK_S
        while time.monotonic() < until_s:
            for entry in self._tail.fresh():
                if entry["event"] == "averaging_started":
                    self._session = ""  # The next advert is the own one of a new session.
                if entry["event"] != "frame" or entry["direction"] != "out":
                    continue
                if entry["message_type"] == "Advert" and not self._session:
                    self._session = entry["session"]
                if entry["message_type"] in PHASES[phase] and entry.get("session") == self._session:
                    self._strike(phase)
                    return
            time.sleep(LOOK_EVERY_S)
        self._testbed.queue.call_at(self._testbed.queue.now_s + LOOK_EVERY_S, self._look)

    def _strike(self, phase: str) -> None:
        host, away_s = self._testbed.hosts[self.victim], self._away_s[len(self.struck)]
        self._testbed.take_offline(host, "crash", kills=True)
        self.struck.append(Strike(phase, self._session, time.monotonic(), away_s))
        self._is_in_sums = self._is_looking = False
        self._finished.discard(self.victim)
        self._testbed.queue.call_at(
            self._testbed.queue.now_s + away_s, self._testbed.bring_online, host, "crash"
        )

    def _freeze(self) -> None:
        host = self._testbed.hosts[self.frozen]
        self._testbed.take_offline(host, "dropout")
        self.freezes.append(time.monotonic())
        at_s = self._testbed.queue.now_s + FROZEN_S
        self._testbed.queue.call_at(at_s, self._thaw)

    def _thaw(self) -> None:
        self._testbed.bring_online(self._testbed.hosts[self.frozen], "dropout")
        self.freezes.append(time.monotonic())

    def _give_up(self) -> None:
        self.is_late = self._testbed.is_over = True


def not_struck(strikes: Sequence[Strike]) -> list[str]:
    """Name the phases that no strike has hit."""
    hit = {strike.phase for strike in strikes}
    return [phase for phase in PHASES if phase not in hit]
