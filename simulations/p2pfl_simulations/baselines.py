"""What a run is held against: every peer alone, and all data in one place."""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from p2pfl.learner.learner import Learner
from p2pfl.learner.peer_models import PeerModel
from p2pfl_gossip.learning import Evaluated, Trained, WorkFailed
from p2pfl_simulations.batch import BATCH_JOBS
from p2pfl_simulations.results.kept import Kept, mean_of
from p2pfl_simulations.results.run import RoundRow
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
        the model that counts of each peer, as `Kept` says.
    """
    order, primary = sorted(peers), learner.primary
    kept: dict[int, Kept[PeerModel]] = {peer: Kept(primary) for peer in order}
    for round_, models in _train_alone(scenario, learner, order, rows, "local only", tell):
        row = rows[round_]
        found = learner.evaluate([(peer, models[peer].evaluate(round_)) for peer in order])
        own, common = _figures(found, primary.name, "own"), _figures(found, primary.name, "metrics")
        row.own_local_mean, row.own_local_worst = mean_of(own), primary.worst(own)
        row.common_local_mean, row.common_local_worst = mean_of(common), primary.worst(common)
        validation = _figures(found, primary.name, "validation")
        for peer, figure in zip(order, validation, strict=True):
            kept[peer].offer(models[peer], float(figure))
    return {peer: it.model for peer, it in kept.items() if it.model is not None}


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
    kept: Kept[PeerModel] = Kept(primary)
    for round_, models in _train_alone(scenario, learner, [0], rows, "pooled", tell):
        row, model = rows[round_], models[0]
        jobs = [(peer, model.evaluate(round_)) for peer in order]
        found = learner.evaluate(jobs, with_common=False)
        row.own_pooled_mean = mean_of(_figures(found, primary.name, "own"))
        kept.offer(model, mean_of(_figures(found, primary.name, "validation")))
        if learner.has_common:
            common = _figures(learner.evaluate([(0, model.evaluate(round_))]), primary.name)
            row.common_pooled = float(common[0])
    return kept.model


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
    peers: list[int],
    rows: dict[int, RoundRow],
    stage: str,
    tell: Tell,
) -> Iterator[tuple[int, dict[int, PeerModel]]]:
    """Train peers without any exchange; yield their models after each evaluated round."""
    models = dict.fromkeys(peers, PeerModel(learner.initial_vector()))
    for round_ in range(scenario.rounds):
        tell(stage, round_)
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
        if round_ in rows and (is_evaluated or round_ + 1 == scenario.rounds):
            yield round_, models
