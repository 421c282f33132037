"""Cells on the machines of a Ray cluster; the one module of studies that knows Ray.

The study's own modules and files travel as Ray's working directory; p2pfl itself must be installed
on the machines, in the version of the sweep. A cell asks for a core, and for a GPU where it learns
on one. A cell's folder comes back
packed: through Ray's object store, or through a store that all machines reach (a shared folder, or
any URL that fsspec knows), from which a later sweep takes it too.

A cell whose machine is lost is run again elsewhere: it is pure, so nothing is lost but its time.
"""

import shutil
import socket
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from p2pfl_simulations.cluster.connecting import connected, cores_of, first_line, workers_for
from p2pfl_simulations.own_parts import needs_folder
from p2pfl_simulations.scenario import Scenario, make_scenario
from p2pfl_simulations.studies.cells import (
    PARTIAL,
    CellEnd,
    CellJob,
    is_whole,
    pack,
    run_into,
    unpack,
)
from p2pfl_simulations.studies.settings import StudyError

RETRIES = 5
"""Machines that a cell may lose before it counts as failed."""

PER_CORE = 2
"""Cells under way for each core of the cluster: the next one waits where the last one ends."""


def run_on_ray(
    jobs: Sequence[CellJob],
    cells: Path,
    *,
    address: str,
    under_way: int | None,
    store: str | None,
    task_folder: Path | None,
    on_end: Callable[[CellEnd], None],
) -> None:
    """Run cells on a cluster.

    Args:
        jobs: what is to be run.
        cells: the folder here that gets their folders.
        address: of the cluster: ``HOST:PORT``, ``auto``, ``ray://...``; ``local`` starts one here.
        under_way: how many are given to the cluster at a time; two for each core if not given.
        store: a URL that all machines reach, for results; None for Ray's object store.
        task_folder: travels to the machines, for own parts and data.
        on_end: is called as each ends.

    Raises:
        ClusterError: there is no such cluster, or no GPU in it for who learns on one.
        StudyError: there is no such store.
    """
    jobs = _from_store(jobs, cells, store, on_end)
    if not jobs:
        return
    scenarios = {job.name: _scenario_of(job) for job in jobs}
    is_own = any(job.folder is not None and needs_folder(scenarios[job.name]) for job in jobs)
    with connected(address, task_folder if is_own else None) as ray:
        most = under_way or PER_CORE * cores_of(ray)
        run = ray.remote(max_retries=RETRIES)(_run_remotely)
        wanted = {name: workers_for(ray, {it.learning.device})[0] for name, it in scenarios.items()}
        waiting, pending = deque(jobs), dict[Any, CellJob]()
        while waiting or pending:
            while waiting and len(pending) < most:
                job = waiting.popleft()
                sent = replace(job, threads=1, folder="." if is_own else None)
                pending[run.options(**wanted[job.name]).remote(sent, store)] = job
            ended, _ = ray.wait(list(pending), num_returns=1)
            for reference in ended:
                on_end(_collect(ray, reference, pending.pop(reference), cells, store))


def _scenario_of(job: CellJob) -> Scenario:
    return make_scenario(job.document, source=job.name)


def _run_remotely(job: CellJob, store: str | None) -> tuple[str, str, bytes]:
    """Run a cell on a machine of the cluster; return what failed, where it ran, and its folder."""
    place = socket.gethostname()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / job.name
        folder_of_parts = None if job.folder is None else str(Path.cwd())
        failure = run_into(replace(job, folder=folder_of_parts), folder)
        if failure:
            return failure, place, b""
        packed = pack(folder)
    if store is None:
        return "", place, packed
    _put(store, job.name, packed)
    return "", place, b""


def _collect(ray: Any, reference: Any, job: CellJob, cells: Path, store: str | None) -> CellEnd:
    try:
        failure, place, packed = ray.get(reference)
    except Exception as error:  # A machine that is lost for good, or a worker that dies each time.
        return CellEnd(job.name, f"Ray gave it up: {type(error).__name__}: {first_line(error)}")
    if failure:
        return CellEnd(job.name, failure, place)
    if store is not None:
        packed = _get(store, job.name)
    if not _lay(job, packed, cells):
        return CellEnd(job.name, "its files came back other than they were written", place)
    return CellEnd(job.name, "", place)


def _lay(job: CellJob, packed: bytes, cells: Path) -> bool:
    """Unpack a cell among the others, if it is whole."""
    partial = cells / f"{job.name}{PARTIAL}"
    shutil.rmtree(partial, ignore_errors=True)
    unpack(packed, partial)
    if not is_whole(partial, job.digest):
        shutil.rmtree(partial)
        return False
    shutil.rmtree(cells / job.name, ignore_errors=True)
    partial.rename(cells / job.name)
    return True


def _from_store(
    jobs: Sequence[CellJob], cells: Path, store: str | None, on_end: Callable[[CellEnd], None]
) -> list[CellJob]:
    """Take what an earlier sweep has left in the store; return what is to be run."""
    if store is None:
        return list(jobs)
    left = []
    try:
        there = _names_in(store)
    except Exception as error:  # Of as many kinds as there are stores.
        told = " ".join(str(error).split())
        raise StudyError(f"--store {store}: {told or type(error).__name__}") from None
    for job in jobs:
        if f"{job.name}.tar" in there and _lay(job, _get(store, job.name), cells):
            on_end(CellEnd(job.name, "", "store"))
        else:
            left.append(job)
    return left


def _names_in(store: str) -> set[str]:
    """Return the names of what a store holds; one that holds nothing yet may have no folder."""
    system, root = _file_system(store)
    try:
        found = system.ls(root, detail=False)
    except FileNotFoundError:
        system.makedirs(root, exist_ok=True)
        return set()
    return {str(path).rpartition("/")[2] for path in found}


def _file_system(store: str) -> tuple[Any, str]:
    """Return a store's file system, and where in it the store is.

    What it remembers of folders is dropped: others write there, and fsspec would not see it.
    """
    import fsspec

    system, root = fsspec.core.url_to_fs(store)
    system.invalidate_cache()
    return system, root


def _put(store: str, name: str, packed: bytes) -> None:
    system, root = _file_system(store)
    partial = f"{root}/{name}{PARTIAL}"
    with system.open(partial, "wb") as file:
        file.write(packed)
    system.mv(partial, f"{root}/{name}.tar")


def _get(store: str, name: str) -> bytes:
    system, root = _file_system(store)
    with system.open(f"{root}/{name}.tar", "rb") as file:
        found: bytes = file.read()
    return found
