"""The event queue and the virtual clock."""

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any


class EventQueue:
    """Calls to make at virtual times, in the order of (time, sequence number).

    Attributes:
        now_s: the virtual time, that of the event under way; from 0.
        planned: calls asked for so far; each has its number.
        sequence: the number of the call under way.
        is_stopped: whether `run` is to return after the event under way.
    """

    __slots__ = ("_heap", "is_stopped", "now_s", "planned", "sequence")

    def __init__(self) -> None:
        self.now_s = 0.0
        self.is_stopped = False
        self.planned = self.sequence = 0
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []

    @property
    def processed(self) -> int:
        """How many calls have been made, with the one under way."""
        return self.planned - len(self._heap)

    def call_at(self, at_s: float, function: Callable[..., None], *arguments: Any) -> None:
        """Call `function` at `at_s`, or at once (after what is due already) where that is past."""
        if at_s < self.now_s:
            at_s = self.now_s
        self.planned = planned = self.planned + 1
        heappush(self._heap, (at_s, planned, function, arguments))

    def run(self, time_limit_s: float) -> None:
        """Make calls until `is_stopped`, none is left, or the next is after `time_limit_s`."""
        heap = self._heap
        while heap and heap[0][0] <= time_limit_s and not self.is_stopped:
            self.now_s, self.sequence, function, arguments = heappop(heap)
            function(*arguments)
