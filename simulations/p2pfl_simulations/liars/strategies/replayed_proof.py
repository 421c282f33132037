"""Shows a proof of another round."""

from p2pfl_crypto.audit.shortness import prove
from p2pfl_gossip.actions import Job
from p2pfl_gossip.masked_sum.audit_jobs import Sketched, SketchRound
from p2pfl_gossip.records import Record
from p2pfl_simulations.liars.liar import Liar
from p2pfl_simulations.liars.own_proofs import own_sketch, saying


class ReplayedProof(Liar):
    """Signs a proof that was in order in another session: its seed and its sums were others."""

    in_groups = True
    in_audits = True

    def learn(self, now_s: float, job: Job, result: Record) -> Record:
        """Make it as that session had it."""
        if not (isinstance(job, SketchRound) and job.own and isinstance(result, Sketched)):
            return result
        own = job.own
        bound = max(own.bound, 2**64)  # Whatever its sketch is: the other round is what is false.
        blinding = int.from_bytes(own.blinding, "little")
        shown = prove(bytes(32), bound, own_sketch(job, own), blinding, own.entropy)
        return saying(result, *shown)
