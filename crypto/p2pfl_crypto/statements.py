"""Signed statements: what a member of a session says, under its kind and its place.

The signature covers H("p2pfl/sig", kind, sender index, body). So a body signed as one kind of
statement, or from one place, never passes for another.
"""

from p2pfl_crypto.hashing import Buffer, hash_parts
from p2pfl_crypto.identity import Identity, verify

KIND_BYTES_MAX = 32  # The longest kind in use has 8; a kind is a name, not a carrier.


def statement_digest(kind: bytes, sender: int, *body: Buffer) -> bytes:
    """Hash what a member states.

    Args:
        kind: name of the kind of statement, 1 to 32 bytes.
        sender: place of the member, 0 <= sender < 2^32, hashed as LE32.
        body: the parts stated; each is prefixed by its length.

    Returns:
        32 bytes, which are what is signed.
    """
    if not 0 < len(kind) <= KIND_BYTES_MAX:
        raise ValueError(f"a kind has 1 to {KIND_BYTES_MAX} bytes, not {len(kind)}")
    return hash_parts(b"p2pfl/sig", kind, sender.to_bytes(4, "little"), *body)


def sign_statement(identity: Identity, kind: bytes, sender: int, *body: Buffer) -> bytes:
    """Sign a statement; 64 bytes."""
    return identity.sign(statement_digest(kind, sender, *body))


def verify_statement(
    public_key: bytes, kind: bytes, sender: int, signature: bytes, *body: Buffer
) -> None:
    """Check a statement's signature.

    Raises:
        InvalidIdentity: the signature is not of this key, kind, sender and body.
    """
    verify(public_key, statement_digest(kind, sender, *body), signature)
