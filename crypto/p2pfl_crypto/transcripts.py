"""Every hash of a masked sum in one place: what is committed to, and which key follows from what.

A session's transcript grows in three steps. `session_id` names what is to be summed and by whom,
`tau1` adds the keys that were advertised, `tau2` adds the members whose vectors will be masked and
the shares they dealt. All mask keys derive from tau2: members that were shown different sets have
different masks, which then do not cancel, instead of masks that a liar could peel off.

Ranks are places in the cohort as drawn, hashed as LE32; sets of ranks as bitmaps of ceil(n/8)
bytes, rank 0 in the lowest bit of the first byte.
"""

import struct
from collections.abc import Sequence

from p2pfl_crypto.hashing import Buffer, body_digest, hash_each, hash_parts

SUITE = b"p2pfl/2 Ed25519 X25519 XChaCha20-Poly1305 AES-256-CTR BLAKE2b-256 BLAKE3"
"""Names all primitives of a session; another set of primitives has another name."""


def session_id(
    *,
    group: bytes,
    round_number: int,
    attempt: int,
    nonce: bytes,
    members: Sequence[bytes],
    vector_entries: int,
    chunk_count: int,
    owner_count: int,
    clip: float,
    weight_max: float,
) -> bytes:
    """Name a session: H("p2pfl/sid", suite, group, round, attempt, parameters, cohort, nonce).

    Args:
        group: the group whose members train together.
        round_number: hashed as LE64, as is `attempt`.
        attempt: which try of this round.
        nonce: what the draw of the cohort adds.
        members: the cohort's Ed25519 keys in order of their ranks.
        vector_entries: length of the vectors; hashed with the next four as
            LE64, LE64, LE32, binary64 and binary64, little-endian.
        chunk_count: into how many chunks they are cut.
        owner_count: owners of each chunk.
        clip: C.
        weight_max: W.

    Returns:
        32 bytes.
    """
    parameters = struct.pack("<QQIdd", vector_entries, chunk_count, owner_count, clip, weight_max)
    return hash_parts(
        b"p2pfl/sid",
        SUITE,
        group,
        round_number.to_bytes(8, "little"),
        attempt.to_bytes(8, "little"),
        parameters,
        b"".join(members),
        nonce,
    )


def group_session_id(
    *,
    group: bytes,
    epoch: int,
    charter: bytes,
    round_number: int,
    members: Sequence[bytes],
    vector_entries: int,
    chunk_count: int,
    owner_count: int,
) -> bytes:
    """Name a session of a group: H("p2pfl/group-sid", suite, group, epoch, charter, ...).

    There is no attempt and no nonce: a round is tried once. Clip, weights and all else that is
    agreed on come by the charter's digest.

    Args:
        group: bytes that name the group.
        epoch: which version of the charter is in force, hashed as LE64.
        charter: its digest.
        round_number: hashed as LE64.
        members: the epoch's Ed25519 keys in order of their ranks.
        vector_entries: length of the vectors; hashed with the next two as LE64, LE64, LE32.
        chunk_count: into how many chunks they are cut.
        owner_count: owners of each chunk.

    Returns:
        32 bytes.
    """
    return hash_parts(
        b"p2pfl/group-sid",
        SUITE,
        group,
        epoch.to_bytes(8, "little"),
        charter,
        round_number.to_bytes(8, "little"),
        b"".join(members),
        struct.pack("<QQI", vector_entries, chunk_count, owner_count),
    )


def advert_digest(sid: bytes, rank: int, share_key: bytes, mask_key: bytes) -> bytes:
    """Digest of a member's advertised X25519 keys."""
    return hash_parts(b"p2pfl/advert", sid, _rank(rank), share_key, mask_key)


def tau1_of(sid: bytes, members: bytes, advert_digests: Sequence[bytes]) -> bytes:
    """Transcript after ADVERTISE: sid, the bitmap of U1 and the digests of its adverts."""
    return hash_parts(b"p2pfl/tau1", sid, members, b"".join(advert_digests))


def seed_commitment(tau1: bytes, rank: int, seed: bytes) -> bytes:
    """Commitment to the scalar b of a member; hiding, since b is uniform."""
    return hash_parts(b"p2pfl/commit", tau1, _rank(rank), seed)


def share_digest(tau1: bytes, kind: bytes, dealer: int, holder: int, share: bytes) -> bytes:
    """Digest of one share; `kind` is ``b"b"``, ``b"s"`` or ``b"a"``."""
    return hash_parts(b"p2pfl/share", tau1, kind, _rank(dealer), _rank(holder), share)


def share_digests(
    tau1: bytes, kind: bytes, dealer: int, holders: Sequence[int], shares: Sequence[bytes]
) -> list[bytes]:
    """Digest the shares of many holders, as `share_digest` does each."""
    pairs = zip(map(_rank, holders), shares, strict=True)
    return hash_each(b"p2pfl/share", (tau1, kind, _rank(dealer)), pairs)


def header_digest(
    tau1: bytes, rank: int, commitments: bytes, share_digests: bytes, pair_digests: bytes
) -> bytes:
    """Digest of what a dealer commits to."""
    return hash_parts(b"p2pfl/header", tau1, _rank(rank), commitments, share_digests, pair_digests)


def tau2_of(tau1: bytes, members: bytes, header_digests: bytes) -> bytes:
    """Transcript after AGREE: tau1, the bitmap of U2 and the digests of its headers.

    The number of chunks and their lengths are in the session's name already.
    """
    return hash_parts(b"p2pfl/tau2", tau1, members, header_digests)


def ring_place(sid: bytes, rank: int) -> bytes:
    """Place of a member on the ring of a group's session, by which it owns chunks."""
    return hash_parts(b"p2pfl/ring", sid, _rank(rank))


def pair_key(shared: bytes, tau1: bytes, one: int, other: int) -> bytes:
    """Secret K of two members in one session, from what X25519 gives them.

    The masks follow from it, and it may be committed to, and shown, without showing the shared
    secret itself.
    """
    low, high = sorted((one, other))
    return hash_parts(b"p2pfl/audit-pair", tau1, _rank(low), _rank(high), key=shared)


def pair_mask_key(pair: bytes, tau2: bytes, one: int, other: int) -> bytes:
    """Key of the mask that two members share, from their `pair_key`; the lower rank adds it."""
    low, high = sorted((one, other))
    return hash_parts(b"p2pfl/pair", tau2, _rank(low), _rank(high), key=pair)


def self_mask_key(seed: bytes, tau2: bytes, rank: int) -> bytes:
    """Key of the mask that only a member knows, until the shares of its seed are revealed."""
    return hash_parts(b"p2pfl/self", tau2, _rank(rank), key=seed)


def rounding_key(secret: bytes, sid: bytes, rank: int) -> bytes:
    """Key of the rounding bits; its secret is never revealed, nor what others follow from it."""
    return hash_parts(b"p2pfl/rounding", sid, _rank(rank), key=secret)


def chunk_digest(tau2: bytes, rank: int, chunk: int, body: Buffer) -> bytes:
    """Digest of a masked chunk: uint32, little-endian, the encoded weight last."""
    return hash_parts(b"p2pfl/chunk", tau2, _rank(rank), _chunk(chunk), body_digest(body))


def manifest_digest(tau2: bytes, rank: int, chunk_digests: bytes) -> bytes:
    """Digest of a member's list of chunk digests."""
    return hash_parts(b"p2pfl/manifest", tau2, _rank(rank), chunk_digests)


def ballot_digest(tau2: bytes, members: bytes, owners: bytes, manifest_digests: bytes) -> bytes:
    """What is voted on: tau2, the bitmap of U3, the owner map, the digests of U3's manifests."""
    return hash_parts(b"p2pfl/ballot", tau2, members, owners, manifest_digests)


def sum_digest(ballot: bytes, chunk: int, body: Buffer) -> bytes:
    """Digest of a chunk's unmasked sum: uint32, little-endian, the sum of weights last."""
    return hash_parts(b"p2pfl/sum", ballot, _chunk(chunk), body_digest(body))


def sums_digest(digests: Sequence[bytes]) -> bytes:
    """Digest of all sums of a session: of each chunk's `sum_digest`, zeros where there is none."""
    return hash_parts(b"p2pfl/sums", *digests)


def audit_seed(ballot: bytes, sums: bytes, secret: bytes) -> bytes:
    """Seed of an audit's sketches, from the sum of all members' coins."""
    return hash_parts(b"p2pfl/audit", ballot, sums, secret)


def proof_context(session: bytes, ballot: bytes, sums: bytes, seed: bytes, rank: int) -> bytes:
    """Name what a member proves: of which sum, by which seed, and who."""
    return hash_parts(b"p2pfl/audit-ctx", session, ballot, sums, seed, _rank(rank))


def proof_digest(ballot: bytes, sums: bytes, seed: bytes, commitment: bytes, proof: bytes) -> bytes:
    """Digest of what a member says of its input, as it is signed."""
    return hash_parts(b"p2pfl/proof", ballot, sums, seed, commitment, body_digest(proof))


def audit_secret(rounding: bytes, purpose: bytes, sid: bytes) -> bytes:
    """Derive 64 secret bytes for an audit from the secret that `rounding_key` is of."""
    parts = (purpose, sid)
    low = hash_parts(b"p2pfl/audit-low", *parts, key=rounding)
    return low + hash_parts(b"p2pfl/audit-high", *parts, key=rounding)


def pair_blinding(pair: bytes, tau2: bytes, one: int, other: int) -> bytes:
    """Derive what two members add to and take from their blindings, from their `pair_key`.

    Returns:
        64 bytes, for a number modulo L; the lower rank adds it.
    """
    low, high = sorted((one, other))
    parts = (tau2, _rank(low), _rank(high))
    first = hash_parts(b"p2pfl/blind-low", *parts, key=pair)
    return first + hash_parts(b"p2pfl/blind-high", *parts, key=pair)


def pair_lift(pair: bytes, tau2: bytes, one: int, other: int) -> bytes:
    """Derive by which multiples of 2^32 two members lift the sketch of their mask."""
    low, high = sorted((one, other))
    return hash_parts(b"p2pfl/pair-lift", tau2, _rank(low), _rank(high), key=pair)


def statement_digest(core: bytes, parts: bytes) -> bytes:
    """Digest of what a member says in a dispute, as it is signed."""
    return hash_parts(b"p2pfl/statement", core, body_digest(parts))


def mean_digest(chunk_digests: Sequence[bytes]) -> bytes:
    """Digest of a whole mean: of the body digests of its chunks, float32, little-endian."""
    return hash_parts(b"p2pfl/mean", b"".join(chunk_digests))


_RANKS = [rank.to_bytes(4, "little") for rank in range(128)]  # Of a cohort: hashed by the thousand.


def _rank(rank: int) -> bytes:
    return _RANKS[rank] if 0 <= rank < len(_RANKS) else rank.to_bytes(4, "little")


def _chunk(chunk: int) -> bytes:
    return chunk.to_bytes(8, "little")
