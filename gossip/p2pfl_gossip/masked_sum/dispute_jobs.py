"""The heavy parts of a dispute over a false total, as pure jobs."""

from collections.abc import Iterable

import numpy as np

from p2pfl_crypto.audit.disputes import (
    PART_BYTES,
    Shown,
    chunk_sketch,
    combine_part,
    is_consistent,
    pair_mask,
    show,
    sketch_pair,
)
from p2pfl_crypto.audit.shared_points import (
    InvalidOpening,
    open_shared,
    prove_possession,
    read_opened,
    require_possession,
)
from p2pfl_crypto.audit.sketch import sketch_of
from p2pfl_crypto.hashing import hash_parts
from p2pfl_crypto.key_agreement import agreement_secret_of
from p2pfl_crypto.masks import Mask, Masked, add_masks
from p2pfl_crypto.transcripts import pair_key
from p2pfl_gossip.actions import Job, LocalProtocolError
from p2pfl_gossip.masked_sum.audit_jobs import OwnInput
from p2pfl_gossip.masked_sum.messages import DisputeStatement
from p2pfl_gossip.masked_sum.secret_job import SecretJob
from p2pfl_gossip.records import Record

Layout = tuple[tuple[int, int], ...]
"""Number and count of entries of each chunk that has a sum, ascending."""


class MakeStatement(SecretJob, frozen=True):
    """Say what hides the sketch of one's own input.

    Attributes:
        draft: the statement without possession, sketch, lifts, points and parts.
        layout: of the session.
        own: what was put in.
        members: U3.
        pairs: the secrets K, by member.
        scalar: our mask scalar.
        entropy: 32 secret bytes.
    """

    draft: DisputeStatement
    layout: Layout
    own: OwnInput
    members: tuple[int, ...]
    pairs: dict[int, bytes]
    scalar: bytes
    entropy: bytes


class StatementMade(Record, frozen=True):
    """The end of a `MakeStatement`: the statement, not signed yet."""

    statement: DisputeStatement


class CheckStatement(Job, frozen=True):
    """Check that a member knows its key's secret, and that what it says fits its commitment.

    Attributes:
        statement: its.
        members: U3.
        commitment: of its audit proof.
    """

    statement: DisputeStatement
    members: tuple[int, ...]
    commitment: bytes


class CheckParts(SecretJob, frozen=True):
    """Check what a member says of chunks that we hold.

    Attributes:
        statement: its.
        layout: of the session.
        bodies: its masked words by chunk.
        masks: that these bear beside those of pairs within U3; signs are such that they go.
    """

    statement: DisputeStatement
    layout: Layout
    bodies: dict[int, Masked]
    masks: tuple[Mask, ...]


class OpenPair(SecretJob, frozen=True):
    """Show what X25519 gave us and another member.

    Attributes:
        scalar: our mask scalar.
        own_key: our advertised key.
        other_key: the other's.
        context: what it is shown for.
        entropy: 32 secret bytes.
    """

    scalar: bytes
    own_key: bytes
    other_key: bytes
    context: bytes
    entropy: bytes


class PairOpened(Record, frozen=True):
    """The end of an `OpenPair`; empty if the other's key is no point's."""

    opened: bytes


class CheckPair(Job, frozen=True):
    """Work out what both ends of a pair should have said, from what one of them shows.

    Attributes:
        opened: as it was shown.
        own_key: key of the one who shows it.
        other_key: key of the other.
        context: what it is shown for.
        ranks: of the two.
        seed: of the sketches.
        tau1, tau2: the session's transcripts.
        layout: of the session.
    """

    opened: bytes
    own_key: bytes
    other_key: bytes
    context: bytes
    ranks: tuple[int, int]
    seed: bytes
    tau1: bytes
    tau2: bytes
    layout: Layout


class Judged(Record, frozen=True):
    """The end of a check.

    Attributes:
        holds: whether it is so.
        point: of a pair: the commitment that is right.
    """

    holds: bool
    point: bytes = b""


def perform_dispute(job: Job) -> Record:
    """Do a job of a dispute.

    Raises:
        LocalProtocolError: it is none.
    """
    match job:
        case MakeStatement():
            return _make(job)
        case CheckStatement():
            return Judged(_is_sound(job))
        case CheckParts():
            return _check_parts(job)
        case OpenPair():
            secret = agreement_secret_of(job.scalar)
            keys = (job.own_key, job.other_key)
            try:
                return PairOpened(open_shared(secret, *keys, job.context, job.entropy))
            except (ValueError, RuntimeError):
                return PairOpened(b"")
        case CheckPair():
            return _check_pair(job)
    raise LocalProtocolError(f"{type(job).__name__} is no job of a dispute")


def _is_sound(job: CheckStatement) -> bool:
    said = job.statement
    try:
        require_possession(said.possession, said.own_key(job.members), _place(said))
    except InvalidOpening:
        return False
    shown = Shown(said.sketch, said.lifts, said.points_of(job.members))
    return is_consistent(shown, said.member, job.commitment, said.core(), _parts(said.parts))


def _place(said: DisputeStatement) -> bytes:
    """Name whose key a statement proves the possession of."""
    return hash_parts(b"p2pfl/key-of", said.session, said.member.to_bytes(4, "little"))


def _make(job: MakeStatement) -> StatementMade:
    own, draft, rank = job.own, job.draft, job.draft.member
    inputs = {chunk: own.encode(chunk, part) for chunk, part in own.parts}
    pairs, words = {}, {chunk: body.copy() for chunk, body in inputs.items()}
    for other in job.members:
        if other == rank:
            continue
        key = job.pairs[other]
        pairs[other] = sketch_pair(draft.seed, key, draft.tau2, rank, other, job.layout)
        for chunk, entries in job.layout:
            mask = pair_mask(key, draft.tau2, rank, other, chunk, entries)
            words[chunk] += mask if other > rank else -mask
    own_sketch = sketch_of(draft.seed, _signed(inputs)).tolist()
    parts = {
        chunk: chunk_sketch(draft.seed, chunk, body).tolist() for chunk, body in _signed(words)
    }
    masked = [sum(entries) for entries in zip(*parts.values(), strict=True)]
    shown = show(own_sketch, masked, pairs, rank)
    points = b"".join(shown.points.get(other, bytes(32)) for other in job.members)
    secret, key = agreement_secret_of(job.scalar), draft.own_key(job.members)
    possession = prove_possession(secret, key, _place(draft), job.entropy)
    said = draft.showing(possession, shown.sketch, shown.lifts, points)
    core = said.core()
    combined = (combine_part(core, parts[chunk]) for chunk, _ in job.layout)
    return StatementMade(
        said.with_parts(b"".join(part.to_bytes(PART_BYTES, "little") for part in combined))
    )


def _signed(bodies: dict[int, Masked]) -> Iterable[tuple[int, np.ndarray]]:
    return ((chunk, bodies[chunk].view(np.int32)) for chunk in sorted(bodies))


def _check_parts(job: CheckParts) -> Judged:
    said, parts = job.statement, _parts(job.statement.parts)
    core = said.core()
    for place, (chunk, _) in enumerate(job.layout):
        body = job.bodies.get(chunk)
        if body is None:
            continue
        words = body.copy()
        add_masks(words, job.masks, chunk)
        sketch = chunk_sketch(said.seed, chunk, words.view(np.int32)).tolist()
        if combine_part(core, sketch) != parts[place]:
            return Judged(holds=False)
    return Judged(holds=True)


def _check_pair(job: CheckPair) -> Judged:
    try:
        shared = read_opened(job.opened, job.own_key, job.other_key, job.context)
    except InvalidOpening:
        return Judged(holds=False)
    pair = pair_key(shared, job.tau1, *job.ranks)
    sketch = sketch_pair(job.seed, pair, job.tau2, *job.ranks, job.layout)
    return Judged(holds=True, point=sketch.commit())


def _parts(encoded: bytes) -> list[int]:
    return [
        int.from_bytes(encoded[at : at + PART_BYTES], "little")
        for at in range(0, len(encoded), PART_BYTES)
    ]
