"""Liars that put in another update than they trained: the base of all strategies of vectors.

Where sums are masked nobody sees an input, so a liar need not keep to the clip: it leaves its
update as long as it is, and makes up the words of what lies beyond what an entry may hold.
"""

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from p2pfl_crypto.encoding import DeltaEncoding, Encoding
from p2pfl_crypto.masks import Masked
from p2pfl_crypto.transcripts import chunk_digest
from p2pfl_gossip.actions import Job, Vector
from p2pfl_gossip.learning import Train, Trained
from p2pfl_gossip.ledger.jobs import MakeUpdate, UpdateMade
from p2pfl_gossip.masked_sum.jobs import MaskChunk, MaskedChunk
from p2pfl_gossip.records import Record
from p2pfl_simulations.liars.insight import Update
from p2pfl_simulations.liars.liar import Liar

ENTRY_MAX = 1e29
"""Of a model that is given, either way from 0: plain averaging refuses what is beyond 1e30."""


class VectorLiar(Liar):
    """Puts in another update than it trained; a strategy says which.

    Its L2 norm is `norm` of the scenario; as the strategy has it, if that is not given.
    """

    is_stretched: ClassVar[bool] = True
    """Whether `norm` stretches a shorter update too; else it only shrinks a longer one."""

    @abstractmethod
    def wish(self, job: Train, own: Update) -> Update | None:
        """Return the update to put in; None for the honest one.

        Args:
            job: the training.
            own: float64[d], the update that it gave.
        """

    def learn(self, now_s: float, job: Job, result: Record) -> Record:
        """Replace the trained model, and keep it from being shrunk on its way."""
        match job, result:
            case Train(), Trained():
                return self._poisoned(job, result)
            case MakeUpdate(), UpdateMade() if result.norm > job.clip:
                update: Vector = np.subtract(job.trained, job.base, dtype=np.float32)
                update.flags.writeable = False
                return UpdateMade(update, result.norm, result.is_zero)
            case MaskChunk(), MaskedChunk():
                return beyond_the_clip(job, result)
        return result

    def honest(self, round_: int) -> list[Update]:
        """Return the updates that honest peers put in, of those that have begun a round."""
        found = [it.update for it in self.me.insight.of(round_)]
        return [shortened(it, self.me.clip) for it in found]

    def _poisoned(self, job: Train, result: Trained) -> Trained:
        own = np.subtract(result.vector, job.vector, dtype=np.float64)
        wish = self.wish(job, own)
        if wish is None:
            return result
        norm = self.me.norm
        if norm is not None:
            wish = stretched(wish, norm) if self.is_stretched else shortened(wish, norm)
        vector: Vector = np.clip(job.vector + wish, -ENTRY_MAX, ENTRY_MAX).astype(np.float32)
        vector.flags.writeable = False
        return Trained(vector, result.sample_count, result.loss, result.own)


def length_of(update: Update) -> float:
    """Return an update's L2 norm.

    Not by BLAS, as `np.linalg.norm` has it: its bits depend on how many threads it takes.
    """
    return float(np.sqrt(np.einsum("i,i->", update, update)))


def stretched(update: Update, norm: float) -> Update:
    """Return an update of that L2 norm, in the same direction; zero stays zero."""
    length = length_of(update)
    return update * (norm / length) if length > 0 else update


def shortened(update: Update, norm: float | None) -> Update:
    """Return an update of at most that L2 norm."""
    length = length_of(update)
    return update if norm is None or length <= norm else update * (norm / length)


def beyond_the_clip(job: MaskChunk, result: MaskedChunk) -> MaskedChunk:
    """Have masked words stand for entries beyond the clip, which encoding has cut to it."""
    encoding = job.encoding
    if not isinstance(encoding, (Encoding, DeltaEncoding)):
        return result
    entries = job.entries.astype(np.float64)
    if not (np.abs(entries) > encoding.clip).any():
        return result
    step = job.weight / encoding.weight_max * encoding.quantum_max / encoding.clip
    word_max = 2.0**31 - 1
    wanted = np.rint(np.clip(entries * step, -word_max, word_max))
    held = np.rint(np.clip(entries, -encoding.clip, encoding.clip) * step)
    body = result.body.copy()
    body[: len(entries)] += (wanted - held).astype(np.int64).astype(np.uint32)  # Modulo 2^32.
    return with_body(job, result, body)


def with_body(job: MaskChunk, result: MaskedChunk, body: Masked) -> MaskedChunk:
    """Return a masked chunk with other words, digested anew; masks are added, so they stand."""
    body.flags.writeable = False
    digest = chunk_digest(job.tau2, job.rank, job.chunk, body.tobytes())
    return MaskedChunk(result.chunk, body, digest, result.clipped)
