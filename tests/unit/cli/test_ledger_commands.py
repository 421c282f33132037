"""`p2pfl ledger show` and `verify`: of a run, of a peer that runs or not, of a file."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from calling import Ended, P2pfl
from ledger_group import LedgerGroup, two_epochs

from p2pfl.cli import ledgers
from p2pfl.cli.ledgers import NAMES_SHOWN_MAX
from p2pfl.store.errors import DamagedJournal, StoreError
from p2pfl.store.journal import Store
from p2pfl.store.reading import has_journal, read_kept
from p2pfl_gossip.ledger.entries import EntryStep
from p2pfl_gossip.ledger.history import History, founding_record
from p2pfl_gossip.ledger.record import RECORD_FILE, write_record
from p2pfl_gossip.ledger.standing import Standing

OLD, NEW, HISTORY = two_epochs(6)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run's folder with a record."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / RECORD_FILE).write_bytes(write_record(HISTORY))
    return folder


def records_of(history: History) -> dict[str, Any]:
    """What a member's journal holds of a history."""
    records: dict[str, Any] = dict(founding_record(history.epochs[0]))
    copy = History(history.epochs[0])
    for closing in history.closings(0):
        records |= copy.close_epoch(closing)
    step = history.head
    while step.entry.round:
        certificate = history.certificate(step.head)
        if certificate is not None:
            records |= copy.add(step, certificate)
        below = history.step(step.entry.base)
        if below is None:
            break
        step = below
    model = np.zeros(6, np.float32)
    return records | dict(Standing({}).certify(history.head, model, {}).records)


def lines_of(text: str) -> list[str]:
    """Lines without the spaces that a table has."""
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def test_a_runs_ledger_is_shown(p2pfl: P2pfl, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Heights, rounds, who was in, weights, signers, the change of epoch, and participation."""
    monkeypatch.setenv("COLUMNS", "160")
    ended = p2pfl("ledger", "show", str(run))
    assert (ended.code, ended.err) == (0, "")
    lines = lines_of(ended.out)
    group = OLD.epoch.group.hex()
    assert (
        lines[0]
        == f"group {group[:16]} epoch 1: 6 members, 5 sign height 4 of 20, final up to round 4"
    )
    models = [entry["model"][:8] for entry in ledgers.describe(HISTORY)["entries"]]
    charter = NEW.epoch.digest.hex()[:8]
    assert lines[3:8] == [
        f"1 1 all 6 27 5 of 6 {models[0]}",
        f"2 3 all 6 27 5 of 6 {models[1]}",
        f"2 4 no sum 5 of 6 {models[2]} carries charter {charter}",
        f"3 6 all 6 28 5 of 6 {models[3]} epoch 1 begins: m7 joins, m6 leaves",
        f"4 8 all 6 28 5 of 6 {models[4]}",
    ]
    assert lines[-6:] == [
        *(f"m{number} {number + 1} 4 of 4 4" for number in range(1, 6)),
        "m7 8 2 of 2 4",
    ]


def test_json_says_all_of_it(p2pfl: P2pfl, run: Path) -> None:
    """By names, whole digests, and what is final."""
    found = json.loads(p2pfl("ledger", "show", str(run), "--json").out)
    assert found["group"] == OLD.epoch.group.hex()
    assert [epoch["charter"] for epoch in found["epochs"]] == [
        OLD.epoch.digest.hex(),
        NEW.epoch.digest.hex(),
    ]
    assert [member["name"] for member in found["epochs"][1]["members"]][-1] == "m7"
    last = found["entries"][-1]
    assert (last["height"], last["round"], last["epoch"], last["kind"]) == (4, 8, 1, "sum")
    assert last["signers"] == ["m1", "m2", "m3", "m4", "m5"]
    assert last["entry"] == HISTORY.head.head.entry.hex()
    assert [entry["is_final"] for entry in found["entries"]] == [True] * 3 + [False] * 2
    assert found["missing_up_to_round"] is None
    assert found["participation"][5]["share"] == 1.0
    short = json.loads(p2pfl("ledger", "show", str(run), "--json", "--last", "2").out)
    assert [entry["round"] for entry in short["entries"]] == [6, 8]


def test_who_was_left_out_is_named(p2pfl: P2pfl, tmp_path: Path) -> None:
    """Few by name; whoever has been in no model for long is warned of."""
    group = LedgerGroup(16)
    history = History(group.epoch)
    for round_ in range(1, 6):
        members = range(2, 16) if round_ < 5 else range(5, 16)
        out = b"\x01\x00" if round_ == 5 else b"\x00\x00"
        entry = group.sum_entry(history.head, round_, members=members, out=out)
        group.extend(history, entry)
    file = tmp_path / "record"
    file.write_bytes(write_record(history))
    lines = lines_of(p2pfl("ledger", "show", str(file)).out)
    assert any("14 of 16, without m1, m2" in line for line in lines)
    assert any("11 of 16" in line and "without" not in line for line in lines)
    assert len(range(5)) > NAMES_SHOWN_MAX
    assert any("m1 out" in line for line in lines)
    assert lines[-2:] == [
        "m1: its rows are not in the last 5 models (last time: out)",
        "m2: its rows are not in the last 5 models",
    ]


def test_a_whole_record_is_verified(p2pfl: P2pfl, run: Path) -> None:
    """Exit code 0, and what was found."""
    ended = p2pfl("ledger", "verify", str(run / RECORD_FILE))
    assert (ended.code, ended.err) == (0, "")
    first, second = lines_of(ended.out)
    assert first == f"group {OLD.epoch.group.hex()}"
    assert second == (
        "5 entries, 4 models, 2 epochs: every signature, base and proof is in order; height 4,"
        " final up to round 4"
    )
    found = json.loads(p2pfl("ledger", "verify", str(run), "--json").out)
    assert found["is_whole"] is True
    assert (found["height"], found["entries"], found["models"]) == (4, 5, 4)


def test_damage_is_named_by_its_entry(p2pfl: P2pfl, run: Path) -> None:
    """Exit code 1; show refuses it with one line and exit code 2."""
    file = run / RECORD_FILE
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    ended = p2pfl("ledger", "verify", str(run))
    assert ended.code == 1
    (line,) = ended.out.splitlines()
    assert "entry 3 (after that of round 3): its bytes are not those that were written" in line
    found = json.loads(p2pfl("ledger", "verify", str(run), "--json").out)
    assert found["is_whole"] is False
    assert found["problem"]["item"] == 3
    fails(p2pfl("ledger", "show", str(run)), "is damaged: entry 3")


def fails(ended: Ended, said: str) -> None:
    """Demand exit code 2 and one line."""
    assert ended.code == 2
    assert ended.out == ""
    (line,) = ended.err.splitlines()
    assert line.startswith("p2pfl: ")
    assert said in line


def test_a_peers_ledger_is_read_while_it_runs(p2pfl: P2pfl, tmp_path: Path) -> None:
    """From its journal, which stays locked and is not changed."""
    peer = tmp_path / "berlin"
    with Store.open(peer / "journal") as store:
        store.persist(records_of(HISTORY))
        assert p2pfl("ledger", "verify", str(peer)).code == 0
        shown = p2pfl("ledger", "show", str(peer))
        assert shown.code == 0
        store.persist({"incarnation": b"2"})
    assert p2pfl("ledger", "show", str(peer)).out == shown.out
    assert p2pfl("ledger", "show", str(peer / "journal")).out == shown.out


def test_a_member_that_came_later_lacks_what_is_below(p2pfl: P2pfl, tmp_path: Path) -> None:
    """It is not whole, and that is said; what there is is shown."""
    records = records_of(HISTORY)
    del records[next(key for key in records if key.endswith("entry/00000000/0000000000000003"))]
    with Store.open(tmp_path / "peer" / "journal") as store:
        store.persist(records)
    ended = p2pfl("ledger", "verify", str(tmp_path / "peer"))
    assert ended.code == 1
    assert "the entries up to round 3 are not here" in ended.out
    assert (
        "The entries up to round 3 are not here."
        in p2pfl("ledger", "show", str(tmp_path / "peer")).out
    )


def test_charters_that_change_rounds_or_settings_alone(p2pfl: P2pfl, tmp_path: Path) -> None:
    """Are told as such."""
    for fields, said in (({"rounds": 30}, "30 rounds"), ({"clip": 4.0}, "other settings")):
        group = LedgerGroup(5)
        history = group.history(1)
        charter = group.next_charter(**fields)
        entry = group.empty_entry(history.head, 2, charter.digest())
        history.close_epoch(group.closing(entry, charter))
        base = history.step(EntryStep(entry).head)
        assert base is not None
        history.head = base
        new = group.following(charter)
        new.extend(history, new.sum_entry(base, 5))
        (tmp_path / "record").write_bytes(write_record(history))
        shown = " ".join(lines_of(p2pfl("ledger", "show", str(tmp_path / "record")).out))
        assert f"epoch 1 begins: {said}" in shown


def no_ledger(folder: Path) -> Path:
    """A journal of another kind of group."""
    with Store.open(folder / "journal") as store:
        store.persist({"incarnation": b"1"})
    return folder


def text_file(folder: Path) -> Path:
    """A file that is something else."""
    (folder / "notes.txt").write_text("hello")
    return folder / "notes.txt"


def no_journal(folder: Path) -> Path:
    """A journal that is none."""
    (folder / "journal").mkdir()
    (folder / "journal" / "journal.sqlite3").write_bytes(b"x" * 5000)
    return folder


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: folder, "holds no ledger"),
        (lambda folder: folder / "missing", "No such file"),
        (no_ledger, "it holds no ledger"),
        (no_journal, "is damaged"),
    ],
)
def test_where_there_is_none_one_line_says_so(
    p2pfl: P2pfl, tmp_path: Path, make: Callable[[Path], Path], said: str
) -> None:
    """Of both commands, with exit code 2."""
    path = make(tmp_path)
    for command in ("show", "verify"):
        fails(p2pfl("ledger", command, str(path)), said)


def test_another_file_is_no_record(p2pfl: P2pfl, tmp_path: Path) -> None:
    """Nor is one that is too large to be read."""
    path = text_file(tmp_path)
    fails(p2pfl("ledger", "show", str(path)), "it is no record of a ledger")
    assert p2pfl("ledger", "verify", str(path)).code == 1


def test_a_file_beyond_all_bounds_is_not_read(
    p2pfl: P2pfl, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told by its size."""
    monkeypatch.setattr(ledgers, "RECORD_BYTES_MAX", 100)
    fails(p2pfl("ledger", "verify", str(run)), "is no record of a ledger: it has")


def test_of_a_journal_only_what_is_asked_for_is_read(tmp_path: Path) -> None:
    """And nothing that was changed since it was written."""
    folder = tmp_path / "journal"
    with pytest.raises(StoreError, match="holds no journal"):
        read_kept(folder, "ledger/")
    with Store.open(folder) as store:
        store.persist({"ledger/a": b"1", "other": b"2", "ledger/model": np.zeros(3, np.float32)})
    assert has_journal(folder)
    assert read_kept(folder, "ledger/") == {"ledger/a": b"1"}
    with sqlite3.connect(folder / "journal.sqlite3") as connection:
        connection.execute("UPDATE records SET value = ? WHERE key = 'ledger/a'", (b"9",))
    connection.close()
    with pytest.raises(DamagedJournal, match="another record 'ledger/a'"):
        read_kept(folder, "ledger/")
