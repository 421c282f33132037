"""What was lost of models and updates on their way into averages, over all peers of a run."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from p2pfl.group.lossy import KINDS, Loss, Lossy, describe_loss
from p2pfl.group.settings import AveragingSettings
from p2pfl.learner.learner import Learner
from p2pfl_gossip.actions import Event
from p2pfl_simulations.results.run import EventRow, LossRow


@dataclass(slots=True)
class _Sum:
    peers: set[int] = field(default_factory=set)  # Counted only.
    times: int = 0
    largest: float = 0.0
    limit: float = 0.0


class LossWatcher:
    """Watches a run for what peers lose: see `Lossy`.

    Attributes:
        events: the first loss of each kind and tensor at each peer.
    """

    def __init__(
        self, learner: Learner, averaging: AveragingSettings, liars: Collection[int] = ()
    ) -> None:
        self.events: list[EventRow] = []
        self._learner, self._averaging, self._liars = learner, averaging, frozenset(liars)
        self._peers: dict[int, Lossy] = {}

    def on_report(self, now_s: float, host: Any, event: Event) -> None:
        """Take a peer's event."""
        peer = host.index
        if peer in self._liars:
            return
        if peer not in self._peers:
            self._peers[peer] = Lossy(self._learner, self._averaging)
        for loss in self._peers[peer].take(event):
            if loss.kind != "training_failed":  # Each of those is an event by itself.
                round_ = getattr(event, "round", -1)
                self.events.append(EventRow(now_s, loss.kind, peer, round_, _detail(loss)))

    def on_incident(self, now_s: float, host: Any, kind: str, detail: str) -> None:
        """Take a fault: nothing is lost by it."""

    def rows(self) -> list[LossRow]:
        """Sum over peers: by kind, then what was lost most often first."""
        sums: dict[tuple[str, str], _Sum] = {}
        for peer, lossy in self._peers.items():
            for key, counted in lossy.counts.items():
                total = sums.setdefault(key, _Sum())
                total.peers.add(peer)
                total.times += counted.rounds
                total.largest = max(total.largest, counted.largest)
                total.limit = counted.limit
        kinds = list(KINDS)
        return [
            LossRow(kind, tensor, len(it.peers), it.times, it.largest, it.limit)
            for (kind, tensor), it in sorted(
                sums.items(), key=lambda at: (kinds.index(at[0][0]), -at[1].times, at[0][1])
            )
        ]


def in_order(events: Sequence[EventRow], more: Sequence[EventRow]) -> list[EventRow]:
    """Put two tables of events into one, by time."""
    return sorted([*events, *more], key=lambda it: it.virtual_s) if more else list(events)


def _detail(loss: Loss) -> str:
    if loss.kind == "values_clipped":
        return f"{loss.tensor or 'values'} up to {loss.largest:.3g}, cut to {loss.limit:g}"
    if loss.kind == "update_shrunk":
        return f"norm {loss.largest:.3g}, most in {loss.tensor}, shrunk to {loss.limit:g}"
    return describe_loss(loss)
