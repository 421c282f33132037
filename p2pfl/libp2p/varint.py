"""Unsigned varints (multiformats unsigned-varint; the same bytes as protobuf's for uint64).

Little-endian groups of seven bits. Strict: at most `VARINT_BYTES_MAX` bytes and no trailing zero
group, so every number has one encoding.
"""

from p2pfl.libp2p.errors import MalformedBytes

VARINT_BYTES_MAX = 9  # unsigned-varint: numbers below 2^63, "the maximum is 9 bytes".


def encode_varint(number: int) -> bytes:
    """Encode 0 <= `number` < 2^63 in one to nine bytes."""
    assert 0 <= number < 1 << 63
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def decode_varint_untrusted(buffer: bytes | bytearray, offset: int) -> tuple[int, int] | None:
    """Decode the varint at `offset`.

    Returns:
        The number and the offset after it, or None where `buffer` ends before the varint does.

    Raises:
        MalformedBytes: longer than nine bytes, or not the shortest encoding.
    """
    number = 0
    for length, byte in enumerate(buffer[offset : offset + VARINT_BYTES_MAX]):
        number |= (byte & 0x7F) << (7 * length)
        if byte < 0x80:
            if byte == 0 and length:
                raise MalformedBytes("varint_not_minimal")
            return number, offset + length + 1
    if len(buffer) - offset >= VARINT_BYTES_MAX:
        raise MalformedBytes("varint_too_long")
    return None
