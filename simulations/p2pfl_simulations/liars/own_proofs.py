"""What liars say of their input in an audit: proofs in order, of whatever they like."""

import numpy as np

from p2pfl_crypto.audit.shortness import SketchTooLong, prove
from p2pfl_crypto.audit.sketch import sketch_of
from p2pfl_gossip.masked_sum.audit_jobs import OwnInput, Sketched, SketchRound


def own_sketch(job: SketchRound, own: OwnInput) -> list[int]:
    """Sketch what a member put in, as an honest one does."""
    bodies = ((chunk, own.encode(chunk, part)) for chunk, part in own.parts)
    sketch = sketch_of(job.seed, ((chunk, body.view(np.int32)) for chunk, body in bodies))
    return [int(entry) for entry in sketch]


def saying(result: Sketched, commitment: bytes, proof: bytes) -> Sketched:
    """Return what came of the job, with another commitment and proof."""
    return Sketched(result.sum_sketch, result.sum_norm, commitment, proof)


def claiming(
    job: SketchRound,
    own: OwnInput,
    result: Sketched,
    sketch: list[int],
    blinding: int | None = None,
) -> Sketched:
    """Return what came of the job, with a proof in order that another sketch is short.

    Where it is too long, there is none.
    """
    known = int.from_bytes(own.blinding, "little")
    context = job.audited.context(job.seed, own.rank)
    try:
        shown = prove(
            context, own.bound, sketch, known if blinding is None else blinding, own.entropy
        )
    except SketchTooLong:
        shown = (b"", b"")
    return saying(result, *shown)
