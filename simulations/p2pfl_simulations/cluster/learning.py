"""A run's learning on a cluster, while its world stays one process here.

A job's result depends on the job and its peer's rows alone. So each worker there has a learner of
its own, made of the same settings, and takes jobs of any peer; results come back in order, and the
run's digest is that of a run that learns here, on machines of one class.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from p2pfl.learner.errors import LearningError
from p2pfl.learner.learner import Do, Learned, Learner, make_learner
from p2pfl_gossip.actions import Job
from p2pfl_gossip.learning import Evaluate, Evaluated, Train, Trained, WorkFailed
from p2pfl_gossip.own_state import NOTHING
from p2pfl_simulations.cluster.connecting import ClusterError, connected, cores_of, first_line
from p2pfl_simulations.group import Speeds
from p2pfl_simulations.own_parts import needs_folder
from p2pfl_simulations.scenario import Scenario

CHUNK_JOBS = 16
"""Jobs that a worker is given at a time, at most: several, so that it trains them in one stack."""


@contextmanager
def learning_on_ray(address: str, scenario: Scenario, folder: Path | None) -> Iterator["Classroom"]:
    """Start a worker for each core of a cluster.

    Args:
        address: of the cluster, as `connected` has it.
        scenario: what is learnt.
        folder: of own parts; it travels.

    Raises:
        ClusterError: there is no such cluster.
    """
    is_own = folder is not None and needs_folder(scenario)
    with connected(address, folder if is_own else None) as ray:
        yield Classroom(ray, scenario, is_own, cores_of(ray))


class Classroom:
    """The workers of a cluster, as a learner's `Helper`.

    Attributes:
        jobs: that were done there.
    """

    def __init__(self, ray: Any, scenario: Scenario, has_folder: bool, workers: int) -> None:
        self._ray, self.jobs = ray, 0
        # A worker whose machine is lost is made again elsewhere, and given its jobs again.
        make = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=-1)(_Pupil)
        document = scenario.model_dump_json(exclude_none=True)
        self._workers = [make.remote(document, has_folder) for _ in range(workers)]

    def run(self, role: str, jobs: Sequence[tuple[int, Job]], do: Do) -> list[Learned]:
        """Deal jobs out to the workers; those of the pooled baseline are done here."""
        if role:
            return do(jobs)
        each = min(CHUNK_JOBS, -(-len(jobs) // len(self._workers)))
        chunks = [jobs[start : start + each] for start in range(0, len(jobs), each)]
        sent = [
            self._workers[number % len(self._workers)].run.remote([_told(*it) for it in chunk])
            for number, chunk in enumerate(chunks)
        ]
        try:
            found = [_result(it) for told in self._ray.get(sent) for it in told]
        except Exception as error:  # Of the task's code, or of a cluster that is gone.
            cause = getattr(error, "cause", None)
            if isinstance(cause, LearningError):
                raise cause from None
            raise ClusterError(
                f"learning on the cluster failed: {type(error).__name__}: {first_line(error)}"
            ) from None
        self.jobs += len(found)
        return found


class _Pupil:
    """A worker on some machine of the cluster."""

    def __init__(self, document: str, has_folder: bool) -> None:
        scenario = Scenario.model_validate_json(document)
        self._learner: Learner = make_learner(
            scenario.learning,
            peer_count=scenario.peers,
            seed=scenario.seed,
            folder=Path.cwd() if has_folder else None,
            threads=1,
        )
        if self._learner.fits_to_seconds:
            speeds = Speeds(scenario, self._learner.steps)
            for peer in range(scenario.peers):
                self._learner.fit(peer, speeds.step_s(peer))

    def run(self, told: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """Do jobs, as `_told` writes them; return results as `_result` reads them."""
        jobs: list[tuple[int, Job]] = []
        for peer, round_, vector, own, stream in told:
            kept = own or NOTHING
            job: Job = (
                Evaluate(round_, vector, kept)
                if stream is None
                else Train(round_, vector, stream, kept)
            )
            jobs.append((peer, job))
        found: list[tuple[Any, ...]] = []
        for result in self._learner.run(jobs):
            if isinstance(result, Trained):
                found.append((result.vector, result.sample_count, result.loss, dict(result.own)))
            elif isinstance(result, Evaluated):
                found.append((result.metrics, result.own, result.validation))
            else:
                assert isinstance(result, WorkFailed), "a private job is not sent"
                found.append((result.reason,))
        return found


def _told(peer: int, job: Job) -> tuple[Any, ...]:
    """Write a job as what any pickle takes: its empty tables have no such form."""
    assert isinstance(job, (Train, Evaluate)), "a learner does no other job"
    stream = job.stream if isinstance(job, Train) else None
    return peer, job.round, job.vector, dict(job.own), stream


def _result(told: tuple[Any, ...]) -> Learned:
    if len(told) == 1:
        return WorkFailed(told[0])
    if isinstance(told[0], np.ndarray):
        vector, count, loss, own = told
        return Trained(vector, count, loss, own or NOTHING)
    return Evaluated(*told)
