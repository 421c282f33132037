"""Threads that train, each with one thread of torch's own.

torch's number of threads is a setting of the whole process. It is one while a learner works, so
that results do not depend on it and chunks do not fight for cores, and what it was afterwards.
"""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

_lock = threading.Lock()
_working, _threads_before = 0, 1


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Have torch use one thread a caller, until the last of those who ask for it is done."""
    global _working, _threads_before  # noqa: PLW0603 - it guards a setting of the process
    with _lock:
        if _working == 0:
            _threads_before = torch.get_num_threads()
        _working += 1
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _lock:
            _working -= 1
            if _working == 0:
                torch.set_num_threads(_threads_before)


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Workers:
    """A number of threads, started when they are first needed."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool: ThreadPoolExecutor | None = None

    def map(self, work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """Apply `work` to each item, on the threads; return the results in order.

        Whatever `work` raises is raised here.
        """
        with one_torch_thread():
            if self.count == 1 or len(items) < 2:
                return [work(item) for item in items]
            if self._pool is None:
                # The setting is kept per thread too: new ones begin with the machine's.
                self._pool = ThreadPoolExecutor(
                    self.count, "learner", initializer=torch.set_num_threads, initargs=(1,)
                )
            return list(self._pool.map(work, items))
