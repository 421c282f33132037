"""From a bare TCP connection to an authenticated, encrypted, multiplexed one, without IO.

Follows the libp2p specification "Connection establishment", section "Upgrading connections":
multistream-select agrees on `/noise`, the Noise handshake proves both identities, and the muxer,
always `/yamux/1.0.0`, is agreed on within the handshake, or, where the other end does not know how,
by multistream-select once more inside the channel. Nothing but Noise is ever offered or taken.
"""

from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from p2pfl.libp2p import noise, yamux_frames
from p2pfl.libp2p.errors import RemoteFault
from p2pfl.libp2p.multistream import MultistreamDialer, MultistreamListener
from p2pfl.libp2p.noise import NoiseChannel, NoiseHandshake
from p2pfl_crypto.identity import Identity, PeerId

_MUXERS = (yamux_frames.PROTOCOL,)


@dataclass(frozen=True, slots=True)
class Upgraded:
    """A finished upgrade.

    Attributes:
        peer_id: who proved to be at the other end.
        incarnation: the Noise key of the other end, 32 bytes, which it proved to hold.
        channel: seals and opens all that follows.
        rest: bytes received after the upgrade, still sealed.
        plaintext: bytes received after the upgrade, opened already; they come before `rest`.
    """

    peer_id: PeerId
    incarnation: bytes
    channel: NoiseChannel
    rest: bytes
    plaintext: bytes


class Upgrade:
    """One end's upgrade, fed with bytes as they come.

    Attributes:
        result: None until the upgrade is finished.
    """

    def __init__(
        self,
        identity: Identity,
        *,
        dialer: bool,
        static: X25519PrivateKey,
        ephemeral: X25519PrivateKey,
        admit: Callable[[PeerId], None],
    ) -> None:
        """Prepare an upgrade; the arguments are `NoiseHandshake`'s."""
        self.result: Upgraded | None = None
        self._dialer = dialer
        self._security = self._negotiation(noise.PROTOCOL)
        self._noise = NoiseHandshake(
            identity,
            initiator=dialer,
            static=static,
            ephemeral=ephemeral,
            muxers=_MUXERS,
            admit=admit,
        )
        self._channel: NoiseChannel | None = None
        self._sealed = b""
        self._muxer = self._negotiation(yamux_frames.PROTOCOL)

    def start(self) -> bytes:
        """The first bytes to send: nothing where the other end begins."""
        return self._security.start() if isinstance(self._security, MultistreamDialer) else b""

    def receive_untrusted(self, data: bytes) -> bytes:
        """Take bytes from the other end; return those to send back.

        Raises:
            RemoteFault: the upgrade failed; the connection is of no use.
        """
        answer = b""
        if self._security.protocol is None:
            answer += self._negotiate_untrusted(self._security, data)
            if self._security.protocol is None:
                return answer
            data = self._security.rest
            answer += self._noise.start()
        if self._channel is None:
            answer += self._noise.receive_untrusted(data)
            if not self._noise.complete:
                return answer
            data = self._noise.rest
            self._channel = NoiseChannel(*self._noise.split())
            if self._noise.agreed_muxer() is not None:
                self._finish(self._channel, b"", data)
                return answer
            if isinstance(self._muxer, MultistreamDialer):
                answer += self._seal(self._channel, self._muxer.start())
        return answer + self._agree_on_muxer_untrusted(self._channel, data)

    def _agree_on_muxer_untrusted(self, channel: NoiseChannel, data: bytes) -> bytes:
        sealed = self._sealed + data
        opened = memoryview(bytearray(len(sealed)))
        used, filled = channel.open_into_untrusted(memoryview(sealed), opened)
        self._sealed = sealed[used:]
        answer = self._negotiate_untrusted(self._muxer, bytes(opened[:filled]))
        if self._muxer.protocol is not None:
            self._finish(channel, self._muxer.rest, self._sealed)
        return self._seal(channel, answer)

    def _negotiate_untrusted(
        self, machine: MultistreamDialer | MultistreamListener, data: bytes
    ) -> bytes:
        answer = machine.receive_untrusted(data)
        if isinstance(machine, MultistreamDialer) and machine.refused:
            reason = "noise_refused" if machine is self._security else "yamux_refused"
            raise RemoteFault(reason)
        return answer

    def _negotiation(self, protocol: str) -> MultistreamDialer | MultistreamListener:
        if self._dialer:
            return MultistreamDialer([protocol])
        return MultistreamListener(lambda proposal: proposal == protocol)

    def _finish(self, channel: NoiseChannel, plaintext: bytes, rest: bytes) -> None:
        noise = self._noise
        self.result = Upgraded(
            noise.remote_peer_id, noise.remote_incarnation, channel, rest, plaintext
        )

    @staticmethod
    def _seal(channel: NoiseChannel, plaintext: bytes) -> bytes:
        sealed = bytearray(noise.sealed_bytes(len(plaintext)))
        channel.seal_into(memoryview(plaintext), memoryview(sealed))
        return bytes(sealed)
