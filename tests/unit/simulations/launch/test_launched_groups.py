"""A launched group leaves what a simulated one does: models, who took part, and a ledger."""

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from p2pfl.daemon.config import PeerFolder
from p2pfl.store.record_digests import bytes_digest
from p2pfl_gossip.ledger.record import read_record
from p2pfl_gossip.ledger.states import digest_state
from p2pfl_simulations.checkers import Violation
from p2pfl_simulations.launch.launching import launch
from p2pfl_simulations.launch.ledgers import read_ledgers
from p2pfl_simulations.results.folder import read_run, write_run
from p2pfl_simulations.scenario import make_scenario


def swap(journal: Path, key: str, value: bytes) -> None:
    """Put another value into a journal, digest and all."""
    with sqlite3.connect(journal / "journal.sqlite3") as connection:
        row = (value, bytes_digest(key, value), key)
        connection.execute("UPDATE records SET value = ?, digest = ? WHERE key = ?", row)


@pytest.mark.usefixtures("forked_launches")
def test_its_folder_has_the_ledger_and_who_took_part(tmp_path: Path) -> None:
    scenario = make_scenario(
        {
            "peers": 5,
            "rounds": 2,
            "learning": {"task": "integers"},
            "averaging": {"algorithm": "group", "clip": 65536.0, "deadline_s": 5.0},
            "evaluation": {"baselines": []},
        }
    )
    peers = tmp_path / "peers"
    peers.mkdir()
    run = launch(
        scenario, peers_folder=peers, task_folder=None, progress=lambda _: None, is_checked=True
    )
    folder = tmp_path / "run"
    folder.mkdir()
    write_run(run, folder)
    assert run.ledger is not None
    history = read_record(run.ledger)
    assert history.head.entry.height == 2
    models = [np.load(peers / f"peer-{index}" / "models" / "1.npy") for index in range(5)]
    for model in models:
        assert digest_state("model", model).item == history.head.entry.state[0]
    kept = read_run(folder)
    assert kept.ledger == run.ledger
    assert kept.participation == run.participation
    assert run.participation is not None
    assert [row.name for row in run.participation] == [f"peer-{index}" for index in range(5)]
    assert sum(row.heights_in for row in run.participation) >= 8  # Four of five a round.

    folders = sorted(peers.glob("peer-*"))
    assert len(read_ledgers(folders)) == 5
    journal = PeerFolder(folders[1]).journal
    with sqlite3.connect(journal / "journal.sqlite3") as connection:
        query = "SELECT key, value FROM records WHERE key LIKE 'ledger/entry/%' ORDER BY key"
        ((key, certificate), *_) = connection.execute(query).fetchall()
    swap(journal, key, certificate[:-1] + bytes([certificate[-1] ^ 1]))  # Of its last signature.
    with pytest.raises(Violation, match="the ledger of peer-1 does not hold"):
        read_ledgers(folders)
