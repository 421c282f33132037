"""libp2p's Noise channel: the signed handshake payload and the framing, without IO.

Follows the libp2p specification "noise-libp2p" and "Stream multiplexer negotiation in security
handshake". On the wire each Noise message follows its length as two bytes, big-endian. The payloads
of the second and third handshake message prove that the sender's libp2p identity owns its Noise
static key, and list the stream muxers it speaks.
"""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from p2pfl.libp2p.errors import MalformedBytes, RemoteFault
from p2pfl.libp2p.noise_xx import (
    MESSAGE_BYTES_MAX,
    PLAINTEXT_BYTES_MAX,
    TAG_BYTES,
    Buffer,
    CipherState,
    HandshakeXX,
)
from p2pfl.libp2p.protobuf import decode_fields_untrusted, decode_text_untrusted, encode_fields
from p2pfl_crypto.identity import (
    Identity,
    InvalidIdentity,
    PeerId,
    decode_public_key,
    encode_public_key,
    peer_id_of,
    verify,
)

PROTOCOL = "/noise"
LENGTH_BYTES = 2
MESSAGE_OVERHEAD_BYTES = LENGTH_BYTES + TAG_BYTES
# Key (36), signature (64), extensions: ours take about 130 bytes, go-libp2p's with WebTransport
# certificate hashes under 300. A handshake message adds 96.
HANDSHAKE_MESSAGE_BYTES_MAX = 4096
MUXERS_MAX = 16
CERTIFICATE_HASHES_MAX = 16  # For WebTransport; skipped.

_SIGNED_PREFIX = b"noise-libp2p-static-key:"
_length = struct.Struct(">H")


@dataclass(frozen=True, slots=True)
class HandshakePayload:
    """What a peer proves and offers in its handshake payload.

    Attributes:
        public_key: its 32-byte Ed25519 identity key.
        signature: by that key, of the prefix and the Noise static key.
        muxers: protocol names of its stream muxers in its order of preference.
    """

    public_key: bytes
    signature: bytes
    muxers: tuple[str, ...]


def sign_payload(identity: Identity, static_key: bytes, muxers: Sequence[str]) -> HandshakePayload:
    """Prove that `identity` owns the Noise static key."""
    signature = identity.sign(_SIGNED_PREFIX + static_key)
    return HandshakePayload(identity.public_key, signature, tuple(muxers))


def encode_payload(payload: HandshakePayload) -> bytes:
    """Encode as `NoiseHandshakePayload`: identity_key 1, identity_sig 2, extensions 4."""
    extensions = encode_fields((2, muxer.encode()) for muxer in payload.muxers)
    key = encode_public_key(payload.public_key)
    return encode_fields([(1, key), (2, payload.signature), (4, extensions)])


def decode_payload_untrusted(encoded: bytes) -> HandshakePayload:
    """Decode a `NoiseHandshakePayload`; its signature is not verified here.

    Raises:
        MalformedBytes: not such a message, or not the key of an Ed25519 identity.
    """
    fields = decode_fields_untrusted(encoded, {1: 1, 2: 1, 4: 1})
    if not (fields[1] and fields[2]):
        raise MalformedBytes("noise_payload_incomplete")
    try:
        public_key = decode_public_key(fields[1][0])
    except InvalidIdentity:
        raise MalformedBytes("noise_identity_key") from None
    muxers: list[str] = []
    for extensions in fields[4]:
        known = {1: CERTIFICATE_HASHES_MAX, 2: MUXERS_MAX}
        listed = decode_fields_untrusted(extensions, known)[2]
        muxers = [decode_text_untrusted(muxer) for muxer in listed]
    return HandshakePayload(public_key, fields[2][0], tuple(muxers))


class NoiseHandshake:
    """One end's libp2p Noise handshake, fed with bytes as they come.

    Attributes:
        remote: the other end's payload once verified; None until then.
        rest: bytes that came after the handshake; they belong to the channel.
    """

    def __init__(
        self,
        identity: Identity,
        *,
        initiator: bool,
        static: X25519PrivateKey,
        ephemeral: X25519PrivateKey,
        muxers: Sequence[str],
        admit: Callable[[PeerId], None],
    ) -> None:
        """Prepare one handshake.

        Args:
            identity: who we are.
            initiator: whether we dialled.
            static: our Noise key; may serve many connections.
            ephemeral: a fresh key, for this handshake only.
            muxers: the stream muxers we speak, best first.
            admit: raises RemoteFault for a peer that must not be spoken to; called as soon
                as the other end has proved who it is, before anything more is sent to it.
        """
        self.remote: HandshakePayload | None = None
        self.rest = b""
        self._noise = HandshakeXX(initiator=initiator, static=static, ephemeral=ephemeral)
        self._initiator = initiator
        self._admit = admit
        static_key = static.public_key().public_bytes_raw()
        self._payload = encode_payload(sign_payload(identity, static_key, muxers))
        self._muxers = tuple(muxers)
        self._buffer = bytearray()

    @property
    def complete(self) -> bool:
        """Whether `split` may be called."""
        return self._noise.complete

    @property
    def remote_peer_id(self) -> PeerId:
        """Who proved to be at the other end."""
        assert self.remote is not None, "the other end has proved nothing yet"
        return peer_id_of(self.remote.public_key)

    @property
    def remote_incarnation(self) -> bytes:
        """The other end's static key, 32 bytes: it changes with each process."""
        assert self._noise.remote_static is not None, "the other end has proved nothing yet"
        return self._noise.remote_static

    def start(self) -> bytes:
        """The first bytes to send: nothing where the other end begins."""
        return self._frame(b"") if self._initiator else b""

    def receive_untrusted(self, data: bytes) -> bytes:
        """Take bytes from the other end; return those to send back.

        Raises:
            RemoteFault: the handshake failed, or somebody else than expected is there.
        """
        self._buffer += data
        answer = b""
        while not self.complete and len(self._buffer) >= LENGTH_BYTES:
            (length,) = _length.unpack_from(self._buffer)
            if length > HANDSHAKE_MESSAGE_BYTES_MAX:
                raise MalformedBytes("noise_handshake_length")
            end = LENGTH_BYTES + length
            if len(self._buffer) < end:
                break
            message = bytes(self._buffer[LENGTH_BYTES:end])
            del self._buffer[:end]
            answer += self._on_message_untrusted(message)
        if self.complete:
            self.rest, self._buffer = bytes(self._buffer), bytearray()
        return answer

    def agreed_muxer(self) -> str | None:
        """The muxer that both want: the first of the initiator's list that the responder speaks.

        Returns:
            None where one end listed none: then multistream-select decides.

        Raises:
            RemoteFault: both listed some, but none in common.
        """
        assert self.remote is not None
        if not (self.remote.muxers and self._muxers):
            return None
        initiator, responder = self._muxers, self.remote.muxers
        if not self._initiator:
            initiator, responder = responder, initiator
        for muxer in initiator:
            if muxer in responder:
                return muxer
        raise RemoteFault("no_common_muxer")

    def split(self) -> tuple[CipherState, CipherState]:
        """The ciphers to send and to receive with."""
        return self._noise.split()

    def _on_message_untrusted(self, message: bytes) -> bytes:
        payload = self._noise.read_message_untrusted(message)
        if self._noise.remote_static is None:  # The first message: an ephemeral key, no payload.
            if payload:
                raise RemoteFault("noise_early_payload")
        else:
            self._verify_untrusted(payload, self._noise.remote_static)
        return b"" if self.complete else self._frame(self._payload)

    def _verify_untrusted(self, encoded: bytes, static_key: bytes) -> None:
        payload = decode_payload_untrusted(encoded)
        try:
            verify(payload.public_key, _SIGNED_PREFIX + static_key, payload.signature)
        except InvalidIdentity:
            raise RemoteFault("noise_identity_signature") from None
        self._admit(peer_id_of(payload.public_key))
        self.remote = payload

    def _frame(self, payload: bytes) -> bytes:
        message = self._noise.write_message(payload)
        return _length.pack(len(message)) + message


class NoiseChannel:
    """Both directions after the handshake: plaintext <-> framed Noise messages."""

    __slots__ = ("_receiving", "_sending")

    def __init__(self, sending: CipherState, receiving: CipherState) -> None:
        self._sending = sending
        self._receiving = receiving

    def seal_into(self, plaintext: memoryview, out: memoryview) -> int:
        """Seal all of `plaintext` into `out`, as few messages as possible.

        Args:
            plaintext: bytes to send.
            out: at least `sealed_bytes(len(plaintext))` bytes.

        Returns:
            How many bytes of `out` were filled.
        """
        filled = 0
        for start in range(0, len(plaintext), PLAINTEXT_BYTES_MAX):
            piece = plaintext[start : start + PLAINTEXT_BYTES_MAX]
            sealed = len(piece) + TAG_BYTES
            _length.pack_into(out, filled, sealed)
            filled += LENGTH_BYTES
            self._sending.encrypt_into(piece, out[filled : filled + sealed])
            filled += sealed
        return filled

    def open_into_untrusted(self, data: memoryview, out: memoryview) -> tuple[int, int]:
        """Open the whole messages at the start of `data`, one after the other, into `out`.

        Args:
            data: bytes received; may end within a message.
            out: at least as long as `data`.

        Returns:
            How many bytes of `data` were used and how many of `out` were filled.

        Raises:
            RemoteFault: a message that this key did not seal.
        """
        used = filled = 0
        while len(data) - used >= LENGTH_BYTES:
            (length,) = _length.unpack_from(data, used)
            start = used + LENGTH_BYTES
            if len(data) - start < length:
                break
            if length < TAG_BYTES:
                raise MalformedBytes("noise_message_length")
            opened = length - TAG_BYTES
            self._receiving.decrypt_into_untrusted(
                data[start : start + length], out[filled : filled + opened]
            )
            used, filled = start + length, filled + opened
        return used, filled


def sealed_bytes(plaintext_bytes: int) -> int:
    """How many bytes `seal_into` makes of so many."""
    return plaintext_bytes + -(-plaintext_bytes // PLAINTEXT_BYTES_MAX) * MESSAGE_OVERHEAD_BYTES


FRAMED_MESSAGE_BYTES_MAX = LENGTH_BYTES + MESSAGE_BYTES_MAX

__all__ = [
    "FRAMED_MESSAGE_BYTES_MAX",
    "PLAINTEXT_BYTES_MAX",
    "PROTOCOL",
    "Buffer",
    "HandshakePayload",
    "NoiseChannel",
    "NoiseHandshake",
    "decode_payload_untrusted",
    "encode_payload",
    "sealed_bytes",
    "sign_payload",
]
