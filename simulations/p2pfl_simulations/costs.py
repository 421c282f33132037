"""How long the jobs of masked sums and of states take in virtual time, by their sizes."""

from p2pfl_gossip.actions import Job
from p2pfl_gossip.ledger.jobs import MakeModel, MakeUpdate
from p2pfl_gossip.ledger.states import ENTRY_BYTES, DigestChunks, DigestState
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
from p2pfl_simulations.scenario import MaskingCosts

# What else is done to an entry, in masks: measured with the default of `entry_s`, in 1M entries.
ENCODE_MASKS = 5.5
DIGEST_MASKS = 3.6
DECODE_MASKS = 1.4
ADD_MASKS = 0.2
UPDATE_MASKS = 2.0
APPLY_MASKS = 3.0

SIGNATURES_A_MEMBER = 8
"""Of each other member, in a whole session: advert, header, ACK, manifest, receipt, vote, sum, and
one of a leader. They are checked as they come, and charged where a member deals."""

REBUILD_SHARES = 3.3
"""Rebuilding a secret costs that many times what making one of its shares' terms does, a share."""


def protocol_job_s(job: Job, costs: MaskingCosts) -> float | None:
    """Return how long a job takes on a peer of speed 1, or None if it is one of learning."""
    match job:
        case Deal():
            members = len(job.members)
            return (
                2 * (members - 1) * costs.agreement_s
                + 2 * members * job.threshold * costs.share_s
                + SIGNATURES_A_MEMBER * (members - 1) * costs.signature_s
            )
        case Spend():
            return 0.0
        case MaskChunk():
            masks = len(job.streams) + ENCODE_MASKS + DIGEST_MASKS
            return len(job.entries) * masks * costs.entry_s
        case DigestChunk() | DigestSum():
            return len(job.body) * DIGEST_MASKS * costs.entry_s
        case Rebuild():
            held = sum(map(len, job.seeds.values())) + sum(map(len, job.scalars.values()))
            agreements = len(job.scalars) * (1 + len(job.seeds))
            return held * REBUILD_SHARES * costs.share_s + agreements * costs.agreement_s
        case Unmask():
            masks = len(job.masks) + ADD_MASKS * len(job.bodies) + DIGEST_MASKS
            return len(job.bodies[0]) * masks * costs.entry_s
        case DecodeSum():
            return len(job.body) * DECODE_MASKS * costs.entry_s
        case MakeUpdate():
            return len(job.base) * UPDATE_MASKS * costs.entry_s
        case MakeModel():
            return len(job.base) * (APPLY_MASKS + DIGEST_MASKS) * costs.entry_s
        case DigestState():
            return len(job.vector) * DIGEST_MASKS * costs.entry_s
        case DigestChunks():
            entries = sum(map(len, job.chunks)) // ENTRY_BYTES
            return entries * DIGEST_MASKS * costs.entry_s
    return None
