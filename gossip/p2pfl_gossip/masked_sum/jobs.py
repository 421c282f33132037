"""The heavy parts of a masked sum, as pure jobs: the same job gives the same result, anywhere.

A driver hands each job to `perform`, on a thread if it likes: the key streams, additions and
hashes of long bodies release the GIL. Jobs hold secrets, so none shows its fields.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from p2pfl_crypto.audit.curve import multiply_base
from p2pfl_crypto.audit.shared_points import is_on_curve
from p2pfl_crypto.encoding import DeltaEncoding, Encoding, SumOutOfRange
from p2pfl_crypto.hashing import body_digest
from p2pfl_crypto.key_agreement import (
    InvalidKey,
    agree,
    agreement_secret_of,
    public_key_of,
)
from p2pfl_crypto.masks import Mask, Masked, MaskStreams, add_masks, add_vectors
from p2pfl_crypto.private_encoding import WordsAsTheyAre
from p2pfl_crypto.sealing import NONCE_BYTES, directional_key, seal
from p2pfl_crypto.shamir import (
    WIDE_BYTES,
    InconsistentShares,
    InvalidShare,
    Rebuilder,
    entropy_bytes_for,
    scalar_of,
    share_secrets,
)
from p2pfl_crypto.transcripts import (
    chunk_digest,
    pair_key,
    pair_mask_key,
    seed_commitment,
    self_mask_key,
    share_digests,
    sum_digest,
)
from p2pfl_gossip.actions import Job, Vector
from p2pfl_gossip.masked_sum.audit_jobs import contradiction, perform_audit
from p2pfl_gossip.masked_sum.dispute_jobs import (
    CheckPair,
    CheckParts,
    CheckStatement,
    MakeStatement,
    OpenPair,
    perform_dispute,
)
from p2pfl_gossip.masked_sum.secret_job import SecretJob
from p2pfl_gossip.records import Record

Entropy: TypeAlias = Callable[[int], bytes]
"""Gives that many uniform secret bytes, never the same twice."""


class Secrets(Record, frozen=True):
    """What a member draws for one session; kept in memory only.

    Attributes:
        seed: the scalar b, whose self mask only this member knows.
        mask_scalar: the scalar s, of the pair masks' X25519 secret.
        share_scalar: the scalar c, of the X25519 secret for sealed shares.
        rounding: 32 bytes, for the rounding bits.
    """

    seed: bytes
    mask_scalar: bytes
    share_scalar: bytes
    rounding: bytes

    def __repr__(self) -> str:
        return "Secrets(...)"


def make_secrets(entropy: Entropy) -> Secrets:
    """Draw the secrets of one session; their public keys may be advertised before it begins."""
    return Secrets(
        seed=scalar_of(entropy(WIDE_BYTES)),
        mask_scalar=scalar_of(entropy(WIDE_BYTES)),
        share_scalar=scalar_of(entropy(WIDE_BYTES)),
        rounding=entropy(32),
    )


class Deal(SecretJob, frozen=True):
    """Agree on keys with the members of U1, and deal and seal shares of b, s and perhaps a.

    Attributes:
        rank: our place.
        threshold: shares that restore a secret.
        tau1: the transcript.
        secrets: ours.
        members: U1, ascending.
        share_keys: the members' keys for sealed shares, in order.
        mask_keys: the members' keys for pair masks, in order.
        entropy: `entropy_bytes(...)` uniform bytes, for this job only.
        coin: the scalar a, which is shared too; empty where the sum is not audited.
        is_on_curve: whether mask keys are to be points', so that a dispute can show what they give.
    """

    rank: int
    threshold: int
    tau1: bytes
    secrets: Secrets
    members: tuple[int, ...]
    share_keys: tuple[bytes, ...]
    mask_keys: tuple[bytes, ...]
    entropy: bytes
    coin: bytes = b""
    is_on_curve: bool = False

    @staticmethod
    def entropy_bytes(threshold: int, member_count: int, secret_count: int = 2) -> int:
        """Count the entropy of a polynomial for each secret, and a nonce for each member."""
        return secret_count * entropy_bytes_for(threshold) + NONCE_BYTES * member_count


class Dealt(Record, frozen=True):
    """The end of a `Deal`.

    Attributes:
        commitment: to b, and to a where there is one.
        share_digests: of the shares of b, then of s, then of a, in order of U1.
        own_shares: our own shares of b, s and a, 32 bytes each.
        sealed: nonce and sealed shares by receiver.
        opening_keys: keys of what others seal to us, by dealer.
        pair_keys: the secrets K from which pair masks follow, by member.
        refused: why a member's keys may not be used, by member.
        liars: those of the refused whose own keys show why; a twin may be the one that was copied.
    """

    commitment: bytes
    share_digests: bytes
    own_shares: bytes
    sealed: dict[int, tuple[bytes, bytes]]
    opening_keys: dict[int, bytes]
    pair_keys: dict[int, bytes]
    refused: dict[int, str]
    liars: tuple[int, ...]

    def __repr__(self) -> str:
        return "Dealt(...)"


class Spend(Job, frozen=True):
    """Ask whether the vector of a group's round may be spent; answered before its first chunk.

    Attributes:
        epoch: of the group.
        round: of the session.
        charter: digest of the charter in force.
        is_private: whether a budget pays for it.
    """

    epoch: int
    round: int
    charter: bytes = b""
    is_private: bool = False


class Granted(Record, frozen=True):
    """The end of a `Spend` that is allowed; any other end of it keeps the vector here."""


class MaskChunk(SecretJob, frozen=True):
    """Encode and mask one chunk.

    Attributes:
        encoding: of the session.
        entries: float32[k], the chunk's part of the vector, or words, as the encoding takes them;
            read-only.
        weight: the member's weight.
        rounding_key: of this member and session.
        streams: of the self mask and all pair masks; no other job uses them before this one ends.
        tau2: the transcript, for the digest.
        rank: the member's place.
        chunk: its number.
    """

    encoding: Encoding | DeltaEncoding | WordsAsTheyAre
    entries: Vector | Masked
    weight: float
    rounding_key: bytes
    streams: MaskStreams
    tau2: bytes
    rank: int
    chunk: int


class MaskedChunk(Record, frozen=True):
    """The end of a `MaskChunk`: the words, their digest, and how many entries were clipped."""

    chunk: int
    body: Masked
    digest: bytes
    clipped: int


class DigestChunk(Job, frozen=True):
    """Hash a masked chunk of `member` that arrived."""

    tau2: bytes
    member: int
    chunk: int
    body: Masked


class DigestSum(Job, frozen=True):
    """Hash a sum that arrived."""

    ballot: bytes
    chunk: int
    body: Masked


class Digested(Record, frozen=True):
    """The end of a `DigestChunk` or `DigestSum`."""

    digest: bytes


class Rebuild(SecretJob, frozen=True):
    """Rebuild the seeds of U3 and the mask scalars of the rest of U2.

    Attributes:
        threshold: shares that restore a secret.
        tau1: the transcript of the dealings.
        tau2: the transcript of the masks.
        seeds: by member of U3, its shares by x.
        scalars: by member of U2 outside U3, its shares by x.
        commitments: to the seeds, by member of U3.
        mask_keys: advertised keys of all of U2, by member.
    """

    threshold: int
    tau1: bytes
    tau2: bytes
    seeds: dict[int, dict[int, bytes]]
    scalars: dict[int, dict[int, bytes]]
    commitments: dict[int, bytes]
    mask_keys: dict[int, bytes]


class Rebuilt(Record, frozen=True):
    """The end of a `Rebuild`: the masks that the sum of U3 still bears, or who dealt wrongly.

    Attributes:
        masks: none, if anybody dealt wrongly.
        liars: who did.
        bearers: members of U3 in whose words the masks are.
        contradictions: of liars, each with the x of t shares that do not give its secret.
    """

    masks: tuple[Mask, ...]
    liars: tuple[int, ...]
    bearers: tuple[int, ...] = ()
    contradictions: tuple[tuple[int, tuple[int, ...]], ...] = ()

    def __repr__(self) -> str:
        return f"Rebuilt(liars={self.liars})"


class Unmask(SecretJob, frozen=True):
    """Sum a chunk over U3 and take the masks away.

    Attributes:
        bodies: the masked words of each member of U3.
        masks: what `Rebuilt` found; subtracted.
        ballot: digest of the certified ballot.
        chunk: its number.
    """

    bodies: tuple[Masked, ...]
    masks: tuple[Mask, ...]
    ballot: bytes
    chunk: int


class ChunkSum(Record, frozen=True):
    """The end of an `Unmask`: the words of the sum, and their digest."""

    chunk: int
    body: Masked
    digest: bytes


class DecodeSum(Job, frozen=True):
    """Check that a sum of `member_count` inputs can be one, and decode it."""

    encoding: Encoding
    member_count: int
    body: Masked


class Decoded(Record, frozen=True):
    """The end of a `DecodeSum`.

    Attributes:
        mean: float32[k], or None if the sum was refused.
        weight_total: the sum of the encoded weights.
        digest: of the mean's bytes, a part of the whole mean's digest.
        refusal: why it was refused.
    """

    mean: Vector | None
    weight_total: int
    digest: bytes = b""
    refusal: str = ""


def perform(job: Job) -> Record:
    """Do a job of a masked sum.

    Raises:
        LocalProtocolError: the job is none of them.
        ValueError: a job's field is not what it must be.
    """
    match job:
        case Deal():
            return _deal(job)
        case Spend():
            return Granted()  # Nothing is charged for a vector yet.
        case MaskChunk():
            return _mask(job)
        case DigestChunk():
            return Digested(chunk_digest(job.tau2, job.member, job.chunk, _bytes_of(job.body)))
        case DigestSum():
            return Digested(sum_digest(job.ballot, job.chunk, _bytes_of(job.body)))
        case Rebuild():
            return _rebuild(job)
        case Unmask():
            return _unmask(job)
        case DecodeSum():
            return _decode(job)
        case MakeStatement() | CheckStatement() | CheckParts() | OpenPair() | CheckPair():
            return perform_dispute(job)
    return perform_audit(job)


def _bytes_of(body: Masked) -> memoryview:
    return body.astype("<u4", copy=False).data.cast("B")


def _agree_on_masks(job: Deal, secret: bytes, key: bytes) -> bytes:
    if job.is_on_curve and not is_on_curve(key):
        raise InvalidKey("the key is no point's, so nobody could show what it gives")
    return agree(secret, key)


def _deal(job: Deal) -> Dealt:
    share_secret_key = agreement_secret_of(job.secrets.share_scalar)
    mask_secret_key = agreement_secret_of(job.secrets.mask_scalar)
    seal_secrets: dict[int, bytes] = {}
    mask_secrets: dict[int, bytes] = {}
    refused: dict[int, str] = {}
    for rank, share_key, mask_key in zip(job.members, job.share_keys, job.mask_keys, strict=True):
        if rank == job.rank:
            continue
        try:
            seal_secrets[rank] = agree(share_secret_key, share_key)
            mask_secrets[rank] = _agree_on_masks(job, mask_secret_key, mask_key)
        except InvalidKey as error:
            refused[rank] = str(error)
    liars = tuple(refused)
    # Who was there first is not to be known, so all holders of one secret are refused.
    for secrets in (seal_secrets, mask_secrets):
        holders: dict[bytes, list[int]] = {}
        for rank, secret in secrets.items():
            holders.setdefault(secret, []).append(rank)
        for ranks in holders.values():
            if len(ranks) > 1:
                refused |= dict.fromkeys(ranks, f"members {ranks} have twin keys")
    for rank in refused:
        seal_secrets.pop(rank, None)
        mask_secrets.pop(rank, None)

    xs = [rank + 1 for rank in job.members]
    kinds = {b"b": job.secrets.seed, b"s": job.secrets.mask_scalar}
    if job.coin:
        kinds[b"a"] = job.coin
    polynomials_end = len(kinds) * entropy_bytes_for(job.threshold)
    dealt = share_secrets(tuple(kinds.values()), job.threshold, xs, job.entropy[:polynomials_end])
    shares = [b"".join(of_holder) for of_holder in zip(*dealt, strict=True)]
    nonces = job.entropy[polynomials_end:]
    sealed: dict[int, tuple[bytes, bytes]] = {}
    for place, rank in enumerate(job.members):
        if rank in seal_secrets:
            nonce = nonces[NONCE_BYTES * place : NONCE_BYTES * (place + 1)]
            key = directional_key(seal_secrets[rank], job.tau1, job.rank, rank)
            sealed[rank] = (nonce, seal(key, nonce, shares[place]))
    own = job.members.index(job.rank)
    return Dealt(
        commitment=seed_commitment(job.tau1, job.rank, job.secrets.seed)
        + (multiply_base(int.from_bytes(job.coin, "little")) if job.coin else b""),
        share_digests=b"".join(
            digest
            for kind, of_kind in zip(kinds, dealt, strict=True)
            for digest in share_digests(job.tau1, kind, job.rank, job.members, of_kind)
        ),
        own_shares=shares[own],
        sealed=sealed,
        opening_keys={
            rank: directional_key(secret, job.tau1, rank, job.rank)
            for rank, secret in seal_secrets.items()
        },
        pair_keys={
            rank: pair_key(secret, job.tau1, job.rank, rank)
            for rank, secret in mask_secrets.items()
        },
        refused=refused,
        liars=liars,
    )


def encode_chunk(job: MaskChunk) -> tuple[Masked, int]:
    """Encode a chunk before it is masked; return its words, and how many entries were clipped."""
    return job.encoding.encode_body(
        job.entries,  # type: ignore[arg-type]  # Each encoding refuses what is not its own.
        job.weight,
        job.rounding_key,
        job.chunk,
    )


def _mask(job: MaskChunk) -> MaskedChunk:
    body, clipped = encode_chunk(job)
    job.streams.add(body, job.chunk)
    body.flags.writeable = False
    digest = chunk_digest(job.tau2, job.rank, job.chunk, _bytes_of(body))
    return MaskedChunk(job.chunk, body, digest, clipped)


def _rebuild(job: Rebuild) -> Rebuilt:
    masks: list[Mask] = []
    bearers: list[int] = []
    seeds, liars = _restore(job.seeds, job.threshold)
    for rank, seed in seeds.items():
        if seed_commitment(job.tau1, rank, seed) != job.commitments[rank]:
            liars.append(rank)
            continue
        masks.append(Mask(self_mask_key(seed, job.tau2, rank), -1))
        bearers.append(rank)
    scalars, cheats = _restore(job.scalars, job.threshold)
    liars += cheats
    for rank, scalar in scalars.items():
        secret = agreement_secret_of(scalar)
        if public_key_of(secret) != job.mask_keys[rank]:
            liars.append(rank)
            continue
        for other in job.seeds:
            # `other` added sgn(rank - other) times this mask; nobody of U3 took it away.
            shared = agree(secret, job.mask_keys[other])
            pair = pair_key(shared, job.tau1, rank, other)
            key = pair_mask_key(pair, job.tau2, rank, other)
            masks.append(Mask(key, -1 if rank > other else 1))
            bearers.append(other)
    if liars:
        found = tuple((rank, _contradiction(job, rank)) for rank in liars)
        return Rebuilt((), tuple(liars), contradictions=found)
    return Rebuilt(tuple(masks), (), tuple(bearers))


def _contradiction(job: Rebuild, rank: int) -> tuple[int, ...]:
    """Return the x of t shares that do not give a dealer's secret, whichever it is of."""
    if rank in job.seeds:
        commitment = job.commitments[rank]
        return contradiction(
            job.seeds[rank],
            job.threshold,
            lambda seed: seed_commitment(job.tau1, rank, seed) == commitment,
        )
    key = job.mask_keys[rank]
    return contradiction(
        job.scalars[rank],
        job.threshold,
        lambda scalar: public_key_of(agreement_secret_of(scalar)) == key,
    )


def _restore(
    dealings: dict[int, dict[int, bytes]], threshold: int
) -> tuple[dict[int, bytes], list[int]]:
    """Restore the secrets by dealer, and list the dealers whose shares give none."""
    secrets: dict[int, bytes] = {}
    liars: list[int] = []
    by_holders: dict[tuple[int, ...], list[int]] = {}
    for dealer, shares in dealings.items():
        by_holders.setdefault(tuple(sorted(shares)), []).append(dealer)
    for holders, dealers in by_holders.items():
        rebuilder = Rebuilder.of(holders, threshold)
        try:
            restored = rebuilder.rebuild_all([dealings[dealer] for dealer in dealers])
            secrets |= zip(dealers, restored, strict=True)
        except (InconsistentShares, InvalidShare):
            for dealer in dealers:
                try:
                    secrets[dealer] = rebuilder.rebuild(dealings[dealer])
                except (InconsistentShares, InvalidShare):  # Or a share is no scalar.
                    liars.append(dealer)
    return secrets, liars


def _unmask(job: Unmask) -> ChunkSum:
    total = np.zeros(len(job.bodies[0]), np.uint32)
    add_vectors(total, job.bodies)
    add_masks(total, job.masks, job.chunk)
    total.flags.writeable = False
    return ChunkSum(job.chunk, total, sum_digest(job.ballot, job.chunk, _bytes_of(total)))


def _decode(job: DecodeSum) -> Decoded:
    total, weight_total = job.body[:-1], int(job.body[-1:].view(np.int32)[0])
    try:
        job.encoding.require_in_range(total, weight_total, job.member_count)
    except SumOutOfRange as error:
        return Decoded(None, weight_total, refusal=str(error))
    mean = job.encoding.decode(total, weight_total)
    digest = body_digest(mean.astype("<f4", copy=False).data)
    return Decoded(mean, weight_total, digest)
