"""Vectors as safetensors files, one a file, and never the same file twice.

A file holds one tensor, named "vector". Its digest is kept in the journal, not in the file: so a
file that was exchanged or only half written shows.
"""

import contextlib
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from p2pfl.shortages import is_passing
from p2pfl.store.files import PRIVATE, sync_file
from p2pfl_crypto.hashing import body_digest, hash_parts
from p2pfl_gossip.actions import Vector

_NAME = re.compile(r"checkpoint-(\d{12})\.safetensors")
_CUT_OFF = re.compile(r"\.tmp[A-Za-z0-9]{6}")
"""How safetensors names a file until it is whole; a process that is killed leaves it."""
_OS_ERROR = re.compile(r"os error (\d+)")  # As its messages have it.
_TENSOR = "vector"
_DTYPES = (np.dtype("<f4"), np.dtype("<f8"))


class BrokenCheckpoint(ValueError):
    """A file is not the checkpoint that was written; the message says how, and names no file."""


@dataclass(frozen=True)
class Checkpoint:
    """A vector on disk: the name of its file and the digest of its dtype and entries."""

    name: str
    digest: bytes


class Checkpoints:
    """The checkpoint files of a folder, to which nobody else writes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        numbers = [int(name.group(1)) for file in folder.iterdir() if (name := _match(file))]
        self._next = max(numbers, default=0) + 1

    def names(self) -> list[str]:
        """List all files, in the order in which they were written."""
        return sorted(file.name for file in self._folder.iterdir() if _match(file))

    def cut_off(self) -> list[str]:
        """List what a killed process left of files that it was writing; each may hold a vector."""
        return sorted(it.name for it in self._folder.iterdir() if _CUT_OFF.fullmatch(it.name))

    def write(self, vector: Vector) -> Checkpoint:
        """Write a vector to a file of its own and flush it; its folder is the caller's to flush.

        Raises:
            OSError: the file cannot be written; nothing is left of it.
            ValueError: not a contiguous vector of little-endian float32 or float64.
        """
        if vector.ndim != 1 or vector.dtype not in _DTYPES or not vector.flags.c_contiguous:
            raise ValueError("a checkpoint is a contiguous vector of float32 or float64")
        name = f"checkpoint-{self._next:012}.safetensors"
        self._next += 1
        path = self._folder / name
        try:
            path.touch(PRIVATE, exist_ok=False)  # safetensors would let others read it.
            save_file({_TENSOR: vector}, path)
            sync_file(path)
        except BaseException as error:
            self.remove([name])
            if isinstance(error, SafetensorError):  # Its way to say that the disk is full.
                raise _as_os_error(error) from None
            raise
        return Checkpoint(name, _digest(vector))

    def read(self, name: str) -> tuple[Vector, bytes]:
        """Read a vector, float32[d] or float64[d], fresh and read-only, and digest it.

        Raises:
            BrokenCheckpoint: the file is gone, or holds no vector.
            OSError: it cannot be read.
        """
        path = self._folder / name
        if not _match(path) or not path.is_file():
            raise BrokenCheckpoint("is missing")
        try:
            tensors = load_file(path)
        except SafetensorError as error:
            if is_passing(shortage := _as_os_error(error)):
                raise shortage from None
            raise BrokenCheckpoint(f"is no safetensors file ({error})") from None
        vector = tensors.get(_TENSOR)
        if vector is None or len(tensors) != 1:
            raise BrokenCheckpoint("holds other tensors than a checkpoint")
        if vector.ndim != 1 or vector.dtype not in _DTYPES:
            raise BrokenCheckpoint("holds no vector")
        vector.flags.writeable = False
        return vector, _digest(vector)

    def remove(self, names: Collection[str]) -> None:
        """Remove files that nothing refers to; one that stays now goes at the next start."""
        for name in names:
            with contextlib.suppress(OSError):
                (self._folder / name).unlink()


def _digest(vector: Vector) -> bytes:
    return hash_parts(
        b"p2pfl/checkpoint", vector.dtype.name.encode(), body_digest(vector.view(np.uint8).data)
    )


def _as_os_error(error: SafetensorError) -> OSError:
    code = _OS_ERROR.search(str(error))
    return OSError(int(code[1]), str(error)) if code else OSError(str(error))


def _match(file: Path) -> re.Match[str] | None:
    return _NAME.fullmatch(file.name)
