"""Journals with one bit flipped: each must be refused in one line, or lose nothing."""

import shutil
from pathlib import Path
from random import Random

import numpy as np

from p2pfl.store.errors import StoreError
from p2pfl.store.journal import Store
from p2pfl_gossip.actions import Vector

REFUSED, UNHARMED = "refused", "unharmed"
IN_LAST = "last transaction lost"
"""Of a log that a crash left: the format cannot tell that from a crash amid its write."""

WRITES: list[dict[str, bytes | Vector | None]] = [
    {"incarnation": (1).to_bytes(8, "little")},
    {"round": b"\1", "model": np.linspace(-1, 1, 60, dtype=np.float32), "is_trained": b"\0"},
    {f"masked_sum/{number}": bytes([number]) * 40 for number in range(12)},
    {"masked_sum/3": None, "voted": b"turn 1", "round": b"\2"},
    {"model": np.linspace(0, 3, 60, dtype=np.float32), "round": b"\3"},
]


def make(folder: Path, *, is_closed: bool = True) -> None:
    """Write a journal; not closed, it is as a killed process leaves it: all in the log."""
    open_folder = folder if is_closed else folder.with_name("open")
    with Store.open(open_folder) as store:
        for write in WRITES:
            store.persist(write)
        if not is_closed:
            shutil.copytree(open_folder, folder)
            (folder / "journal.sqlite3-shm").unlink()  # Lost with the machine; it is made anew.


def files(folder: Path) -> list[Path]:
    """List what holds records: database, log and checkpoints."""
    return sorted(file for file in folder.iterdir() if file.name != "lock" and file.stat().st_size)


def flip(whole: Path, place: Path, seed: int) -> str:
    """Flip one bit, drawn by the seed, in a copy of a journal, and say what came of it.

    Raises:
        AssertionError: the journal was taken with another content, or was changed and refused.
        Exception: anything but a `StoreError` of one line.
    """
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(whole, place)
    rng = Random(f"{seed}/flip")
    victim = rng.choice(files(place))
    content = bytearray(victim.read_bytes())
    bit = rng.randrange(len(content) * 8)
    content[bit // 8] ^= 1 << bit % 8
    victim.write_bytes(content)
    try:
        with Store.open(place) as store:
            records = store.records()
            outcome = _compare(records, f"seed {seed}: bit {bit} of {victim.name}")
            if outcome == IN_LAST:
                assert victim.name.endswith("-wal"), f"seed {seed}: {victim.name}"
            store.persist({"after": b"the flip", "model": np.ones(60, np.float32)})
    except StoreError as error:
        said = str(error)
        assert "\n" not in said
        assert str(place) in said
        return REFUSED
    with Store.open(place) as store:
        after = store.records()
    assert after.keys() == records.keys() | {"after"}
    assert np.array_equal(after["model"], np.ones(60, np.float32))
    return outcome


def _compare(records: dict[str, bytes | Vector], where: str) -> str:
    if _same(records, _state(len(WRITES))):
        return UNHARMED
    assert _same(records, _state(len(WRITES) - 1)), f"{where} went through, silently"
    return IN_LAST


def _state(writes: int) -> dict[str, bytes | Vector]:
    kept: dict[str, bytes | Vector] = {}
    for write in WRITES[:writes]:
        for key, value in write.items():
            if value is None:
                kept.pop(key)
            else:
                kept[key] = value
    return kept


def _same(records: dict[str, bytes | Vector], others: dict[str, bytes | Vector]) -> bool:
    return records.keys() == others.keys() and all(
        type(value) is type(others[key])
        and np.asarray(value).tobytes() == np.asarray(others[key]).tobytes()
        for key, value in records.items()
    )
