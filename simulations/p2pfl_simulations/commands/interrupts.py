"""Ctrl-C, or SIGTERM: ends a run early, never the writing of its result."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupts:
    """Whether Ctrl-C came, and whether it may stop what is going on."""

    def __init__(self) -> None:
        self.came = False
        self.held = False
        """While true, Ctrl-C is noted only."""

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.came = True
        if not self.held:
            signal.default_int_handler(number, frame)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch for Ctrl-C within the block."""
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = [signal.signal(number, self._on_signal) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)
