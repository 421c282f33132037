"""The ledgers that peers of a launched group leave in their journals: read, checked, compared."""

from collections.abc import Iterable
from pathlib import Path

from p2pfl.daemon.config import PeerFolder
from p2pfl.store.errors import StoreError
from p2pfl.store.reading import read_kept
from p2pfl_gossip.ledger.history import FOUNDING_RECORD, History
from p2pfl_gossip.ledger.participation import entries_of
from p2pfl_gossip.ledger.record import DamagedRecord, read_record, record_from_journal
from p2pfl_gossip.records import MalformedFrame
from p2pfl_simulations.checkers import Violation

LEDGER = "ledger/"
"""What the keys of a ledger's records begin with."""


def read_ledgers(folders: Iterable[Path]) -> list[History]:
    """Return the history in each peer's journal, checked from the founding on.

    A peer that was ended before it had begun has none.

    Raises:
        Violation: one does not hold, or two of them are not of one group and one history.
    """
    histories = []
    for folder in folders:
        try:
            records = read_kept(PeerFolder(folder).journal, LEDGER)
            if FOUNDING_RECORD in records:
                histories.append(read_record(record_from_journal(dict(records))))
        except (StoreError, MalformedFrame, DamagedRecord) as error:
            raise Violation(f"the ledger of {folder.name} does not hold: {error}") from None
    _require_one(histories)
    return histories


def furthest(histories: Iterable[History]) -> History | None:
    """Return the history with the highest head."""
    return max(histories, key=lambda it: it.head.head.place, default=None)


def _require_one(histories: Iterable[History]) -> None:
    certified: dict[tuple[int, int], bytes] = {}
    groups: dict[bytes, None] = {}
    for history in histories:
        groups[history.epoch.group] = None
        for entry in entries_of(history):
            place, digest = (entry.epoch, entry.round), entry.digest()
            if certified.setdefault(place, digest) != digest:
                raise Violation(f"two entries of epoch {place[0]}, round {place[1]} are certified")
    if len(groups) > 1:
        raise Violation(f"the peers' ledgers are of {len(groups)} groups")
