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
from typing import Annotated, TypeAlias

import numpy as np

from p2pfl_crypto.hashing import body_digest
from p2pfl_crypto.transcripts import mean_digest
from p2pfl_gossip.actions import RemoteProtocolError, Vector
from p2pfl_gossip.masked_sum.cohort import COHORT_SIZE_MAX, Cohort
from p2pfl_gossip.masked_sum.messages import Bitmap
from p2pfl_gossip.records import ByteSize, Codec, Digest, MalformedFrame, Message, UInt32

SIGNATURE_BYTES = 64
RECORD_BYTES_MAX = 16 * 1024  # 128 signatures are 8 KiB; bitmaps and a digest come beside.

Signatures = Annotated[bytes, ByteSize(max_length=SIGNATURE_BYTES * COHORT_SIZE_MAX)]

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
    signatures: Signatures


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
    members, signers = cohort.unpack(certificate.members), cohort.unpack(certificate.signers)
    if members is None or signers is None:
        raise RemoteProtocolError("bad_bitmap")
    if len(members) < cohort.threshold:
        raise RemoteProtocolError("too_few_members")
    # Exactly t, so that nobody has us check more.
    if len(signers) != cohort.threshold:
        raise RemoteProtocolError("wrong_signer_count")
    if len(certificate.signatures) != SIGNATURE_BYTES * len(signers):
        raise RemoteProtocolError("bad_certificate")
    for place, rank in enumerate(signers):
        start = SIGNATURE_BYTES * place
        signature = certificate.signatures[start : start + SIGNATURE_BYTES]
        verify(cohort, rank, b"mean", signature, certificate.members, certificate.digest)
