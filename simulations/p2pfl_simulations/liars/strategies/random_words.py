"""Puts in uniform words."""

import numpy as np

from p2pfl_gossip.actions import Job
from p2pfl_gossip.masked_sum.jobs import MaskChunk, MaskedChunk
from p2pfl_gossip.records import Record
from p2pfl_simulations.liars.liar import Liar
from p2pfl_simulations.liars.poisoning import with_body


class RandomWords(Liar):
    """Puts in uniform words, in place of what it learnt."""

    is_in_words = True

    def learn(self, now_s: float, job: Job, result: Record) -> Record:
        """Draw all words of a chunk."""
        if not isinstance(job, MaskChunk) or not isinstance(result, MaskedChunk):
            return result
        rng = np.random.default_rng(self.me.rng.getrandbits(64))
        body = result.body.copy()
        count = len(job.entries)
        body[:count] = rng.integers(0, 2**32, count, np.uint32)
        return with_body(job, result, body)
