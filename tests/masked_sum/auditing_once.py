"""Does each job of an audit once for all tests: a proof takes a fifth of a second."""

from typing import Any

from p2pfl_crypto.hashing import body_digest
from p2pfl_gossip.actions import Job
from p2pfl_gossip.masked_sum.audit_jobs import CheckProofs, SketchRound
from p2pfl_gossip.masked_sum.jobs import perform
from p2pfl_gossip.records import Record

_DONE: dict[tuple[Any, ...], Record] = {}


def perform_once(job: Job) -> Record:
    """Do a job of a masked sum, or give what came of an equal one."""
    match job:
        case SketchRound():
            key: tuple[Any, ...] = (job.audited, job.seed, _digests(job.totals), _own(job))
        case CheckProofs():
            # What comes of it hangs on the random weights but for 2^-128.
            key = (job.audited, job.seed, job.shown, job.sum_sketch)
        case _:
            return perform(job)
    if key not in _DONE:
        _DONE[key] = perform(job)
    return _DONE[key]


def _digests(parts: tuple[tuple[int, Any], ...]) -> tuple[tuple[int, bytes], ...]:
    return tuple((chunk, body_digest(part.tobytes())) for chunk, part in parts)


def _own(job: SketchRound) -> tuple[Any, ...]:
    own = job.own
    if own is None:
        return ()
    secrets = (own.rounding_key, own.blinding, own.entropy)
    return (_digests(own.parts), own.weight, own.bound, own.rank, *secrets)
