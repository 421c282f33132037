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
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType

from p2pfl.shortages import wait_out
from p2pfl.store.checkpoints import BrokenCheckpoint, Checkpoint, Checkpoints
from p2pfl.store.errors import DamagedJournal, FolderLocked, StoreError
from p2pfl.store.files import create_file, sync_file, sync_folder
from p2pfl.store.lock import FolderLock
from p2pfl.store.record_digests import EMPTY_SEAL, bytes_digest, reseal, vector_digest
from p2pfl.store.write_ahead_log import is_damaged
from p2pfl_gossip.actions import Vector

APPLICATION_ID = 0x7032706A  # "p2pj": marks a SQLite file as a journal of ours.
SCHEMA_VERSION = 2
_RECORDS = """
CREATE TABLE records (
    key TEXT PRIMARY KEY NOT NULL,
    value BLOB,
    checkpoint TEXT UNIQUE,
    digest BLOB NOT NULL,
    CHECK (typeof(key) = 'text'),
    CHECK (
        typeof(value) || ' ' || typeof(checkpoint) || ' ' || typeof(digest)
        IN ('blob null blob', 'null text blob')
    )
) WITHOUT ROWID
"""
READS_MAX = 8
"""Of a vector in a journal that is written to: each finds that a newer one has taken its place."""

_SEAL = "CREATE TABLE seal (digest BLOB NOT NULL)"
_SQLITE_ERRORS = (sqlite3.Error, UnicodeDecodeError)
"""The second where SQLite quotes in its message what is no text any more."""

_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_JOURNAL, _FRESH, _LOCK = "journal.sqlite3", "journal.sqlite3.new", "lock"

Records = dict[str, bytes | Vector]
BeforeStep = Callable[[str], None]
"""Called with the name of each step before it; what tests make fail, or die at."""


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
        lock = FolderLock(folder / _LOCK)
        try:
            checkpoints = Checkpoints(folder)
            if not (folder / _JOURNAL).exists():
                _begin(folder, checkpoints, before_step)
            if not (folder / _JOURNAL).is_file():
                raise _damaged(folder, _JOURNAL, "is not a file")
            if is_damaged(folder / f"{_JOURNAL}-wal"):
                raise _damaged(folder, f"{_JOURNAL}-wal", "is damaged")
            with contextlib.closing(_connect(folder, "ro")) as connection:
                _check_schema(connection, folder)
                _check_length(_read(connection, folder, checkpoints), vector_length, folder)
                unnamed = _unnamed(connection, checkpoints)
                seal = _kept_seal(connection, folder)
            connection = _connect(folder, "rw")
            checkpoints.remove(unnamed)
        except BaseException as error:
            lock.release()
            if isinstance(error, _SQLITE_ERRORS):
                raise _explained(error, folder) from None
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
                return wait_out(lambda: _read(self._connection, self._folder, self._checkpoints))
            except _SQLITE_ERRORS as error:
                raise _explained(error, self._folder) from None
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
            except _SQLITE_ERRORS as error:
                raise _explained(error, self._folder) from None
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
                row = _row(key, value, written.get(key))
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
            with contextlib.suppress(*_SQLITE_ERRORS):
                connection.rollback()
            if isinstance(error, (*_SQLITE_ERRORS, OSError)):
                raise _explained(error, self._folder) from None
            raise
        self._seal = seal
        self._before_step("remove")
        return replaced

    def _require_usable(self) -> None:
        if self._unusable:
            raise StoreError(self._unusable)


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
    lock = FolderLock(folder / _LOCK)
    try:
        yield
    finally:
        lock.release()


def has_journal(folder: Path) -> bool:
    """Tell whether a folder holds a journal."""
    return (folder / _JOURNAL).is_file()


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
        with contextlib.closing(_connect(folder, "ro")) as connection:
            _check_schema(connection, folder)
            query = "SELECT key, value, digest FROM records WHERE value IS NOT NULL ORDER BY key"
            for key, value, digest in connection.execute(query):
                if not key.startswith(prefix):
                    continue
                if bytes_digest(key, value) != digest:
                    how = f"holds another record {key!r} than was written"
                    raise _damaged(folder, _JOURNAL, how)
                found[key] = value
    except _SQLITE_ERRORS as error:
        raise _explained(error, folder) from None
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
            with contextlib.closing(_connect(folder, "ro")) as connection:
                _check_schema(connection, folder)
                query = "SELECT checkpoint, digest FROM records WHERE key = ?"
                row = connection.execute(query, (key,)).fetchone()
            if row is None or row[0] is None:
                return None
            name, digest = row
            try:
                vector, found = checkpoints.read(name)
            except BrokenCheckpoint as error:
                if (folder / name).exists():
                    raise _damaged(folder, name, str(error)) from None
                continue  # Another one has taken its place since we looked.
            if vector_digest(key, name, found) != digest:
                raise _damaged(folder, name, f"is another vector than was written for {key!r}")
            return vector
    except _SQLITE_ERRORS as error:
        raise _explained(error, folder) from None
    except OSError as error:
        raise StoreError(f"cannot read {folder}: {error}") from None
    raise _damaged(folder, str(name), "is missing")


def is_locked(folder: Path) -> bool:
    """Tell whether a process has the journal of a folder open.

    Raises:
        StoreError: the folder cannot be used.
    """
    try:
        FolderLock(folder / _LOCK).release()
    except FolderLocked:
        return True
    return False


def _begin(folder: Path, checkpoints: Checkpoints, before_step: BeforeStep) -> None:
    """Make an empty journal, whole or not at all: it gets its name when it is complete."""
    log = folder / f"{_JOURNAL}-wal"
    if log.exists() or checkpoints.names():
        raise _damaged(folder, _JOURNAL, "is missing, but what belongs to it is there")
    fresh = folder / _FRESH
    before_step("create")
    for ending in ("", "-journal", "-wal", "-shm"):
        fresh.with_name(_FRESH + ending).unlink(missing_ok=True)  # Of a start that was cut off.
    create_file(fresh, b"")
    before_step("create schema")
    with contextlib.closing(sqlite3.connect(fresh, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN EXCLUSIVE")
        _make_tables(connection)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
        # Before the journal has its name: a crash amid this switch must not be found under it.
        _use_log(connection, folder)
    sync_file(fresh)
    before_step("name journal")
    fresh.rename(folder / _JOURNAL)
    sync_folder(folder)
    sync_folder(folder.parent)


def _make_tables(connection: sqlite3.Connection) -> None:
    connection.execute(_RECORDS)
    connection.execute(_SEAL)
    connection.execute("INSERT INTO seal VALUES (?)", (EMPTY_SEAL,))


def _connect(folder: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{(folder / _JOURNAL).resolve().as_uri()}?mode={mode}",
        uri=True,
        isolation_level=None,  # Transactions are begun and ended by hand.
        check_same_thread=False,  # A mutex keeps threads apart.
    )
    if mode == "rw":
        try:
            _use_log(connection, folder)
        except BaseException:
            connection.close()
            raise
    return connection


def _use_log(connection: sqlite3.Connection, folder: Path) -> None:
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise StoreError(f"{folder} cannot hold SQLite's log; put it on a local disk")
    connection.execute("PRAGMA synchronous = FULL")


def _check_schema(connection: sqlite3.Connection, folder: Path) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION_ID:
        raise _damaged(folder, _JOURNAL, "is no journal of p2pfl")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != SCHEMA_VERSION:
        raise DamagedJournal(
            f"{folder / _JOURNAL} is a journal of version {version}, and this p2pfl reads"
            f" {SCHEMA_VERSION}: run the version that wrote it"
        )
    (finding,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if finding != "ok":
        raise _damaged(folder, _JOURNAL, f"is damaged ({' '.join(finding.split())})")
    with contextlib.closing(sqlite3.connect(":memory:")) as fresh:
        _make_tables(fresh)
        if _tables(connection) != _tables(fresh):
            raise _damaged(folder, _JOURNAL, "does not have the tables of a journal")


def _tables(connection: sqlite3.Connection) -> list[tuple[object, ...]]:
    query = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name"
    return connection.execute(query).fetchall()


def _row(
    key: str, value: bytes | Vector, file: Checkpoint | None
) -> tuple[str, bytes | None, str | None, bytes]:
    """Return a record as the table has it."""
    if file is not None:
        return key, None, file.name, vector_digest(key, file.name, file.digest)
    assert isinstance(value, bytes)
    return key, value, None, bytes_digest(key, value)


def _read(connection: sqlite3.Connection, folder: Path, checkpoints: Checkpoints) -> Records:
    records: Records = {}
    digests: list[bytes] = []
    query = "SELECT key, value, checkpoint, digest FROM records ORDER BY key"
    for key, value, name, digest in connection.execute(query):
        if isinstance(value, bytes) and name is None:
            if bytes_digest(key, value) != digest:
                raise _damaged(folder, _JOURNAL, f"holds another record {key!r} than was written")
            records[key] = value
        elif value is None and isinstance(name, str):
            try:
                vector, content = checkpoints.read(name)
            except BrokenCheckpoint as error:
                raise _damaged(folder, name, str(error)) from None
            if vector_digest(key, name, content) != digest:
                raise _damaged(folder, name, "is not as it was written: its digest is another")
            records[key] = vector
        else:
            raise _damaged(folder, _JOURNAL, f"holds a record {key!r} that is no record")
        digests.append(digest)
    if reseal(EMPTY_SEAL, digests) != _kept_seal(connection, folder):
        raise _damaged(folder, _JOURNAL, "lacks a record that was written")
    return records


def _kept_seal(connection: sqlite3.Connection, folder: Path) -> bytes:
    rows = connection.execute("SELECT digest FROM seal").fetchall()
    if len(rows) != 1 or not isinstance(rows[0][0], bytes):
        raise _damaged(folder, _JOURNAL, "has no seal")
    seal: bytes = rows[0][0]
    return seal


def _unnamed(connection: sqlite3.Connection, checkpoints: Checkpoints) -> list[str]:
    """List the files that a crash left, and that no record names."""
    named = {name for (name,) in connection.execute("SELECT checkpoint FROM records")}
    return [name for name in checkpoints.names() if name not in named]


def _check_length(records: Records, vector_length: int | None, folder: Path) -> None:
    for value in records.values():
        if vector_length is None or isinstance(value, bytes) or len(value) == vector_length:
            continue
        raise StoreError(
            f"{folder} holds a model of {len(value)} parameters, but the task's has"
            f" {vector_length}: it is of another task; give this one a folder of its own"
        )


def _explained(error: sqlite3.Error | UnicodeDecodeError | OSError, folder: Path) -> StoreError:
    said = " ".join(str(error).split())  # It may quote what it could not read.
    if isinstance(error, _SQLITE_ERRORS):
        # Without a code it is Python's own: text that is none.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        if code in _DAMAGE:
            return _damaged(folder, _JOURNAL, f"is damaged ({said})")
    return StoreError(f"cannot use {folder / _JOURNAL}: {said}; what it kept before is still there")


def _damaged(folder: Path, name: str, how: str) -> DamagedJournal:
    return DamagedJournal(
        f"{folder / name} {how}; nothing was changed: move {folder} away, and the peer takes the"
        " model from the others"
    )
