"""Files that are on the disk once a function has returned, or are as they were before."""

import contextlib
import os
from pathlib import Path

PRIVATE = 0o600
SHARED = 0o644


def create_file(path: Path, content: bytes, *, mode: int = PRIVATE) -> None:
    """Write a new file and flush it; nothing is left behind on failure.

    Raises:
        OSError: it exists (`FileExistsError`), or cannot be written.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        sync_folder(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink()
        raise


def replace_file(path: Path, content: bytes, *, mode: int = SHARED) -> None:
    """Write a file in place of the one that may be there: readers see the old or the new one.

    A link is followed: what it points to is replaced.

    Raises:
        OSError: it cannot be written.
    """
    path = path.resolve()
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    with contextlib.suppress(FileNotFoundError):
        fresh.unlink()  # Left by a process of the same number that died.
    create_file(fresh, content, mode=mode)
    try:
        fresh.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise
    sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Flush a file to the disk, whoever wrote it."""
    _sync(path, os.O_RDONLY)


def sync_folder(folder: Path) -> None:
    """Flush a folder to the disk: the names in it, not the files' contents."""
    _sync(folder, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def end_torn_line(path: Path) -> None:
    """Have what is appended to a file of lines begin on a line of its own.

    A process that is killed may write the pages before a line's end and not the last one.

    Raises:
        OSError: it cannot be read or written.
    """
    with path.open("rb+") as lines:
        if lines.seek(0, os.SEEK_END):
            lines.seek(-1, os.SEEK_END)
            if lines.read() != b"\n":
                lines.write(b"\n")
