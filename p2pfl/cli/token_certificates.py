"""The certificates in a service's answer (RFC 3161), put into the order that DER wants.

The certificates beside a signature are a set, and DER writes a set by its members' bytes. Some
services, openssl's among them, write them as they were given, and strict readers refuse that. No
signature covers this order, so it is mended before anything is checked, and then all of it is.
"""

from typing import NamedTuple

_CERTIFICATES = 0xA0
"""The tag of `SignedData.certificates`: [0] IMPLICIT (RFC 5652, 5.1)."""

_LONG, _LENGTH_BYTES_MAX = 0x80, 4


class _Field(NamedTuple):
    """One DER field, by places: its tag's, its content's, and the one behind it."""

    tag: int
    start: int
    content: int
    end: int


def with_certificates_in_order(answer: bytes) -> bytes:
    """Sort the certificates of an answer; one that is not built so stays as it is.

    Args:
        answer: a TimeStampResp: SEQUENCE {status, SEQUENCE {type, [0] {SignedData}}}.
    """
    try:
        (response,) = _fields(answer, 0, len(answer))
        token = _inside(answer, response)[1]
        signed = _inside(answer, _inside(answer, token)[1])[0]
        found = [it for it in _inside(answer, signed) if it.tag == _CERTIFICATES]
        each = [answer[it.start : it.end] for one in found for it in _inside(answer, one)]
    except (ValueError, IndexError):
        return answer  # Who reads it says what is wrong.
    if len(found) != 1:
        return answer
    return answer[: found[0].content] + b"".join(sorted(each)) + answer[found[0].end :]


def _inside(data: bytes, field: _Field) -> list[_Field]:
    return _fields(data, field.content, field.end)


def _fields(data: bytes, start: int, end: int) -> list[_Field]:
    """Cut fields out of DER bytes.

    Raises:
        ValueError, IndexError: they are none.
    """
    fields = []
    while start < end:
        content, length = start + 2, data[start + 1]
        if length >= _LONG:
            count = length - _LONG
            if not 1 <= count <= _LENGTH_BYTES_MAX:
                raise ValueError("a length in another form")
            length = int.from_bytes(data[content : content + count])
            content += count
        if content + length > end:
            raise ValueError("a field is longer than what it is in")
        fields.append(_Field(data[start], start, content, content + length))
        start = content + length
    return fields
