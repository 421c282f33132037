"""What is over is deleted, and what is left still proves what it proves."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from calling import P2pfl
from certified_peers import journal_of
from ledger_group import two_epochs

from p2pfl.daemon import retention
from p2pfl.daemon.retention import forget, forgotten_up_to, note_day
from p2pfl.store.journal import Store
from p2pfl_gossip.ledger.history import ENTRY_PREFIX, History
from p2pfl_gossip.ledger.record import read_record, record_from_journal

_, _, HISTORY = two_epochs()
DAY = datetime(2026, 12, 1, 9, tzinfo=UTC)


def rounds_of(records: Mapping[str, object]) -> list[int]:
    return [int(key[-16:], 16) for key in sorted(records) if key.startswith(ENTRY_PREFIX)]


def noted(folder: Path, *rounds: int) -> None:
    days = {f"{DAY + timedelta(days=day):%Y-%m-%d}": [0, it] for day, it in enumerate(rounds)}
    (folder / "days.json").write_text(json.dumps({"days": days, "forgotten": 0}))


@pytest.mark.parametrize(
    ("noted_rounds", "later", "left"),
    [
        ((1,), 10, [1, 3, 4, 6, 8]),  # Not over yet.
        ((1,), 11, [3, 4, 6, 8]),
        ((1, 3, 6), 12, [4, 6, 8]),
        ((1, 3, 6), 13, [4, 6, 8]),  # Never the last that is final, or what follows it.
        ((8,), 30, [4, 6, 8]),
    ],
)
def test_entries_of_days_that_are_over_go(
    tmp_path: Path, noted_rounds: tuple[int, ...], later: int, left: list[int]
) -> None:
    noted(tmp_path, *noted_rounds)
    records = journal_of(HISTORY)
    assert rounds_of(records) == [1, 3, 4, 6, 8]
    kept = {key: it for key, it in records.items() if it is not None}
    gone = forget(tmp_path, HISTORY, kept, 10, DAY + timedelta(days=later))
    for key in gone:
        del kept[key]
    assert rounds_of(kept) == left
    # The head, its epoch, and each charter are proved as before.
    found = read_record(record_from_journal(kept))
    assert found.head.head == HISTORY.head.head
    assert [it.digest for it in found.epochs] == [it.digest for it in HISTORY.epochs]
    gap = found.gap()
    assert (gap is None) == (len(left) == 5)
    assert gap is None or gap.round <= forgotten_up_to(tmp_path)


def test_a_day_is_noted_once_and_a_damaged_file_only_keeps_longer(tmp_path: Path) -> None:
    history = History(HISTORY.epochs[0])
    note_day(tmp_path, HISTORY, DAY)
    note_day(tmp_path, history, DAY + timedelta(hours=3))
    note_day(tmp_path, history, DAY + timedelta(days=1))
    days = json.loads((tmp_path / "days.json").read_bytes())["days"]
    assert days == {"2026-12-01": [1, 8], "2026-12-02": [0, 0]}
    (tmp_path / "days.json").write_text('{"days": {"yesterday": [0, 1]}, "forgotten": 9}')
    assert forgotten_up_to(tmp_path) == 0
    assert forget(tmp_path, HISTORY, {}, 10, DAY + timedelta(days=99)) == {}
    for count in (retention.DAYS_MAX, retention.DAYS_MAX + 1):
        first = datetime(1900, 1, 1, tzinfo=UTC)
        days = {f"{(first + timedelta(days=day)).date()}": [0, 1] for day in range(count)}
        (tmp_path / "days.json").write_text(json.dumps({"days": days, "forgotten": 9}))
        assert forgotten_up_to(tmp_path) == (9 if count == retention.DAYS_MAX else 0)


def test_verify_tells_deleted_from_missing(p2pfl: P2pfl) -> None:
    assert p2pfl("peer", "init", "berlin", "--listen", "/ip4/127.0.0.1/tcp/4001").code == 0
    records = journal_of(HISTORY)
    entries = [key for key in sorted(records) if key.startswith(ENTRY_PREFIX)]
    with Store.open(Path("berlin/journal")) as store:
        store.persist({key: it for key, it in records.items() if key not in entries[:2]})
    missing = p2pfl("ledger", "verify", "berlin")
    assert (missing.code, "are not here" in missing.out) == (1, True)
    (Path("berlin") / "days.json").write_text('{"days": {}, "forgotten": 3}')
    told = p2pfl("ledger", "verify", "berlin")
    assert told.code == 0, told.out
    assert "entries up to round 3 were deleted, as the charter's retention_days says" in told.out
