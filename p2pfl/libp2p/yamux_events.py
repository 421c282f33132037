"""What a yamux session tells its driver."""

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """The other end opened a stream."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class DataReceived:
    """A piece of a stream's data; `data` is valid until the machine is fed again."""

    stream_id: int
    data: memoryview


@dataclass(frozen=True, slots=True)
class StreamFinishedWriting:
    """The other end will send nothing more on the stream."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class StreamWasReset:
    """The other end abandoned the stream; it is forgotten."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class WindowGrown:
    """The other end takes more of the stream."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class PingAnswered:
    """The other end answered a ping of ours."""

    value: int


@dataclass(frozen=True, slots=True)
class GoneAway:
    """The other end ends the session; `code` is a `GoAwayCode` or not."""

    code: int


Event: TypeAlias = (
    StreamOpened
    | DataReceived
    | StreamFinishedWriting
    | StreamWasReset
    | WindowGrown
    | PingAnswered
    | GoneAway
)
