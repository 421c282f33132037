"""The one place of the simulator that reads the machine's clock: how long did it take?"""

import time


class Stopwatch:
    """Measures wall and CPU seconds since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def wall_s(self) -> float:
        """Return the seconds that have passed."""
        return time.perf_counter() - self._wall

    def cpu_s(self) -> float:
        """Return the seconds of CPU that this process has taken, all threads together."""
        return time.process_time() - self._cpu
