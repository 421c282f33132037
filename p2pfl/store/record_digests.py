"""Digests by which a journal knows its own records again.

Each record has a digest that is bound to its key, so that a value under another's key shows. The
*seal* is the exclusive or of all records' digests, so that a record that is gone, or was never
written, shows too. Both guard against disks and copies, not against whoever may write the folder.
"""

from collections.abc import Iterable

from p2pfl_crypto.hashing import DIGEST_BYTES, body_digest, hash_parts

EMPTY_SEAL = bytes(DIGEST_BYTES)
"""The seal of a journal without records."""

_LABEL = b"p2pfl/record"


def bytes_digest(key: str, value: bytes) -> bytes:
    """Digest a record of bytes: 32 bytes."""
    return hash_parts(_LABEL, key.encode(), b"bytes", body_digest(value))


def vector_digest(key: str, file: str, content: bytes) -> bytes:
    """Digest a record whose vector is in a file: 32 bytes.

    Args:
        key: of the record.
        file: the file's name.
        content: the digest of the vector, as `Checkpoints` gives it.
    """
    return hash_parts(_LABEL, key.encode(), b"vector", file.encode(), content)


def reseal(seal: bytes, changed: Iterable[bytes]) -> bytes:
    """Return the seal after records came or went; `changed` holds the digest of each of them."""
    mixed = int.from_bytes(seal, "little")
    for digest in changed:
        mixed ^= int.from_bytes(digest, "little")
    return mixed.to_bytes(DIGEST_BYTES, "little")
