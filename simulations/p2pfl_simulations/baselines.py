"""What a run is held against: every peer alone, and all data in one place."""

from collections.abc import Callable, Iterator

import numpy as np

from p2pfl.learner.learner import Learner
from p2pfl_gossip.actions import Vector
from p2pfl_gossip.learning import Evaluate, Evaluated, Train, Trained
from p2pfl_simulations.batch import BATCH_JOBS
from p2pfl_simulations.results.run import RoundRow
from p2pfl_simulations.scenario import Scenario

Tell = Callable[[str, int], None]


def local_only(
    scenario: Scenario,
    learner: Learner,
    peers: frozenset[int],
    rows: dict[int, RoundRow],
    tell: Tell,
) -> None:
    """Train evaluated peers alone, with the same steps; fill `local_mean` and `local_worst`."""
    for round_, accuracies in _train_alone(
        scenario, learner, sorted(peers), rows, "local only", tell
    ):
        rows[round_].local_mean = float(np.mean(accuracies))
        rows[round_].local_worst = float(np.min(accuracies))


def pooled(scenario: Scenario, learner: Learner, rows: dict[int, RoundRow], tell: Tell) -> None:
    """Train one model on all data, as `Learner.pooled` says; fill `pooled`."""
    for round_, accuracies in _train_alone(scenario, learner, [0], rows, "pooled", tell):
        rows[round_].pooled = accuracies[0]


def _train_alone(
    scenario: Scenario,
    learner: Learner,
    peers: list[int],
    rows: dict[int, RoundRow],
    stage: str,
    tell: Tell,
) -> Iterator[tuple[int, list[float]]]:
    """Train peers without any exchange; yield their accuracies after each evaluated round."""
    vectors: dict[int, Vector] = dict.fromkeys(peers, learner.initial_vector())
    for round_ in range(scenario.rounds):
        tell(stage, round_)
        for start in range(0, len(peers), BATCH_JOBS):
            batch = peers[start : start + BATCH_JOBS]
            jobs = [
                (peer, Train(round_, vectors[peer], f"{scenario.seed}/{peer}/1/train/{round_}"))
                for peer in batch
            ]
            for peer, result in zip(batch, learner.run(jobs), strict=True):
                if isinstance(result, Trained):  # Else it keeps its model, as a peer does.
                    vectors[peer] = result.vector
        is_evaluated = (round_ + 1) % scenario.evaluation.every == 0
        if round_ in rows and (is_evaluated or round_ + 1 == scenario.rounds):
            figures = learner.run([(peer, Evaluate(round_, vectors[peer])) for peer in peers])
            yield (
                round_,
                [
                    figure.metrics["accuracy"] if isinstance(figure, Evaluated) else float("nan")
                    for figure in figures
                ],
            )
