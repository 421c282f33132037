"""Domain-separated BLAKE2b-256 (RFC 7693).

Every hash of the project names its purpose, so that no hash made for one purpose can stand in for
another, and prefixes each part by its length, so that no two lists of parts hash alike.
"""

import hashlib
from typing import TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview

DIGEST_BYTES = 32
LABEL_BYTES_MAX = 16  # BLAKE2b's personalisation field has 16 bytes.


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
    state = hashlib.blake2b(digest_size=DIGEST_BYTES, person=label, key=key)
    for part in parts:
        view = memoryview(part)
        state.update(view.nbytes.to_bytes(8, "little"))
        state.update(view)
    return state.digest()
