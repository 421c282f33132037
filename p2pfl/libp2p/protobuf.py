"""The little of protobuf that libp2p's handshake and identify messages need, decoded strictly.

All their fields are length-delimited (wire type 2): bytes, strings, embedded messages. So a message
is a list of (field number, bytes). Stricter than the protobuf specification: a varint is minimal, a
singular field comes once, a known field has wire type 2, strings are UTF-8. Unknown fields are
skipped, as its rules for extension demand, but counted against the same limit as known ones.
"""

from collections.abc import Iterable, Mapping

from p2pfl.libp2p.errors import MalformedBytes
from p2pfl.libp2p.varint import decode_varint_untrusted, encode_varint

# An identify message has one field for each protocol and each address of a peer; go-libp2p hosts
# with every transport enabled send about 60.
FIELDS_MAX = 256
_WIRE_BYTES = 2
_FIXED_SIZES = {1: 8, 5: 4}


def encode_fields(fields: Iterable[tuple[int, bytes]]) -> bytes:
    """Encode (field number, bytes) pairs in the order given."""
    encoded = bytearray()
    for number, content in fields:
        encoded += encode_varint(number << 3 | _WIRE_BYTES)
        encoded += encode_varint(len(content))
        encoded += content
    return bytes(encoded)


def decode_fields_untrusted(message: bytes, known: Mapping[int, int]) -> dict[int, list[bytes]]:
    """Decode a message of length-delimited fields.

    Args:
        message: the whole message; its length was bounded by whoever framed it.
        known: field number -> how often it may come at most.

    Returns:
        Known field number -> its contents in order; a missing field has an empty list.

    Raises:
        MalformedBytes: not such a message.
    """
    fields: dict[int, list[bytes]] = {number: [] for number in known}
    offset = 0
    for _ in range(FIELDS_MAX):
        if offset == len(message):
            return fields
        tag, offset = _varint_untrusted(message, offset)
        number, wire = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:
            raise MalformedBytes("protobuf_field_number")
        if number in known and wire != _WIRE_BYTES:
            raise MalformedBytes("protobuf_wire_type")
        start = offset
        if wire == 0:
            _, offset = _varint_untrusted(message, offset)
        elif wire == _WIRE_BYTES:
            length, start = _varint_untrusted(message, offset)
            offset = start + length
        elif wire in _FIXED_SIZES:
            offset += _FIXED_SIZES[wire]
        else:  # Groups (3, 4) were deprecated before libp2p began.
            raise MalformedBytes("protobuf_wire_type")
        if offset > len(message):
            raise MalformedBytes("protobuf_truncated")
        if number in known:
            if len(fields[number]) >= known[number]:
                raise MalformedBytes("protobuf_field_repeated")
            fields[number].append(message[start:offset])
    if offset == len(message):
        return fields
    raise MalformedBytes("protobuf_too_many_fields")


def decode_text_untrusted(content: bytes) -> str:
    """Decode a string field, which must be UTF-8."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise MalformedBytes("protobuf_not_utf8") from None


def _varint_untrusted(message: bytes, offset: int) -> tuple[int, int]:
    decoded = decode_varint_untrusted(message, offset)
    if decoded is None:
        raise MalformedBytes("protobuf_truncated")
    return decoded
