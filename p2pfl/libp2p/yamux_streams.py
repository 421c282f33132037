"""A yamux stream's states and windows: what a session keeps of each."""

from enum import Enum

from p2pfl.libp2p.yamux_frames import INITIAL_WINDOW_BYTES, Flag


class StreamState(Enum):
    """Which directions of a stream are open; a stream with none is forgotten."""

    OPEN = "both open"
    FINISHED_LOCALLY = "we have sent FIN"
    FINISHED_REMOTELY = "we have received FIN"
    CLOSED = "both finished, or reset"


class StreamInput(Enum):
    """What can happen to a stream, resets apart."""

    SEND_DATA = "send data"
    SEND_FIN = "send FIN"
    RECEIVE_DATA = "receive data"
    RECEIVE_FIN = "receive FIN"


TRANSITIONS = {
    (StreamState.OPEN, StreamInput.SEND_DATA): StreamState.OPEN,
    (StreamState.OPEN, StreamInput.SEND_FIN): StreamState.FINISHED_LOCALLY,
    (StreamState.OPEN, StreamInput.RECEIVE_DATA): StreamState.OPEN,
    (StreamState.OPEN, StreamInput.RECEIVE_FIN): StreamState.FINISHED_REMOTELY,
    (StreamState.FINISHED_LOCALLY, StreamInput.RECEIVE_DATA): StreamState.FINISHED_LOCALLY,
    (StreamState.FINISHED_LOCALLY, StreamInput.RECEIVE_FIN): StreamState.CLOSED,
    (StreamState.FINISHED_REMOTELY, StreamInput.SEND_DATA): StreamState.FINISHED_REMOTELY,
    (StreamState.FINISHED_REMOTELY, StreamInput.SEND_FIN): StreamState.CLOSED,
}


class WindowBudget:
    """Bytes by which the windows that share it may exceed their initial size.

    Attributes:
        left: bytes still to be given out.
    """

    def __init__(self, bytes_max: int, parent: "WindowBudget | None" = None) -> None:
        self.left = bytes_max
        self._parent = parent

    def take(self, count: int) -> bool:
        """Take `count` bytes here and of the parent, or nothing where either has fewer left."""
        if count > self.left or (self._parent is not None and not self._parent.take(count)):
            return False
        self.left -= count
        return True

    def give_back(self, count: int) -> None:
        """Return bytes taken before."""
        self.left += count
        if self._parent is not None:
            self._parent.give_back(count)


class SessionStream:
    """What a session keeps of one stream."""

    __slots__ = (
        "acknowledged",
        "consumed",
        "greeting",
        "receive_window",
        "send_window",
        "state",
        "updated_at_s",
        "window_size",
    )

    def __init__(self, greeting: Flag, now_s: float) -> None:
        self.state = StreamState.OPEN
        self.greeting: Flag | None = greeting  # SYN or ACK, still to be sent.
        self.acknowledged = False
        self.send_window = INITIAL_WINDOW_BYTES
        self.receive_window = INITIAL_WINDOW_BYTES  # What the other end may still send.
        self.window_size = INITIAL_WINDOW_BYTES
        self.consumed = 0  # Read by our application, not yet given back to the other end.
        self.updated_at_s = now_s
