"""The heavy and pure parts of a private round: noise, and the model that noisy sums lead to."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from p2pfl_crypto.discrete_gaussian import draw_noise
from p2pfl_crypto.encoding import NotFinite
from p2pfl_crypto.masks import Masked
from p2pfl_crypto.private_encoding import Descent, LotEncoding, MemberEncoding, add_noise
from p2pfl_crypto.private_streams import NOISE, private_stream
from p2pfl_gossip.actions import Job, LocalProtocolError, Vector
from p2pfl_gossip.ledger.privacy import MOMENTUM
from p2pfl_gossip.ledger.states import StateItem, digest_state
from p2pfl_gossip.records import Record

Encoding: TypeAlias = LotEncoding | MemberEncoding


class PrivateJob(Job, frozen=True):
    """A job of private rounds; `perform` does them. It may hold entropy, so none shows its."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(...)"


class NoiseAlone(PrivateJob, frozen=True):
    """Give noise around nothing: of a training that failed, since staying away would tell of it.

    Attributes:
        encoding: of the sum.
        entropy: 32 bytes, for this job only.
    """

    encoding: Encoding
    entropy: bytes


class HideUpdate(PrivateJob, frozen=True):
    """Shrink a whole member's update, write it as integers, add its noise.

    Attributes:
        encoding: of the sum.
        base: float32[d], the model that training began with.
        trained: float32[d], what it gave.
        weight: w, ours.
        weight_largest: W.
        entropy: 32 bytes, for this job only.
    """

    encoding: MemberEncoding
    base: Vector
    trained: Vector
    weight: float
    weight_largest: float
    entropy: bytes


class Hidden(Record, frozen=True):
    """The end of a `NoiseAlone` or a `HideUpdate`.

    Attributes:
        words: uint32[d], integers and noise modulo 2^32; read-only.
        norm: of the update before it was shrunk; nobody else is told.
    """

    words: Masked
    norm: float


class MakePrivateModel(PrivateJob, frozen=True):
    """Work out the state that a round's noisy sums lead to.

    A sum of gradients makes one step; one of members' updates moves the model by itself.

    Attributes:
        encoding: of the sums.
        descent: of gradients; None for members' updates.
        rate: of the step to this height; for members' updates what one unit of the sum moves by.
        base: float32[d], the model.
        momentum: float32[d]; None where the state has none.
        slices: where each chunk lies.
        sums: uint32[k] of each chunk; None leaves model and momentum there.
        member_count: whose words are in the sums.
    """

    encoding: Encoding
    descent: Descent | None
    rate: float
    base: Vector
    momentum: Vector | None
    slices: tuple[slice, ...]
    sums: tuple[Masked | None, ...]
    member_count: int


class PrivateModelMade(Record, frozen=True):
    """The end of a `MakePrivateModel`: vectors, and their items with chunk digests.

    Attributes:
        vectors: float32[d] of the model, and of the momentum if there is one; read-only.
        items: of each, in order.
        chunk_digests: of each.
        out_of_range: chunks whose sums no words in order can have; they are unchanged.
    """

    vectors: tuple[Vector, ...]
    items: tuple[StateItem, ...]
    chunk_digests: tuple[bytes, ...]
    out_of_range: tuple[int, ...]


def noise_for(encoding: Encoding, entropy: bytes) -> npt.NDArray[np.int32]:
    """Draw a training's noise: int32[d]."""
    return draw_noise(private_stream(entropy, NOISE), encoding.width, encoding.entries)


def perform(job: Job) -> Record:
    """Do a job of private rounds.

    Raises:
        LocalProtocolError: the job is none of them.
    """
    match job:
        case NoiseAlone():
            return _noise_alone(job.encoding, job.entropy)
        case HideUpdate():
            return _hide(job)
        case MakePrivateModel():
            return _make_model(job)
    raise LocalProtocolError(f"{type(job).__name__} is no job of private rounds")


def _noise_alone(encoding: Encoding, entropy: bytes) -> Hidden:
    words = noise_for(encoding, entropy).view(np.uint32)
    words.flags.writeable = False
    return Hidden(words, 0.0)


def _hide(job: HideUpdate) -> Hidden:
    noise = noise_for(job.encoding, job.entropy)
    delta = np.subtract(job.trained, job.base, dtype=np.float32)
    try:
        quanta, norm = job.encoding.encode(delta, job.weight, job.weight_largest)
    except NotFinite:
        return _noise_alone(job.encoding, job.entropy)
    words = add_noise(quanta, noise)
    words.flags.writeable = False
    return Hidden(words, norm)


def _make_model(job: MakePrivateModel) -> PrivateModelMade:
    model = np.array(job.base, np.float32)
    still = np.zeros_like(model) if job.momentum is None else None
    momentum = still if job.momentum is None else np.array(job.momentum, np.float32)
    assert momentum is not None
    out_of_range = []
    for chunk, (where, total) in enumerate(zip(job.slices, job.sums, strict=True)):
        if total is None:
            continue
        if not job.encoding.is_in_range(total, job.member_count):
            out_of_range.append(chunk)
        elif job.descent is not None:
            model[where], momentum[where] = job.descent.step(
                model[where], momentum[where], total, job.rate
            )
        else:
            moved = total.view(np.int32).astype(np.float64) * job.rate
            model[where] = model[where].astype(np.float64) + moved
    vectors = [("model", model)]
    if job.momentum is not None:
        vectors.append((MOMENTUM, momentum))
    made = [digest_state(name, vector) for name, vector in vectors]
    for _, vector in vectors:
        vector.flags.writeable = False
    return PrivateModelMade(
        tuple(vector for _, vector in vectors),
        tuple(one.item for one in made),
        tuple(one.chunk_digests for one in made),
        tuple(out_of_range),
    )
