"""A connection to a Ray cluster, and what travels to its machines."""

import logging
import os
import socket
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")

LEFT_BEHIND = ("runs", ".git", ".venv", "__pycache__")
"""Folders beside a study that no machine needs."""

FOLDER_BYTES_MAX = 100 * 1024 * 1024
"""Of the folder that travels: as much as Ray takes as a working directory without further ado."""


CONNECT_S = 5.0
"""For a cluster's head to take a connection."""

START_TRIES = 5
"""To start Ray here: it gives its processes 30 seconds, and on a busy machine they take longer."""
SLOW_START = "timed out during startup"
GCS_START_S = 300
"""For the first of Ray's processes, of which Ray lets the time be set."""


class ClusterError(Exception):
    """A cluster that cannot be used; the message is for people, one line."""


@contextmanager
def connected(address: str, folder: Path | None) -> Iterator[Any]:
    """Connect to a cluster; yield Ray itself.

    The folder becomes the working directory of what runs there. p2pfl itself must be installed on
    the machines.

    Args:
        address: ``HOST:PORT``, ``auto``, ``ray://HOST:PORT``; ``local`` starts a cluster here.
        folder: of own parts and data; None where there are none.

    Raises:
        ClusterError: Ray is not installed, there is no such cluster, or the folder is too large.
    """
    if folder is not None:
        _require_small(folder)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Nothing is told to anybody.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError:
        raise ClusterError("--ray needs Ray: pip install 'p2pfl-peer[ray]'") from None
    _require_reachable(address)
    environment: dict[str, Any] = {"env_vars": {"OMP_NUM_THREADS": "1"}}
    if folder is not None:
        environment |= {"working_dir": str(folder), "excludes": [f"{it}/" for it in LEFT_BEHIND]}
    try:
        with_patience(
            lambda: ray.init(
                address=address,
                runtime_env=environment,
                log_to_driver=False,
                logging_level=logging.ERROR,
            ),
            ray.shutdown,
        )
    except Exception as error:  # Of as many kinds as there are ways to miss a cluster.
        raise ClusterError(f"there is no Ray cluster at {address}: {first_line(error)}") from None
    try:
        yield ray
    finally:
        ray.shutdown()


def with_patience(start: Callable[[], ResultT], clear: Callable[[], object]) -> ResultT:
    """Start processes of Ray's; clear away and start again where they were merely slow.

    Raises:
        Exception: what `start` raised otherwise, or the last time.
    """
    os.environ.setdefault("RAY_gcs_server_port_wait_time_s", str(GCS_START_S))
    for left in reversed(range(START_TRIES)):
        try:
            return start()
        except Exception as error:  # Ray has no kind of its own for this.
            if not left or SLOW_START not in str(error):
                raise
            clear()
    raise AssertionError("the last try returns or raises")


def cores_of(ray: Any) -> int:
    """Return how many cores the cluster has."""
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def workers_for(ray: Any, devices: Collection[str]) -> tuple[dict[str, int], int]:
    """Return what Ray is to give each worker, and how many of such it has.

    Args:
        ray: as `connected` gives it.
        devices: of what is learnt there, as `learning.device` has them.

    Raises:
        ClusterError: one wants CUDA, and no machine says that it has a GPU.
    """
    found = int(ray.cluster_resources().get("GPU", 0))
    if "cuda" in devices and not found:
        raise ClusterError(
            'learning.device = "cuda", and no machine of the cluster has a GPU that Ray knows of:'
            " start Ray there with --num-gpus, or leave device out"
        )
    if found and not {"cuda", "auto"}.isdisjoint(devices):
        return {"num_cpus": 1, "num_gpus": 1}, found
    return {"num_cpus": 1}, cores_of(ray)


def first_line(error: Exception) -> str:
    """Return the first line of what an exception of Ray's says; what follows is a remote stack."""
    return str(error).strip().partition("\n")[0][:200]


def _require_reachable(address: str) -> None:
    """Knock at an address: Ray itself would wait for minutes."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not colon or not port.isdecimal():
        return  # A word of Ray's: "auto", "local".
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or "it does not answer"
        raise ClusterError(f"there is no Ray cluster at {address}: {reason}") from None


def _require_small(folder: Path) -> None:
    size = sum(
        it.stat().st_size
        for it in folder.rglob("*")
        if it.is_file() and it.relative_to(folder).parts[0] not in LEFT_BEHIND
    )
    if size > FOLDER_BYTES_MAX:
        raise ClusterError(
            f"{folder} has {size / 1e6:,.0f} MB, and travels to the cluster: keep the study and its"
            f" own parts in a folder of at most {FOLDER_BYTES_MAX / 1e6:,.0f} MB"
        )
