"""Which round's models count, by validation rows alone; and when a run has learnt enough."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from p2pfl.learner.kept import Kept, Stopping
from p2pfl.learner.metrics import PrimaryMetric
from p2pfl.learner.peer_models import PeerModel
from p2pfl_gossip.actions import Vector
from p2pfl_simulations.scenario import EvaluationSettings


@dataclass(frozen=True, slots=True)
class Selected:
    """The round whose joint model counts.

    Attributes:
        round: from 0.
        figure: the mean over peers of the primary metric on their validation rows, after it.
        peers: over how many.
    """

    round: int
    figure: float
    peers: int


class Selecting:
    """Chooses of the models that peers have at the ends of rounds, by validation rows alone.

    Rounds are judged in their order, each once. Where all peers go by one round, or the run may
    end early, a round's models wait until it is judged: so no model of a round counts that came
    after the run's last.

    Attributes:
        selected: the round that is best so far; None where no figure is known.
        stopped: the round after which patience was out, from 0; None while it is not.
    """

    def __init__(self, primary: PrimaryMetric, settings: EvaluationSettings) -> None:
        self.selected: Selected | None = None
        self.stopped: int | None = None
        self._primary, self._settings = primary, settings
        self._is_deferred = settings.patience is not None or settings.selection == "common"
        self._waiting: dict[int, list[tuple[int, PeerModel, float | None]]] = {}
        self._judged: set[int] = set()  # Membership only.
        self._kept: dict[int, Kept[PeerModel]] = {}
        self._common: dict[int, PeerModel] = {}
        self._joint: Kept[tuple[int, Vector]] = Kept(primary)
        self._stopping = Stopping(Kept(primary), settings.patience)

    def offer(self, round_: int, peer: int, model: PeerModel, figure: float | None) -> bool:
        """Take a peer's model at the end of a round, and its figure on validation rows.

        Return False if that comes too late: the round is judged, or the run has ended before it.
        """
        if not self._is_deferred:
            self._take(peer, model, figure)
            return True
        if round_ in self._judged or self.stopped is not None:
            return False
        self._waiting.setdefault(round_, []).append((peer, model, figure))
        return True

    def judge(self, round_: int, figures: npt.NDArray[np.float64], average: Vector) -> None:
        """Judge a round by its peers' figures on validation rows; further rounds come later.

        Args:
            round_: its number.
            figures: of the peers that were measured; NaN where one is not known.
            average: the mean of all models that ended it.
        """
        if self.stopped is not None:
            return
        self._judged.add(round_)
        for peer, model, figure in sorted(self._waiting.pop(round_, []), key=lambda it: it[0]):
            self._take(peer, model, figure)
        mean = mean_of(figures)
        goes_by = None if self._settings.selection == "last" else mean
        is_taken = self._joint.offer((round_, average), goes_by)
        if is_taken and goes_by is not None and not np.isnan(goes_by):
            self.selected = Selected(round_, mean, int(np.count_nonzero(~np.isnan(figures))))
            if self._settings.selection == "common":
                self._common = self._models()
        self._stopping.offer(round_, mean)
        if self._stopping.is_out:
            self.stopped = round_
            self._waiting.clear()

    def joint(self) -> Vector | None:
        """Return the joint model that counts, float32[d]; None where it is simply the last."""
        if self._joint.model is None or (self.selected is None and self.stopped is None):
            return None
        return self._joint.model[1]

    def models(self) -> dict[int, PeerModel]:
        """Return the model that counts of each peer: see `EvaluationSettings.selection`."""
        return {**self._models(), **self._common}

    def _models(self) -> dict[int, PeerModel]:
        found = {peer: kept.model for peer, kept in sorted(self._kept.items())}
        return {peer: model for peer, model in found.items() if model is not None}

    def _take(self, peer: int, model: PeerModel, figure: float | None) -> None:
        kept = self._kept.setdefault(peer, Kept(self._primary))
        kept.offer(model, figure if self._settings.selection == "own" else None)


def mean_of(figures: npt.NDArray[np.float64]) -> float:
    """Return the mean of those that are known; NaN where none is."""
    known = figures[~np.isnan(figures)]
    return float(known.mean()) if len(known) else float("nan")


def mean_model(vectors: Sequence[Vector]) -> Vector | None:
    """Average models in float64, in order; None of none."""
    if not vectors:
        return None
    total = np.zeros(len(vectors[0]))
    for vector in vectors:
        total += vector
    return (total / len(vectors)).astype(np.float32)
