"""As an owner, tells another sum of a chunk than the one it worked out."""

import numpy as np

from p2pfl_crypto.transcripts import sum_digest
from p2pfl_gossip.actions import Job
from p2pfl_gossip.masked_sum.jobs import ChunkSum, Unmask
from p2pfl_gossip.records import Record
from p2pfl_simulations.liars.liar import Liar


class FalseSum(Liar):
    """As an owner, tells another sum of a chunk than the one it worked out.

    Args:
        shift: added to every entry of the sum, in encoded steps; all liars add the same.
    """

    def __init__(self, shift: int = 1000) -> None:
        self._shift = shift

    def learn(self, now_s: float, job: Job, result: Record) -> Record:
        """Change the sum, and digest it anew."""
        if not isinstance(job, Unmask) or not isinstance(result, ChunkSum):
            return result
        body = result.body.copy()
        body[:-1] += np.uint32(self._shift % 2**32)
        body.flags.writeable = False
        return ChunkSum(result.chunk, body, sum_digest(job.ballot, job.chunk, body.tobytes()))
