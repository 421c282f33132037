"""The certificate of a masked sum: t members of its cohort signed one and the same mean.

It stands for itself. Whoever knows the roster and the draw of cohorts can check it, whoever brings
it, also long after the session. It is the only thing that moves a peer of masked cohorts to another
round, or gives it another's model: no single member's word does.

What it says: t members of the cohort that the draw gives for this round hold this mean, over the
members of U3, and every part of it is a sum. At most m of the cohort lie, and t > 2m, so more than
m honest members hold it. Two certificates of one session share an honest signer, as 2t > n + m, and
an honest member signs once.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from p2pfl_crypto.hashing import body_digest
from p2pfl_crypto.transcripts import mean_digest
from p2pfl_gossip.actions import RemoteProtocolError, Vector
from p2pfl_gossip.masked_sum.cohort import Cohort, SessionMembers
from p2pfl_gossip.masked_sum.messages import SIGNATURE_BYTES, Bitmap, SignatureOfEachMember
from p2pfl_gossip.records import Codec, Digest, MalformedFrame, Message, UInt32

RECORD_BYTES_MAX = 16 * 1024  # 128 signatures are 8 KiB; bitmaps and a digest come beside.

Verify: TypeAlias = Callable[..., None]
"""Called with cohort, rank, kind, signature and body; raises RemoteProtocolError."""


class Certificate(Message, frozen=True, tag=81):
    """Part of a `ModelHeader`, and of what a peer keeps.

    Attributes:
        round: the round whose sum it is of.
        cohort: one member of its cohort, by its place in the roster: the draw gives the others.
        members: U3, whose vectors are in the mean.
        digest: of the mean; `digest_of` says how.
        signers: who signed, exactly t.
        signatures: theirs, in order of rank, of kind ``mean``: over U3 and digest.
    """

    round: UInt32
    cohort: UInt32
    members: Bitmap
    digest: Digest
    signers: Bitmap
    signatures: SignatureOfEachMember


_CODEC = Codec(Certificate | None, frame_bytes_max=RECORD_BYTES_MAX)


def to_record(certificate: Certificate) -> bytes:
    """Write a certificate as it is kept."""
    return _CODEC.encode(certificate)


def from_record(record: bytes) -> Certificate:
    """Read a certificate that was kept; raise MalformedFrame if it is none."""
    found = _CODEC.decode_untrusted(record)
    if not isinstance(found, Certificate):
        raise MalformedFrame("not a certificate")
    return found


def digest_of(cohort: Cohort, mean: Vector) -> bytes:
    """Digest a mean: of the digests of its chunks, as the cohort cuts them."""
    values = np.ascontiguousarray(mean, "<f4")
    return mean_digest(
        [body_digest(values[cohort.entries_of(chunk)].data) for chunk in range(cohort.chunk_count)]
    )


def require_certified(cohort: Cohort, certificate: Certificate, verify: Verify) -> None:
    """Check that t distinct members of the cohort signed, or raise RemoteProtocolError.

    Args:
        cohort: the one that the draw gives for the certificate's round and member.
        certificate: from anybody.
        verify: checks one signature.
    """
    members = cohort.unpack(certificate.members)
    if members is None:
        raise RemoteProtocolError("bad_bitmap")
    if len(members) < cohort.threshold:
        raise RemoteProtocolError("too_few_members")
    require_signed(
        cohort,
        certificate.members,
        certificate.digest,
        certificate.signers,
        certificate.signatures,
        verify,
    )


def require_signed(
    cohort: SessionMembers,
    members: bytes,
    digest: bytes,
    signers: bytes,
    signatures: bytes,
    verify: Verify,
) -> dict[int, bytes]:
    """Check t signatures of a mean over `members`, or raise RemoteProtocolError.

    Returns:
        The signatures by rank, ascending.
    """
    ranks = cohort.unpack(signers)
    if ranks is None:
        raise RemoteProtocolError("bad_bitmap")
    # Exactly t, so that nobody has us check more.
    if len(ranks) != cohort.threshold:
        raise RemoteProtocolError("wrong_signer_count")
    if len(signatures) != SIGNATURE_BYTES * len(ranks):
        raise RemoteProtocolError("bad_certificate")
    found = {
        rank: signatures[SIGNATURE_BYTES * place : SIGNATURE_BYTES * (place + 1)]
        for place, rank in enumerate(ranks)
    }
    for rank, signature in found.items():
        verify(cohort, rank, b"mean", signature, members, digest)
    return found
