"""Lazy, batched work: jobs wait until a result is due in virtual time, then all are done at once.

A job's result depends on the job and its peer's data alone, so it does not matter when it is
computed; the learner trains many peers' models in one stacked step, far faster than one by one.
"""

from collections.abc import Sequence
from typing import Protocol

from p2pfl_gossip.actions import Job, Ticket
from p2pfl_gossip.records import Record

BATCH_MAX = 1024
"""Jobs done at once. Larger batches are no faster, and hold more results that nobody takes yet."""

Key = tuple[int, int, Ticket]
"""Peer, its life (a restarted process is another one) and its ticket."""


class Worker(Protocol):
    """Does jobs. `p2pfl.learner.learner.Learner` is one."""

    def run(self, jobs: Sequence[tuple[int, Job]]) -> Sequence[Record]:
        """Do jobs of peers, named by index; results in the same order."""


class Workshop:
    """Jobs that were started, and results that are not yet due."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._started: dict[Key, Job] = {}
        self._results: dict[Key, Record] = {}
        self.jobs = 0
        self.batches = 0

    def start(self, key: Key, job: Job) -> None:
        """Take a job."""
        self._started[key] = job

    def cancel(self, key: Key) -> None:
        """Forget a job, whatever has become of it."""
        self._started.pop(key, None)
        self._results.pop(key, None)

    def result(self, key: Key) -> Record:
        """Return the result of a job, doing it now, with others that wait, if it is not done."""
        if key not in self._results:
            self._run(key)
        return self._results.pop(key)

    def _run(self, due: Key) -> None:
        keys = [due]
        for key in self._started:
            if len(keys) == BATCH_MAX:
                break
            if key != due:
                keys.append(key)
        jobs = [(key[0], self._started.pop(key)) for key in keys]
        self.jobs += len(jobs)
        self.batches += 1
        self._results.update(zip(keys, self._worker.run(jobs), strict=True))
