"""multistream-select 1.0: agreeing on a protocol, as two machines without IO.

Follows multiformats/multistream-select. Each message is a varint length, a text and a newline,
which the length includes. Both ends send `/multistream/1.0.0`; the dialer proposes one protocol at
a time; the listener echoes it or answers `na`.

Departures, both allowed: the dialer sends the header and its first proposal together, and the
listener answers `na` to `ls` (listing; js-libp2p and go-libp2p peers ask identify instead).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from p2pfl.libp2p.errors import LocalFault, MalformedBytes, RemoteFault
from p2pfl.libp2p.varint import decode_varint_untrusted, encode_varint

HEADER = "/multistream/1.0.0"
# Names in use are shorter than 80 bytes; go-libp2p refuses above 1024 (with the newline).
PROTOCOL_NAME_BYTES_MAX = 256
# A dialer of ours proposes what its caller gave; one that goes through longer lists is probing.
PROPOSALS_MAX = 16
_REFUSAL = "na"


def encode_message(text: str) -> bytes:
    """Encode one multistream message.

    Raises:
        LocalFault: empty, too long, or holding a newline.
    """
    content = text.encode()
    if not 0 < len(content) <= PROTOCOL_NAME_BYTES_MAX or b"\n" in content:
        raise LocalFault(f"{text[:80]!r} cannot be a protocol name")
    return encode_varint(len(content) + 1) + content + b"\n"


class _Negotiation(ABC):
    """What both ends share: splitting the input into messages.

    Attributes:
        protocol: the protocol agreed on; None until then.
        rest: what came after the last message of the negotiation; belongs to the protocol.
    """

    _greeting = b""  # What answers the other end's header.

    def __init__(self) -> None:
        self.protocol: str | None = None
        self.rest = b""
        self._buffer = bytearray()
        self._greeted = False

    def receive_untrusted(self, data: bytes) -> bytes:
        """Take bytes from the other end; return those to send back.

        Raises:
            RemoteFault: the other end does not follow the protocol.
        """
        if self.protocol is not None:
            raise LocalFault("the negotiation is over")
        self._buffer += data
        answer = bytearray()
        while self.protocol is None and (text := self._next_untrusted()) is not None:
            if self._greeted:
                answer += self._on_text_untrusted(text)
            elif text == HEADER:
                self._greeted = True
                answer += self._greeting
            else:
                raise RemoteFault("multistream_header")
        if self.protocol is not None:
            self.rest = bytes(self._buffer)
            self._buffer.clear()
        return bytes(answer)

    def _next_untrusted(self) -> str | None:
        decoded = decode_varint_untrusted(self._buffer, 0)
        if decoded is None:
            return None
        length, start = decoded
        if not 1 <= length <= PROTOCOL_NAME_BYTES_MAX + 1:
            raise MalformedBytes("multistream_message_length")
        end = start + length
        if len(self._buffer) < end:
            return None
        content = bytes(self._buffer[start:end])
        del self._buffer[:end]
        if content[-1:] != b"\n":
            raise MalformedBytes("multistream_no_newline")
        try:
            return content[:-1].decode()
        except UnicodeDecodeError:
            raise MalformedBytes("multistream_not_utf8") from None

    @abstractmethod
    def _on_text_untrusted(self, text: str) -> bytes: ...


class MultistreamDialer(_Negotiation):
    """Proposes `protocols` in order; `refused` once the other end has refused them all."""

    def __init__(self, protocols: Sequence[str]) -> None:
        super().__init__()
        if not 0 < len(protocols) <= PROPOSALS_MAX:
            raise LocalFault(f"propose 1 to {PROPOSALS_MAX} protocols")
        self.refused = False
        self._proposals = list(protocols)
        self._messages = [encode_message(protocol) for protocol in protocols]

    def start(self) -> bytes:
        """The first bytes to send: the header and the first proposal."""
        return encode_message(HEADER) + self._messages[0]

    def _on_text_untrusted(self, text: str) -> bytes:
        if self.refused:
            raise RemoteFault("multistream_unexpected")
        if text == self._proposals[0]:
            self.protocol = text
            return b""
        if text != _REFUSAL:
            raise RemoteFault("multistream_unexpected")
        del self._proposals[0], self._messages[0]
        self.refused = not self._proposals
        return b"" if self.refused else self._messages[0]


class MultistreamListener(_Negotiation):
    """Agrees to the first proposal that `speaks` says yes to; sends nothing unasked."""

    _greeting = encode_message(HEADER)

    def __init__(self, speaks: Callable[[str], bool]) -> None:
        super().__init__()
        self._speaks = speaks
        self._refusals = 0

    def _on_text_untrusted(self, text: str) -> bytes:
        if self._speaks(text):
            self.protocol = text
            return encode_message(text)
        self._refusals += 1
        if self._refusals > PROPOSALS_MAX:
            raise RemoteFault("multistream_too_many_proposals")
        return encode_message(_REFUSAL)
