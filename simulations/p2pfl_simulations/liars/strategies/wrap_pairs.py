"""Adds 2^31 to an even number of words of its masked input."""

import numpy as np

from p2pfl_gossip.actions import Job
from p2pfl_gossip.masked_sum.jobs import MaskChunk, MaskedChunk
from p2pfl_gossip.records import Record
from p2pfl_simulations.liars.liar import Liar
from p2pfl_simulations.liars.poisoning import with_body


class WrapPairs(Liar):
    """Adds 2^31 to an even number of words: projections by signs, modulo 2^32, do not see it.

    Of several liars, one does.

    Args:
        pairs: how many pairs, in each chunk that has as many words.
    """

    is_in_words = True

    def __init__(self, pairs: int = 1) -> None:
        self._pairs = pairs

    def learn(self, now_s: float, job: Job, result: Record) -> Record:
        """Change the first words."""
        if not isinstance(job, MaskChunk) or not isinstance(result, MaskedChunk):
            return result
        if self.me.index != self.me.colluders[0]:
            return result  # Twice 2^31 is nothing.
        body = result.body.copy()
        body[: 2 * min(self._pairs, len(job.entries) // 2)] += np.uint32(2**31)
        return with_body(job, result, body)
