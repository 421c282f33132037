"""Domain-separated BLAKE2b-256 (RFC 7693), and BLAKE3 for bodies.

Every hash of the project names its purpose, so that no hash made for one purpose can stand in for
another, and prefixes each part by its length, so that no two lists of parts hash alike.

Bodies of vectors are hashed by `body_digest`, whose result is a part of such a hash: a member of
a masked sum hashes four vectors, and BLAKE3, a tree of small hashes, takes them several blocks at
a time, in a sixth of BLAKE2b's time.
"""

import hashlib
from collections.abc import Iterable
from typing import TypeAlias

from blake3 import blake3

Buffer: TypeAlias = bytes | bytearray | memoryview

DIGEST_BYTES = 32
LABEL_BYTES_MAX = 16  # BLAKE2b's personalisation field has 16 bytes.
_SHORT = [size.to_bytes(8, "little") for size in range(256)]  # Nearly all parts are as short.


def hash_parts(label: bytes, *parts: Buffer, key: bytes = b"") -> bytes:
    """Hash `parts` under `label`.

    Args:
        label: purpose of the hash, 1 to 16 bytes, for instance ``b"p2pfl/sid"``.
        parts: what is hashed; each is prefixed by its length in bytes as LE64.
        key: optional secret key of at most 64 bytes.

    Returns:
        32 bytes.

    Raises:
        ValueError: the label is empty or too long, or the key too long.
    """
    if not 0 < len(label) <= LABEL_BYTES_MAX:
        raise ValueError(f"a label has 1 to {LABEL_BYTES_MAX} bytes, not {len(label)}")
    # One call for all: short parts are hashed by the thousand.
    return hashlib.blake2b(_joined(parts), digest_size=DIGEST_BYTES, person=label, key=key).digest()


def hash_each(
    label: bytes, first: Iterable[Buffer], lasts: Iterable[Iterable[Buffer]]
) -> list[bytes]:
    """Hash many lists of parts that begin alike, each as `hash_parts` does."""
    begun = hashlib.blake2b(_joined(first), digest_size=DIGEST_BYTES, person=label)
    digests = []
    for last in lasts:
        state = begun.copy()
        state.update(_joined(last))
        digests.append(state.digest())
    return digests


def _joined(parts: Iterable[Buffer]) -> bytes:
    """Join parts, each behind its length."""
    pieces: list[Buffer] = []
    for part in parts:
        size = part.nbytes if type(part) is memoryview else len(part)
        pieces += (_SHORT[size] if size < 256 else size.to_bytes(8, "little"), part)
    return b"".join(pieces)


def body_digest(body: Buffer) -> bytes:
    """Digest of a long body: BLAKE3, 32 bytes. It names no purpose: hash it under a label.

    Source: O'Connor, Aumasson, Neves, Wilcox-O'Hearn, "BLAKE3", 2021.
    """
    return blake3(memoryview(body).cast("B")).digest()
