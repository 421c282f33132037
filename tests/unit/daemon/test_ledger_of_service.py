"""A journal's ledger is looked at before a peer says anything."""

from pathlib import Path

import pytest
from ledger_world import LedgerWorld, identity_of, make_charter

from p2pfl.charter.papers import Papers
from p2pfl.daemon.config import PeerFolder
from p2pfl.daemon.errors import ServiceError
from p2pfl.daemon.starting import require_ledger, require_place
from p2pfl_gossip.actions import Vector
from p2pfl_gossip.ledger.standing import STANDING_RECORD

FOLDER = PeerFolder(Path("berlin"))


def records_of(group: LedgerWorld, index: int) -> dict[str, bytes | Vector]:
    return dict(group.hosts[index].records)


def test_a_ledger_of_its_own_group_is_accepted_and_another_one_refused() -> None:
    group = LedgerWorld(5, rounds=3)
    group.start()
    group.run(100.0)
    records = records_of(group, 0)
    require_ledger(group.epoch, records, FOLDER)
    require_ledger(group.epoch, {}, FOLDER)
    with pytest.raises(ServiceError, match="is of another group than its papers found"):
        require_ledger(LedgerWorld(5, rounds=4).epoch, records, FOLDER)
    with pytest.raises(ServiceError, match=r"cannot be read \("):
        require_ledger(group.epoch, records | {STANDING_RECORD: b"\x90"}, FOLDER)
    models = [key for key in records if key.startswith("ledger/model/")]
    without = {key: value for key, value in records.items() if key not in models}
    with pytest.raises(ServiceError, match=r"cannot be read \("):
        require_ledger(group.epoch, without, FOLDER)


def test_who_is_named_by_no_charter_any_more_is_told_so() -> None:
    group = LedgerWorld(6, rounds=4)
    successor = make_charter(range(5), present=group.epoch.digest, rounds=8)
    group.start()

    group.run(400.0, at=[(9.0, lambda: group.approve(successor, range(5)))])
    records = records_of(group, 5)
    assert any(key.startswith("ledger/closing/") for key in records)
    history = require_ledger(group.epoch, records, FOLDER)
    require_place(Papers(Path("nowhere")), identity_of(0).peer_id, history)
    with pytest.raises(ServiceError, match=r"present charter does not name this peer.*news$"):
        require_place(Papers(Path("nowhere")), identity_of(5).peer_id, history)
    history.head = history.first
    with pytest.raises(ServiceError, match=r"not name this peer.* the one here is of round 0$"):
        require_place(Papers(Path("nowhere")), identity_of(5).peer_id, history)
