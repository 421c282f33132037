"""Flips the top bit of its encoded weight, so that a chunk's sum is out of range."""

import numpy as np

from p2pfl_crypto.transcripts import chunk_digest
from p2pfl_gossip.actions import Job
from p2pfl_gossip.masked_sum.jobs import MaskChunk, MaskedChunk
from p2pfl_gossip.records import Record
from p2pfl_simulations.liars.liar import Liar


class FlippedWeight(Liar):
    """Flips the top bit of its encoded weight, so that a chunk's sum is out of range.

    Args:
        spared: chunks of each session that are left as they are, from the first on.
    """

    def __init__(self, spared: int = 1) -> None:
        self._spared = spared

    def learn(self, now_s: float, job: Job, result: Record) -> Record:
        """Change a masked chunk: masks are added, so what is flipped after was flipped before."""
        if not isinstance(job, MaskChunk) or not isinstance(result, MaskedChunk):
            return result
        if job.chunk < self._spared:
            return result
        body = result.body.copy()
        body[-1] ^= np.uint32(2**31)
        body.flags.writeable = False
        digest = chunk_digest(job.tau2, job.rank, job.chunk, body.tobytes())
        return MaskedChunk(result.chunk, body, digest, result.clipped)
