"""The Noise Protocol Framework (revision 34), one pattern: Noise_XX_25519_ChaChaPoly_SHA256.

    -> e
    <- e, ee, s, es
    -> s, se

Section numbers below are the framework's. Only what XX needs is here: no pre-messages, no PSK, no
rekey. What libp2p puts into the payloads is in `noise.py`.
"""

import hashlib
import hmac
import struct
from typing import TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from p2pfl.libp2p.errors import LocalFault, RemoteFault

Buffer: TypeAlias = bytes | bytearray | memoryview

PROTOCOL_NAME = b"Noise_XX_25519_ChaChaPoly_SHA256"
KEY_BYTES = 32
TAG_BYTES = 16
MESSAGE_BYTES_MAX = 65535  # Section 3, "Message format".
PLAINTEXT_BYTES_MAX = MESSAGE_BYTES_MAX - TAG_BYTES

_nonce = struct.Struct("<4xQ").pack  # Section 12: 32 zero bits, then the counter, little-endian.
_NONCE_END = (1 << 64) - 1  # Section 5.1: the last value is reserved.


class CipherState:
    """One direction's key and message counter (section 5.1), without associated data."""

    __slots__ = ("_aead", "_count")

    def __init__(self, key: bytes) -> None:
        self._aead = ChaCha20Poly1305(key)
        self._count = 0

    def encrypt_into(self, plaintext: Buffer, out: memoryview) -> None:
        """Encrypt into `out`, which is `TAG_BYTES` longer than `plaintext`."""
        if self._count == _NONCE_END:
            raise LocalFault("the key has sealed as many messages as it may")
        self._aead.encrypt_into(_nonce(self._count), plaintext, None, out)
        self._count += 1

    def decrypt_into_untrusted(self, ciphertext: Buffer, out: memoryview) -> None:
        """Decrypt into `out`, which is `TAG_BYTES` shorter than `ciphertext`.

        Raises:
            RemoteFault: not the next message under this key; the connection is over.
        """
        if len(ciphertext) < TAG_BYTES or self._count == _NONCE_END:
            raise RemoteFault("noise_decrypt")
        try:
            self._aead.decrypt_into(_nonce(self._count), ciphertext, None, out)
        except InvalidTag:
            raise RemoteFault("noise_decrypt") from None
        self._count += 1


class HandshakeXX:
    """One end's handshake (section 5.3): the three messages alternate, the initiator begins.

    Attributes:
        handshake_hash: 32 bytes that bind all that was said (section 11.2).
        remote_static: the other end's 32-byte static key once it has been received.
        complete: all three messages are through; `split` may be called.
    """

    def __init__(
        self,
        *,
        initiator: bool,
        static: X25519PrivateKey,
        ephemeral: X25519PrivateKey,
        prologue: bytes = b"",
    ) -> None:
        self.handshake_hash = PROTOCOL_NAME  # Exactly HASHLEN bytes, so not hashed (section 5.2).
        self.remote_static: bytes | None = None
        self._chaining_key = PROTOCOL_NAME
        self._cipher_key: bytes | None = None
        self._cipher_count = 0
        self._initiator = initiator
        self._static = static
        self._ephemeral = ephemeral
        self._remote_ephemeral = b""
        self._message = 0  # Of three: 0 and 2 are the initiator's.
        self._mix_hash(prologue)

    @property
    def complete(self) -> bool:
        """Whether all three messages are through."""
        return self._message == 3

    def write_message(self, payload: bytes) -> bytes:
        """The next handshake message, carrying `payload`."""
        if self.complete or (self._message % 2 == 0) != self._initiator:
            raise LocalFault("it is the other end's turn")
        message = bytearray()
        if self._message < 2:
            public = self._ephemeral.public_key().public_bytes_raw()
            self._mix_hash(public)
            message += public
        if self._message == 1:
            self._mix_key(self._ephemeral, self._remote_ephemeral)  # ee
        if self._message > 0:
            message += self._encrypt_and_hash(self._static.public_key().public_bytes_raw())
            self._mix_key(self._static, self._remote_ephemeral)  # es of message 1, se of message 2
        message += self._encrypt_and_hash(payload)
        self._message += 1
        if len(message) > MESSAGE_BYTES_MAX:
            raise LocalFault("the payload is too long for a Noise message")
        return bytes(message)

    def read_message_untrusted(self, message: bytes) -> bytes:
        """Take the other end's next handshake message and return its payload.

        Raises:
            RemoteFault: not that message; the handshake is over.
        """
        if self.complete or (self._message % 2 == 0) == self._initiator:
            raise RemoteFault("noise_unexpected_message")
        if self._message < 2:
            if len(message) < KEY_BYTES:
                raise RemoteFault("noise_truncated")
            self._remote_ephemeral, message = message[:KEY_BYTES], message[KEY_BYTES:]
            self._mix_hash(self._remote_ephemeral)
        if self._message == 1:
            self._mix_key(self._ephemeral, self._remote_ephemeral)  # ee
        if self._message > 0:
            sealed, message = message[: KEY_BYTES + TAG_BYTES], message[KEY_BYTES + TAG_BYTES :]
            self.remote_static = self._decrypt_and_hash_untrusted(sealed)
            self._mix_key(self._ephemeral, self.remote_static)  # es of message 1, se of message 2
        payload = self._decrypt_and_hash_untrusted(message)
        self._message += 1
        return payload

    def split(self) -> tuple[CipherState, CipherState]:
        """The ciphers to send and to receive with."""
        if not self.complete:
            raise LocalFault("the handshake is not complete")
        first, second = _hkdf(self._chaining_key, b"")
        sending, receiving = (first, second) if self._initiator else (second, first)
        return CipherState(sending), CipherState(receiving)

    def _mix_hash(self, data: bytes) -> None:
        self.handshake_hash = hashlib.sha256(self.handshake_hash + data).digest()

    def _mix_key(self, private: X25519PrivateKey, public: bytes) -> None:
        try:
            shared = private.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError:  # A point of low order or a wrong length: the result would be zero.
            raise RemoteFault("noise_weak_key") from None
        self._chaining_key, self._cipher_key = _hkdf(self._chaining_key, shared)
        self._cipher_count = 0

    def _encrypt_and_hash(self, plaintext: bytes) -> bytes:
        sealed = plaintext
        if self._cipher_key is not None:
            aead = ChaCha20Poly1305(self._cipher_key)
            sealed = aead.encrypt(_nonce(self._cipher_count), plaintext, self.handshake_hash)
            self._cipher_count += 1
        self._mix_hash(sealed)
        return sealed

    def _decrypt_and_hash_untrusted(self, sealed: bytes) -> bytes:
        plaintext = sealed
        if self._cipher_key is not None:
            aead = ChaCha20Poly1305(self._cipher_key)
            try:
                plaintext = aead.decrypt(_nonce(self._cipher_count), sealed, self.handshake_hash)
            except InvalidTag:
                raise RemoteFault("noise_decrypt") from None
            self._cipher_count += 1
        self._mix_hash(sealed)
        return plaintext


def _hkdf(chaining_key: bytes, material: bytes) -> tuple[bytes, bytes]:
    """HKDF with two outputs of 32 bytes (section 4.3)."""
    secret = hmac.digest(chaining_key, material, "sha256")
    first = hmac.digest(secret, b"\x01", "sha256")
    return first, hmac.digest(secret, first + b"\x02", "sha256")
