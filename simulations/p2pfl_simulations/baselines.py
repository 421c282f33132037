"""What a run is held against: every peer alone, and all data in one place."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import numpy.typing as npt

from p2pfl.learner.kept import Kept, Stopping
from p2pfl.learner.learner import Learner
from p2pfl.learner.metrics import PrimaryMetric
from p2pfl.learner.peer_models import PeerModel
from p2pfl_gossip.learning import Evaluated, Trained, WorkFailed
from p2pfl_simulations.batch import BATCH_JOBS
from p2pfl_simulations.results.run import RoundRow
from p2pfl_simulations.results.selecting import mean_of
from p2pfl_simulations.scenario import Scenario

Tell = Callable[[str, int], None]


def local_only(
    scenario: Scenario,
    learner: Learner,
    peers: frozenset[int],
    rows: dict[int, RoundRow],
    tell: Tell,
) -> dict[int, PeerModel]:
    """Train evaluated peers alone, with the same steps; fill the rows' ``*_local_*``.

    Returns:
        the model that counts of each peer: a peer alone chooses by its own validation rows.
    """
    order, primary = sorted(peers), learner.primary
    counts = {peer: _Counted(scenario, primary) for peer in order}
    for round_, models in _train_alone(scenario, learner, counts, "local only", tell):
        found = learner.evaluate([(peer, models[peer].evaluate(round_)) for peer in order])
        validation = _figures(found, primary.name, "validation")
        for peer, figure in zip(order, validation, strict=True):
            counts[peer].take(round_, models[peer], float(figure))
        row = rows.get(round_)
        if row is not None:  # The run may have ended before it.
            own = _figures(found, primary.name, "own")
            common = _figures(found, primary.name, "metrics")
            row.own_local_mean, row.own_local_worst = mean_of(own), primary.worst(own)
            row.common_local_mean, row.common_local_worst = mean_of(common), primary.worst(common)
    return {peer: it.kept.model for peer, it in counts.items() if it.kept.model is not None}


def pooled(
    scenario: Scenario,
    learner: Learner,
    peers: frozenset[int],
    rows: dict[int, RoundRow],
    tell: Tell,
) -> PeerModel | None:
    """Train one model on all data, as `Learner.pooled` says; fill the rows' ``*_pooled*``.

    Args:
        scenario: what was run.
        learner: that of all rows.
        peers: on whose own test rows it is measured.
        rows: of the rounds.
        tell: is told of progress.

    Returns:
        the model that counts.
    """
    primary, order = learner.primary, sorted(peers)
    counts = _Counted(scenario, primary)
    for round_, models in _train_alone(scenario, learner, {0: counts}, "pooled", tell):
        row, model = rows.get(round_), models[0]
        jobs = [(peer, model.evaluate(round_)) for peer in order]
        found = learner.evaluate(jobs, with_common=False)
        counts.take(round_, model, mean_of(_figures(found, primary.name, "validation")))
        if row is None:
            continue
        row.own_pooled_mean = mean_of(_figures(found, primary.name, "own"))
        if learner.has_common:
            common = _figures(learner.evaluate([(0, model.evaluate(round_))]), primary.name)
            row.common_pooled = float(common[0])
    return counts.kept.model


class _Counted:
    """Of the models that one trains without exchange: which counts, and when it trains no more."""

    def __init__(self, scenario: Scenario, primary: PrimaryMetric) -> None:
        self.kept: Kept[PeerModel] = Kept(primary)
        self._stopping = Stopping(Kept(primary), scenario.evaluation.patience)
        self._is_chosen = scenario.evaluation.selection != "last"

    @property
    def is_done(self) -> bool:
        """Whether further rounds are not worth it."""
        return self._stopping.is_out

    def take(self, round_: int, model: PeerModel, validation: float) -> None:
        """Take the model of a round, unless the last one was that of an earlier round."""
        if self.is_done:
            return
        self.kept.offer(model, validation if self._is_chosen else None)
        self._stopping.offer(round_, validation)


def _figures(
    found: list[Evaluated | WorkFailed], name: str, rows: str = "metrics"
) -> npt.NDArray[np.float64]:
    """Return one figure of each evaluation; NaN where it is not known."""
    return np.array(
        [
            getattr(it, rows).get(name, np.nan) if isinstance(it, Evaluated) else np.nan
            for it in found
        ]
    )


def _train_alone(
    scenario: Scenario,
    learner: Learner,
    counts: Mapping[int, _Counted],
    stage: str,
    tell: Tell,
) -> Iterator[tuple[int, dict[int, PeerModel]]]:
    """Train peers without any exchange; yield their models after each evaluated round."""
    models = dict.fromkeys(counts, PeerModel(learner.initial_vector()))
    for round_ in range(scenario.rounds):
        tell(stage, round_)
        peers = [peer for peer, it in counts.items() if not it.is_done]
        if not peers:
            return
        for start in range(0, len(peers), BATCH_JOBS):
            batch = peers[start : start + BATCH_JOBS]
            jobs = [
                (peer, models[peer].train(round_, f"{scenario.seed}/{peer}/1/train/{round_}"))
                for peer in batch
            ]
            for peer, result in zip(batch, learner.run(jobs), strict=True):
                if isinstance(result, Trained):  # Else it keeps its model, as a peer does.
                    models[peer] = PeerModel(result.vector, result.own)
        is_evaluated = (round_ + 1) % scenario.evaluation.every == 0
        if is_evaluated or round_ + 1 == scenario.rounds:
            yield round_, models
