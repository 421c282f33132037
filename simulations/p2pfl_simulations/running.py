"""Runs a scenario, from its settings to its result."""

import json
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from p2pfl.learner.errors import LearningError
from p2pfl.learner.learner import Learner, make_learner
from p2pfl.plugins import PluginError
from p2pfl_crypto.hashing import hash_parts
from p2pfl_simulations.checkers import Checker, all_checkers
from p2pfl_simulations.checkers.progress import AllFinish
from p2pfl_simulations.cluster.connecting import ClusterError
from p2pfl_simulations.completing import compare_noiseless, complete_run
from p2pfl_simulations.draws import evaluated_peers
from p2pfl_simulations.environment import environment
from p2pfl_simulations.kept_results import KeptResults
from p2pfl_simulations.own_parts import check_plugins, plugin_sources
from p2pfl_simulations.progress import OnProgress
from p2pfl_simulations.results.run import (
    EndedEarly,
    RunResult,
)
from p2pfl_simulations.scenario import Scenario
from p2pfl_simulations.simulation import Simulation
from p2pfl_simulations.stopwatch import Stopwatch


def run(
    scenario: Scenario,
    *,
    folder: Path | None = None,
    threads: int | None = None,
    progress: OnProgress | None = None,
    is_checked: bool = False,
    kept: Path | None = None,
    ray: str | None = None,
) -> RunResult:
    """Simulate a scenario.

    Args:
        scenario: what to simulate; it and its seed determine all but durations.
        folder: where the scenario's own task and liars are imported from.
        threads: threads that train; one for each usable core if not given.
        progress: is called now and then.
        is_checked: whether checkers watch that what must hold does.
        kept: a file of results of learning: those that are there are not worked out again, and new
            ones are added, so that a run that is killed can go on.
        ray: the address of a Ray cluster whose machines do the learning.

    Returns:
        The result; partial, and `interrupted`, if KeyboardInterrupt came during the run.

    Raises:
        ClusterError: there is no such cluster.
        EndedEarly: the task's code raised when rounds had ended already: `run` has these.
        KeptResultsError: the file is of another run.
        LearningError: the task, its data or the partition cannot be had.
        PluginError: an own part cannot be used.
        ScenarioError: the settings do not fit each other.
        Violation: something that must hold does not.
        ValueError: less than one thread.
    """
    if threads is not None and threads < 1:
        raise ValueError(f"threads = {threads}: it takes one or more")
    tell = progress or (lambda _: None)
    stopwatch = Stopwatch()
    check_plugins(scenario, folder)
    learner = make_learner(
        scenario.learning,
        peer_count=scenario.peers,
        seed=scenario.seed,
        folder=folder,
        threads=threads,
    )
    require_validation(scenario, learner)
    with ExitStack() as helpers:
        classroom = None
        if ray is not None:
            from p2pfl_simulations.cluster.learning import learning_on_ray

            classroom = helpers.enter_context(learning_on_ray(ray, scenario, folder))
            learner.helper = classroom
        if kept is not None:
            of = run_identity(scenario, learner, folder)
            results = helpers.enter_context(closing(KeptResults(kept, of, learner.helper)))
            learner.helper = results
        result = _simulate(scenario, learner, tell, folder, is_checked)
        if classroom is not None:
            result.counters["jobs_on_ray"] = classroom.jobs
            result.counters["workers_on_ray"] = classroom.begun
            result.counters["workers_lost_on_ray"] = classroom.lost
    result.wall_s, result.cpu_s = stopwatch.wall_s(), stopwatch.cpu_s()
    if result.failure:
        raise EndedEarly(result)
    return result


def _simulate(
    scenario: Scenario, learner: Learner, tell: OnProgress, folder: Path | None, is_checked: bool
) -> RunResult:
    """Run a scenario's peers and its baselines; what ended them early is in the result."""
    checkers = checkers_of(scenario) if is_checked else ()
    simulation = Simulation(scenario, learner, tell, folder=folder, checkers=checkers)
    error = None
    try:
        interrupted = simulation.run()
    except (ClusterError, LearningError, PluginError) as raised:
        interrupted, error = True, raised
    result = simulation.result()
    if error is not None:
        if not result.rounds:
            raise error
        result.failure = str(error)
    joint = simulation.recorder.models()
    complete_run(scenario, learner, result, joint, tell, interrupted)
    compare_noiseless(scenario, learner, result, simulation.privacy, tell)
    return result


def run_identity(scenario: Scenario, learner: Learner, folder: Path | None) -> dict[str, Any]:
    """Return what must be the same for a result of learning to be of use again."""
    settings = scenario.model_dump(mode="json", exclude={"learning": {"data_dir"}})
    inputs = learner.inputs()
    return {
        "scenario": hash_parts(b"p2pfl/sim-kept", json.dumps(settings).encode()).hex(),
        "data or code": [inputs.train, inputs.test, inputs.split, inputs.code],
        "version or machine": environment(),
        "own part": plugin_sources(scenario, folder),
    }


def require_validation(scenario: Scenario, learner: Learner) -> None:
    """Refuse to choose by rows that there are none of.

    Raises:
        LearningError: a setting asks for rows to choose a model by, and nobody has any.
    """
    evaluation = scenario.evaluation
    asked = "patience" if evaluation.patience else "selection"
    if evaluation.patience is None and evaluation.selection != "common":
        return
    if not any(learner.validation_count(peer) for peer in evaluated_peers(scenario)):
        raise LearningError(
            f"evaluation.{asked} goes by rows to choose a model by, and no peer has any: set"
            " learning.validation above 0"
        )


def checkers_of(scenario: Scenario) -> tuple[Checker, ...]:
    """Return what watches a run: that all finish is demanded where nothing keeps them from it."""
    faults = scenario.faults
    is_disturbed = (
        faults.churn
        or faults.dropout
        or faults.crash
        or faults.crash_at_action
        or faults.partitions
        or faults.planned
        or faults.availability
        or faults.own
        or scenario.evaluation.patience is not None
    )
    has_limit = "time_limit_s" in scenario.model_fields_set
    if is_disturbed or scenario.network.loss or has_limit:
        return all_checkers()
    return (*all_checkers(), AllFinish())
