"""Commits to its sketch with a blinding that does not cancel."""

from p2pfl_gossip.actions import Job
from p2pfl_gossip.masked_sum.audit_jobs import Sketched, SketchRound
from p2pfl_gossip.records import Record
from p2pfl_simulations.liars.liar import Liar
from p2pfl_simulations.liars.own_proofs import claiming, own_sketch


class WrongBlinding(Liar):
    """Commits with another blinding than what it shares with the others: no total opens."""

    in_groups = True
    in_audits = True

    def learn(self, now_s: float, job: Job, result: Record) -> Record:
        """Commit anew."""
        if not (isinstance(job, SketchRound) and job.own and isinstance(result, Sketched)):
            return result
        return claiming(job, job.own, result, own_sketch(job, job.own), blinding=7)
