"""Puts in more than it may, and proves that a smaller sketch is short."""

import numpy as np

from p2pfl_gossip.actions import Job
from p2pfl_gossip.ledger.jobs import UpdateMade
from p2pfl_gossip.masked_sum.audit_jobs import Sketched, SketchRound
from p2pfl_gossip.records import Record
from p2pfl_simulations.liars.liar import Liar
from p2pfl_simulations.liars.own_proofs import claiming, own_sketch


class FalseSketch(Liar):
    """Gives an update of `norm` clips, and claims in an audit that it is one.

    Args:
        norm: of its update, in clips.
    """

    in_groups = True
    in_audits = True

    def __init__(self, norm: float = 2.0) -> None:
        self._norm = norm

    def learn(self, now_s: float, job: Job, result: Record) -> Record:
        """Stretch the update, and shrink the sketch that is claimed."""
        epoch = self.me.epoch
        if isinstance(result, UpdateMade) and result.norm and epoch is not None:
            factor = self._norm * epoch.charter.clip / min(result.norm, epoch.charter.clip)
            update = (factor * result.update).astype(np.float32)
            update.flags.writeable = False
            return UpdateMade(update, result.norm, is_zero=False)
        if isinstance(job, SketchRound) and job.own is not None and isinstance(result, Sketched):
            sketch = [int(entry / self._norm) for entry in own_sketch(job, job.own)]
            return claiming(job, job.own, result, sketch)
        return result
