"""Adds to one word of its masked input."""

import numpy as np

from p2pfl_gossip.actions import Job
from p2pfl_gossip.masked_sum.jobs import MaskChunk, MaskedChunk
from p2pfl_gossip.records import Record
from p2pfl_simulations.liars.liar import Liar
from p2pfl_simulations.liars.poisoning import with_body


class OneWord(Liar):
    """Adds to one word of the first chunk of its masked input; of several liars, one does.

    Args:
        word: which one.
        shift: what it adds, modulo 2^32; 2^31 moves the entry as far as it goes.
    """

    is_in_words = True

    def __init__(self, word: int = 0, shift: int = 2**31) -> None:
        self._word, self._shift = word, shift % 2**32

    def learn(self, now_s: float, job: Job, result: Record) -> Record:
        """Change the word."""
        if not isinstance(job, MaskChunk) or not isinstance(result, MaskedChunk) or job.chunk:
            return result
        if self.me.index != self.me.colluders[0]:
            return result  # Twice 2^31 is nothing.
        body = result.body.copy()
        word = self._word % len(job.entries)
        body[word : word + 1] += np.uint32(self._shift)  # Of an array: it wraps around.
        return with_body(job, result, body)
