"""One flipped bit anywhere in a journal is told in one line, or loses nothing."""

import os
import sqlite3
from collections import Counter
from pathlib import Path

import flipped_bits
import numpy as np
import pytest

from p2pfl.store.errors import DamagedJournal
from p2pfl.store.journal import Store
from p2pfl.store.write_ahead_log import is_damaged

FLIPS = 100


@pytest.mark.parametrize("is_closed", [True, False], ids=["closed", "killed"])
def test_a_flipped_bit_is_refused_or_does_no_harm(tmp_path: Path, is_closed: bool) -> None:
    flipped_bits.make(tmp_path / "whole", is_closed=is_closed)
    outcomes = Counter(
        flipped_bits.flip(tmp_path / "whole", tmp_path / "flipped", seed) for seed in range(FLIPS)
    )
    assert outcomes[flipped_bits.REFUSED] > FLIPS / 4
    assert outcomes[flipped_bits.UNHARMED] > FLIPS / 10


@pytest.mark.parametrize(
    ("text", "flipped"),
    [
        (b"checkpoint TEXT", b"checkpoint\xa0TEXT"),  # SQLite quotes the table, over several lines.
        (b"records", b"\xf2ecords"),  # Its own message is then no text, and Python raises.
        (b"voted", b"\xf6oted"),
    ],
)
def test_text_that_is_none_is_damage_in_one_line(
    tmp_path: Path, text: bytes, flipped: bytes
) -> None:
    flipped_bits.make(tmp_path / "journal")
    path = tmp_path / "journal" / "journal.sqlite3"
    path.write_bytes(path.read_bytes().replace(text, flipped))
    with pytest.raises(DamagedJournal) as told:
        Store.open(tmp_path / "journal")
    assert "\n" not in str(told.value)


# --- each part of what a record's digest covers ---------------------------------------------------


def edit(folder: Path, statement: str, *values: object) -> None:

    connection = sqlite3.connect(folder / "journal.sqlite3")
    connection.execute("PRAGMA ignore_check_constraints = on")
    connection.execute(statement, values)
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE records SET value = x'02' WHERE key = 'is_trained'", "another record"),
        ("UPDATE records SET key = 'moved' WHERE key = 'voted'", "another record"),
        ("UPDATE records SET digest = zeroblob(32) WHERE key = 'voted'", "another record"),
        ("UPDATE records SET key = 'moved' WHERE key = 'model'", "digest is another"),
        ("DELETE FROM records WHERE key = 'voted'", "lacks a record"),
        ("DELETE FROM records WHERE key = 'model'", "lacks a record"),
        ("UPDATE seal SET digest = zeroblob(32)", "lacks a record"),
        ("UPDATE seal SET digest = 7", "has no seal"),
        ("DELETE FROM seal", "has no seal"),
        ("INSERT INTO seal VALUES (zeroblob(32))", "has no seal"),
        ("DROP TABLE seal", "does not have the tables"),
    ],
)
def test_a_changed_table_is_damage(tmp_path: Path, statement: str, said: str) -> None:
    flipped_bits.make(tmp_path / "journal")
    edit(tmp_path / "journal", statement)
    with pytest.raises(DamagedJournal, match=said):
        Store.open(tmp_path / "journal")


def test_a_checkpoint_of_the_same_folder_under_another_key_is_damage(tmp_path: Path) -> None:
    with Store.open(tmp_path / "journal") as store:
        store.persist({"one": np.zeros(9, np.float32), "other": np.zeros(9, np.float32)})
    names = [file.name for file in sorted((tmp_path / "journal").glob("*.safetensors"))]
    for name, key in ((None, "one"), (names[0], "other"), (names[1], "one")):
        edit(tmp_path / "journal", "UPDATE records SET checkpoint = ? WHERE key = ?", name, key)
    with pytest.raises(DamagedJournal, match="digest is another"):
        Store.open(tmp_path / "journal")


# --- the log that a killed process leaves --------------------------------------------------------


def log_of(tmp_path: Path) -> Path:
    flipped_bits.make(tmp_path / "killed", is_closed=False)
    return tmp_path / "killed" / "journal.sqlite3-wal"


@pytest.mark.parametrize(
    ("place", "damaged"),
    [(0, True), (16, True), (28, True), (32 + 8, True), (32 + 24 + 100, True), (-100, False)],
    ids=["magic", "salt", "checksum", "salt of a frame", "page", "last page"],
)
def test_a_broken_log_is_told_from_one_that_a_crash_cut(
    tmp_path: Path, place: int, damaged: bool
) -> None:
    log = log_of(tmp_path)
    assert not is_damaged(log)
    content = bytearray(log.read_bytes())
    content[place] ^= 1
    log.write_bytes(content)
    assert is_damaged(log) == damaged
    if damaged:
        with pytest.raises(DamagedJournal, match="wal is damaged"):
            Store.open(log.parent)


def test_a_log_cut_anywhere_is_one_that_a_crash_cut(tmp_path: Path) -> None:
    log = log_of(tmp_path)
    size = log.stat().st_size
    for cut in range(size - 1, 0, -size // 20):
        os.truncate(log, cut)
        assert not is_damaged(log), cut


def test_any_frame_of_the_last_transaction_may_be_the_one_that_a_crash_broke(
    tmp_path: Path,
) -> None:
    # A disk writes pages in any order: later ones may be there, and an earlier one not.
    log = log_of(tmp_path)
    content = log.read_bytes()
    size = 24 + int.from_bytes(content[8:12], "big")
    frames = range(32, len(content), size)
    commits = [at for at in frames if int.from_bytes(content[at + 4 : at + 8], "big")]
    last = [at for at in frames if at > commits[-2]]
    assert len(last) > 1
    for at in [*last, commits[-2]]:
        broken = bytearray(content)
        broken[at + 100] ^= 1
        log.write_bytes(broken)
        assert is_damaged(log) == (at not in last)


def test_a_log_of_a_header_alone_has_lost_nothing(tmp_path: Path) -> None:
    log = log_of(tmp_path)
    header = bytearray(log.read_bytes()[:32])
    header[0] ^= 1
    log.write_bytes(header)
    assert not is_damaged(log)
    log.write_bytes(header + b"\0")
    assert is_damaged(log)


def test_frames_of_an_earlier_use_of_the_log_are_none_of_it(tmp_path: Path) -> None:
    """SQLite writes over its log from the beginning, once all of it is in the database."""
    folder = tmp_path / "journal"
    with Store.open(folder) as store:
        for number in range(20):
            store.persist({"round": bytes([number])})
        store._connection.execute("PRAGMA wal_checkpoint(RESTART)")
        store.persist({"round": b"\x63"})
        log = folder / "journal.sqlite3-wal"
        assert log.stat().st_size > 32 + 10 * (24 + 4096)
        assert not is_damaged(log)


def test_no_log_is_whole(tmp_path: Path) -> None:
    assert not is_damaged(tmp_path / "none")
    (tmp_path / "empty").write_bytes(b"")
    assert not is_damaged(tmp_path / "empty")
