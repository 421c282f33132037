"""A run's learning on a cluster, while its world stays one process here.

A job's result depends on the job and its peer's rows alone. So each worker there has a learner of
its own, made of the same settings, and takes jobs of any peer; results come back in order, and the
run's digest is that of a run that learns here, on machines of one class.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from p2pfl.learner.errors import LearningError
from p2pfl.learner.learner import Do, Learned, Learner, make_learner
from p2pfl_gossip.actions import Job
from p2pfl_gossip.learning import Evaluate, Evaluated, Train, Trained, WorkFailed
from p2pfl_gossip.own_state import NOTHING
from p2pfl_simulations.cluster.connecting import ClusterError, connected, first_line, workers_for
from p2pfl_simulations.group import Speeds
from p2pfl_simulations.own_parts import needs_folder
from p2pfl_simulations.scenario import Scenario

CHUNK_JOBS = 16
"""Jobs that a worker is given at a time, at most: several, so that it trains them in one stack."""

AHEAD = 2
"""Chunks that a worker has at a time: the next one waits there where the last one ends."""

LOST_MAX = 5
"""Workers that one chunk may lose, or that may be lost in a row, before a run ends."""

START_S = 600.0
"""For the first worker to begin where none is left: Ray brings p2pfl up on a machine meanwhile."""


@contextmanager
def learning_on_ray(address: str, scenario: Scenario, folder: Path | None) -> Iterator["Classroom"]:
    """Start a worker for each core of a cluster, or for each GPU where learning is to be on one.

    Args:
        address: of the cluster, as `connected` has it.
        scenario: what is learnt.
        folder: of own parts; it travels.

    Raises:
        ClusterError: there is no such cluster, or no GPU in it for who learns on one.
    """
    is_own = folder is not None and needs_folder(scenario)
    with connected(address, folder if is_own else None) as ray:
        resources, workers = workers_for(ray, {scenario.learning.device})
        make = ray.remote(**resources)(_Pupil)
        document = scenario.model_dump_json(exclude_none=True)
        yield Classroom(ray, lambda: make.remote(document, is_own), workers)


class Classroom:
    """The workers of a cluster, as a learner's `Helper`.

    A worker that is lost, with its machine or alone, loses nothing but time: others take its jobs,
    and another worker is asked for, which begins wherever the cluster has room.

    Args:
        ray: as `connected` gives it.
        make: asks for a worker.
        workers: how many to ask for.

    Attributes:
        jobs: that were done there.
        begun: workers that began.
        lost: workers that were lost.
    """

    def __init__(self, ray: Any, make: Callable[[], Any], workers: int) -> None:
        self._ray, self._make = ray, make
        self.jobs = self.begun = self.lost = 0
        self._lost_in_a_row = 0
        self._workers: list[Any] = []
        self._coming: dict[Any, Any] = {}  # Workers that have not begun, by their first answer.
        for _ in range(workers):
            self._ask_for_one()

    def run(self, role: str, jobs: Sequence[tuple[int, Job]], do: Do) -> list[Learned]:
        """Deal jobs out to the workers; those of the pooled baseline are done here."""
        if role:
            return do(jobs)
        asked = len(self._workers) + len(self._coming)
        each = min(CHUNK_JOBS, max(1, -(-len(jobs) // asked)))
        chunks = [jobs[start : start + each] for start in range(0, len(jobs), each)]
        lesson = _Lesson(chunks)
        while not lesson.is_over:
            for worker in self._workers:
                lesson.give(worker)
            awaited = [*lesson.pending, *self._coming]
            for answer in self._ray.wait(awaited, num_returns=1, timeout=self._patience_s)[0]:
                self._hear(lesson, answer)
                break
            else:
                raise ClusterError(
                    f"no worker has begun for {START_S:g} s: other work has the cluster's cores"
                )
        self.jobs += len(jobs)
        return [_result(it) for told in lesson.results for it in told]

    @property
    def _patience_s(self) -> float | None:
        return None if self._workers else START_S

    def _ask_for_one(self) -> None:
        worker = self._make()
        self._coming[worker.begin.remote()] = worker

    def _hear(self, lesson: "_Lesson", answer: Any) -> None:
        """Take what a worker has said, or that it is lost."""
        worker = self._coming.get(answer) or lesson.worker_of(answer)
        try:
            told = self._ray.get(answer)
        except Exception as error:  # Of the task's code, of a machine, of Ray itself.
            cause = getattr(error, "cause", None)
            if isinstance(cause, LearningError):
                raise cause from None
            if not self._is_loss(error):
                raise _failed(error) from None
            self._coming.pop(answer, None)
            self._lose(worker)
            if lesson.lose(worker) > LOST_MAX or self._lost_in_a_row > LOST_MAX:
                raise ClusterError(
                    f"learning on the cluster failed: {self.lost} workers were lost; the last one:"
                    f" {first_line(error)}"
                ) from None
            return
        if self._coming.pop(answer, None) is not None:
            self._workers.append(worker)
            self.begun += 1
            return
        self._lost_in_a_row = 0
        lesson.take(answer, told)

    def _is_loss(self, error: Exception) -> bool:
        """Whether a worker, its machine or what it worked out is gone, by no fault of the task."""
        known = self._ray.exceptions
        if getattr(error, "actor_init_failed", False):
            return False
        kinds = (known.RayActorError, known.ObjectLostError, known.NodeDiedError)
        return isinstance(error, kinds)

    def _lose(self, worker: Any) -> None:
        self.lost += 1
        self._lost_in_a_row += 1
        if worker in self._workers:
            self._workers.remove(worker)
        self._ask_for_one()


class _Lesson:
    """Chunks of jobs that are dealt out, and their results in order.

    Attributes:
        pending: answers that are awaited: the chunk's number, and who has it.
        results: of the chunks that are done.
    """

    def __init__(self, chunks: Sequence[Sequence[tuple[int, Job]]]) -> None:
        self._chunks, self._waiting = chunks, deque(range(len(chunks)))
        self._done: dict[int, list[tuple[Any, ...]]] = {}
        self._lost = [0] * len(chunks)
        self.pending: dict[Any, tuple[int, Any]] = {}

    @property
    def is_over(self) -> bool:
        return len(self._done) == len(self._chunks)

    @property
    def results(self) -> list[list[tuple[Any, ...]]]:
        return [self._done[number] for number in range(len(self._chunks))]

    def give(self, worker: Any) -> None:
        """Give a worker what it has room for."""
        has = sum(it is worker for _, it in self.pending.values())
        while self._waiting and has < AHEAD:
            number, has = self._waiting.popleft(), has + 1
            answer = worker.run.remote([_told(*it) for it in self._chunks[number]])
            self.pending[answer] = number, worker

    def worker_of(self, answer: Any) -> Any:
        return self.pending[answer][1]

    def take(self, answer: Any, told: list[tuple[Any, ...]]) -> None:
        number, _ = self.pending.pop(answer)
        self._done[number] = told

    def lose(self, worker: Any) -> int:
        """Let others have what a worker had; return how many workers one of its chunks has lost."""
        most = 0
        for answer, (number, of) in list(self.pending.items()):
            if of is worker:
                del self.pending[answer]
                self._waiting.appendleft(number)
                self._lost[number] += 1
                most = max(most, self._lost[number])
        return most


def _failed(error: Exception) -> ClusterError:
    """Say what ended it; of a worker that could not begin, the last line says why."""
    told = f"{type(error).__name__}: {first_line(error)}"
    if getattr(error, "actor_init_failed", False):
        told = f"a worker could not begin: {str(error).strip().splitlines()[-1].strip()}"
    return ClusterError(f"learning on the cluster failed: {told}")


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

    def begin(self) -> None:
        """Answer, so that one knows that it is there."""

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
