"""Where honest peers must get to, and where they must not be led."""

from typing import Any

import numpy as np

from p2pfl_gossip.actions import Action, Persist, Report, SendBulk, Vector
from p2pfl_gossip.catch_up import ModelHeader
from p2pfl_gossip.events import CaughtUp, EpochBegun, Finished, Left, RoundEnded, RoundStarted
from p2pfl_simulations.checkers.base import Checker, Stalled, Violation, Watched, fingerprint


class RoundsNeverFall(Checker):
    """A peer's round never falls: within a life at all, over a restart below the disk.

    But where a group's charter goes back to an earlier state: then rounds begin again.
    """

    actions = (Persist, Report)

    def start(self, watched: Watched) -> None:
        """Begin with everybody at round 0."""
        super().start(watched)
        self._rounds = [0] * len(watched.peers)
        self._on_disk = [0] * len(watched.peers)

    def on_input(self, now_s: float, host: int, name: str, arguments: tuple[Any, ...]) -> None:
        """A new life goes on from the disk."""
        if name == "on_start":
            self._rounds[host] = self._on_disk[host]

    def on_action(self, now_s: float, host: int, action: Action) -> None:
        """Compare each round with those before."""
        if not self.watched.is_honest(host):
            return
        if isinstance(action, Persist):
            record = action.records.get("round")
            if isinstance(record, bytes):
                self._rise(host, int.from_bytes(record, "little"))
                self._on_disk[host] = self._rounds[host]
        elif isinstance(action, Report):
            if isinstance(action.event, RoundStarted | RoundEnded):
                self._rise(host, action.event.round)
            elif isinstance(action.event, EpochBegun) and action.event.is_anew:
                self._rounds[host] = 0

    def _rise(self, host: int, round_: int) -> None:
        if round_ < self._rounds[host]:
            raise Violation(f"peer {host} goes from round {self._rounds[host]} back to {round_}")
        self._rounds[host] = round_


class NobodyIsLed(Checker):
    """Where models are hidden, no honest peer follows a liar.

    Whoever catches up comes to a round that an honest peer has come to by the end of one of its
    own, and takes a model that an honest peer has had. Averaging in the open promises neither; in
    a group, certificates see to both (ledger.py).
    """

    actions = (Persist, Report, SendBulk)

    def start(self, watched: Watched) -> None:
        """Begin with everybody at the common start."""
        super().start(watched)
        self._reached = 0
        self._known = {fingerprint(watched.initial): None}
        self._led: dict[int, int] = {}  # Who has just caught up -> with which round.

    def on_action(self, now_s: float, host: int, action: Action) -> None:
        """Note what honest peers have, and look at who catches up."""
        watched = self.watched
        if not watched.hides_models or watched.is_group or not watched.is_honest(host):
            return
        if isinstance(action, SendBulk):
            if isinstance(action.header, ModelHeader) and isinstance(action.parts, tuple):
                for model in action.parts:
                    if isinstance(model, np.ndarray):
                        self._known[fingerprint(model)] = None
        elif isinstance(action, Persist):
            self._check_model(host, action.records.get("model"))
        elif isinstance(action, Report):
            if isinstance(action.event, RoundEnded):
                self._reached = max(self._reached, action.event.round + 1)
                self._known[fingerprint(action.event.vector)] = None
            elif isinstance(action.event, CaughtUp):
                self._check_round(host, action.event)

    def _check_round(self, host: int, event: CaughtUp) -> None:
        if event.round > self._reached:
            raise Violation(
                f"peer {host} follows somebody from round {event.behind} to {event.round}, where no"
                f" honest peer is: the furthest is in {self._reached}"
            )
        self._led[host] = event.round

    def _check_model(self, host: int, model: bytes | Vector | None) -> None:
        round_ = self._led.pop(host, None)
        if round_ is None or model is None or isinstance(model, bytes):
            return
        if fingerprint(model) not in self._known:
            raise Violation(f"peer {host} takes a model of round {round_} that no honest peer had")


class AllFinish(Checker):
    """By the end of the run, every honest peer has finished all its rounds.

    Attributes:
        excused: set where liars may keep everybody from it; then nothing is demanded.
    """

    actions = (Report,)
    excused = False

    def start(self, watched: Watched) -> None:
        """Begin with everybody under way."""
        super().start(watched)
        self._under_way = {
            index: "has not begun"
            for index in range(len(watched.peers))
            if watched.is_honest(index)
        }

    @property
    def is_met(self) -> bool:
        """Whether all have."""
        return not self._under_way

    def on_action(self, now_s: float, host: int, action: Action) -> None:
        """Note where each one is."""
        if host in self._under_way and isinstance(action, Report):
            event = action.event
            if isinstance(event, Finished | Left):  # A member that left, or was expelled.
                del self._under_way[host]
            elif isinstance(event, RoundStarted | RoundEnded):
                ended = "has ended" if isinstance(event, RoundEnded) else "is in"
                self._under_way[host] = f"{ended} round {event.round}"

    def on_lost(self, now_s: float, host: int) -> None:
        """Nothing is demanded of a peer that is gone."""
        self._under_way.pop(host, None)

    def on_end(self, now_s: float) -> None:
        """Name those that have not."""
        if self._under_way and not self.excused:
            waiting = ", ".join(f"{index} {where}" for index, where in self._under_way.items())
            raise Stalled(f"at {now_s:.1f} s have not finished: {waiting}")
