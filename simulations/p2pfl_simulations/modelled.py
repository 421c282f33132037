"""Masked sums without their cryptography: for simulations whose subject is learning.

The machines are those of a real masked sum (masked_sum/machine.py), and so is everything that they
do: phases, deadlines, leaders, frames and bodies with all their bytes, what a dropout costs, the
fixed-point encoding with its rounding. Replaced by stand-ins of the same sizes are keys, shares,
seals, signatures, digests and masks. So message by message a modelled session has the events, bytes
and sums of the real one with the same seed, bit for bit, and hides nothing: bodies travel without
masks. Virtual durations are of the real jobs in both (costs.py). Where nothing goes wrong, the
messages are not even said: whole_machines.py.

No liar is modelled: whoever checks a stand-in finds it in order. Nothing outside of simulations
can make these machines.
"""

import numpy as np

from p2pfl_crypto.audit.shortness import PROOF_BYTES
from p2pfl_crypto.hashing import hash_parts
from p2pfl_crypto.masks import Mask, add_vectors
from p2pfl_crypto.sealing import NONCE_BYTES, TAG_BYTES
from p2pfl_crypto.transcripts import audit_seed
from p2pfl_gossip.actions import Job, RemoteProtocolError
from p2pfl_gossip.ledger.jobs import perform
from p2pfl_gossip.masked_sum.audit_jobs import (
    CheckCoinSum,
    CheckProofs,
    ProofsChecked,
    Sketched,
    SketchRound,
    TossCoin,
    Tossed,
)
from p2pfl_gossip.masked_sum.cohort import SessionMembers
from p2pfl_gossip.masked_sum.core import Core
from p2pfl_gossip.masked_sum.group_sum import GroupSum
from p2pfl_gossip.masked_sum.jobs import (
    ChunkSum,
    Deal,
    Dealt,
    DigestChunk,
    Digested,
    DigestSum,
    MaskChunk,
    MaskedChunk,
    Rebuild,
    Rebuilt,
    Unmask,
    encode_chunk,
)
from p2pfl_gossip.masked_sum.machine import MaskedSum
from p2pfl_gossip.records import Record

SHARE_BYTES = 32
SIGNATURE = b"\x01" * 64
DIGEST = b"\x02" * 32
SHARE = b"\x03" * SHARE_BYTES  # Not zeros, which say that it is not held.
NONCE = bytes(NONCE_BYTES)
SECRET = bytes(32)
MASK = Mask(SECRET)


class ModelledCore(Core):
    """One member's place in a session without cryptography."""

    @staticmethod
    def public_key(scalar: bytes) -> bytes:
        """Return 32 bytes in place of a key, other ones for each scalar."""
        return hash_parts(b"p2pfl/modelled", scalar)[:31] + b"\0"  # Below 2^255 - 19.

    def open_shares(self, key: bytes, nonce: bytes, sealed: bytes) -> bytes:
        """Return what stands for a dealer's shares."""
        return SHARE * (3 if self.cohort.is_audited else 2)

    def share_digest(
        self, tau1: bytes, kind: bytes, dealer: int, holder: int, share: bytes
    ) -> bytes:
        """Return what stands for a share's digest."""
        return DIGEST

    def sign(self, kind: bytes, *body: bytes) -> bytes:
        """Return what stands for a signature."""
        return SIGNATURE

    @staticmethod
    def verify_of(
        _cohort: SessionMembers, _rank: int, _kind: bytes, signature: bytes, *_body: bytes
    ) -> None:
        """Refuse a signature of a real session."""
        if signature != SIGNATURE:
            raise RemoteProtocolError("bad_signature")


class ModelledSum(MaskedSum):
    """A masked sum without cryptography."""

    core_type = ModelledCore


class ModelledGroupSum(GroupSum):
    """A group's masked sum without cryptography."""

    core_type = ModelledCore


def perform_modelled(job: Job) -> Record:
    """Do a job of a masked sum, its cryptography left out, or one of states or ledgers.

    Raises:
        LocalProtocolError: the job is none of them.
    """
    match job:
        case Deal():
            others = [rank for rank in job.members if rank != job.rank]
            secrets = 3 if job.coin else 2
            sealed = bytes(secrets * SHARE_BYTES + TAG_BYTES)
            return Dealt(
                commitment=DIGEST * (secrets - 1),
                share_digests=DIGEST * (secrets * len(job.members)),
                own_shares=SHARE * secrets,
                sealed=dict.fromkeys(others, (NONCE, sealed)),
                opening_keys=dict.fromkeys(others, SECRET),
                pair_keys=dict.fromkeys(others, SECRET),
                refused={},
                liars=(),
            )
        case MaskChunk():
            body, clipped = encode_chunk(job)
            body.flags.writeable = False
            return MaskedChunk(job.chunk, body, DIGEST, clipped)
        case DigestChunk() | DigestSum():
            return Digested(DIGEST)
        case Rebuild():
            # As many as there were, so that taking them away lasts as long.
            return Rebuilt((MASK,) * (len(job.seeds) * (1 + len(job.scalars))), ())
        case Unmask():
            total = np.zeros(len(job.bodies[0]), np.uint32)
            add_vectors(total, job.bodies)
            total.flags.writeable = False
            return ChunkSum(job.chunk, total, DIGEST)
        case TossCoin() | CheckCoinSum():
            seed = audit_seed(job.audited.ballot, job.audited.sums, SECRET)
            return Tossed(seed, SECRET)
        case SketchRound() if job.own is None:
            return Sketched((), 0.0)
        case SketchRound():
            return Sketched((), 0.0, DIGEST, bytes(PROOF_BYTES))
        case CheckProofs():
            return ProofsChecked((), opens=True)
    return perform(job)  # Decoding is the same.
