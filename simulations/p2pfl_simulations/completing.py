"""Completes a run: what it is held against, and what ended it early."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from p2pfl.learner.errors import LearningError
from p2pfl.learner.learner import Learner
from p2pfl.learner.peer_models import PeerModel
from p2pfl.plugins import PluginError
from p2pfl_gossip.ledger.privacy import Privacy
from p2pfl_simulations.baselines import local_only, pooled
from p2pfl_simulations.draws import evaluated_peers
from p2pfl_simulations.gains import take_gains
from p2pfl_simulations.noiseless import compare
from p2pfl_simulations.progress import OnProgress, teller
from p2pfl_simulations.results.run import (
    RunResult,
)
from p2pfl_simulations.scenario import Scenario


def complete_run(
    scenario: Scenario,
    learner: Learner,
    result: RunResult,
    joint: Mapping[int, PeerModel],
    tell: OnProgress,
    interrupted: bool,
) -> None:
    """Note what ended a run early; else hold it against its baselines.

    Args:
        scenario: what was run.
        learner: trains and measures.
        result: of the peers' rounds; its baselines and gains are put in.
        joint: the model that counts of each evaluated peer.
        tell: is told of progress.
        interrupted: whether the peers did not come to their end.
    """
    rounds = scenario.rounds if result.stopped is None else result.stopped + 1
    result.interrupted = interrupted or len(result.rounds) < rounds
    if interrupted or result.failure:
        result.unfinished = tuple(scenario.evaluation.baselines)
        return
    rows = {row.round: row for row in result.rounds}
    told = teller(scenario, learner.primary, tell)
    left, peers = list(scenario.evaluation.baselines), evaluated_peers(scenario)
    alone: Mapping[int, PeerModel] = {}
    of_all: tuple[Learner, PeerModel] | None = None
    with _kept_so_far(result):
        if "local" in left:
            alone = local_only(scenario, learner, peers, rows, told)
            left.remove("local")
        if "pooled" in left:
            everybody = learner.pooled()
            model = pooled(scenario, everybody, peers, rows, told)
            of_all = None if model is None else (everybody, model)
            left.remove("pooled")
    result.unfinished = tuple(left)
    if "local" not in left:
        with _kept_so_far(result):
            gains = take_gains(scenario, learner, joint=joint, local=alone, pooled=of_all)
            result.gains, result.confusion = gains.rows, gains.confusion
            result.mean_gain, result.pooled_gain = gains.mean, gains.pooled


def compare_noiseless(
    scenario: Scenario,
    learner: Learner,
    result: RunResult,
    privacy: Privacy | None,
    tell: OnProgress,
) -> None:
    """Hold a whole private run against the same group without noise, unless none was asked for."""
    is_whole = not (result.interrupted or result.unfinished or result.failure)
    if privacy is None or result.privacy is None or not is_whole:
        return
    if not scenario.evaluation.baselines:
        return
    with _kept_so_far(result):
        result.privacy.compared = compare(
            scenario,
            learner,
            privacy,
            last=result.rounds[-1],
            peers=evaluated_peers(scenario),
            tell=teller(scenario, learner.primary, tell),
        )


@contextmanager
def _kept_so_far(result: RunResult) -> Iterator[None]:
    """Let Ctrl-C, or an error of the task's, end what is in the block: what has run is kept."""
    try:
        yield
    except KeyboardInterrupt:
        pass
    except (LearningError, PluginError) as error:
        result.failure = result.failure or str(error)
