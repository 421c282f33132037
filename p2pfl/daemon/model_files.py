"""A model of a peer's own in its folder, whole or not at all: `baseline` and `chosen`.

A file holds a tensor "vector", and what the peer keeps of its own as tensors "own/..."; its
metadata say what it is of.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from p2pfl.daemon.errors import ServiceError
from p2pfl.learner.peer_models import PeerModel
from p2pfl.store.files import PRIVATE

OWN = "own/"
"""Before the names of what a peer keeps of its own."""


def write_peer_model(path: Path, model: PeerModel, about: Mapping[str, str]) -> None:
    """Write a model that nobody else may read.

    It is written in a folder of its own, since safetensors gives a file another name until it is
    whole: what a killed process leaves of it goes with that folder, the next time.

    Raises:
        ServiceError: it cannot be written.
    """
    folder = path.with_suffix(".partial")
    partial = folder / path.name
    try:
        _remove(folder)
        folder.mkdir(mode=0o700)
        tensors = {"vector": model.vector}
        tensors |= {f"{OWN}{name}": it for name, it in model.own.items()}
        arrays = {name: np.asarray(it, order="C") for name, it in tensors.items()}
        save_file(arrays, partial, metadata=dict(about))
        partial.chmod(PRIVATE)
        partial.rename(path)
        _remove(folder)
    except (OSError, SafetensorError) as error:
        raise ServiceError(f"cannot write {path}: {error}") from None


def _remove(folder: Path) -> None:
    """Remove what is left of an earlier writing, if anything is; older versions left a file."""
    if folder.is_dir():
        shutil.rmtree(folder)
    else:
        folder.unlink(missing_ok=True)


def read_about(path: Path) -> dict[str, str] | None:
    """Read what a file says of its model; None where there is none.

    Raises:
        ServiceError: the file is broken.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, "numpy") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise broken(path, error) from None


def read_peer_model(path: Path) -> tuple[PeerModel, dict[str, str]]:
    """Read a model, and what its file says of it.

    Raises:
        ServiceError: the file is broken.
    """
    try:
        with safe_open(path, "numpy") as file:
            vector = file.get_tensor("vector")
            own = {
                name.removeprefix(OWN): file.get_tensor(name)
                for name in file.keys()  # noqa: SIM118
                if name.startswith(OWN)
            }
            return PeerModel(vector, own), dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise broken(path, error) from None


def broken(path: Path, why: object) -> ServiceError:
    """Say that a file is no model of ours, and what to do."""
    told = " ".join(str(why).split())
    return ServiceError(f"{path} is broken ({told}): remove it, and it is made again")
