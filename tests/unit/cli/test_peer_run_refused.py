"""What `p2pfl peer run` refuses: one line that names the thing, an exit code, nothing changed."""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from calling import P2pfl
from peer_groups import CHARTER, add_setting, make_group, set_fault

from p2pfl.charter.charter_file import read_file, write_file
from p2pfl.store.journal import Store
from p2pfl.store.keys import generate_keys, read_keys, write_keys
from p2pfl.store.passphrases import INTERACTIVE
from p2pfl_gossip.description import (
    DESCRIPTION_RECORD,
    Description,
    describe_tensor,
    encode_page,
    fingerprint,
)
from p2pfl_simulations.launch.charters import FIRST_STATE


@pytest.fixture(autouse=True)
def _own_signals() -> Iterator[None]:
    """A peer that runs in the foreground leaves no handler behind, but ignores signals."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def no_charter(peer: Path) -> None:
    (peer / "charters" / CHARTER).unlink()


def broken_charter(peer: Path) -> None:
    (peer / "charters" / CHARTER).write_bytes(b"p2pfl charter 1\n" + bytes(99))


def no_first_state(peer: Path) -> None:
    (peer / "charters" / FIRST_STATE).unlink()


def not_signed_by_all(peer: Path) -> None:
    place = peer / "charters" / CHARTER
    whole = read_file(place)
    write_file(place, replace(whole, approvals=whole.approvals[1:]), erases=True)


def old_settings(peer: Path) -> None:
    add_setting(peer, 'roster = "roster.toml"')


def not_named(peer: Path) -> None:
    (peer / "key").unlink()
    write_keys(peer / "key", generate_keys())


def journal_of_another_group(peer: Path) -> None:
    with Store.open(peer / "journal") as store:
        store.persist({"daemon/group": bytes(32)})


def damaged_journal(peer: Path) -> None:
    (peer / "journal").mkdir()
    (peer / "journal" / "journal.sqlite3").write_bytes(os.urandom(4096))


def other_task(peer: Path) -> None:
    """Its group was opened with a model of 7 parameters."""
    opened = Description(
        (describe_tensor("model", (7,), "float32"),), fingerprint([]), fingerprint([]), ()
    )
    with Store.open(peer / "journal") as store:
        kept = {"draw_seed": bytes(32), DESCRIPTION_RECORD: encode_page(opened.page(0))}
        store.persist({**kept, "model": np.zeros(7, np.float32)})


def journal_of_an_older_version(peer: Path) -> None:
    with Store.open(peer / "journal") as store:
        store.persist({"draw_seed": bytes(32), "model": np.zeros(64, np.float32)})


def wrong_key(peer: Path) -> None:
    add_setting(peer, "listn = 3")


def open_key(peer: Path) -> None:
    (peer / "key").chmod(0o644)


def seal(peer: Path) -> None:
    keys = read_keys(peer / "key")
    (peer / "key").unlink()
    write_keys(peer / "key", keys, passphrase=b"correct horse", cost=INTERACTIVE)


def wrong_passphrase(peer: Path) -> None:
    seal(peer)
    word = peer / "word"
    word.touch(0o600)
    word.write_text("battery staple\n")
    add_setting(peer, 'passphrase_file = "word"')


def task_that_breaks(peer: Path) -> None:
    set_fault(peer, "no data")


def other_model(peer: Path) -> None:
    set_fault(peer, "half as wide")


def task_whose_step_raises(peer: Path) -> None:
    set_fault(peer, "raise at once")


def task_that_cannot_be_imported(peer: Path) -> None:
    (peer.parent / "frail.py").write_text("1 / 0\n")


def metrics_for_everybody(peer: Path) -> None:
    add_setting(peer, 'metrics = "0.0.0.0:9100"')


Fault = Callable[[Path], None]
REFUSALS: list[tuple[Fault, int, str]] = [
    (no_charter, 2, "there is no charter in "),
    (broken_charter, 2, "group.charter: there is more after its end"),
    (no_first_state, 2, "the first state that the founding charter names is not in "),
    (not_signed_by_all, 2, "group.charter is not signed by all founders: "),
    (old_settings, 2, "roster: groups go by charters now: take this line out"),
    (not_named, 2, "does not name this peer, 12D3"),
    (other_model, 2, "the model of frail:Frail has 32 entries here, and the charter's first state"),
    (journal_of_another_group, 2, "journal is of group 0000000000000000, the papers of group "),
    (damaged_journal, 3, "journal.sqlite3 is damaged (file is not a database)"),
    (other_task, 2, "the task has changed since the network opened: model was [7], is [64]"),
    (journal_of_an_older_version, 2, "journal is of an older version of p2pfl"),
    (wrong_key, 2, "listn is not a known key; did you mean 'listen'?"),
    (open_key, 2, "run chmod 600"),
    (seal, 2, "there is no terminal to ask for its passphrase: set passphrase_file"),
    (wrong_passphrase, 2, "the passphrase is wrong, or the file is damaged"),
    (task_that_breaks, 2, "ValueError: row 7 has a comma too many ("),
    (task_whose_step_raises, 2, "ZeroDivisionError: no rows of class 1 ("),
    (task_that_cannot_be_imported, 2, "cannot be imported from "),
    (metrics_for_everybody, 2, "is not on the loopback"),
]


@pytest.mark.parametrize(
    ("spoil", "code", "told"), REFUSALS, ids=[case[0].__name__ for case in REFUSALS]
)
def test_what_cannot_run_is_refused_in_one_line(
    p2pfl: P2pfl, tmp_path: Path, spoil: Fault, code: int, told: str
) -> None:
    peer = make_group(tmp_path, task="frail:Frail")[0]
    spoil(peer)
    before = {
        path: path.read_bytes()
        for path in tmp_path.rglob("*")
        if path.is_file()
        and path.name not in ("lock", "frail.py")
        and "__pycache__" not in str(path)
    }
    ended = p2pfl("peer", "run", str(peer))
    assert ended.code == code
    (line,) = ended.err.splitlines()
    assert line.startswith("p2pfl: ")
    assert told in line
    assert {path: path.read_bytes() for path in before} == before


def test_a_folder_in_which_a_peer_runs_is_refused(p2pfl: P2pfl, tmp_path: Path) -> None:
    peer = make_group(tmp_path)[0]
    with Store.open(peer / "journal"):
        ended = p2pfl("peer", "run", str(peer))
    assert ended.code == 2
    assert ended.err == (
        f"p2pfl: {peer / 'journal'} is in use by process {os.getpid()}; stop that one first\n"
    )


def test_an_address_that_is_taken_is_refused(p2pfl: P2pfl, tmp_path: Path) -> None:
    peer = make_group(tmp_path)[0]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = (peer / "peer.toml").read_text()
        listen = next(line for line in text.splitlines() if "/tcp/" in line)
        (peer / "peer.toml").write_text(
            text.replace(listen, f'    "/ip4/127.0.0.1/tcp/{port}",', 1)
        )
        ended = p2pfl("peer", "run", str(peer))
    assert ended.code == 2
    (line,) = ended.err.splitlines()
    assert line.startswith(
        f"p2pfl: cannot listen on /ip4/127.0.0.1/tcp/{port}: Address already in use; choose"
    )
    assert "cannot go on: cannot listen" in (peer / "peer.log").read_text()


def test_a_folder_too_deep_for_a_socket_is_refused_before_anything_is_loaded(
    p2pfl: P2pfl, tmp_path: Path
) -> None:
    peer = make_group(tmp_path)[0]
    deep = tmp_path / ("d" * 100)
    peer.rename(deep)
    ended = p2pfl("peer", "run", str(deep))
    assert ended.code == 2
    assert "is too long for a Unix socket (100 bytes at most)" in ended.err
    assert len(ended.err.splitlines()) == 1
    assert not (deep / "journal").exists()
