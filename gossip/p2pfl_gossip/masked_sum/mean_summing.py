"""SUM, for a cohort: the weighted mean of U3, chunk by chunk.

A chunk is *void* if it has no live owner, if its sum is out of range, or if its sum of weights is
another than that of most. There, and where no sum came in time, a member keeps its own values.
"""

from collections import Counter

import numpy as np

from p2pfl_crypto.transcripts import mean_digest
from p2pfl_gossip.actions import Vector
from p2pfl_gossip.masked_sum.cohort import Cohort
from p2pfl_gossip.masked_sum.core import Core
from p2pfl_gossip.masked_sum.exchange import Exchange
from p2pfl_gossip.masked_sum.jobs import Decoded, DecodeSum
from p2pfl_gossip.masked_sum.messages import Wanted
from p2pfl_gossip.masked_sum.phases import Phase
from p2pfl_gossip.masked_sum.revealing import Revealing
from p2pfl_gossip.masked_sum.summing import Summing
from p2pfl_gossip.masked_sum.voting import Voting

REPAIRS_MAX = 3
"""Times that missing sums are asked for: at the first the deputies that it takes step in, at the
second all of them, and at the third they ask others for the chunks that they lack."""


class MeanSumming(Summing):
    """The last phase of a cohort's session.

    Attributes:
        mean: the weighted mean, and our vector's values where there is none, once DONE.
        refusals: why a chunk keeps our values.
        weights: sum of the encoded weights of each chunk that was summed.
        digest: of the mean, once DONE; None where a chunk keeps our values.
    """

    def __init__(
        self,
        core: Core,
        revealing: Revealing,
        exchange: Exchange,
        voting: Voting,
        *,
        cohort: Cohort,
        vector: Vector,
    ) -> None:
        super().__init__(core, revealing, exchange, voting)
        self._encoding, self._vector = cohort.encoding, vector
        self._decoding: dict[int, None] = {}
        self.mean: Vector = vector
        self.refusals: dict[int, str] = {}
        self.weights: dict[int, int] = {}
        self.digest: bytes | None = None
        self._mean_digests: dict[int, bytes] = {}

    def start(self) -> None:
        """Reveal, then sum what is ours to sum and wait for the rest."""
        self.mean = np.empty_like(self._vector)
        super().start()

    def _note_ownerless(self, chunk: int) -> None:
        self.refusals[chunk] = "no_owner"

    def _is_taken(self, chunk: int) -> bool:
        return chunk in self._decoding

    def _decide(self, chunk: int) -> None:
        digest = self._quorum(chunk)
        if digest is None or chunk in self._decoding or self._core.phase != Phase.REVEAL:
            return
        body = self._bodies[chunk].get(digest)
        if body is None:
            self._ask_for_body(chunk, digest)
            return
        self._decoding[chunk] = None

        def done(result: Decoded) -> None:
            if self._core.phase != Phase.REVEAL:
                return  # The last deadline passed meanwhile.
            if result.mean is None:
                self.refusals[chunk] = "out_of_range"
            else:
                self.mean[self._core.cohort.entries_of(chunk)] = result.mean
                self.weights[chunk] = result.weight_total
                self._mean_digests[chunk] = result.digest
            self._bodies[chunk] = {}
            self._finish_if_decided()

        self._core.work(DecodeSum(self._encoding, len(self.members), body), done)

    def _finish_if_decided(self) -> None:
        core = self._core
        count = len(self.weights) + len(self.refusals)
        if core.phase == Phase.REVEAL and count == core.cohort.chunk_count:
            self._finish()

    def _refuse_other_weights(self) -> None:
        """Void the chunks whose sum of weights is another than most have.

        Each member's weight is the same in all its chunks, so sums that differ show a liar, though
        not which one. All members see the same sums, and so void the same chunks.
        """
        counts = Counter(self.weights.values())
        if len(counts) <= 1:
            return
        agreed = max(counts, key=lambda weight: (counts[weight], -weight))
        for chunk in [chunk for chunk, weight in self.weights.items() if weight != agreed]:
            del self.weights[chunk]
            self.refusals[chunk] = "other_weight"

    def _finish(self) -> None:
        core = self._core
        self._refuse_other_weights()
        for chunk in range(core.cohort.chunk_count):
            if chunk not in self.weights:
                self.refusals.setdefault(chunk, "no_sum")
                entries = core.cohort.entries_of(chunk)
                self.mean[entries] = self._vector[entries]
        if self.weights:
            self.mean.flags.writeable = False
            if not self.refusals:
                self.digest = mean_digest(
                    [self._mean_digests[chunk] for chunk in range(core.cohort.chunk_count)]
                )
            core.advance(Phase.DONE)
        else:
            core.abort("no_sum")

    def _repair_sums(self) -> None:
        """Ask again for sums; have deputies step in; give up after the last time."""
        core = self._core
        turn, self._waits = self._waits, self._waits + 1
        if turn == REPAIRS_MAX:
            self._finish()
            return
        for chunk, owners in self._live.items():
            if chunk in self._decoding or chunk in self.refusals:
                continue
            digest = self._quorum(chunk)
            if digest is not None:
                holders = self._holders(chunk, digest)
            else:
                count = self._deputies_after(chunk, turn)
                self._deputise(chunk, count)
                holders = [*owners, *self._deputies[chunk][:count]]
            for rank in holders:
                core.fetch(rank, Wanted.SUM, chunk)
        self._revealing.fetch_missing()
        core.set_timer("sums", core.cohort.patience.sums_s, self._repair_sums)

    def release(self) -> None:
        """Drop all sums; the outcome has its own copy."""
        super().release()
        self._vector = self.mean = self._vector[:0].copy()
