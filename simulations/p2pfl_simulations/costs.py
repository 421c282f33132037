"""How long the jobs of protocols take in virtual time, by their sizes."""

from p2pfl_crypto.audit.sketch import SKETCH_ENTRIES
from p2pfl_gossip.actions import Job, LocalProtocolError
from p2pfl_gossip.averaging.robust.combining import Combine
from p2pfl_gossip.ledger.jobs import MakeModel, MakeUpdate
from p2pfl_gossip.ledger.private_jobs import (
    HideUpdate,
    MakePrivateModel,
    NoiseAlone,
    PrivateJob,
)
from p2pfl_gossip.ledger.states import ENTRY_BYTES, DigestChunks, DigestState
from p2pfl_gossip.masked_sum.audit_jobs import (
    CheckCoinSum,
    CheckProofs,
    SketchRound,
    TossCoin,
    TossSingly,
)
from p2pfl_gossip.masked_sum.dispute_jobs import (
    CheckPair,
    CheckParts,
    CheckStatement,
    MakeStatement,
    OpenPair,
)
from p2pfl_gossip.masked_sum.jobs import (
    Deal,
    DecodeSum,
    DigestChunk,
    DigestSum,
    MaskChunk,
    Rebuild,
    Spend,
    Unmask,
)
from p2pfl_simulations.world_settings import MaskingCosts

# What else is done to an entry, in masks: measured with the default of `entry_s`, in 1M entries.
ENCODE_MASKS = 5.5
DIGEST_MASKS = 3.6
DECODE_MASKS = 1.4
ADD_MASKS = 0.2
UPDATE_MASKS = 2.0
APPLY_MASKS = 3.0
NOISE_MASKS = 300.0
COMBINE_MASKS = 6.0
"""Of a robust rule, for each entry and each pair of models: what distances take."""

SIGNATURES_A_MEMBER = 8
"""Of each other member, in a whole session: advert, header, ACK, manifest, receipt, vote, sum, and
one of a leader. They are checked as they come, and charged where a member deals."""

SKETCH_MASKS = 27.0
"""Sketching an entry, for the audit: 35 ns."""

POINT_AGREEMENTS = 3.7
"""Multiplying a point of the audit's group takes as long as that many key agreements."""
PROOF_POINTS = 790
"""Points multiplied to commit to a sketch and to prove that it is short."""
CHECK_POINTS, CHECKED_POINTS = 390, 8
"""Points multiplied to check proofs: once, and for each of them, with all that numbers take."""
PROOF_ENCODE_MASKS = SKETCH_MASKS + ENCODE_MASKS

REBUILD_SHARES = 3.3
"""Rebuilding a secret costs that many times what making one of its shares' terms does, a share."""


def deal_s(members: int, threshold: int, costs: MaskingCosts) -> float:
    """Return how long it takes to deal shares to members, with all signatures of a session."""
    return (
        2 * (members - 1) * costs.agreement_s
        + 2 * members * threshold * costs.share_s
        + SIGNATURES_A_MEMBER * (members - 1) * costs.signature_s
    )


def mask_s(entries: int, masks: int, costs: MaskingCosts) -> float:
    """Return how long it takes to encode, mask and hash entries."""
    return entries * (masks + ENCODE_MASKS + DIGEST_MASKS) * costs.entry_s


def digest_s(entries: int, costs: MaskingCosts) -> float:
    """Return how long it takes to hash entries."""
    return entries * DIGEST_MASKS * costs.entry_s


def rebuild_s(shares: int, agreements: int, costs: MaskingCosts) -> float:
    """Return how long it takes to rebuild secrets from shares, and to agree on masks anew."""
    return shares * REBUILD_SHARES * costs.share_s + agreements * costs.agreement_s


def unmask_s(entries: int, masks: int, bodies: int, costs: MaskingCosts) -> float:
    """Return how long it takes to sum masked entries, take masks away and hash the sum."""
    return entries * (masks + ADD_MASKS * bodies + DIGEST_MASKS) * costs.entry_s


def decode_s(entries: int, costs: MaskingCosts) -> float:
    """Return how long it takes to decode a sum."""
    return entries * DECODE_MASKS * costs.entry_s


def combine_s(models: int, entries: int, costs: MaskingCosts) -> float:
    """Return how long a robust rule takes, which compares every model with every other."""
    return models * models * entries * COMBINE_MASKS * costs.entry_s


def points_s(points: int, costs: MaskingCosts) -> float:
    """Return how long it takes to multiply points of the audit's group."""
    return points * POINT_AGREEMENTS * costs.agreement_s


def protocol_job_s(job: Job, costs: MaskingCosts) -> float | None:
    """Return how long a job takes on a peer of speed 1, or None if it is one of learning."""
    if isinstance(job, Combine):
        return combine_s(len(job.vectors), len(job.vectors[0]), costs)
    if isinstance(job, PrivateJob):
        return _private_job_s(job, costs)
    return _masked_job_s(job, costs)


def _private_job_s(job: PrivateJob, costs: MaskingCosts) -> float:
    match job:
        case NoiseAlone():
            return job.encoding.entries * NOISE_MASKS * costs.entry_s
        case HideUpdate():
            return job.encoding.entries * (NOISE_MASKS + UPDATE_MASKS) * costs.entry_s
        case MakePrivateModel():
            return len(job.base) * (2 * APPLY_MASKS + DIGEST_MASKS) * costs.entry_s
    raise LocalProtocolError(f"{type(job).__name__} has no time")


def _masked_job_s(job: Job, costs: MaskingCosts) -> float | None:
    match job:
        case Deal():
            return deal_s(len(job.members), job.threshold, costs)
        case Spend():
            return 0.0
        case MaskChunk():
            return mask_s(len(job.entries), len(job.streams), costs)
        case DigestChunk() | DigestSum():
            return digest_s(len(job.body), costs)
        case Rebuild():
            held = sum(map(len, job.seeds.values())) + sum(map(len, job.scalars.values()))
            return rebuild_s(held, len(job.scalars) * (1 + len(job.seeds)), costs)
        case Unmask():
            return unmask_s(len(job.bodies[0]), len(job.masks), len(job.bodies), costs)
        case DecodeSum():
            return decode_s(len(job.body), costs)
        case MakeUpdate():
            return len(job.base) * UPDATE_MASKS * costs.entry_s
        case MakeModel():
            return len(job.base) * (APPLY_MASKS + DIGEST_MASKS) * costs.entry_s
        case DigestState():
            return digest_s(len(job.vector), costs)
        case DigestChunks():
            return digest_s(sum(map(len, job.chunks)) // ENTRY_BYTES, costs)
    return _audit_job_s(job, costs)


def _audit_job_s(job: Job, costs: MaskingCosts) -> float | None:
    match job:
        case TossCoin():
            return rebuild_s(len(job.shares), 2, costs)
        case TossSingly():
            held = sum(map(len, job.shares.values()))
            return rebuild_s(held, 2 * len(job.shares), costs)
        case SketchRound():
            entries = sum(len(total) for _, total in job.totals)
            masks = SKETCH_MASKS + (PROOF_ENCODE_MASKS if job.own else 0.0)
            return entries * masks * costs.entry_s + points_s(PROOF_POINTS if job.own else 0, costs)
        case CheckProofs():
            return points_s(CHECK_POINTS + CHECKED_POINTS * len(job.shown), costs)
        case CheckCoinSum():
            return points_s(1, costs)
    return _dispute_job_s(job, costs)


def _dispute_job_s(job: Job, costs: MaskingCosts) -> float | None:
    match job:
        case MakeStatement():
            entries = sum(count for _, count in job.layout)
            pairs = len(job.members) - 1
            masks = entries * (SKETCH_MASKS + 2) * (pairs + 1) * costs.entry_s
            return masks + points_s(SKETCH_ENTRIES * pairs, costs)
        case CheckStatement():
            return points_s(SKETCH_ENTRIES, costs)
        case CheckParts():
            return sum(map(len, job.bodies.values())) * SKETCH_MASKS * costs.entry_s
        case OpenPair():
            return points_s(4, costs)
        case CheckPair():
            entries = sum(count for _, count in job.layout)
            return entries * SKETCH_MASKS * costs.entry_s + points_s(SKETCH_ENTRIES + 6, costs)
    return None
