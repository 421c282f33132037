"""Domain-separated BLAKE2b-256 (RFC 7693).

Every hash of the project names its purpose, so that no hash made for one purpose can stand in for
another, and prefixes each part by its length, so that no two lists of parts hash alike.
"""

import hashlib
from typing import TypeAlias

from nacl.bindings import (
    crypto_generichash_blake2b_final,
    crypto_generichash_blake2b_init,
    crypto_generichash_blake2b_update,
)

Buffer: TypeAlias = bytes | bytearray | memoryview

DIGEST_BYTES = 32
LONG_PART_BYTES = 16 * 1024
_PIECE_BYTES = 128 * 1024
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
    pieces: list[Buffer] = []
    for part in parts:
        size = part.nbytes if isinstance(part, memoryview) else len(part)
        if size >= LONG_PART_BYTES:
            return _hash_long_parts(label, parts, key)
        pieces += (size.to_bytes(8, "little"), part)
    text = b"".join(pieces)  # One call for all: short parts are hashed by the thousand.
    return hashlib.blake2b(text, digest_size=DIGEST_BYTES, person=label, key=key).digest()


def _hash_long_parts(label: bytes, parts: tuple[Buffer, ...], key: bytes) -> bytes:
    """The same hash by libsodium, which is twice as fast on long parts and slower on short ones."""
    person = label.ljust(LABEL_BYTES_MAX, b"\0")
    state = crypto_generichash_blake2b_init(key=key, person=person, digest_size=DIGEST_BYTES)
    for part in parts:
        view = memoryview(part).cast("B")
        crypto_generichash_blake2b_update(state, view.nbytes.to_bytes(8, "little"))
        for start in range(0, view.nbytes, _PIECE_BYTES):
            # PyNaCl takes bytes only: a copy of a piece that stays in cache.
            crypto_generichash_blake2b_update(state, bytes(view[start : start + _PIECE_BYTES]))
    return crypto_generichash_blake2b_final(state)
