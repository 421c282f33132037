"""Bytes sealed from one member to another: XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03).

The nonce is an argument: PyNaCl's boxes would draw one from the operating system, and then a seed
could not replay a session. Keys are directional, so that a sealed text cannot be reflected.
"""

from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
)
from nacl.exceptions import CryptoError

from p2pfl_crypto.hashing import hash_parts

KEY_BYTES = 32
NONCE_BYTES = 24
TAG_BYTES = 16


class BrokenSeal(ValueError):
    """A sealed text was changed, cut, or sealed under another key, nonce or associated data."""


def directional_key(shared: bytes, transcript: bytes, sender: int, receiver: int) -> bytes:
    """Derive the key for texts from `sender` to `receiver`: H("p2pfl/enc", transcript, i, j).

    Args:
        shared: the 32 bytes that X25519 gave the two; the hash's key.
        transcript: what both have seen so far, 32 bytes.
        sender: place of the member that seals, hashed as LE32.
        receiver: place of the member that opens, hashed as LE32.

    Returns:
        32 secret bytes; the other direction has another key.
    """
    places = (sender.to_bytes(4, "little"), receiver.to_bytes(4, "little"))
    return hash_parts(b"p2pfl/enc", transcript, *places, key=shared)


def seal(key: bytes, nonce: bytes, plaintext: bytes, associated: bytes = b"") -> bytes:
    """Encrypt and authenticate `plaintext`, and authenticate `associated`.

    Args:
        key: 32 secret bytes.
        nonce: 24 bytes, never used twice with one key; not part of the result.
        plaintext: what only the holder of the key may read.
        associated: what the opener must name too.

    Returns:
        The plaintext's length + 16 bytes.
    """
    _require_lengths(key, nonce)
    return crypto_aead_xchacha20poly1305_ietf_encrypt(plaintext, associated, nonce, key)


def open_sealed(key: bytes, nonce: bytes, sealed: bytes, associated: bytes = b"") -> bytes:
    """Open what `seal` made.

    Raises:
        BrokenSeal: anything differs from what was sealed.
    """
    _require_lengths(key, nonce)
    if len(sealed) < TAG_BYTES:
        raise BrokenSeal(f"a sealed text has at least {TAG_BYTES} bytes, not {len(sealed)}")
    try:
        return crypto_aead_xchacha20poly1305_ietf_decrypt(sealed, associated, nonce, key)
    except CryptoError:
        raise BrokenSeal("the sealed text is not authentic") from None


def _require_lengths(key: bytes, nonce: bytes) -> None:
    if len(key) != KEY_BYTES:
        raise ValueError(f"a key has {KEY_BYTES} bytes, not {len(key)}")
    if len(nonce) != NONCE_BYTES:
        raise ValueError(f"a nonce has {NONCE_BYTES} bytes, not {len(nonce)}")
