"""Jobs done in batches, on a thread or not."""

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from threading import get_ident

import numpy as np
import pytest

from p2pfl_gossip.actions import Job, Vector
from p2pfl_gossip.learning import Train, Trained
from p2pfl_gossip.records import Record
from p2pfl_simulations.batch import BATCH_JOBS, BEGUN_MAX, Workshop

PEERS = 3 * BATCH_JOBS + 5


class Doubler:
    """Gives twice the model, and notes the size of each batch."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def run(self, jobs: Sequence[tuple[int, Job]]) -> Sequence[Record]:
        self.sizes.append(len(jobs))
        results = []
        for peer, job in jobs:
            assert isinstance(job, Train)
            results.append(Trained(job.vector * 2, 1, float(peer)))
        return results


def vector_of(peer: int) -> Vector:
    return np.full(3, peer, np.float32)


def key(peer: int) -> tuple[int, int, int]:
    return peer, 0, 1


@pytest.mark.parametrize("on_thread", [False, True])
def test_each_job_gets_its_own_result(on_thread: bool) -> None:
    workshop = Workshop(Doubler())
    with workshop if on_thread else nullcontext():
        for peer in range(PEERS):
            workshop.start(key(peer), Train(0, vector_of(peer), ""))
        for peer in reversed(range(PEERS)):
            result = workshop.result(key(peer))
            assert isinstance(result, Trained)
            assert (result.loss, result.vector[0]) == (peer, 2 * peer)
    assert workshop.jobs == PEERS


def test_a_thread_begins_batches_that_are_full_and_only_so_many() -> None:
    worker = Doubler()
    with Workshop(worker) as workshop:
        for peer in range(2 * BEGUN_MAX):
            workshop.start(key(peer), Train(0, vector_of(peer), ""))
        assert workshop.jobs == BEGUN_MAX
        for peer in range(BATCH_JOBS):
            workshop.result(key(peer))
        assert workshop.jobs == BEGUN_MAX + BATCH_JOBS
    assert set(worker.sizes) == {BATCH_JOBS}


@pytest.mark.parametrize("started", [1, BATCH_JOBS])
def test_a_cancelled_job_is_forgotten(started: int) -> None:
    with Workshop(Doubler()) as workshop:
        for peer in range(started + 1):
            workshop.start(key(peer), Train(0, vector_of(peer), ""))
        workshop.cancel(key(0))
        workshop.result(key(started))
        with pytest.raises(KeyError):
            workshop.result(key(0))


def test_the_switch_interval_is_restored() -> None:
    before = sys.getswitchinterval()
    with Workshop(Doubler()):
        assert sys.getswitchinterval() < before
    assert sys.getswitchinterval() == before


class Other(Job, frozen=True):
    """A job that is none of learning."""


class Noter:
    """Notes which threads it works on."""

    def __init__(self) -> None:
        self.threads: list[int] = []

    def run(self, jobs: Sequence[tuple[int, Job]]) -> Sequence[Record]:
        self.threads.append(get_ident())
        return [Trained(np.zeros(1, np.float32), 1, 0.0) for _ in jobs]


def test_other_jobs_are_done_one_by_one_where_their_results_are_asked_for() -> None:
    worker = Noter()
    with Workshop(worker) as workshop:
        for peer in range(BATCH_JOBS + 1):
            workshop.start(key(peer), Other())
        workshop.cancel(key(2))
        assert worker.threads == []
        workshop.result(key(0))
        workshop.result(key(1))
        with pytest.raises(KeyError):
            workshop.result(key(2))
    assert worker.threads == [get_ident()] * 2
    assert (workshop.jobs, workshop.batches) == (0, 0)
