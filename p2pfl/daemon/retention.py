"""What a peer forgets: entries that are older than the charter's `retention_days`.

Entries have no dates, so a running peer notes once a day how far its history is:

    DIR/days.json   {"days": {"2026-12-01": [epoch, round], ...}, "forgotten": round}

When it starts, entries up to the last round of a day that is over are deleted. What is kept says as
much as before: charters, the ends of epochs with their proofs, and all entries since. `p2pfl ledger
verify` checks these, and tells up to which round entries were deleted as agreed.
"""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from p2pfl.store.files import PRIVATE, replace_file
from p2pfl.store.journal_file import Records
from p2pfl_gossip.ledger.history import ENTRY_PREFIX, History

DAYS = "days.json"

DAYS_MAX = 40_000
"""A century: what is longer is no file of ours."""


def note_day(folder: Path, history: History, now: datetime) -> None:
    """Note how far a history is today, once a day.

    Raises:
        OSError: it cannot be written.
    """
    kept, today = _read(folder), f"{now.astimezone(UTC):%Y-%m-%d}"
    if today in kept["days"]:
        return
    head = history.head.head
    kept["days"][today] = [head.epoch, head.round]
    _write(folder, kept)


def forget(
    folder: Path, history: History, records: Records, retention_days: int, now: datetime
) -> dict[str, None]:
    """Return the records that are to be deleted, and note up to which round.

    Never the head or the last entry that is final. Ends of epochs have records of their own.

    Raises:
        OSError: what is forgotten cannot be noted: then nothing is to be.
    """
    kept = _read(folder)
    last = f"{now.astimezone(UTC).date() - timedelta(days=retention_days):%Y-%m-%d}"
    over = {day: place for day, place in kept["days"].items() if day < last}
    if not over:
        return {}
    # All that is above the last final entry stays, and that itself: what follows proves it.
    final = history.head.head if history.final is None else history.final.head
    limit = min(max(round_ for _, round_ in over.values()), final.round - 1)
    gone = {
        key: None
        for key in records
        if key.startswith(ENTRY_PREFIX) and int(key.rpartition("/")[2], 16) <= limit
    }
    kept["days"] = {day: place for day, place in kept["days"].items() if day not in over}
    kept["forgotten"] = max(limit, kept["forgotten"])
    _write(folder, kept)
    return gone


def forgotten_up_to(folder: Path) -> int:
    """Return the last round whose entry was deleted as agreed; 0 if none was."""
    return int(_read(folder)["forgotten"])


def _read(folder: Path) -> dict[str, Any]:
    empty: dict[str, Any] = {"days": {}, "forgotten": 0}
    try:
        kept = json.loads((folder / DAYS).read_bytes())
        days = {
            str(date.fromisoformat(day)): list(map(int, it)) for day, it in kept["days"].items()
        }
        is_whole = len(days) <= DAYS_MAX and all(len(it) == 2 for it in days.values())
        return {"days": days, "forgotten": int(kept["forgotten"])} if is_whole else empty
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return empty  # Then days begin again, and what is there is kept longer.


def _write(folder: Path, kept: dict[str, Any]) -> None:
    replace_file(folder / DAYS, json.dumps(kept, sort_keys=True).encode(), mode=PRIVATE)
