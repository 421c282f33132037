"""How jobs are dealt to a cluster's workers, and what becomes of those of one that is lost.

Ray itself is not in this environment, so its half dozen calls are played here; tests/on_ray has the
real ones.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from p2pfl.learner.errors import LearningError
from p2pfl_gossip.learning import Train, Trained
from p2pfl_simulations.cluster.connecting import ClusterError, workers_for
from p2pfl_simulations.cluster.learning import AHEAD, CHUNK_JOBS, LOST_MAX, START_S, Classroom


class ActorGone(Exception):
    """As Ray tells of a worker that is lost."""


class TaskFailed(Exception):
    """As Ray tells of an error of the task's own; `cause` is what was raised."""

    def __init__(self, cause: Exception) -> None:
        super().__init__("remote stack\nmore")
        self.cause = cause


class PlayedWorker:
    """Doubles the model; what is asked of it is answered when somebody waits."""

    def __init__(self, ray: "PlayedRay") -> None:
        self._ray, self.chunks, self.is_lost, self.begins = ray, 0, False, True
        self.begin = SimpleNamespace(remote=lambda: ray.ask(self, lambda: None))
        self.run = SimpleNamespace(remote=self._run)

    def _run(self, told: list[tuple[Any, ...]]) -> int:
        def work() -> list[tuple[Any, ...]]:
            self.chunks += 1
            return [(vector * 2, 1, 0.5, {}) for _, _, vector, _, _ in told]

        return self._ray.ask(self, work)


class PlayedRay:
    """Answers one question at a time, the oldest first; `before` is called ahead of each."""

    exceptions = SimpleNamespace(
        RayActorError=ActorGone, ObjectLostError=ActorGone, NodeDiedError=ActorGone
    )

    def __init__(self) -> None:
        self.workers: list[PlayedWorker] = []
        self.before: Callable[[PlayedWorker], None] = lambda _: None
        self._asked: dict[int, tuple[PlayedWorker, Callable[[], Any]]] = {}
        self._count = 0
        self.most = 0  # Questions to one worker at a time.

    def make(self) -> PlayedWorker:
        self.workers.append(PlayedWorker(self))
        return self.workers[-1]

    def ask(self, worker: PlayedWorker, work: Callable[[], Any]) -> int:
        self._count += 1
        self._asked[self._count] = worker, work
        self.most = max(self.most, sum(it is worker for it, _ in self._asked.values()))
        return self._count

    def wait(
        self, answers: list[int], *, num_returns: int, timeout: float | None
    ) -> tuple[list[int], list[int]]:
        assert num_returns == 1
        ready = sorted(it for it in answers if self._asked[it][0].begins)
        if not ready:
            assert timeout == START_S
        return ready[:1], ready[1:]

    def get(self, answer: int) -> Any:
        worker, work = self._asked.pop(answer)
        self.before(worker)
        if worker.is_lost:
            raise ActorGone("the worker died\nand so on")
        return work()


def jobs_of(count: int) -> list[tuple[int, Train]]:
    return [
        (peer, Train(0, np.full(2, peer, np.float32), f"stream {peer}")) for peer in range(count)
    ]


def doubled(results: Any) -> list[float]:
    assert all(isinstance(it, Trained) for it in results)
    return [float(it.vector[0]) for it in results]


def no_help(_jobs: Any) -> Any:
    raise AssertionError("jobs of peers are done there")


def test_results_come_back_in_order_whoever_had_the_jobs() -> None:
    ray = PlayedRay()
    classroom = Classroom(ray, ray.make, 3)
    count = 5 * CHUNK_JOBS + 3
    assert doubled(classroom.run("", jobs_of(count), no_help)) == [2.0 * it for it in range(count)]
    assert (classroom.jobs, classroom.lost) == (count, 0)
    assert ray.most <= AHEAD
    assert classroom.run("pooled", [], lambda _: []) == []


def test_jobs_of_a_worker_that_is_lost_are_done_by_others() -> None:
    """Also where what takes its place never begins: a machine of two is gone for good."""
    ray = PlayedRay()
    classroom = Classroom(ray, ray.make, 2)

    def lose_the_second(worker: PlayedWorker) -> None:
        if worker is ray.workers[1] and worker.chunks == 1:
            worker.is_lost = True
            for it in ray.workers[2:]:
                it.begins = False

    ray.before = lose_the_second
    count = 6 * CHUNK_JOBS
    for _ in range(2):
        found = doubled(classroom.run("", jobs_of(count), no_help))
        assert found == [2.0 * it for it in range(count)]
    assert (classroom.jobs, classroom.lost) == (2 * count, 1)
    assert len(ray.workers) == 3  # One was asked for in its place.


def test_what_takes_a_lost_workers_place_works_with_the_others() -> None:
    ray = PlayedRay()
    classroom = Classroom(ray, ray.make, 1)

    def lose_the_first(worker: PlayedWorker) -> None:
        worker.is_lost |= worker is ray.workers[0] and worker.chunks == 1

    ray.before = lose_the_first
    classroom.run("", jobs_of(3 * CHUNK_JOBS), no_help)
    assert classroom.lost == 1
    assert ray.workers[1].chunks == 2


@pytest.mark.parametrize("after", [0, 1])
def test_workers_that_are_lost_one_after_the_other_end_the_run(after: int) -> None:
    """All before they begin, or all by the same jobs."""
    ray = PlayedRay()
    classroom = Classroom(ray, ray.make, 1)
    asked: dict[PlayedWorker, int] = {}

    def lose_each(worker: PlayedWorker) -> None:
        asked[worker] = asked.get(worker, 0) + 1
        worker.is_lost = asked[worker] > after

    ray.before = lose_each
    with pytest.raises(ClusterError, match=rf"{LOST_MAX + 1} workers were lost; the last one: the"):
        classroom.run("", jobs_of(3), no_help)


def test_a_cluster_that_gives_no_worker_is_one_line() -> None:
    ray = PlayedRay()
    classroom = Classroom(ray, ray.make, 1)
    ray.workers[0].begins = False
    with pytest.raises(ClusterError, match="no worker has begun for 600 s: other work has the"):
        classroom.run("", jobs_of(3), no_help)


class BeganWrongly(ActorGone):
    """As Ray tells of a worker whose making raised."""

    actor_init_failed = True


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (TaskFailed(LearningError("task 'own': it broke")), r"^task 'own': it broke$"),
        (TaskFailed(ValueError("no")), "learning on the cluster failed: TaskFailed: remote stack$"),
        (BeganWrongly("died\nby\nValueError: no rows"), "a worker could not begin: ValueError: no"),
    ],
)
def test_what_is_the_tasks_own_fault_is_told_and_not_tried_again(
    raised: Exception, told: str
) -> None:
    ray = PlayedRay()
    classroom = Classroom(ray, ray.make, 1)

    def fail(_worker: PlayedWorker) -> None:
        raise raised

    ray.before = fail
    with pytest.raises((LearningError, ClusterError), match=told):
        classroom.run("", jobs_of(3), no_help)
    assert len(ray.workers) == 1


@pytest.mark.parametrize(
    ("device", "gpus", "wanted"),
    [
        ("cpu", 4, ({"num_cpus": 1}, 6)),
        ("auto", 0, ({"num_cpus": 1}, 6)),
        ("auto", 4, ({"num_cpus": 1, "num_gpus": 1}, 4)),
        ("cuda", 4, ({"num_cpus": 1, "num_gpus": 1}, 4)),
    ],
)
def test_a_worker_asks_for_what_it_learns_on(device: str, gpus: int, wanted: Any) -> None:
    ray = SimpleNamespace(cluster_resources=lambda: {"CPU": 6.0, "GPU": float(gpus)})
    assert workers_for(ray, {device}) == wanted


def test_a_cluster_without_a_gpu_for_who_wants_one_is_one_line() -> None:
    ray = SimpleNamespace(cluster_resources=lambda: {"CPU": 6.0})
    with pytest.raises(ClusterError, match=r'"cuda", and no machine of the cluster has a GPU'):
        workers_for(ray, {"cuda"})
