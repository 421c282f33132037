"""Moves a part of its sketch to a colluder, which takes it away."""

from p2pfl_gossip.actions import Job
from p2pfl_gossip.masked_sum.audit_jobs import Sketched, SketchRound
from p2pfl_gossip.records import Record
from p2pfl_simulations.liars.liar import Liar
from p2pfl_simulations.liars.own_proofs import claiming, own_sketch


class OffsetBetweenColluders(Liar):
    """Of each two liars the first claims an offset too much, and the second the same too little.

    Together they claim what is so: an audit bounds them together, and does not see this.

    Args:
        offset: of each entry of the sketch, in encoded steps.
    """

    in_groups = True
    in_audits = True

    def __init__(self, offset: int = 1000) -> None:
        self._offset = offset

    def learn(self, now_s: float, job: Job, result: Record) -> Record:
        """Shift the sketch."""
        if not (isinstance(job, SketchRound) and job.own and isinstance(result, Sketched)):
            return result
        place = self.me.colluders.index(self.me.index)
        offset = self._offset if place % 2 == 0 else -self._offset
        sketch = [entry + offset for entry in own_sketch(job, job.own)]
        return claiming(job, job.own, result, sketch)
