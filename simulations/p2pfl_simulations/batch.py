"""Batched work, done ahead of its time, beside the events.

Jobs wait until there are enough for a batch; then a thread does them while the world goes on. Who
has not been begun when a result is due in virtual time is begun then, with those that wait.

A job's result depends on the job and its peer's data alone, so it does not matter when it is
computed, nor with which others; the learner trains many peers' models in one stacked step, far
faster than one by one, and mostly outside of Python, so that events are handled meanwhile. Which
jobs share a batch goes by what was started and taken before, never by what a thread has done so
far: counts of batches are the same each time.

Only learning is worth it: jobs of other kinds are done one by one as their results are due, on the
caller's thread, since passing a job of microseconds to another thread takes longer than doing it.
"""

import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple, Protocol

from p2pfl_gossip.actions import Job, Ticket
from p2pfl_gossip.learning import LearningJob
from p2pfl_gossip.records import Record

BATCH_JOBS = 128
"""Jobs that are begun as soon as so many wait: several chunks for each of the learner's threads.
Larger batches are no faster, and begin later."""

BEGUN_MAX = 1024
"""Jobs begun whose results nobody has taken yet: bounds the memory of finished models that wait,
which come on top of one model for each peer."""

SWITCH_INTERVAL_S = 0.0005
"""How long one thread may keep the interpreter from another. Python's 5 ms would let a training
thread, which needs it for microseconds between two products, wait for longer than a product takes.
"""

Key = tuple[int, int, Ticket]
"""Peer, its life (a restarted process is another one) and its ticket."""


class Worker(Protocol):
    """Does jobs. `p2pfl.learner.learner.Learner` is one."""

    def run(self, jobs: Sequence[tuple[int, Job]]) -> Sequence[Record]:
        """Do jobs of peers, named by index; results in the same order."""


class _Batch(NamedTuple):
    keys: list[Key]
    future: Future[Sequence[Record]]


class Workshop:
    """Jobs that were started, and results that are not yet due.

    As a context manager it has a thread, which batches are done on; without, jobs are done when
    their results are asked for.

    Attributes:
        jobs: jobs of learning that were begun, in so many `batches`.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._single: dict[Key, Job] = {}
        self._waiting: dict[Key, Job] = {}
        self._begun: dict[Key, _Batch] = {}
        self._done: dict[Key, Record] = {}
        self._thread: ThreadPoolExecutor | None = None
        self._switch_interval_s = sys.getswitchinterval()
        self.jobs = 0
        self.batches = 0

    def __enter__(self) -> "Workshop":
        self._switch_interval_s = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        self._thread = ThreadPoolExecutor(1, "workshop")
        return self

    def __exit__(self, *_: object) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.shutdown(cancel_futures=True)
        sys.setswitchinterval(self._switch_interval_s)

    def start(self, key: Key, job: Job) -> None:
        """Take a job."""
        if not isinstance(job, LearningJob):
            self._single[key] = job
            return
        self._waiting[key] = job
        self._begin_full_batch()

    def cancel(self, key: Key) -> None:
        """Forget a job, whatever has become of it."""
        for jobs in (self._single, self._waiting, self._begun, self._done):
            jobs.pop(key, None)

    def result(self, key: Key) -> Record:
        """Return the result of a job; if it has not been begun, with others that wait."""
        if key in self._single:
            return self._worker.run([(key[0], self._single.pop(key))])[0]
        if key in self._waiting:
            others = (other for other in self._waiting if other != key)
            self._begin([key, *islice(others, BATCH_JOBS - 1)])
        if key in self._begun:
            self._take(self._begun[key])
        record = self._done.pop(key)
        self._begin_full_batch()
        return record

    def do(self, peer: int, job: Job) -> Record:
        """Do one job now; return its result."""
        return self._run([(peer, job)]).result()[0]

    def do_all(self, jobs: Sequence[tuple[int, Job]]) -> Sequence[Record]:
        """Do jobs now; return their results in the same order."""
        return self._run(list(jobs)).result() if jobs else ()

    def _begin_full_batch(self) -> None:
        """Begin a batch where there are jobs for one, and room for its results."""
        if (
            self._thread is not None
            and len(self._waiting) >= BATCH_JOBS
            and len(self._begun) + len(self._done) <= BEGUN_MAX - BATCH_JOBS
        ):
            self._begin(list(islice(self._waiting, BATCH_JOBS)))

    def _begin(self, keys: list[Key]) -> None:
        future = self._run([(key[0], self._waiting.pop(key)) for key in keys])
        self._begun.update(dict.fromkeys(keys, _Batch(keys, future)))
        self.jobs += len(keys)
        self.batches += 1

    def _take(self, batch: "_Batch") -> None:
        """Wait for a batch, and keep its results one by one, so that each goes when it is taken."""
        for key, record in zip(batch.keys, batch.future.result(), strict=True):
            if self._begun.pop(key, None) is not None:  # Else it was cancelled.
                self._done[key] = record

    def _run(self, jobs: list[tuple[int, Job]]) -> Future[Sequence[Record]]:
        if self._thread is not None:
            return self._thread.submit(self._worker.run, jobs)
        done: Future[Sequence[Record]] = Future()
        done.set_result(self._worker.run(jobs))
        return done
