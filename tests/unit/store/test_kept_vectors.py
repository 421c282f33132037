"""A vector read from a journal that a process may be writing to."""

from pathlib import Path

import numpy as np
import pytest

from p2pfl.store import checkpoints
from p2pfl.store.errors import DamagedJournal, StoreError
from p2pfl.store.journal import Store
from p2pfl.store.reading import READS_MAX, read_kept_vector

MODEL = np.arange(6, dtype=np.float32)


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
