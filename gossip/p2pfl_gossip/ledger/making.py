"""The next state of a group: which job works it out, and what came of it."""

from p2pfl_crypto.masks import Masked
from p2pfl_crypto.private_encoding import Descent
from p2pfl_gossip.actions import LocalProtocolError, Vector
from p2pfl_gossip.ledger.charter import AUDIT_OFF, Epoch
from p2pfl_gossip.ledger.entries import height_from, out_of, weight_in_force
from p2pfl_gossip.ledger.jobs import LedgerJob, MakeModel, ModelMade
from p2pfl_gossip.ledger.private_jobs import (
    Encoding,
    MakePrivateModel,
    PrivateJob,
    PrivateModelMade,
)
from p2pfl_gossip.ledger.sessions import SumEnded
from p2pfl_gossip.ledger.states import StateItem
from p2pfl_gossip.masked_sum.group_sum import Sums
from p2pfl_gossip.records import Record


class StateMade(Record, frozen=True):
    """The vectors of a state that was worked out, the model first.

    Attributes:
        vectors: float32[d] each; read-only.
        items: their names, lengths and digests.
        chunk_digests: of each.
    """

    vectors: tuple[Vector, ...]
    items: tuple[StateItem, ...]
    chunk_digests: tuple[bytes, ...]

    @classmethod
    def of(cls, result: Record) -> "StateMade":
        """Take the end of a job that `next_state` gave."""
        if isinstance(result, ModelMade):
            return cls((result.model,), (result.item,), (result.chunk_digests,))
        if isinstance(result, PrivateModelMade):
            return cls(result.vectors, result.items, result.chunk_digests)
        raise LocalProtocolError(f"a state was made by {type(result).__name__}")


def next_state(epoch: Epoch, ended: SumEnded) -> LedgerJob | PrivateJob:
    """Return the job that works out the state which a session's sums lead to."""
    sums, base = ended.sums, ended.listed.base.entry
    assert sums is not None
    weight = weight_in_force(epoch, out_of(epoch, base))
    if ended.encoding is None:
        return _by_noisy_sum(epoch, ended, sums, weight)
    return MakeModel(
        encoding=ended.encoding,
        base=ended.base[0],
        slices=ended.slices,
        sums=_bodies(sums),
        weight=weight,
        members_weight=sum(epoch.weights[rank] for rank in sums.members),
        member_count=len(sums.members),
        is_audited=epoch.charter.audit != AUDIT_OFF,
    )


def _bodies(sums: Sums) -> tuple[Masked | None, ...]:
    return tuple(None if chunk is None else chunk.body for chunk in sums.chunks)


def _by_noisy_sum(epoch: Epoch, ended: SumEnded, sums: Sums, weight: float) -> MakePrivateModel:
    charter = epoch.charter
    privacy, entries = charter.privacy, epoch.entries
    assert privacy is not None
    encoding: Encoding
    descent: Descent | None = None
    if privacy.takes_lots:
        encoding = privacy.lot_encoding(epoch.size, entries)
        descent = privacy.descent(epoch.size, entries)
        height = height_from(epoch, ended.listed.base.entry) + 1
        rate = privacy.rate_of(height, charter.rounds)
    else:
        encoding = privacy.member_encoding(epoch.size, entries)
        # A sum is of w_i / W of each member's update; the model moves by their mean.
        rate = encoding.step_unit() * (max(epoch.weights) / weight)
    return MakePrivateModel(
        encoding=encoding,
        descent=descent,
        rate=rate,
        base=ended.base[0],
        momentum=ended.base[1] if len(ended.base) > 1 else None,
        slices=ended.slices,
        sums=_bodies(sums),
        member_count=len(sums.members),
    )
