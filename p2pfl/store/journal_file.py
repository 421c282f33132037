"""The journal's file: its tables, how it is begun and opened, and what a sound one looks like.

Nothing here writes a record; `Store` does (journal.py).
"""

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

from p2pfl.store.checkpoints import BrokenCheckpoint, Checkpoint, Checkpoints
from p2pfl.store.errors import DamagedJournal, StoreError
from p2pfl.store.files import create_file, sync_file, sync_folder
from p2pfl.store.record_digests import EMPTY_SEAL, bytes_digest, reseal, vector_digest
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
_SEAL = "CREATE TABLE seal (digest BLOB NOT NULL)"
SQLITE_ERRORS = (sqlite3.Error, UnicodeDecodeError)
"""The second where SQLite quotes in its message what is no text any more."""

_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
JOURNAL, _FRESH, LOCK = "journal.sqlite3", "journal.sqlite3.new", "lock"

Records = dict[str, bytes | Vector]
BeforeStep = Callable[[str], None]
"""Called with the name of each step before it; what tests make fail, or die at."""


def begin_journal(folder: Path, checkpoints: Checkpoints, before_step: BeforeStep) -> None:
    """Make an empty journal, whole or not at all: it gets its name when it is complete."""
    log = folder / f"{JOURNAL}-wal"
    if log.exists() or checkpoints.names():
        raise damaged(folder, JOURNAL, "is missing, but what belongs to it is there")
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
    fresh.rename(folder / JOURNAL)
    sync_folder(folder)
    sync_folder(folder.parent)


def _make_tables(connection: sqlite3.Connection) -> None:
    connection.execute(_RECORDS)
    connection.execute(_SEAL)
    connection.execute("INSERT INTO seal VALUES (?)", (EMPTY_SEAL,))


def connect(folder: Path, mode: str) -> sqlite3.Connection:
    """Open a journal to read ("ro") or to write ("rw"); transactions are begun by hand."""
    connection = sqlite3.connect(
        f"{(folder / JOURNAL).resolve().as_uri()}?mode={mode}",
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


def check_schema(connection: sqlite3.Connection, folder: Path) -> None:
    """Require a file of ours, of this version, whole, with the tables as we make them.

    Raises:
        DamagedJournal: it is not so; the message says in what.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION_ID:
        raise damaged(folder, JOURNAL, "is no journal of p2pfl")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != SCHEMA_VERSION:
        raise DamagedJournal(
            f"{folder / JOURNAL} is a journal of version {version}, and this p2pfl reads"
            f" {SCHEMA_VERSION}: run the version that wrote it"
        )
    (finding,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if finding != "ok":
        raise damaged(folder, JOURNAL, f"is damaged ({' '.join(finding.split())})")
    with contextlib.closing(sqlite3.connect(":memory:")) as fresh:
        _make_tables(fresh)
        if _tables(connection) != _tables(fresh):
            raise damaged(folder, JOURNAL, "does not have the tables of a journal")


def _tables(connection: sqlite3.Connection) -> list[tuple[object, ...]]:
    query = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name"
    return connection.execute(query).fetchall()


def row_of(
    key: str, value: bytes | Vector, file: Checkpoint | None
) -> tuple[str, bytes | None, str | None, bytes]:
    """Return a record as the table has it."""
    if file is not None:
        return key, None, file.name, vector_digest(key, file.name, file.digest)
    assert isinstance(value, bytes)
    return key, value, None, bytes_digest(key, value)


def read_records(connection: sqlite3.Connection, folder: Path, checkpoints: Checkpoints) -> Records:
    """Read and check all records; vectors are fresh and read-only.

    Raises:
        DamagedJournal: a record, a checkpoint or the seal is not as it was written.
    """
    records: Records = {}
    digests: list[bytes] = []
    query = "SELECT key, value, checkpoint, digest FROM records ORDER BY key"
    for key, value, name, digest in connection.execute(query):
        if isinstance(value, bytes) and name is None:
            if bytes_digest(key, value) != digest:
                raise damaged(folder, JOURNAL, f"holds another record {key!r} than was written")
            records[key] = value
        elif value is None and isinstance(name, str):
            try:
                vector, content = checkpoints.read(name)
            except BrokenCheckpoint as error:
                raise damaged(folder, name, str(error)) from None
            if vector_digest(key, name, content) != digest:
                raise damaged(folder, name, "is not as it was written: its digest is another")
            records[key] = vector
        else:
            raise damaged(folder, JOURNAL, f"holds a record {key!r} that is no record")
        digests.append(digest)
    if reseal(EMPTY_SEAL, digests) != kept_seal(connection, folder):
        raise damaged(folder, JOURNAL, "lacks a record that was written")
    return records


def kept_seal(connection: sqlite3.Connection, folder: Path) -> bytes:
    """Return the digest of all records together, as it was written with the last of them."""
    rows = connection.execute("SELECT digest FROM seal").fetchall()
    if len(rows) != 1 or not isinstance(rows[0][0], bytes):
        raise damaged(folder, JOURNAL, "has no seal")
    seal: bytes = rows[0][0]
    return seal


def unnamed_files(connection: sqlite3.Connection, checkpoints: Checkpoints) -> list[str]:
    """List the files that a crash left, and that no record names."""
    named = {name for (name,) in connection.execute("SELECT checkpoint FROM records")}
    whole = [name for name in checkpoints.names() if name not in named]
    return [*whole, *checkpoints.cut_off()]


def check_length(records: Records, vector_length: int | None, folder: Path) -> None:
    """Require that every kept vector has that many entries, if a length is given.

    Raises:
        StoreError: the journal is of another model.
    """
    for value in records.values():
        if vector_length is None or isinstance(value, bytes) or len(value) == vector_length:
            continue
        raise StoreError(
            f"{folder} holds a model of {len(value)} parameters, but the task's has"
            f" {vector_length}: it is of another task; give this one a folder of its own"
        )


def explained(error: sqlite3.Error | UnicodeDecodeError | OSError, folder: Path) -> StoreError:
    """Return what to raise in place of SQLite's error, in one line."""
    said = " ".join(str(error).split())  # It may quote what it could not read.
    if isinstance(error, SQLITE_ERRORS):
        # Without a code it is Python's own: text that is none.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        if code in _DAMAGE:
            return damaged(folder, JOURNAL, f"is damaged ({said})")
    return StoreError(f"cannot use {folder / JOURNAL}: {said}; what it kept before is still there")


def damaged(folder: Path, name: str, how: str) -> DamagedJournal:
    """Return what to raise where a file of a journal is not as it was left."""
    return DamagedJournal(
        f"{folder / name} {how}; nothing was changed: move {folder} away, and the peer takes the"
        " model from the others"
    )
