"""What a peer must not forget: records by key, durable before `Store.persist` returns.

Bytes lie in a SQLite database (write-ahead log, every commit flushed); a vector lies in a file of
its own, which the database names. The order makes a crash harmless at any point:

1. write each vector to a file with a fresh name, and flush it, then flush the folder;
2. in one transaction, put all records in place of the earlier ones; commit and flush;
3. remove the files that no record names any more.

A crash in 1 leaves files that no record names, one in 3 as well: they are removed at the next
start. SQLite makes 2 all or nothing.

Every record has a digest that is bound to its key, and all of them together have one more
(record_digests.py): what a disk or a copy has changed is told at the next start, never taken.
"""

import contextlib
import sqlite3
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from p2pfl.shortages import wait_out
from p2pfl.store.checkpoints import Checkpoint, Checkpoints
from p2pfl.store.errors import StoreError
from p2pfl.store.files import sync_folder
from p2pfl.store.journal_file import (
    JOURNAL,
    LOCK,
    SQLITE_ERRORS,
    BeforeStep,
    Records,
    begin_journal,
    check_length,
    check_schema,
    connect,
    damaged,
    explained,
    kept_seal,
    read_records,
    row_of,
    unnamed_files,
)
from p2pfl.store.lock import FolderLock
from p2pfl.store.record_digests import reseal
from p2pfl.store.write_ahead_log import is_damaged
from p2pfl_gossip.actions import Vector


def _go_on(step: str) -> None:
    del step


class Store:
    """The journal of one folder, which this process has locked; made by `Store.open`.

    Each call blocks until it is done. They may come from any thread, one at a time or not.
    """

    def __init__(
        self,
        folder: Path,
        lock: FolderLock,
        checkpoints: Checkpoints,
        connection: sqlite3.Connection,
        seal: bytes,
        before_step: BeforeStep,
    ) -> None:
        self._folder, self._lock, self._checkpoints = folder, lock, checkpoints
        self._connection, self._seal, self._before_step = connection, seal, before_step
        self._mutex = threading.Lock()
        self._unusable = ""  # Why nothing more can be kept, once it is so.

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        vector_length: int | None = None,
        before_step: BeforeStep = _go_on,
    ) -> "Store":
        """Open a folder's journal, or begin one in a folder without.

        Every record and checkpoint is read and checked before the first byte is changed.

        Args:
            folder: of the journal alone; it is made if it is not there. On a local disk: SQLite's
                log does not work over a network.
            vector_length: entries that every kept vector must have, if given.
            before_step: for tests.

        Raises:
            FolderLocked: another process has it open.
            DamagedJournal: it is not as it was left; nothing was changed.
            StoreError: it cannot be opened, or is of a model of another length.
        """
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot make {folder}: {error.strerror}") from None
        lock = FolderLock(folder / LOCK)
        try:
            checkpoints = Checkpoints(folder)
            if not (folder / JOURNAL).exists():
                begin_journal(folder, checkpoints, before_step)
            if not (folder / JOURNAL).is_file():
                raise damaged(folder, JOURNAL, "is not a file")
            if is_damaged(folder / f"{JOURNAL}-wal"):
                raise damaged(folder, f"{JOURNAL}-wal", "is damaged")
            with contextlib.closing(connect(folder, "ro")) as connection:
                check_schema(connection, folder)
                check_length(read_records(connection, folder, checkpoints), vector_length, folder)
                unnamed = unnamed_files(connection, checkpoints)
                seal = kept_seal(connection, folder)
            connection = connect(folder, "rw")
            checkpoints.remove(unnamed)
        except BaseException as error:
            lock.release()
            if isinstance(error, SQLITE_ERRORS):
                raise explained(error, folder) from None
            if isinstance(error, OSError):
                raise StoreError(f"cannot open {folder}: {error}") from None
            raise
        return cls(folder, lock, checkpoints, connection, seal, before_step)

    def records(self) -> Records:
        """Return all that is kept; vectors are fresh and read-only.

        Raises:
            DamagedJournal: a checkpoint is not as it was written.
            StoreError: the disk fails, or the store is closed.
        """
        with self._mutex:
            self._require_usable()
            try:
                return wait_out(
                    lambda: read_records(self._connection, self._folder, self._checkpoints)
                )
            except SQLITE_ERRORS as error:
                raise explained(error, self._folder) from None
            except OSError as error:
                raise StoreError(f"cannot read {self._folder}: {error}") from None

    def persist(self, records: Mapping[str, bytes | Vector | None]) -> None:
        """Keep records in place of earlier ones of their keys, all or none; None deletes.

        They are on the disk when this returns.

        Raises:
            StoreError: they cannot be kept, and the earlier ones are. After a failed commit nobody
                knows what the disk holds before the next start, so nothing more is kept.
            ValueError: a vector that is none (see `Checkpoints.write`).
        """
        with self._mutex:
            self._require_usable()
            try:
                written = wait_out(lambda: self._write_vectors(records))
            except OSError as error:
                raise StoreError(f"cannot write to {self._folder}: {error}") from None
            self._checkpoints.remove(self._commit(records, written))

    def close(self) -> None:
        """Close the journal and let others have the folder; once is enough."""
        with self._mutex:
            self._unusable = self._unusable or f"{self._folder} is closed"
            try:
                self._connection.close()
            except SQLITE_ERRORS as error:
                raise explained(error, self._folder) from None
            finally:
                self._lock.release()

    def __enter__(self) -> "Store":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _write_vectors(self, records: Mapping[str, bytes | Vector | None]) -> dict[str, Checkpoint]:
        """Write all vectors to files of their own, flushed; nothing is left of them on failure."""
        written: dict[str, Checkpoint] = {}
        try:
            for key, value in records.items():
                if value is not None and not isinstance(value, bytes):
                    self._before_step(f"write {key}")
                    written[key] = self._checkpoints.write(value)
            if written:
                self._before_step("flush folder")
                sync_folder(self._folder)
        except BaseException:
            # No transaction has begun that could name them.
            self._checkpoints.remove([file.name for file in written.values()])
            raise
        return written

    def _commit(
        self, records: Mapping[str, bytes | Vector | None], written: Mapping[str, Checkpoint]
    ) -> list[str]:
        """Put all records in place in one transaction; return the files named no more."""
        connection, changed = self._connection, []
        replaced: list[str] = []
        try:
            self._before_step("begin")
            # SQLite opens its log here, if it has not yet; nothing has changed where it cannot.
            wait_out(lambda: connection.execute("BEGIN IMMEDIATE"))
            for key, value in records.items():
                before = connection.execute(
                    "SELECT checkpoint, digest FROM records WHERE key = ?", (key,)
                ).fetchone()
                if before is not None:
                    changed.append(before[1])
                    replaced += [before[0]] if before[0] is not None else []
                if value is None:
                    connection.execute("DELETE FROM records WHERE key = ?", (key,))
                    continue
                row = row_of(key, value, written.get(key))
                changed.append(row[-1])
                connection.execute("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?)", row)
            seal = reseal(self._seal, changed)
            connection.execute("UPDATE seal SET digest = ?", (seal,))
            self._before_step("commit")
            connection.execute("COMMIT")
        except BaseException as error:
            # The log may hold the commit in spite of the failure, and then the next start finds
            # these records: so the new files stay until then, and nothing is written on top.
            self._unusable = f"{self._folder}: an earlier write failed; free the disk and restart"
            with contextlib.suppress(*SQLITE_ERRORS):
                connection.rollback()
            if isinstance(error, (*SQLITE_ERRORS, OSError)):
                raise explained(error, self._folder) from None
            raise
        self._seal = seal
        self._before_step("remove")
        return replaced

    def _require_usable(self) -> None:
        if self._unusable:
            raise StoreError(self._unusable)
