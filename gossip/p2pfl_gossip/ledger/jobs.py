"""The heavy and pure parts of a round of the ledger, beside those of masked sums and states."""

import numpy as np

from p2pfl_crypto.encoding import DeltaEncoding, shrink
from p2pfl_crypto.masks import Masked
from p2pfl_gossip.actions import Job, Vector
from p2pfl_gossip.averaging.robust import combining
from p2pfl_gossip.ledger import private_jobs, states
from p2pfl_gossip.ledger.private_jobs import PrivateJob
from p2pfl_gossip.ledger.states import StateItem, StateJob, digest_state
from p2pfl_gossip.masked_sum import jobs as masked_sum_jobs
from p2pfl_gossip.records import Record


class LedgerJob(Job, frozen=True):
    """A job of the ledger; `perform` does them."""


class MakeUpdate(LedgerJob, frozen=True):
    """Take the update of a training, and shrink it to an L2 norm of at most `clip`.

    Attributes:
        base: float32[d], the model that training began with.
        trained: float32[d], what it gave.
        clip: S.
    """

    base: Vector
    trained: Vector
    clip: float


class UpdateMade(Record, frozen=True):
    """The end of a `MakeUpdate`.

    Attributes:
        update: float32[d]; read-only.
        norm: L2 norm before it was shrunk.
        is_zero: whether training changed nothing.
    """

    update: Vector
    norm: float
    is_zero: bool


class MakeModel(LedgerJob, frozen=True):
    """Work out the model that a round's sums lead to, and its digest.

    Attributes:
        encoding: of the updates in the sums.
        base: float32[d], the model that the updates are from.
        slices: where each chunk lies in the model.
        sums: uint32[k] of each chunk; None leaves it unchanged.
        weight: w, of all members that are not out.
        members_weight: of those whose updates are in the sums.
        member_count: how many they are.
        is_audited: whether an audit has bounded what is in the sums; then each of them counts. A
            chunk that was left out for one entry would take all that others gave to it.
    """

    encoding: DeltaEncoding
    base: Vector
    slices: tuple[slice, ...]
    sums: tuple[Masked | None, ...]
    weight: float
    members_weight: float
    member_count: int
    is_audited: bool = False


class ModelMade(Record, frozen=True):
    """The end of a `MakeModel`.

    Attributes:
        model: float32[d]; read-only; equal bits for all that have the same sums.
        item: names it in a state.
        chunk_digests: of the item.
        out_of_range: chunks whose sums no updates in order can have; they are unchanged.
    """

    model: Vector
    item: StateItem
    chunk_digests: bytes
    out_of_range: tuple[int, ...]


def perform(job: Job) -> Record:
    """Do a job of the ledger, of states, of masked sums or of a robust rule.

    Raises:
        LocalProtocolError: the job is none of them.
    """
    match job:
        case MakeUpdate():
            return _make_update(job)
        case MakeModel():
            return _make_model(job)
        case StateJob():
            return states.perform(job)
        case PrivateJob():
            return private_jobs.perform(job)
        case combining.Combine():
            return combining.perform(job)
    return masked_sum_jobs.perform(job)


def _make_update(job: MakeUpdate) -> UpdateMade:
    difference = np.subtract(job.trained, job.base, dtype=np.float32)
    update, norm = shrink(difference, job.clip)
    update.flags.writeable = False
    return UpdateMade(update, norm, is_zero=norm == 0.0)


def _make_model(job: MakeModel) -> ModelMade:
    model = np.array(job.base, np.float32)
    out_of_range = []
    for chunk, (where, total) in enumerate(zip(job.slices, job.sums, strict=True)):
        if total is None:
            continue
        if job.is_audited or job.encoding.is_in_range(total, job.members_weight, job.member_count):
            model[where] = job.encoding.apply(model[where], total, job.weight)
        else:
            out_of_range.append(chunk)
    model.flags.writeable = False
    made = digest_state("model", model)
    return ModelMade(model, made.item, made.chunk_digests, tuple(out_of_range))
