"""Claims a sketch that is far too long, with squares that fit modulo the group's order only."""

from p2pfl_crypto.audit.shortness import prove_opening
from p2pfl_crypto.shamir import GROUP_ORDER
from p2pfl_gossip.actions import Job
from p2pfl_gossip.masked_sum.audit_jobs import Sketched, SketchRound
from p2pfl_gossip.records import Record
from p2pfl_simulations.liars.liar import Liar
from p2pfl_simulations.liars.own_proofs import own_sketch, saying


class SquaresModOrder(Liar):
    """Proves `factor` times its sketch by four numbers that are no squares over the integers.

    Args:
        factor: by which the sketch is stretched.
    """

    in_groups = True
    in_audits = True

    def __init__(self, factor: int = 100) -> None:
        self._factor = factor

    def learn(self, now_s: float, job: Job, result: Record) -> Record:
        """Make the proof."""
        if not (isinstance(job, SketchRound) and job.own and isinstance(result, Sketched)):
            return result
        own = job.own
        long = [self._factor * entry for entry in own_sketch(job, own)]
        squares = squares_modulo_order(own.bound - sum(entry * entry for entry in long))
        context = job.audited.context(job.seed, own.rank)
        blinding = int.from_bytes(own.blinding, "little")
        commitment, proof = prove_opening(context, own.bound, long, squares, blinding, own.entropy)
        return saying(result, commitment, proof.encode())


def squares_modulo_order(rest: int) -> tuple[int, int, int, int]:
    """Find two numbers whose squares add up to `rest` modulo L, and two zeros."""
    one = 1
    while pow(rest - one * one, (GROUP_ORDER - 1) // 2, GROUP_ORDER) != 1:
        one += 1
    square = (rest - one * one) % GROUP_ORDER
    root = pow(square, (GROUP_ORDER + 3) // 8, GROUP_ORDER)  # L is 5 modulo 8.
    if root * root % GROUP_ORDER != square:
        root = root * pow(2, (GROUP_ORDER - 1) // 4, GROUP_ORDER) % GROUP_ORDER
    return root, one, 0, 0
