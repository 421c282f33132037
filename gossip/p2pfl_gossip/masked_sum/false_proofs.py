"""Whether a signed audit proof shows nothing: what anybody can find out by itself.

A proof says itself of which sum and seed it is, and its author's bound follows from the charter. No
honest member signs one that does not hold, of whatever sum: so one that does not names its author.
"""

from p2pfl_crypto.audit.checking import ProofShown, check_one
from p2pfl_crypto.audit.shortness import InvalidProof
from p2pfl_crypto.audit.transcript import Statement
from p2pfl_crypto.transcripts import proof_context
from p2pfl_gossip.masked_sum.messages import AuditProof


def is_false_proof(proof: AuditProof, bound: int) -> bool:
    """Tell whether a proof does not hold; it takes a tenth of a second of a processor.

    Args:
        proof: whose signature was checked.
        bound: its author's, by `audit_jobs.bound_of`.
    """
    context = proof_context(proof.session, proof.ballot, proof.sums, proof.seed, proof.member)
    try:
        check_one(ProofShown(Statement(context, bound, proof.commitment), proof.proof))
    except InvalidProof:
        return True
    return False
