"""Whether a connection is alive and of use, decided tick by tick, without IO.

Silence is measured in ticks of the host's own clock, not in time: where our own process was stopped
or busy, no ticks passed, and nobody is blamed for it.
"""

from enum import Enum

TICKS_PER_PERIOD = 4  # The resolution of a keepalive period.
_SILENT_TICKS = TICKS_PER_PERIOD  # Silent for one period: ask.
_DEAD_TICKS = TICKS_PER_PERIOD * 5 // 2  # Silent for two and a half: noticed within three.
# A superseded connection ends once it has been without streams for a period, or after six.
_DRAIN_IDLE_TICKS = TICKS_PER_PERIOD
_DRAIN_TICKS_MAX = 6 * TICKS_PER_PERIOD


class Pulse(Enum):
    """What a tick finds."""

    ALIVE = "nothing to do"
    SILENT = "send a ping"
    DEAD = "give the peer up"
    DRAINED = "superseded, and of no use any more"


class Liveness:
    """One connection's.

    Attributes:
        tick_count: ticks so far.
    """

    def __init__(self) -> None:
        self.tick_count = 0
        self._silent_ticks = 0
        self._ping_value = 0
        self._ping_sent_at_s: float | None = None
        self._drain_since: int | None = None
        self._busy_tick = 0

    @property
    def draining(self) -> bool:
        """Whether another connection to the same peer has superseded this one."""
        return self._drain_since is not None

    @property
    def awaits_answer(self) -> bool:
        """Whether the last ping has not been answered yet."""
        return self._ping_sent_at_s is not None

    def drain(self) -> None:
        """Another connection to the same peer is used from now on."""
        if self._drain_since is None:
            self._drain_since = self._busy_tick = self.tick_count

    def undrain(self) -> None:
        """The other connection is gone: this one is used again."""
        self._drain_since = None

    def ping(self, now_s: float) -> int:
        """The value of a ping to be sent now."""
        self._ping_value = self._ping_value + 1 & 0xFFFFFFFF
        self._ping_sent_at_s = now_s
        return self._ping_value

    def ping_answered(self, value: int, now_s: float) -> float | None:
        """Seconds since the last ping was sent; None where `value` is not its."""
        if value != self._ping_value or self._ping_sent_at_s is None:
            return None
        round_trip_s = now_s - self._ping_sent_at_s
        self._ping_sent_at_s = None
        return round_trip_s

    def tick(self, *, heard: bool, busy: bool) -> Pulse:
        """Judge the time since the last tick.

        Args:
            heard: whether anything came from the peer.
            busy: whether there are streams.
        """
        self.tick_count += 1
        self._silent_ticks = 0 if heard else self._silent_ticks + 1
        if self._silent_ticks >= _DEAD_TICKS:
            return Pulse.DEAD
        if self._drain_since is not None:
            if busy:
                self._busy_tick = self.tick_count
            idle = self.tick_count - self._busy_tick >= _DRAIN_IDLE_TICKS
            if idle or self.tick_count - self._drain_since >= _DRAIN_TICKS_MAX:
                return Pulse.DRAINED
        return Pulse.SILENT if self._silent_ticks == _SILENT_TICKS else Pulse.ALIVE
