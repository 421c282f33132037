"""`p2pfl charter back`: the line of a proposal that goes back, ready to be put into it."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from calling import P2pfl
from ledger_group import LedgerGroup, two_epochs

from p2pfl.charter.form import BeginForm
from p2pfl.charter.making import _start
from p2pfl_gossip.ledger.record import RECORD_FILE, write_record
from p2pfl_gossip.ledger.standing import KEPT_MAX

_, NEW, HISTORY = two_epochs(6)  # m6 leaves, and m7 joins.


@pytest.fixture
def run(tmp_path: Path) -> str:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / RECORD_FILE).write_bytes(write_record(HISTORY))
    return str(folder)


def begun(printed: str) -> list[dict[str, Any]]:
    lines = [line for line in printed.splitlines() if not line.startswith("#")]
    return [tomllib.loads(line)["from"] for line in lines]


def test_each_line_is_one_that_a_charter_may_go_back_by(p2pfl: P2pfl, run: str) -> None:
    told = p2pfl("charter", "back", run)
    assert (told.code, told.err) == (0, "")
    assert "# epoch 1 began at height 2" in told.out
    first, second = begun(told.out)
    for table in (first, second):
        start = _start(BeginForm.model_validate(table))
        state = HISTORY.first.entry.state
        if table is second:
            state = HISTORY.closings(0)[0].certificate.entry.state
        assert table["state"] == state[0].digest.hex()
        assert table["length"] == state[0].length
        HISTORY.require_start(NEW.next_charter(start=start, state=state))


@pytest.mark.parametrize(("name", "epoch"), [("m7", 1), ("m6", 0), ("m2", 0)])
def test_before_a_member_joined(p2pfl: P2pfl, run: str, name: str, epoch: int) -> None:
    told = p2pfl("charter", "back", run, "--without", name)
    assert begun(told.out) == [begun(p2pfl("charter", "back", run).out)[epoch]]


def test_who_never_was_a_member(p2pfl: P2pfl, run: str) -> None:
    told = p2pfl("charter", "back", run, "--without", "nobody")
    assert (told.code, told.out) == (2, "")
    assert told.err.splitlines() == ["p2pfl: nobody is in no charter of this ledger"]


def test_what_members_may_have_no_more_is_said(p2pfl: P2pfl, tmp_path: Path) -> None:
    """Of ends of epochs as many as they keep; the first state lies in a file."""
    group = LedgerGroup(5)
    history, round_ = group.history(1), 2
    for _ in range(KEPT_MAX + 1):
        charter = group.next_charter()
        history.close_epoch(
            group.closing(group.empty_entry(history.head, round_, charter.digest()), charter)
        )
        step = history.step(history.final.head) if history.final else None
        assert step is not None
        history.head, group, round_ = step, group.following(charter), round_ + 2
    file = tmp_path / "record"
    file.write_bytes(write_record(history))
    told = p2pfl("charter", "back", str(file)).out
    assert told.count("this one may be lost") == 1
    assert told.index("epoch 1 began") < told.index("may be lost") < told.index("epoch 2 began")
