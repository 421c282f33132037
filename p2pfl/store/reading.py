"""What a journal holds, read beside the process that has it open; and who has it open."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from p2pfl.store.checkpoints import BrokenCheckpoint, Checkpoints
from p2pfl.store.errors import FolderLocked, StoreError
from p2pfl.store.journal_file import (
    JOURNAL,
    LOCK,
    SQLITE_ERRORS,
    check_schema,
    connect,
    damaged,
    explained,
)
from p2pfl.store.lock import FolderLock
from p2pfl.store.record_digests import bytes_digest, vector_digest
from p2pfl_gossip.actions import Vector

READS_MAX = 8
"""Of a vector in a journal that is written to: each finds that a newer one has taken its place."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from opening the journal of a folder, which is made if it is not there.

    Raises:
        FolderLocked: another process has it open.
        StoreError: the folder cannot be used.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make {folder}: {error.strerror}") from None
    lock = FolderLock(folder / LOCK)
    try:
        yield
    finally:
        lock.release()


def has_journal(folder: Path) -> bool:
    """Tell whether a folder holds a journal."""
    return (folder / JOURNAL).is_file()


def read_kept(folder: Path, prefix: str) -> dict[str, bytes]:
    """Read records of bytes whose keys begin so, as they stand now, from a journal that is there.

    Nothing is locked or changed: a process may have the journal open, and write to it meanwhile.

    Raises:
        DamagedJournal: it is not as it was left.
        StoreError: there is none, or it cannot be read.
    """
    if not has_journal(folder):
        raise StoreError(f"{folder} holds no journal")
    found = {}
    try:
        with contextlib.closing(connect(folder, "ro")) as connection:
            check_schema(connection, folder)
            query = "SELECT key, value, digest FROM records WHERE value IS NOT NULL ORDER BY key"
            for key, value, digest in connection.execute(query):
                if not key.startswith(prefix):
                    continue
                if bytes_digest(key, value) != digest:
                    how = f"holds another record {key!r} than was written"
                    raise damaged(folder, JOURNAL, how)
                found[key] = value
    except SQLITE_ERRORS as error:
        raise explained(error, folder) from None
    return found


def read_kept_vector(folder: Path, key: str) -> Vector | None:
    """Read one record that is a vector, as it stands now, from a journal that is there.

    Nothing is locked or changed, as with `read_kept`.

    Returns:
        the vector, fresh and read-only; None if there is no such record.

    Raises:
        DamagedJournal: it is not as it was left.
        StoreError: there is no journal, or it cannot be read.
    """
    if not has_journal(folder):
        raise StoreError(f"{folder} holds no journal")
    checkpoints = Checkpoints(folder)
    name = None
    try:
        for _ in range(READS_MAX):
            with contextlib.closing(connect(folder, "ro")) as connection:
                check_schema(connection, folder)
                query = "SELECT checkpoint, digest FROM records WHERE key = ?"
                row = connection.execute(query, (key,)).fetchone()
            if row is None or row[0] is None:
                return None
            name, digest = row
            try:
                vector, found = checkpoints.read(name)
            except BrokenCheckpoint as error:
                if (folder / name).exists():
                    raise damaged(folder, name, str(error)) from None
                continue  # Another one has taken its place since we looked.
            if vector_digest(key, name, found) != digest:
                raise damaged(folder, name, f"is another vector than was written for {key!r}")
            return vector
    except SQLITE_ERRORS as error:
        raise explained(error, folder) from None
    except OSError as error:
        raise StoreError(f"cannot read {folder}: {error}") from None
    raise damaged(folder, str(name), "is missing")


def is_locked(folder: Path) -> bool:
    """Tell whether a process has the journal of a folder open.

    Raises:
        StoreError: the folder cannot be used.
    """
    try:
        FolderLock(folder / LOCK).release()
    except FolderLocked:
        return True
    return False
