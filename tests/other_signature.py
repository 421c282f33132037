"""A second signature of one statement: whoever has the key may take any nonce."""

from hashlib import sha512

from nacl.bindings import (
    crypto_core_ed25519_scalar_reduce,
    crypto_scalarmult_ed25519_base_noclamp,
)

from p2pfl_crypto.identity import Identity, verify
from p2pfl_crypto.shamir import GROUP_ORDER


def signed_otherwise(identity: Identity, statement: bytes) -> bytes:
    """Sign with another nonce than RFC 8032 says; nobody can tell, and it verifies."""
    half = int.from_bytes(sha512(identity.seed).digest()[:32], "little")
    secret = (half & ((1 << 254) - 8)) | (1 << 254)
    nonce = crypto_core_ed25519_scalar_reduce(sha512(b"another nonce" + statement).digest())
    first = crypto_scalarmult_ed25519_base_noclamp(nonce)
    hashed = sha512(first + identity.public_key + statement).digest()
    challenge = int.from_bytes(crypto_core_ed25519_scalar_reduce(hashed), "little")
    response = (int.from_bytes(nonce, "little") + challenge * secret) % GROUP_ORDER
    signature = first + response.to_bytes(32, "little")
    verify(identity.public_key, statement, signature)
    return signature
