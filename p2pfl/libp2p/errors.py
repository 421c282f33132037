"""What can go wrong, by whose fault.

A `reason` is a short snake_case word, bounded in number: it becomes the label of a counter, so it
never holds anything that a peer chose.
"""


class Libp2pError(Exception):
    """Anything that goes wrong in this package."""


class LocalFault(Libp2pError):
    """Our own caller broke a rule: a bug to fix, not an event to handle."""


class RemoteFault(Libp2pError):
    """A peer broke a rule: whoever drives the machine counts `reason` and drops the peer.

    The only error that anything ending in `_untrusted` raises.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class MalformedBytes(RemoteFault):
    """Bytes from outside do not decode."""


class ConnectionLost(Libp2pError):
    """The connection under a call is gone; `reason` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"connection lost: {reason}")
        self.reason = reason


class DialFailed(Libp2pError):
    """No connection came about; `reason` is that of the last address tried."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"dial failed: {reason}" + (f" ({detail})" if detail else ""))
        self.reason = reason


class StreamReset(Libp2pError):
    """One end abandoned the stream, or its connection is gone; `reason` says which."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"stream reset: {reason}")
        self.reason = reason


class StreamFinished(Libp2pError):
    """The other end finished writing before all that was asked for had come."""


class StreamTimeout(Libp2pError, TimeoutError):
    """A read or a write made no progress until its deadline."""


class ProtocolRefused(Libp2pError):
    """The other end speaks none of the protocols that were asked for."""


class LimitReached(Libp2pError):
    """A limit of our own refuses the call; `reason` names it."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"limit reached: {reason}")
        self.reason = reason
