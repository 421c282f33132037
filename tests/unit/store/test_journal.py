# mypy: disable-error-code="func-returns-value"
"""The journal: what it keeps, what it refuses, and that it changes nothing that is damaged."""

import errno
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from p2pfl import shortages
from p2pfl.store import checkpoints
from p2pfl.store.errors import DamagedJournal, FolderLocked, StoreError
from p2pfl.store.journal import Store
from p2pfl.store.journal_file import BeforeStep, explained
from p2pfl.store.lock import FolderLock

MODEL = np.linspace(-1, 1, 50, dtype=np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def contents(folder: Path) -> dict[str, bytes]:
    """Read every file, without what holds no record: lock, shared memory, an empty log."""
    return {
        file.name: file.read_bytes()
        for file in folder.iterdir()
        if file.is_file() and file.name != "lock" and not file.name.endswith("-shm")
        if not (file.name.endswith("-wal") and file.stat().st_size == 0)
    }


def edit(folder: Path, *statements: str) -> None:
    connection = sqlite3.connect(folder / "journal.sqlite3")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


# --- what it keeps ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "vector",
    [MODEL, MODEL.astype(np.float64), np.zeros(0, np.float32), np.array([np.nan, -0.0, np.inf])],
)
def test_vectors_come_back_bit_for_bit_and_read_only(
    folder: Path, vector: npt.NDArray[np.float32]
) -> None:
    with Store.open(folder) as store:
        store.persist({"model": vector})
        vector.flags.writeable = False
    with Store.open(folder) as store:
        kept = store.records()["model"]
    assert isinstance(kept, np.ndarray)
    assert kept.dtype == vector.dtype
    assert kept.tobytes() == vector.tobytes()
    assert not kept.flags.writeable


def test_a_checkpoint_is_a_safetensors_file(folder: Path) -> None:
    with Store.open(folder) as store:
        store.persist({"model": MODEL})
        (path,) = folder.glob("*.safetensors")
        tensors = load_file(path)
    assert list(tensors) == ["vector"]
    assert np.array_equal(tensors["vector"], MODEL)


def test_only_the_last_checkpoint_of_a_record_stays(folder: Path) -> None:
    with Store.open(folder) as store:
        for number in range(4):
            store.persist({"model": MODEL * number, "round": bytes([number])})
        assert len(list(folder.glob("*.safetensors"))) == 1
        store.persist({"model": None})
        assert not list(folder.glob("*.safetensors"))
        assert store.records() == {"round": b"\3"}


def test_names_are_never_used_twice(folder: Path) -> None:
    """An old name may still be open elsewhere, or on a disk that lost its removal."""
    names: set[str] = set()
    for number in range(3):
        with Store.open(folder) as store:
            store.persist({"model": MODEL * number})
            names.update(file.name for file in folder.glob("*.safetensors"))
    assert len(names) == 3


def test_keys_are_any_text_and_bytes_any_bytes(folder: Path) -> None:
    records = {"": b"", "../x'; DROP TABLE records": bytes(range(256)), "\N{SNOWMAN}": b"\0" * 9999}
    with Store.open(folder) as store:
        store.persist(records)
    with Store.open(folder) as store:
        assert store.records() == records


def test_other_threads_persist_at_the_same_time(folder: Path) -> None:
    with Store.open(folder) as store:
        threads = [
            threading.Thread(
                target=lambda key=key: [
                    store.persist({key: bytes([number]), f"{key}-model": MODEL * number})
                    for number in range(10)
                ]
            )
            for key in "abc"
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        records = store.records()
    for key in "abc":
        assert records[key] == b"\x09"
        assert np.array_equal(records[f"{key}-model"], MODEL * 9)


def test_everything_is_flushed_before_the_transaction_begins(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[str] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        log.append(f"flushed {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        fsync(descriptor)

    with Store.open(folder, before_step=log.append) as store:
        log.clear()
        monkeypatch.setattr(os, "fsync", note)
        store.persist({"model": MODEL})
    assert log == [
        "write model",
        "flushed checkpoint-000000000001.safetensors",
        "flush folder",
        "flushed journal",
        "begin",
        "commit",
        "remove",
    ]
    connection = sqlite3.connect(folder / "journal.sqlite3")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_commits_are_flushed(folder: Path) -> None:
    with Store.open(folder) as store:
        assert store._connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


@pytest.mark.parametrize("is_there", [False, True])
def test_commits_are_flushed_whatever_sqlite_does_by_itself(
    folder: Path, monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    # Builds differ in it: one may flush logs rarely, if it is not asked.
    if is_there:
        Store.open(folder).close()
    connect = sqlite3.connect

    def lax(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **options)
        connection.execute("PRAGMA synchronous = OFF")
        return connection

    monkeypatch.setattr(sqlite3, "connect", lax)
    with Store.open(folder) as store:
        assert store._connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert store._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_nobody_else_may_read_it(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    folder.chmod(0o755)  # By somebody's hand: the files stay private.
    with Store.open(folder) as store:
        store.persist({"secret": b"share", "model": MODEL})
        modes = {file.name: file.stat().st_mode & 0o077 for file in folder.iterdir()}
    assert set(modes.values()) == {0}, modes


def test_folders_above_are_made_as_well(tmp_path: Path) -> None:
    Store.open(tmp_path / "peers" / "berlin" / "journal").close()


def test_a_new_folder_is_private(folder: Path) -> None:
    Store.open(folder).close()
    assert folder.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "value",
    [
        np.zeros((2, 2), np.float32),
        np.zeros(3, np.int32),
        np.zeros(3, ">f4"),
        np.zeros(6, np.float32)[::2],
    ],
)
def test_what_is_no_vector_is_refused_and_nothing_of_its_batch_is_kept(
    folder: Path, value: npt.NDArray[np.float32]
) -> None:
    with Store.open(folder) as store:
        with pytest.raises(ValueError, match="contiguous vector"):
            store.persist({"a": b"1", "first": MODEL, "model": value})
        assert store.records() == {}
        assert not list(folder.glob("*.safetensors"))
        store.persist({"a": b"2"})  # The store goes on.
        assert store.records() == {"a": b"2"}


def test_a_closed_store_keeps_nothing_more(folder: Path) -> None:
    store = Store.open(folder)
    store.close()
    store.close()
    with pytest.raises(StoreError, match="is closed"):
        store.persist({"a": b"1"})
    with pytest.raises(StoreError, match="is closed"):
        store.records()


def test_what_a_killed_process_was_writing_goes_at_the_next_start(folder: Path) -> None:
    """safetensors gives a file such a name until it is whole; it may hold a spent vector."""
    with Store.open(folder) as store:
        store.persist({"model": np.zeros(3, np.float32)})
        (folder / ".tmpAb3xZ9").write_bytes(bytes(20))
    Store.open(folder).close()
    kept = [it.name for it in folder.iterdir() if it.name.startswith(".")]
    assert kept == []


def test_foreign_files_are_left_alone(folder: Path) -> None:
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    (folder / "my.safetensors").write_bytes(b"mine too")
    Store.open(folder).close()
    assert (folder / "notes.txt").read_text() == "mine"
    assert (folder / "my.safetensors").read_bytes() == b"mine too"


# --- one process at a time -------------------------------------------------------------------


def test_a_second_opener_is_told_who_has_it(folder: Path) -> None:
    with Store.open(folder):
        with pytest.raises(FolderLocked, match=f"{folder} is in use by process {os.getpid()}"):
            Store.open(folder)
        program = "import sys; from pathlib import Path; from p2pfl.store.journal import Store\n"
        program += "Store.open(Path(sys.argv[1]))"
        other = subprocess.run(
            [sys.executable, "-c", program, str(folder)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert f"is in use by process {os.getpid()}" in other.stderr
    Store.open(folder).close()


@pytest.mark.parametrize("holder", [b"", b"\xff\xfe", b"9 lives", b"\xd9\xa3"])
def test_a_lock_file_that_names_no_process_is_a_lock_all_the_same(
    folder: Path, holder: bytes
) -> None:
    with Store.open(folder):
        (folder / "lock").write_bytes(holder)
        with pytest.raises(FolderLocked, match="is in use by another process; stop that one"):
            Store.open(folder)


def test_a_lock_is_released_whatever_its_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = FolderLock(tmp_path / "lock")
    closed: list[int] = []
    descriptor, lock._descriptor = lock._descriptor, 0  # As where standard input is closed.
    monkeypatch.setattr(os, "close", closed.append)
    lock.release()
    lock.release()
    monkeypatch.undo()
    os.close(descriptor)
    assert closed == [0]


def test_a_failed_opening_releases_the_folder(folder: Path) -> None:
    Store.open(folder).close()
    whole = (folder / "journal.sqlite3").read_bytes()
    (folder / "journal.sqlite3").write_bytes(b"nonsense")
    with pytest.raises(DamagedJournal):
        Store.open(folder)
    (folder / "journal.sqlite3").write_bytes(whole)
    Store.open(folder).close()


# --- damage ----------------------------------------------------------------------------------

Damage = Callable[[Path], object]


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 0x55
    path.write_bytes(content)


def checkpoint(folder: Path) -> Path:
    return folder / "checkpoint-000000000001.safetensors"


def rename_tensor(folder: Path) -> None:
    save_file({"weights": MODEL}, checkpoint(folder))


DAMAGES: dict[str, tuple[Damage, str]] = {
    "no database": (
        lambda folder: (folder / "journal.sqlite3").write_bytes(b"not a database" * 99),
        "journal.sqlite3 is damaged (file is not a database)",
    ),
    "emptied": (
        lambda folder: (folder / "journal.sqlite3").write_bytes(b""),
        "journal.sqlite3 is no journal of p2pfl",
    ),
    "cut": (
        lambda folder: os.truncate(folder / "journal.sqlite3", 4096),
        "journal.sqlite3 is damaged",
    ),
    "overwritten page": (
        lambda folder: [flip(folder / "journal.sqlite3", 4096 + place) for place in range(200)],
        "journal.sqlite3 is damaged",
    ),
    "removed": (
        lambda folder: (folder / "journal.sqlite3").unlink(),
        "journal.sqlite3 is missing, but what belongs to it is there",
    ),
    "a directory": (
        lambda folder: [
            (folder / "journal.sqlite3").unlink(),
            (folder / "journal.sqlite3").mkdir(),
        ],
        "journal.sqlite3 is not a file",
    ),
    "another program's": (
        lambda folder: edit(folder, "PRAGMA application_id = 7"),
        "journal.sqlite3 is no journal of p2pfl",
    ),
    "a later version's": (
        lambda folder: edit(folder, "PRAGMA user_version = 3"),
        "is a journal of version 3, and this p2pfl reads 2: run the version that wrote it",
    ),
    "another table": (
        lambda folder: edit(folder, "ALTER TABLE records ADD COLUMN more"),
        "does not have the tables of a journal",
    ),
    "no table": (
        lambda folder: edit(folder, "DROP TABLE records"),
        "does not have the tables of a journal",
    ),
    "edited by hand": (
        lambda folder: edit(
            folder,
            "PRAGMA ignore_check_constraints = on",
            "UPDATE records SET value = 7 WHERE key = 'round'",
        ),
        "journal.sqlite3 holds a record 'round' that is no record",
    ),
    "a path for a name": (
        lambda folder: edit(folder, "UPDATE records SET checkpoint = '../x' WHERE key = 'model'"),
        "x is missing",
    ),
    "checkpoint removed": (
        lambda folder: checkpoint(folder).unlink(),
        "checkpoint-000000000001.safetensors is missing",
    ),
    "checkpoint cut": (
        lambda folder: os.truncate(checkpoint(folder), 100),
        "is no safetensors file",
    ),
    "checkpoint emptied": (
        lambda folder: os.truncate(checkpoint(folder), 0),
        "is no safetensors file",
    ),
    "checkpoint of another name": (rename_tensor, "holds other tensors than a checkpoint"),
    "checkpoint of integers": (
        lambda folder: save_file({"vector": np.arange(3)}, checkpoint(folder)),
        "holds no vector",
    ),
    "one bit of a checkpoint": (
        lambda folder: flip(checkpoint(folder), -1),
        "is not as it was written: its digest is another",
    ),
    "checkpoint of another round": (
        lambda folder: save_file({"vector": MODEL + 1}, checkpoint(folder)),
        "is not as it was written: its digest is another",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_told_in_one_line_and_nothing_is_changed(folder: Path, name: str) -> None:
    damage, said = DAMAGES[name]
    with Store.open(folder) as store:
        store.persist({"model": MODEL, "round": b"\1", **{f"k{n}": b"v" * 99 for n in range(99)}})
    (folder / "checkpoint-000000000099.safetensors").write_bytes(b"unnamed, and to be kept")
    damage(folder)
    before = contents(folder)
    for _ in range(2):
        with pytest.raises(DamagedJournal) as told:
            Store.open(folder)
        assert said in str(told.value)
        assert str(folder) in str(told.value)
        assert "\n" not in str(told.value)
    assert contents(folder) == before
    if name != "a later version's":
        assert f"move {folder} away" in str(told.value)


def test_a_log_that_was_not_written_back_is_not_touched_either(
    folder: Path, tmp_path: Path
) -> None:
    """After a crash the last records are in SQLite's log alone."""
    with Store.open(folder) as store:
        store.persist({"model": MODEL, "round": b"\1"})
        copy = tmp_path / "copy"  # As a crash leaves it.
        shutil.copytree(folder, copy)
    assert (copy / "journal.sqlite3-wal").stat().st_size > 0
    broken = shutil.copytree(copy, tmp_path / "broken")
    flip(checkpoint(broken), -1)
    before = contents(broken)
    with pytest.raises(DamagedJournal, match="digest"):
        Store.open(broken)
    assert contents(broken) == before
    with Store.open(copy) as store:
        assert store.records()["round"] == b"\1"


def test_damage_after_the_opening_shows_when_read(folder: Path) -> None:
    with Store.open(folder) as store:
        store.persist({"model": MODEL})
        flip(checkpoint(folder), -1)
        with pytest.raises(DamagedJournal, match="digest"):
            store.records()


def test_a_model_of_another_length_is_of_another_task(folder: Path) -> None:
    with Store.open(folder, vector_length=50) as store:
        store.persist({"model": MODEL, "incarnation": b"\1", "round": b"\1"})
    Store.open(folder, vector_length=50).close()
    told = f"^{re.escape(str(folder))} holds a model of 50 parameters, but the task's has 51"
    with pytest.raises(StoreError, match=told):
        Store.open(folder, vector_length=51)


# --- disks that fail -------------------------------------------------------------------------


def failing(wanted: str) -> BeforeStep:
    def before_step(step: str) -> None:
        if step == wanted:
            raise OSError(errno.ENOSPC, "No space left on device")

    return before_step


@pytest.mark.parametrize("step", ["write model", "flush folder"])
def test_a_disk_that_is_full_before_the_commit_may_be_freed(folder: Path, step: str) -> None:
    with Store.open(folder) as store:
        store.persist({"model": MODEL, "round": b"\1"})
    with Store.open(folder, before_step=failing(step)) as store:
        for _ in range(2):
            with pytest.raises(StoreError, match="No space left on device"):
                store.persist({"first": MODEL, "model": MODEL + 1, "round": b"\2"})
            assert store.records()["round"] == b"\1"
            assert len(list(folder.glob("*.safetensors"))) == 1
        store.persist({"round": b"\3"})  # Small enough.
    with Store.open(folder) as store:
        records = store.records()
        assert records["round"] == b"\3"
        assert np.array_equal(records["model"], MODEL)
        assert "first" not in records


@pytest.mark.parametrize("step", ["begin", "commit"])
def test_after_a_failed_commit_nothing_more_is_kept_until_a_restart(
    folder: Path, step: str
) -> None:
    with Store.open(folder) as store:
        store.persist({"model": MODEL, "round": b"\1"})
    with Store.open(folder, before_step=failing(step)) as store:
        with pytest.raises(StoreError, match="No space left on device"):
            store.persist({"model": MODEL + 1, "round": b"\2"})
        with pytest.raises(StoreError, match="an earlier write failed"):
            store.persist({"round": b"\3"})
    with Store.open(folder) as store:
        records = store.records()
        assert records["round"] == b"\1"
        assert np.array_equal(records["model"], MODEL)
        assert len(list(folder.glob("*.safetensors"))) == 1


@pytest.mark.parametrize("step", ["create", "create schema", "name journal"])
def test_a_journal_that_cannot_be_begun_may_be_later(folder: Path, step: str) -> None:
    with pytest.raises(StoreError, match="No space left on device"):
        Store.open(folder, before_step=failing(step))
    assert not (folder / "journal.sqlite3").exists()
    with Store.open(folder) as store:
        assert store.records() == {}


@pytest.mark.parametrize("ending", ["", "-journal", "-wal", "-shm"])
def test_nothing_of_a_start_that_was_cut_off_stays(folder: Path, ending: str) -> None:
    # SQLite would take a log or a journal of that name for its own, and put it into the new file.
    folder.mkdir()
    (folder / f"journal.sqlite3.new{ending}").write_bytes(b"half of something")

    def look(step: str) -> None:
        if step == "create schema":
            left = sorted(file.name for file in folder.iterdir() if file.name != "lock")
            assert left == ["journal.sqlite3.new"]
            assert (folder / left[0]).read_bytes() == b""

    Store.open(folder, before_step=look).close()


@pytest.mark.parametrize(
    ("code", "is_damage"),
    [
        (sqlite3.SQLITE_FULL, False),
        (sqlite3.SQLITE_BUSY, False),
        (sqlite3.SQLITE_READONLY, False),
        (sqlite3.SQLITE_IOERR_FSYNC, False),
        (sqlite3.SQLITE_CORRUPT, True),
        (sqlite3.SQLITE_CORRUPT_INDEX, True),
        (sqlite3.SQLITE_NOTADB, True),
        (None, True),
    ],
)
def test_only_damage_is_told_as_damage(folder: Path, code: int | None, is_damage: bool) -> None:
    # Who is told of damage moves the folder away, and with it all that it keeps.
    error = sqlite3.OperationalError("two\nlines")
    if code is not None:
        error.sqlite_errorcode = code
    told = explained(error, folder)
    assert isinstance(told, DamagedJournal) is is_damage
    assert "two lines" in str(told)
    assert ("what it kept before is still there" in str(told)) is not is_damage


LIMITED = """
import resource, sys
from pathlib import Path
import numpy as np
from p2pfl.store.errors import StoreError
from p2pfl.store.journal import Store

store = Store.open(Path(sys.argv[1]))
store.persist({"round": b"kept", "model": np.ones(9, np.float32)})
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
value = {"bytes": bytes(100_000), "vector": np.zeros(100_000, np.float32)}[sys.argv[3]]
try:
    store.persist({"round": b"lost", "model": value})
except StoreError as error:
    print(error)
"""


@pytest.mark.parametrize("kind", ["bytes", "vector"])
def test_a_file_system_that_takes_no_more_bytes(folder: Path, kind: str) -> None:
    """Real failures of real writes: no file may grow beyond a limit."""
    ended = subprocess.run(
        [sys.executable, "-c", LIMITED, str(folder), "20000", kind],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("\n") == 1
    assert str(folder) in ended.stdout
    with Store.open(folder) as store:
        records = store.records()
    assert records["round"] == b"kept"
    assert np.array_equal(records["model"], np.ones(9, np.float32))
    assert len(list(folder.glob("*.safetensors"))) == 1


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot make .*/file/journal: Not a directory"):
        Store.open(tmp_path / "file" / "journal")
    with pytest.raises(StoreError, match=r"cannot make .*/file: File exists"):
        Store.open(tmp_path / "file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only_is_named(folder: Path) -> None:
    Store.open(folder).close()
    (folder / "lock").unlink()
    folder.chmod(0o500)
    with pytest.raises(StoreError, match=f"cannot lock {folder}: Permission denied"):
        Store.open(folder)
    folder.chmod(0o700)


# --- shortages -------------------------------------------------------------------------------


def test_a_shortage_of_descriptors_is_waited_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shortages, "PAUSE_S", 0.0)
    failures = iter([True, True])

    def short(name: str, real: Callable[..., Any]) -> None:
        def call(*arguments: Any) -> Any:
            if next(failures, False):
                raise SafetensorError(f"{name}: Too many open files (os error {errno.EMFILE})")
            return real(*arguments)

        monkeypatch.setattr(checkpoints, name, call)

    with Store.open(folder) as store:
        short("save_file", save_file)
        store.persist({"model": MODEL})
        assert len(list(folder.glob("*.safetensors"))) == 1, "a try left its file behind"
        failures = iter([True, True])
        short("load_file", load_file)
        np.testing.assert_array_equal(store.records()["model"], MODEL)


def test_a_shortage_that_stays_is_no_damage(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortages, "PATIENCE_S", 0.0)

    def short(*_: Any) -> None:
        raise SafetensorError(f"Too many open files (os error {errno.EMFILE})")

    with Store.open(folder) as store:
        store.persist({"model": MODEL})
        monkeypatch.setattr(checkpoints, "load_file", short)
        with pytest.raises(StoreError, match="Too many open files") as told:
            store.records()
        assert not isinstance(told.value, DamagedJournal)
