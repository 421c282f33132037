"""What a journal holds, read while a process may be writing to it."""

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from p2pfl.store import checkpoints
from p2pfl.store.errors import DamagedJournal, StoreError
from p2pfl.store.journal import Store
from p2pfl.store.reading import READS_MAX, has_journal, is_locked, read_kept, read_kept_vector

MODEL = np.arange(6, dtype=np.float32)


def test_records_of_a_prefix_are_read_beside_their_writer(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    assert not has_journal(folder)
    with pytest.raises(StoreError, match="holds no journal"):
        read_kept(folder, "")
    with Store.open(folder) as store:
        assert has_journal(folder)
        assert read_kept(folder, "") == {}
        store.persist({"a/1": b"one", "b": b"other", "a/2": b"two", "a/3": MODEL, "xa/": b"no"})
        assert read_kept(folder, "a/") == {"a/1": b"one", "a/2": b"two"}
        store.persist({"a/1": None, "a/2": b"newer"})
        assert read_kept(folder, "a/") == {"a/2": b"newer"}
        store.persist({"after": b"all that"})  # Nothing was locked or changed.
    assert read_kept(folder, "a") == {"a/2": b"newer", "after": b"all that"}


def _change(folder: Path, statement: str) -> None:
    with sqlite3.connect(folder / "journal.sqlite3") as connection:
        connection.execute(statement)
    connection.close()


def test_a_record_that_is_not_as_it_was_written_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    with Store.open(folder) as store:
        store.persist({"a": b"one", "b": b"two"})
    _change(folder, "UPDATE records SET value = x'00' WHERE key = 'b'")
    with pytest.raises(DamagedJournal, match="holds another record 'b' than was written"):
        read_kept(folder, "")
    assert read_kept(folder, "a") == {"a": b"one"}
    _change(folder, "DROP TABLE seal")
    for read in (read_kept, read_kept_vector):
        with pytest.raises(DamagedJournal, match="does not have the tables of a journal"):
            read(folder, "a")


def test_damage_of_the_file_is_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    Store.open(folder).close()
    (folder / "journal.sqlite3").write_bytes(b"nonsense" * 600)
    for read in (read_kept, read_kept_vector):
        with pytest.raises(DamagedJournal, match=r"^[^\n]*journal.sqlite3[^\n]*$"):
            read(folder, "a")


def test_whether_a_process_has_it_open(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    with Store.open(folder):
        assert is_locked(folder)
    assert not is_locked(folder)
    Store.open(folder).close()  # The question left no lock.


def test_the_newest_vector_is_read_beside_its_writer(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    with pytest.raises(StoreError, match="holds no journal"):
        read_kept_vector(folder, "model")
    with Store.open(folder) as store:
        assert read_kept_vector(folder, "model") is None
        for step in range(3):
            store.persist({"model": MODEL + step, "round": b"1"})
            found = read_kept_vector(folder, "model")
            assert found is not None
            assert found.tolist() == (MODEL + step).tolist()
        assert read_kept_vector(folder, "round") is None


def test_a_vector_that_is_not_as_it_was_written_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    with Store.open(folder) as store:
        store.persist({"model": MODEL})
        (path,) = folder.glob("*.safetensors")
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        with pytest.raises(DamagedJournal, match="is another vector than was written"):
            read_kept_vector(folder, "model")
        path.write_bytes(b"nothing")
        with pytest.raises(DamagedJournal, match="is no safetensors file"):
            read_kept_vector(folder, "model")
        path.unlink()
        with pytest.raises(DamagedJournal, match="is missing"):
            read_kept_vector(folder, "model")


def test_a_writer_that_is_always_faster_is_not_read_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newer vector takes the place of the one that was just looked up, time after time."""
    folder = tmp_path / "journal"
    read = checkpoints.Checkpoints.read
    reads = overtaken = 0

    def overtake(kept: checkpoints.Checkpoints, name: str) -> object:
        nonlocal reads
        reads += 1
        if reads <= overtaken:
            store.persist({"model": MODEL + reads})
        return read(kept, name)

    with Store.open(folder) as store:
        store.persist({"model": MODEL})
        monkeypatch.setattr(checkpoints.Checkpoints, "read", overtake)
        overtaken = READS_MAX - 1
        found = read_kept_vector(folder, "model")
        assert found is not None
        assert found.tolist() == (MODEL + READS_MAX - 1).tolist()
        reads, overtaken = 0, READS_MAX
        with pytest.raises(DamagedJournal, match="is missing"):
            read_kept_vector(folder, "model")
        assert reads == READS_MAX
