"""Immutable records, and their strict msgpack form.

The one module that knows msgspec. A `Record` is a frozen value; a `Message` is a record that
travels: an array of its tag and its fields, nothing more. Decoding checks types, lengths and
bounds as the fields' annotations state them, in C: a frame costs about half a microsecond.
"""

from types import UnionType
from typing import Annotated, Any, TypeVar, cast

import msgspec
from msgspec import Meta

UInt32 = Annotated[int, Meta(ge=0, le=2**32 - 1)]
UInt63 = Annotated[int, Meta(ge=0, le=2**63 - 1)]  # msgspec has no bound beyond int64.
Digest = Annotated[bytes, Meta(min_length=32, max_length=32)]
Signature = Annotated[bytes, Meta(min_length=64, max_length=64)]


ByteSize = Meta
"""Bounds the size of a field: ``Annotated[bytes, ByteSize(max_length=8)]``."""

Range = Meta
"""Bounds a number: ``Annotated[int, Range(ge=1, le=8)]``."""

TextForm = Meta
"""Bounds a text, characters and length: ``Annotated[str, TextForm(pattern="^[a-z]{1,8}$")]``."""


class Record(msgspec.Struct, frozen=True):
    """A frozen value: actions and reports."""


class Message(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A value that travels. Each subclass has a `tag` of its own, a number; wire.py lists them."""


_Message = TypeVar("_Message", bound=Message)


def replaced(message: _Message, **fields: object) -> _Message:
    """Return a message with other values in some fields."""
    return msgspec.structs.replace(message, **fields)


class MalformedFrame(ValueError):
    """Bytes from outside that are no message of ours."""


class Codec:
    """Encodes and decodes a closed set of messages, none longer than `frame_bytes_max`."""

    def __init__(self, messages: UnionType | type[Message], *, frame_bytes_max: int) -> None:
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(cast("Any", messages))
        self._frame_bytes_max = frame_bytes_max

    def encode(self, message: Message) -> bytes:
        """Encode one message as one frame.

        Raises:
            ValueError: the frame would be longer than a receiver takes.
        """
        frame = self._encoder.encode(message)
        if len(frame) > self._frame_bytes_max:
            raise ValueError(
                f"{type(message).__name__} takes {len(frame)} bytes,"
                f" more than the {self._frame_bytes_max} that a frame may have"
            )
        return frame

    def decode_untrusted(self, frame: bytes | bytearray | memoryview) -> Message:
        """Decode one frame from outside.

        Raises:
            MalformedFrame: too long, not msgpack, no message of the set, or a field out of bounds.
        """
        if len(frame) > self._frame_bytes_max:
            raise MalformedFrame(f"{len(frame)} bytes, more than {self._frame_bytes_max}")
        try:
            message: Message = self._decoder.decode(frame)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise MalformedFrame(str(error)) from None
        return message
