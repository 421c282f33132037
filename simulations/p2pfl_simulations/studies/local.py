"""Cells side by side on this machine's cores, each in a process that does one after the other."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing import connection
from pathlib import Path

from p2pfl_simulations.studies.cells import CellEnd, CellJob, run_cell

OnEnd = Callable[[CellEnd], None]


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_locally(jobs: Sequence[CellJob], cells: Path, *, processes: int, on_end: OnEnd) -> None:
    """Run cells, so many at a time; a process that dies costs its cell, after a second try.

    Args:
        jobs: what is to be run.
        cells: the folder that gets their folders.
        processes: how many at a time; 1 runs them in this process.
        on_end: is called as each ends.
    """
    threads = max(1, usable_cores() // processes)
    waiting = deque(replace(job, threads=threads) for job in jobs)
    if processes == 1:
        for job in waiting:
            on_end(run_cell(job, str(cells)))
        return
    suspects = _in_pool(waiting, cells, processes, on_end)
    while waiting or suspects:
        # Which of those under way the process died of cannot be told: each is tried by itself.
        for job in suspects:
            if _in_pool(deque([job]), cells, 1, on_end):
                on_end(CellEnd(job.name, "its process died, twice: out of memory?"))
        suspects = _in_pool(waiting, cells, processes, on_end) if waiting else []


def _in_pool(
    waiting: "deque[CellJob]", cells: Path, processes: int, on_end: OnEnd
) -> list[CellJob]:
    """Run what waits in processes; if one dies, return what was under way."""
    # Threads of torch do not survive a fork; what forks here has read modules, and no more.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([run_cell.__module__])
    under_way: dict[Future[CellEnd], CellJob] = {}
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_begin_worker) as pool:
        try:
            while waiting or under_way:
                while waiting and len(under_way) < processes:
                    job = waiting.popleft()
                    under_way[pool.submit(run_cell, job, str(cells))] = job
                for ended in wait(under_way, return_when=FIRST_COMPLETED).done:
                    on_end(ended.result())
                    del under_way[ended]
        except BrokenProcessPool:
            return list(under_way.values())
        except BaseException:
            _end_all(pool)
            raise
    return []


def _begin_worker() -> None:
    """Leave Ctrl-C to the process that people see, and end with it, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker has been started by a pool"
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    """Wait for the parent's end: a worker's queue would never tell that nobody asks any more."""
    connection.wait([sentinel])
    os._exit(1)


def _end_all(pool: ProcessPoolExecutor) -> None:
    """End the processes of a pool in the midst of their cells, whose folders are not whole."""
    for process in list((pool._processes or {}).values()):
        process.terminate()
    pool.shutdown(wait=False, cancel_futures=True)
