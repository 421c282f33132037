"""Many rounds of one group: what one curious member solves for, from the ledger that all have.

Two ways that worked on small cohorts, drawn anew each round, and on sums that opened their weight:
row counts by linear algebra, and each member's own direction by least squares over many sums.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from ledger_world import LedgerWorld, ToyWorker, first_model

from p2pfl_gossip.actions import Job
from p2pfl_gossip.events import RoundEnded
from p2pfl_gossip.learning import Train, Trained
from p2pfl_gossip.ledger.entries import Entry
from p2pfl_gossip.ledger.participation import entries_of
from p2pfl_gossip.records import Record

Floats = npt.NDArray[np.float64]
ENTRIES = 64
DRIFT = 0.6
"""Length of what a member gives in each round, as its rows have it, against what it draws: so much
that a mean of a few of its updates tells it from all others."""


class DrawnWorker(ToyWorker):
    """Each member's update is a direction of its own, and what its batch of the round adds."""

    def __init__(self, counts: Sequence[int], away: float = 0.0) -> None:
        super().__init__()
        self.counts = counts
        rng = np.random.default_rng(1)
        self.directions = rng.normal(size=(len(counts), ENTRIES)) * DRIFT
        self.fails = lambda index, job: np.random.default_rng([7, index, job.round]).random() < away

    def update(self, index: int, round_: int) -> Floats:
        drawn = np.random.default_rng([index, round_]).normal(size=ENTRIES)
        update: Floats = self.directions[index] + drawn
        return update

    def _do(self, index: int, job: Job) -> Record:
        result = super()._do(index, job)
        if not isinstance(job, Train) or not isinstance(result, Trained):
            return result
        trained = (job.vector + self.update(index, job.round)).astype(np.float32)
        trained.flags.writeable = False
        return Trained(trained, self.counts[index], 0.5)


class DrawnGroup(LedgerWorld):
    def __init__(self, counts: Sequence[int], away: float = 0.0, **settings: Any) -> None:
        self._worker = DrawnWorker(counts, away)
        super().__init__(len(counts), entries=ENTRIES, **settings)

    worker: DrawnWorker

    def make_worker(self) -> DrawnWorker:
        return self._worker

    def entries_of(self, index: int) -> list[Entry]:
        return entries_of(self.member(index).history)


def solved(members: Floats, sums: Floats, truth: Floats) -> tuple[float, float]:
    """Solve for what each member gives, by least squares; return how well that went.

    Args:
        members: [sums, members] who is in each.
        sums: [sums, entries].
        truth: [members, entries] each one's mean update, for scoring only.

    Returns:
        The median cosine of what was found with the truth, both less what all have in common, and
        the share of members that what was found fits best.
    """
    counts = members.sum(axis=1, keepdims=True)
    off = sums - counts * (sums / counts).mean(axis=0)
    found = np.linalg.solve(members.T @ members + np.eye(members.shape[1]), members.T @ off)
    found, truth = ((it - it.mean(axis=0)) for it in (found, truth))
    found, truth = (it / np.linalg.norm(it, axis=1, keepdims=True) for it in (found, truth))
    fits = found @ truth.T
    return float(np.median(np.diag(fits))), float((fits.argmax(axis=1) == range(len(fits))).mean())


def test_row_counts_are_in_nothing_that_a_member_says() -> None:
    """Not a byte that travels depends on them; each sum told its members' total before."""
    digests = []
    for counts in ([10, 20, 30, 40, 50], [1000, 1, 777, 3, 12]):
        group = DrawnGroup(counts, rounds=3)
        group.start()
        group.run(200.0)
        assert group.are_finished()
        assert [entry.weight for entry in group.entries_of(0)] == [5.0] * 3
        digests.append(group.world.trace.hexdigest())
    assert digests[0] == digests[1]


def in_cohorts(updates: Floats, cohort_size: int) -> tuple[Floats, Floats]:
    """Return who is in which sum, and the sums, of cohorts drawn anew in each round."""
    size, rounds = updates.shape[:2]
    rng, members, sums = np.random.default_rng(2), [], []
    for round_ in range(rounds):
        for cohort in np.split(rng.permutation(size), size // cohort_size):
            members.append(np.isin(range(size), cohort).astype(float))
            sums.append(updates[cohort, round_].sum(axis=0))
    return np.array(members), np.array(sums)


@pytest.mark.long
def test_sums_of_a_whole_group_give_less_of_a_member_than_those_of_drawn_cohorts() -> None:
    size, rounds = 12, 24
    group = DrawnGroup([1] * size, away=0.05, rounds=rounds)
    group.start()
    group.run(2000.0)
    assert group.are_finished()
    entries = group.entries_of(0)
    models = [first_model(ENTRIES)] + [
        event.vector for event in group.watcher.events[0] if isinstance(event, RoundEnded)
    ]
    inside = np.zeros((rounds, size))
    for place, entry in enumerate(entries):
        inside[place, group.epoch.unpack(entry.members) or ()] = 1.0
    assert inside.sum(axis=1).min() >= group.epoch.threshold
    # A certified model moves by the sum over the weight of all, and all have each of them.
    sums = np.diff(np.array(models, np.float64), axis=0) * size
    worker = group.worker
    cosine, identified = solved(inside, sums, worker.directions)
    assert cosine < 0.3
    assert identified < 0.5
    # The control: the same updates, in sums of a third of the members each.
    updates = [[worker.update(index, round_) for round_ in range(rounds)] for index in range(size)]
    cosine, identified = solved(*in_cohorts(np.array(updates), 4), worker.directions)
    assert cosine > 0.7
    assert identified > 0.9
