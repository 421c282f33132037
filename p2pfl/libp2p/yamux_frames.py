"""yamux 1.0.0 on the wire: twelve bytes of header, then the body of a data frame.

Follows hashicorp/yamux `spec.md`, section "Framing", and the libp2p specification "yamux".
"""

import struct
from enum import IntEnum
from typing import NamedTuple

from p2pfl.libp2p.errors import MalformedBytes

PROTOCOL = "/yamux/1.0.0"
HEADER_BYTES = 12
INITIAL_WINDOW_BYTES = 256 * 1024  # Both ends assume it; only growth can be told.
WINDOW_BYTES_MAX = 0xFFFFFFFF  # A window update is a uint32.


class FrameType(IntEnum):
    """Section "Type Field"."""

    DATA = 0
    WINDOW_UPDATE = 1
    PING = 2
    GO_AWAY = 3


class Flag(IntEnum):
    """Section "Flag Field"; combined by ``|`` to a plain int, which IntFlag does far slower."""

    SYN = 1
    ACK = 2
    FIN = 4
    RST = 8


class GoAwayCode(IntEnum):
    """Section "Session termination"."""

    NORMAL = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2


class FrameHeader(NamedTuple):
    """One frame's header.

    Attributes:
        type: a `FrameType`.
        flags: `Flag`s.
        stream_id: 0 for the session itself.
        length: body bytes, window growth in bytes, ping value or go-away code.
    """

    type: int
    flags: int
    stream_id: int
    length: int


_header = struct.Struct(">BBHII")
_FLAGS_ALL = int(Flag.SYN | Flag.ACK | Flag.FIN | Flag.RST)


def encode_header(frame_type: int, flags: int, stream_id: int, length: int) -> bytes:
    """Encode a frame's header."""
    return _header.pack(0, frame_type, flags, stream_id, length)


def decode_header_untrusted(buffer: bytes | bytearray | memoryview, offset: int) -> FrameHeader:
    """Decode the header at `offset`, where `HEADER_BYTES` bytes are known to be.

    Raises:
        MalformedBytes: another version, an unknown type or flag, or flags that exclude each other.
    """
    version, frame_type, flags, stream_id, length = _header.unpack_from(buffer, offset)
    if version != 0:
        raise MalformedBytes("yamux_version")
    if frame_type > FrameType.GO_AWAY:
        raise MalformedBytes("yamux_type")
    if flags & ~_FLAGS_ALL or flags & 3 == 3:
        raise MalformedBytes("yamux_flags")
    if (stream_id == 0) != (frame_type >= FrameType.PING):
        raise MalformedBytes("yamux_stream_id")
    return FrameHeader(frame_type, flags, stream_id, length)
