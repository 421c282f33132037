"""What omniscient liars are given: the updates of honest peers, as far as these have begun a round.

An attack of the literature knows what all honest members put in, and chooses its own by it. A real
liar would have to wait for them and to see through masks; here the harness tells it, so that what a
mode bears is measured against the worst.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from p2pfl_gossip.actions import Job, Vector
from p2pfl_gossip.learning import Train, Trained
from p2pfl_gossip.records import Record
from p2pfl_simulations.batch import Key, Worker, Workshop

ROUNDS_KEPT = 3
"""Rounds whose models are kept: peers of a graph are that far apart, seldom farther."""

Update = npt.NDArray[np.float64]
"""float64[d]: a trained model less the one that training began with."""


class HonestUpdate(NamedTuple):
    """What one honest peer's training of a round gave.

    Attributes:
        peer: its index.
        start: float32[d], the model that it began with.
        trained: float32[d].
    """

    peer: int
    start: Vector
    trained: Vector

    @property
    def update(self) -> Update:
        """The change."""
        return np.subtract(self.trained, self.start, dtype=np.float64)


class Insight:
    """Does the learner's jobs, and keeps the models that honest peers trained.

    Args:
        learner: does the jobs.
        liars: indices of those that lie; theirs are not kept.
    """

    def __init__(self, learner: Worker, liars: Collection[int]) -> None:
        self._learner, self._liars = learner, frozenset(liars)
        self._begun: dict[int, dict[int, Train]] = {}
        self._trained: dict[tuple[int, str], Record] = {}
        self._workshop: Workshop | None = None

    def run(self, jobs: Sequence[tuple[int, Job]]) -> Sequence[Record]:
        """Do jobs, but those that were done for liars before."""
        left = [(peer, job) for peer, job in jobs if self._known(peer, job) is None]
        done = iter(self._learner.run(left) if left else ())
        results: list[Record] = []
        for peer, job in jobs:
            known = self._known(peer, job)
            result = next(done) if known is None else known
            results.append(result)
            if isinstance(job, Train) and peer not in self._liars:
                self._trained[peer, job.stream] = result
        return results

    def watch(self, workshop: "WatchedWorkshop") -> None:
        """Learn from a workshop which jobs are begun, and have it do those that are asked for."""
        self._workshop = workshop

    def on_job(self, peer: int, job: Job) -> None:
        """Note a job that a peer has begun."""
        if not isinstance(job, Train) or peer in self._liars:
            return
        self._begun.setdefault(job.round, {})[peer] = job
        for old in [round_ for round_ in self._begun if round_ <= job.round - ROUNDS_KEPT]:
            for index, gone in self._begun.pop(old).items():
                self._trained.pop((index, gone.stream), None)

    def of(self, round_: int) -> list[HonestUpdate]:
        """Return what honest peers train in a round, of those that have begun, by index."""
        assert self._workshop is not None
        jobs = sorted(self._begun.get(round_, {}).items(), key=lambda it: it[0])
        results = self._workshop.do_all(jobs)
        return [
            HonestUpdate(peer, job.vector, result.vector)
            for (peer, job), result in zip(jobs, results, strict=True)
            if isinstance(result, Trained)
        ]

    def _known(self, peer: int, job: Job) -> Record | None:
        return self._trained.get((peer, job.stream)) if isinstance(job, Train) else None


class WatchedWorkshop(Workshop):
    """A workshop that tells which jobs are begun."""

    def __init__(self, worker: Worker, insight: Insight) -> None:
        super().__init__(worker)
        self._insight = insight
        insight.watch(self)

    def start(self, key: Key, job: Job) -> None:
        """Take a job."""
        self._insight.on_job(key[0], job)
        super().start(key, job)
